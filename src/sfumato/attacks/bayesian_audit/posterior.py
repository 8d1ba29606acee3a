"""Posterior of the ε that an attack demonstrates: an exact integral in one dimension, and its quantiles.

For a privacy engineer who wants an estimate beside the exact bound. Zanella-Béguelin et al., "Bayesian Estimation of
Differential Privacy" (ICML 2023, arXiv 2206.05199), whose code integrates in two dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy import special

from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.attacks.bayesian_audit.regions import LARGEST_EXPONENT, Floats, point_epsilon
from sfumato.errors import InvalidData

Whole = npt.NDArray[np.int64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(20)
_CHEBYSHEV_NODES = np.polynomial.chebyshev.chebpts1(16)
_TO_COEFFICIENTS = np.linalg.inv(np.polynomial.chebyshev.chebvander(_CHEBYSHEV_NODES, 15))
# Panels end at these quantiles, 1.2 deviations apart: in between, rule and interpolant are right to 1e-12.
_SPACING = 1.2
_LEVELS = special.ndtr(_SPACING * np.arange(-6, 7))
_MOST_STEPS = 200  # bisection alone would need about 60
_TOLERANCE = 1e-11


class EpsilonPosterior:
    """Posterior of the ε that an attack demonstrates, its two error rates having independent Betas.

    The attack demonstrates more than ε where its rates (x, y) lie under the lower border of the (ε, δ) region,
    y < max(1 − δ − x e^ε, (1 − δ − x) e^−ε), or over the upper one, which is the same of (1 − x, 1 − y). Cut at its
    vertex, each border is two lines, and the mass beyond a line is one integral of a density times a distribution
    function: a composite Gauss-Legendre rule in θ = arcsin √x, which takes away the x^-1/2 of the Jeffreys prior.

    A random challenge bit (joint-dirichlet in the published code) gives the same posterior: by the
    aggregation property of the Dirichlet the two rates are again these independent Betas.

    Parameters
    ----------
    counts : AttackCounts
    delta : float
        In [0, 1).
    prior : tuple of float, default (0.5, 0.5)
        Beta prior of both rates: pseudo-counts of errors and of successes, each at least 0.5.

    Raises
    ------
    InvalidData
        If delta or the prior is out of range.
    """

    def __init__(self, counts: AttackCounts, delta: float, prior: tuple[float, float] = (0.5, 0.5)) -> None:
        if not 0 <= delta < 1:
            raise InvalidData("delta must lie in [0, 1)")
        if len(prior) != 2 or not all(0.5 <= each < math.inf for each in prior):
            raise InvalidData("prior must be two numbers, each at least 0.5")
        self.counts = counts
        self.delta = float(delta)
        self.prior = prior
        missed, wrong = (prior[0] + counts.fn, prior[1] + counts.tp), (prior[0] + counts.fp, prior[1] + counts.tn)
        self._rates = _Rates(np.array([missed, wrong, missed[::-1], wrong[::-1]]))  # x, y, 1 - x, 1 - y

    def cdf(self, epsilon: float) -> float:
        """Posterior probability that the attack demonstrates at most `epsilon`."""
        return float(np.clip(1.0 - self.probability_above(epsilon), 0.0, 1.0))

    def probability_above(self, epsilon: float) -> float:
        """Posterior probability that the attack demonstrates more than `epsilon`."""
        if math.isnan(epsilon):
            raise InvalidData("epsilon must be a number")
        if epsilon < 0:
            return 1.0
        if epsilon > LARGEST_EXPONENT:
            return 0.0
        return float(self._beyond(np.array([epsilon]))[0][0])

    def pdf(self, epsilon: float) -> float:
        """Posterior density at `epsilon` > 0: the density along the borders times their speed."""
        if not epsilon > 0:
            raise InvalidData("epsilon must be positive")
        return 0.0 if epsilon > LARGEST_EXPONENT else float(self._beyond(np.array([epsilon]))[1][0])

    def mean(self) -> float:
        """Posterior mean of ε."""
        # Panels halve towards 0, where the distribution function may rise like a square root.
        ends = np.append(0.0, self.quantile(1 - 1e-12) * 2.0 ** np.arange(-10, 1))
        half = np.diff(ends)[:, None] / 2
        nodes = ends[:-1, None] + half + half * _NODES
        return float((half * _WEIGHTS).ravel() @ self._beyond(nodes.ravel())[0])

    def quantile(self, p: float) -> float:
        """Least ε whose posterior probability reaches `p` (0 < p < 1); 0 when ε = 0 already does."""
        return float(self.quantiles([p])[0])

    def quantiles(self, levels: npt.ArrayLike) -> Floats:
        """`quantile` of several levels at once, shape (k,): Newton's method for the probit over ln ε, in a bracket."""
        p = np.atleast_1d(np.asarray(levels, dtype=np.float64))
        if not ((p > 0) & (p < 1)).all():
            raise InvalidData("p must lie strictly between 0 and 1")
        wanted, epsilon = special.ndtri(p), self._guess(p)
        low, high = np.zeros(len(p)), np.full(len(p), np.inf)
        above, density = self._beyond(np.append(epsilon, 0.0))
        at_zero = 1.0 - above[-1] >= p
        epsilon[at_zero] = 0.0
        left = np.flatnonzero(~at_zero)
        above, density = above[left], density[left]
        for _ in range(_MOST_STEPS if len(left) else 0):
            now = epsilon[left]
            found = np.where(above < 0.5, -special.ndtri(above), special.ndtri(1.0 - above))
            short = wanted[left] - found
            low[left] = np.where(short > 0, now, low[left])
            high[left] = np.where(short > 0, high[left], now)
            below, over = low[left], high[left]
            with np.errstate(all="ignore"):
                slope = now * density * math.sqrt(2 * math.pi) * np.exp(found**2 / 2)
                step = short / slope
                after = now * np.exp(step)
            within = (below <= after) & (after <= np.where(np.isfinite(over), over, 2 * below + 1))
            epsilon[left] = np.where(within, after, np.where(np.isfinite(over), (below + over) / 2, 2 * below + 1))
            # Newton's next error is about this step squared, in units of the posterior's deviation, 1 / slope.
            done = (within & (step**2 * np.maximum(slope, 1) < _TOLERANCE)) | (over - below <= _TOLERANCE * below)
            left = left[~done]
            if not len(left):
                break
            above, density = self._beyond(epsilon[left])
        return epsilon

    def _guess(self, p: Floats) -> Floats:
        """Quantiles of ε over a coarse grid of quantiles of both rates."""
        mass = np.diff(special.ndtr(_SPACING * np.arange(-6.5, 7)))
        x, y = self._rates.cuts[:2]
        grid = point_epsilon(x[:, None], y, self.delta).ravel()
        order = np.argsort(grid)
        weight = np.outer(mass, mass).ravel()[order]
        guess = np.interp(p, np.cumsum(weight) - weight / 2, np.minimum(grid[order], LARGEST_EXPONENT))
        return np.maximum(guess, 1e-3)

    def _beyond(self, epsilon: Floats) -> tuple[Floats, Floats]:
        """Mass of the rates beyond both borders at each ε, shape (k,), and the speed at which it falls."""
        rates, k = self._rates, len(epsilon)
        vertex = (1 - self.delta) / (1 + np.exp(epsilon))
        # Line i bounds rate i ^ 1 by a function of rate i; lines 0 and 1 are of the lower border. If all mass is on
        # the other side of x + y = 1, a border has none beyond it.
        lines = np.arange(4)[np.repeat(rates.cuts[::2, 0] + rates.cuts[1::2, 0] < 1, 2)]
        column, line, theta, weight = self._panels(lines, epsilon, vertex)
        rate, rest = np.sin(theta) ** 2, np.cos(theta) ** 2
        mass = weight * rates.density(line, rate, rest)
        moved = rate * np.exp(epsilon)[column, None]
        other, remaining = 1 - self.delta - moved, self.delta + moved
        inside = (mass * rates.cdf(line ^ 1, other, remaining)).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            along = rates.density(line ^ 1, other, remaining) / (2 * np.sqrt(other * remaining))
            falls = np.where(other > 0, mass * along * moved, 0.0).sum(axis=1)
        tips = np.tile(vertex, len(lines))[:, None]
        corner = rates.cdf(np.repeat(lines, k), tips, 1 - tips).reshape(len(lines), k)
        total = np.bincount(column, inside, minlength=k) - (corner[::2] * corner[1::2]).sum(axis=0)  # counted twice
        return np.clip(total, 0.0, 1.0), np.asarray(np.bincount(column, falls, minlength=k), dtype=np.float64)

    def _panels(self, lines: Whole, epsilon: Floats, vertex: Floats) -> tuple[Whole, Whole, Floats, Floats]:
        """Panels of all lines up to the vertex: their ε's index and line, and their nodes and weights in θ."""
        near, far = self._rates.cuts[lines, None, :], self._rates.cuts[lines ^ 1, None, :]
        shape = (len(lines), len(epsilon))
        cuts = [
            np.broadcast_to(near, (*shape, near.shape[2])),
            (1 - self.delta - far) / np.exp(epsilon)[:, None],  # where the line meets the other rate's quantiles
            np.broadcast_to(vertex[:, None], (*shape, 1)),
        ]
        first = near[:, :, :1]
        last = np.maximum(first, np.minimum(near[:, :, -1:], vertex[:, None]))
        ends = np.arcsin(np.sqrt(np.sort(np.clip(np.concatenate(cuts, axis=2), first, last), axis=2)))
        line, column, panel = np.nonzero(np.diff(ends, axis=2) > 0)
        start = ends[line, column, panel, None]
        half = (ends[line, column, panel + 1, None] - start) / 2
        return column, lines[line], start + half + half * _NODES, half * _WEIGHTS


