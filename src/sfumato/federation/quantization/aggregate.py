"""What one number costs: in one report, and in the sum of n clients' reports, whatever the others hold.

For `RQM`, `PBM` and `QuantizedMean`. The law of a sum is an exact convolution, as in Youn et al. 2023; the bound for
arbitrary others is the privacy blanket of Balle, Bell, Gascón and Nissim (CRYPTO 2019), with shifts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal, TypeAlias
from typing import Protocol as Structural

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, special, stats

from sfumato.errors import InvalidData
from sfumato.federation.quantization.divergence import (
    Floats,
    log_convolve,
    log_moment,
    log_power,
    log_powers,
    renyi_divergence,
)

#: What the other clients hold: the worst that was found, a bound for whatever it is, or this number.
Others: TypeAlias = Literal["worst", "certified"] | float

_WIDTHS = (0.09, 0.125, 0.16, 0.2, math.inf)  # of the Gaussians, in numbers of levels
_TRIED = 6  # shapes
_BUCKETS = 12  # of the number of blanket draws, in `Blanket`


class Law(Structural):
    """A quantiser's law, and the points among which its worst cases are."""

    @property
    def outcomes(self) -> int: ...

    @property
    def corners(self) -> Floats: ...

    def pmf(self, x: ArrayLike) -> Floats: ...


def log_law(law: Law, x: ArrayLike) -> Floats:
    """Log-probabilities of the reports."""
    with np.errstate(divide="ignore"):
        return np.log(law.pmf(x))


def local_epsilon(law: Law) -> float:
    """Largest log-ratio of a report's probabilities: between corners, see `RQM`."""
    return float(np.ptp(log_law(law, law.corners), axis=0).max())


def renyi(law: Any, alpha: float, n: int = 1, others: Others = "worst") -> float:
    """Rényi divergence of one coordinate when one of n clients' numbers is replaced, and the sum of reports is seen.

    Given the others, the largest divergence is between two corners (see `RQM`: the law of the sum is affine in that of
    the client's report). What the others hold matters:

    - ``"worst"`` takes the largest value over others who all hold the same corner, or ends of [-c, c] in any mixture.
      A search, which is what the paper's figures are comparable with, and not a proof for others who hold
      something else.
    - ``"certified"`` holds for any others, by `Blanket`.
    - a number: all of them hold it.

    Parameters
    ----------
    law : RQM or PBM
    alpha : float
        Above 1; infinity is allowed.
    n : int
        Honest clients whose reports are in the sum, this one included. Reports of clients who collude with the server
        are known, so they hide nothing.
    others : {"worst", "certified"} or float

    Returns
    -------
    float
    """
    if not alpha > 1:
        raise InvalidData(f"alpha must be above 1, got {alpha!r}")
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InvalidData(f"n must be an integer of at least 1, got {n!r}")
    if n == 1:
        return _largest(log_law(law, law.corners), alpha)
    own = log_law(law, law.corners)
    if others == "certified":
        blanket = Blanket.of(law, n)
        if math.isinf(alpha):
            return _largest(own, alpha)  # nobody may draw from the blanket
        moments = blanket.log_moments(own[:, np.newaxis], own, [alpha])
        return max(0.0, float(moments.max()) / (alpha - 1))
    rest = _found(law, n - 1) if others == "worst" else [log_power(log_law(law, others), n - 1)]
    return max(_largest(log_convolve(own, each), alpha) for each in rest)


def _largest(log_laws: Floats, alpha: float) -> float:
    return max(float(renyi_divergence(each, log_laws, alpha).max()) for each in log_laws)


@lru_cache(maxsize=4)
def _found(law: Law, n: int) -> list[Floats]:
    """Laws of the sum of n others: all at a corner, or k at one end and the rest at the other."""
    logs = log_law(law, law.corners)
    low, high = log_powers(logs[0], n), log_powers(logs[-1], n)
    mixed = [log_convolve(low[n - k], high[k]) for k in range(n + 1)]
    return [*mixed, *(log_power(each, n) for each in logs[1:-1])]