@dataclass(frozen=True)
class _Rates:
    """Rates with Beta posteriors, the two parameters of each in a row."""

    parameters: Floats

    @cached_property
    def cuts(self) -> Floats:
        """Quantiles at which panels end, a row a rate."""
        return np.asarray(special.betaincinv(self.parameters[:, :1], self.parameters[:, 1:], _LEVELS))

    def density(self, which: Whole, rate: Floats, rest: Floats) -> Floats:
        """Density of θ = arcsin √rate at rates, `rest` being one minus them; `which` has a rate for each row."""
        return np.asarray(np.exp(self._log_density(which[:, None], rate, rest) + self._log_norm[which, None]))

    def cdf(self, which: Whole, rate: Floats, rest: Floats) -> Floats:
        """Distribution function at rates, `rest` being one minus them, by piecewise Chebyshev interpolation in θ.

        `which` has a rate for each row of `rate`; a row lies between two of that rate's cuts.
        """
        knots, coefficients = self._interpolant
        panels = knots.shape[1] - 1
        theta = np.arctan2(np.sqrt(np.maximum(rate, 0.0)), np.sqrt(rest))
        middle = theta[:, rate.shape[1] // 2]
        panel = np.searchsorted((knots + 2 * np.arange(len(knots))[:, None]).ravel(), middle + 2 * which) - 1
        panel = np.clip(panel - which * (panels + 1), 0, panels - 1)
        left, right = knots[which, panel, None], knots[which, panel + 1, None]
        place = np.clip((2 * theta - left - right) / np.maximum(right - left, 1e-300), -1.0, 1.0)
        value = np.polynomial.chebyshev.chebval(place, coefficients[:, which, panel, None], tensor=False)
        return np.asarray(value, dtype=np.float64)

    def _log_density(self, which: Whole, rate: Floats, rest: Floats) -> Floats:
        """Logarithm of the density up to a constant, so that it is 0 at the mean."""
        a, b = self.parameters[which, 0], self.parameters[which, 1]
        with np.errstate(divide="ignore"):
            log = (a - 0.5) * np.log(rate * (a + b) / a) + (b - 0.5) * np.log(rest * (a + b) / b)
        return np.asarray(log, dtype=np.float64)

    @cached_property
    def _log_norm(self) -> Floats:
        """Of all mass being 1: a difference of log-gamma functions would lose nine digits at 10^6 trials."""
        knots, _ = self._interpolant
        half = np.diff(knots)[:, :, None] / 2
        theta = knots[:, :-1, None] + half + half * _NODES
        which = np.arange(len(knots))[:, None, None]
        log = self._log_density(which, np.sin(theta) ** 2, np.cos(theta) ** 2)
        return np.asarray(-np.log((np.exp(log) * half * _WEIGHTS).sum(axis=(1, 2))), dtype=np.float64)

    @cached_property
    def _interpolant(self) -> tuple[Floats, Floats]:
        """Knots θ, a row a rate, and Chebyshev coefficients of the distribution function between (degree first)."""
        knots = np.arcsin(np.sqrt(self.cuts))
        half = np.diff(knots)[:, None, :] / 2
        theta = knots[:, None, :-1] + half + half * _CHEBYSHEV_NODES[:, None]
        values = special.betainc(self.parameters[:, :1, None], self.parameters[:, 1:, None], np.sin(theta) ** 2)
        return knots, np.einsum("ij,rjp->irp", _TO_COEFFICIENTS, values)