class Blanket:
    """Noise that every client is sure to add with some probability, whatever number it holds.

    Take a law N on a run of integers. Every P(· | x) contains a mixture of shifts of N of total weight at least w:
    P(i | x) >= sum_s λ_s(x) N(i - s) with sum_s λ_s(x) >= w. So a client's report can be drawn like this: with
    probability w, a draw from N plus a shift; else something else. Tell the adversary all shifts, all something-elses
    and who drew what: what is left is K ~ Binomial(n - 1, w) draws from N, and shifts cancel. By data processing, and
    joint convexity over K, the moment exp((α - 1) D_α) of the sum is at most its mean over K with K draws from N. No
    assumption on what the others hold is left, nor that they hold the same.

    w has only to be found at the corners: in between, P(· | x) is a mixture of those of two neighbouring corners. (For
    `PBM`, whose law is not, there is no blanket here.)

    Parameters
    ----------
    log_noise : ndarray of float64
        N.
    weight : float
        w.
    n : int
        Clients, the one protected included.
    """

    def __init__(self, log_noise: Floats, weight: float, n: int) -> None:
        powers = log_powers(log_noise, n - 1)
        # Fewer draws hide less: the draws of a bucket are counted as the fewest in it.
        fewest = np.unique(stats.binom.ppf(np.linspace(0, 1, _BUCKETS + 1)[1:-1], n - 1, weight).astype(int))
        fewest = np.unique(
            np.concatenate(([0], stats.binom.ppf([1e-9, 1e-4, 1e-2], n - 1, weight), fewest)).astype(int)
        )
        log_masses = stats.binom.logpmf(np.arange(n), n - 1, weight)
        self.parts = [
            (powers[k], float(special.logsumexp(log_masses[k:end])))
            for k, end in zip(fewest, np.append(fewest[1:], n), strict=True)
        ]

    @staticmethod
    @lru_cache(maxsize=64)
    def of(law: Any, n: int) -> Blanket:
        """Of the blankets that keep most variance, the best for the ends of [-c, c] and order 2."""
        if not law.affine:
            raise InvalidData("others='certified' needs a law that is affine between corners: RQM")
        low, high = log_law(law, law.corners[[0, -1]])
        blankets = [Blanket(np.log(shape), weight, n) for shape, weight in _contained_shapes(law)]
        return min(blankets, key=lambda each: float(each.log_moments(low, high, [2.0])[0]))

    def log_moments(self, log_p: Floats, log_q: Floats, orders: Sequence[float]) -> Floats:
        """Bounds of the logs of the sums of P^order Q^(1 - order), for laws P, Q of a report and whatever others add.

        Parameters
        ----------
        log_p, log_q : ndarray of float64, shapes (..., k) that broadcast

        Returns
        -------
        ndarray of float64, shape (len(orders), ...)
        """
        parts = []
        for noise, weight in self.parts:
            seen = log_convolve(log_p, noise), log_convolve(log_q, noise)
            parts.append([weight + log_moment(*seen, order) for order in orders])
        return np.asarray(special.logsumexp(parts, axis=0))


@lru_cache(maxsize=64)
def _contained_shapes(law: Any) -> list[tuple[Floats, float]]:
    """Discrete Gaussians, cut off, and uniform runs, with the weights that every law of a report contains."""
    size = law.outcomes
    place = [np.arange(length) - (length - 1) / 2 for length in range(2, size + 1)]
    wide = [np.exp(-((k / (size * width)) ** 2) / 2) for k in place for width in _WIDTHS]
    laws = law.pmf(law.corners[law.corners >= 0])  # the others are mirror images, as the shapes are their own
    found = []
    for shape in (each / each.sum() for each in wide):
        weight = min(contained(shape, each) for each in laws)
        variance = float(shape @ (np.arange(len(shape)) - (len(shape) - 1) / 2) ** 2)
        found.append((weight * variance, shape, weight))
    found.sort(key=lambda each: -each[0])
    return [(shape, weight) for _, shape, weight in found[:_TRIED]]


def contained(shape: Floats, pmf: Floats) -> float:
    """Largest total weight of shifts of `shape` that fit below `pmf`: a linear program.

    Rounded down to what a feasible mixture reaches, so that it is never overstated.
    """
    shifts = len(pmf) - len(shape) + 1
    matrix = np.zeros((len(pmf), shifts))
    for s in range(shifts):
        matrix[s : s + len(shape), s] = shape
    found = optimize.linprog(-np.ones(shifts), A_ub=matrix, b_ub=pmf, method="highs")
    weights = np.maximum(found.x, 0.0)
    over = float(np.max(matrix @ weights / pmf))
    return float(weights.sum() / max(1.0, over)) * (1 - 1e-12)
