"""From privacy to validity: how far answers can lie from the population's, and which mechanism lies nearest.

For whoever plans an adaptive analysis. Dwork, Feldman, Hardt, Pitassi, Reingold and Roth, "Preserving Statistical
Validity in Adaptive Data Analysis" (STOC 2015); the constants are those of Jung, Ligett, Neel, Roth,
Sharifi-Malvajerdi and Shenfeld (ITCS 2020), Theorem 3.5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from scipy import optimize, special

from sfumato.errors import InvalidData
from sfumato.privacy.accounting import ORDERS, rdp_epsilon
from sfumato.statistics.adaptive.queries import GRID

Mechanism: TypeAlias = Literal["gaussian", "split", "histogram", "pmw"]

LARGEST_UNIVERSE = 10**7
_STEP = 2 / GRID  # rounding of the rows to the grid, and of the noise to it


@dataclass(frozen=True)
class Plan:
    """What to run, and what it promises.

    Attributes
    ----------
    mechanism : {"gaussian", "split", "histogram", "pmw"}
    half_width : float
        With probability 1 - beta all answers are this near to their population means; 1 promises nothing.
    rho : float
        The zCDP of all answers together, each row replaced by another.
    alternatives : mapping of str to float
        Half-width of each mechanism that could have been taken.
    n, max_queries : int
    beta : float
    alpha : float
        Of "pmw": the error beyond which it updates; 0 otherwise.
    """

    mechanism: Mechanism
    half_width: float
    rho: float
    alternatives: Mapping[Mechanism, float]
    n: int
    max_queries: int
    beta: float
    alpha: float = 0.0

    def __str__(self) -> str:
        others = ", ".join(f"{name} {width:.3f}" for name, width in self.alternatives.items() if name != self.mechanism)
        tail = f" ({others})" if others else ""
        return (
            f"{self.mechanism}: {self.max_queries} answers from {self.n} rows, all within ±{self.half_width:.3f} of "
            f"the population with probability {1 - self.beta:g}, at ρ = {self.rho:.3g}{tail}"
        )


def transfer(
    sample_error: Callable[[float, float], float], rho: float, beta: float, *, spend_all: bool = False
) -> tuple[float, float, float]:
    """Least population error that the transfer theorem gives, and the ρ and b at which it is reached.

    If a mechanism is (ε, δ)-DP for a replaced row, and with probability 1 - b all its answers, which lie in [0, 1], are
    within α of their means on the sample, then for all c, d > 0 and rows that are independent draws of the population,
    all are within α + (e^ε - 1) + c + 2d of their population means with probability 1 - b/c - δ/d.

    Parameters
    ----------
    sample_error : callable
        ``sample_error(rho, b)``: the α that holds with probability 1 - b at that ρ.
    rho : float
        The largest zCDP that may be spent; less is taken where that helps.
    beta : float
        b/c + δ/d.
    spend_all : bool
        For noise that is given: ρ is spent whole.

    Returns
    -------
    half_width, rho, b : float
        The half-width is 1 where nothing is promised.
    """

    def spent(x: Any) -> float:
        return rho if spend_all else rho * float(special.expit(max(x[0], -40.0)))

    def failure(x: Any) -> float:
        return math.exp(min(x[2], 0.0)) * beta * (1 - float(special.expit(x[1])))

    def error(x: Any) -> float:
        share, c, d = special.expit(x[1]), math.exp(min(x[2], 0.0)), math.exp(min(x[3], 0.0))
        epsilon = rdp_epsilon(spent(x) * ORDERS, d * beta * share)
        if epsilon > 1:
            return 2 + epsilon
        return min(sample_error(spent(x), failure(x)), 2.0) + math.expm1(epsilon) + c + 2 * d

    starts = [(math.log(1 / ratio), 0.0, start, start) for ratio in (30, 1e3, 3e4) for start in (-4.0, -7.0)]
    options = {"maxiter": 4000, "xatol": 1e-6, "fatol": 1e-10}
    best = min(
        (optimize.minimize(error, start, method="Nelder-Mead", options=options) for start in starts),
        key=lambda found: float(found.fun),
    )
    if best.fun >= 1:  # nothing to promise: then at least the noise is as small as it may be
        return 1.0, rho, beta / 2
    return float(best.fun), spent(best.x), failure(best.x)


def gaussian_deviation(n: int, queries: int, rho: float) -> float:
    """Standard deviation of the noise of each of so many means of n values in [0, 1], ρ-zCDP together."""
    return math.sqrt(queries / (2 * rho)) / n


def sparse_epsilon(rho: float) -> float:
    """An ε of which every ε-DP mechanism is ρ-zCDP: ε²/2 bounds its ρ (Bun and Steinke 2016)."""
    return math.sqrt(2 * rho)


def half_width(
    n: int,
    queries: int,
    *,
    beta: float = 0.05,
    mechanism: Mechanism = "gaussian",
    rho: float = 0.5,
    universe: int | None = None,
) -> float:
    """How near all of so many adaptive answers from n rows are to the population, with probability 1 - beta.

    Parameters
    ----------
    n, queries : int
    beta : float
    mechanism : {"gaussian", "split", "histogram", "pmw"}
    rho : float
        The largest zCDP that may be spent; inf for "split" means parts that are answered without noise.
    universe : int, optional
        How many different rows there can be; needed for "histogram" and "pmw".

    Returns
    -------
    float
        1 where nothing is promised.
    """
    return planned(n, queries, beta, mechanism, rho, universe).half_width


def plan(
    n: int,
    queries: int,
    *,
    beta: float = 0.05,
    rho: float = 0.5,
    universe: int | None = None,
) -> Plan:
    """Choose the mechanism that promises the narrowest interval.

    Parameters
    ----------
    n : int
        Rows, independent draws of the population.
    queries : int
        Most that will be asked.
    beta : float
        Probability with which any answer may lie outside.
    rho : float
        The largest zCDP that may be spent on all of them.
    universe : int, optional
        How many different rows there can be, a public number; without it rows are of any kind.

    Returns
    -------
    Plan
        Splitting often wins at small n: see its `alternatives`.

    Raises
    ------
    InvalidData
        If a number is out of range.
    """
    names: tuple[Mechanism, ...] = ("gaussian", "split") if universe is None else get_args(Mechanism)
    plans = [planned(n, queries, beta, name, rho, universe) for name in names]
    best = min(plans, key=lambda each: each.half_width)
    widths = {each.mechanism: each.half_width for each in plans}
    return Plan(best.mechanism, best.half_width, best.rho, widths, n, queries, beta, best.alpha)


def choose_mechanism(
    n: int, queries: int, universe: int | None = None, *, beta: float = 0.05, rho: float = 0.5
) -> Mechanism:
    """Return the mechanism of `plan`: the one that promises most, not one that happened to err least on some data."""
    return plan(n, queries, beta=beta, rho=rho, universe=universe).mechanism


@lru_cache(maxsize=512)
def planned(n: int, queries: int, beta: float, mechanism: Mechanism, rho: float, universe: int | None) -> Plan:
    """The plan of one mechanism; see `plan`."""
    _check(n, queries, beta, mechanism, rho, universe)
    alpha = 0.0
    if mechanism == "gaussian":
        width, spent, _ = transfer(lambda r, b: _gaussian_error(n, queries, r, b), rho, beta)
    elif mechanism == "split":
        width, spent = _split_width(n, queries, beta, rho), rho
    elif mechanism == "histogram":
        width, spent = _histogram_width(n, beta, rho, universe or 0), rho
    else:
        size = universe or 0
        width, spent, b = transfer(lambda r, b: 1.25 * weights_alpha(n, queries, size, r, b), rho, beta)
        alpha = min(1.0, weights_alpha(n, queries, size, spent, b))
    return Plan(mechanism, min(1.0, width), spent, {mechanism: min(1.0, width)}, n, queries, beta, alpha)


def _gaussian_error(n: int, queries: int, rho: float, b: float) -> float:
    return gaussian_deviation(n, queries, rho) * _normal_tail(b / (2 * queries)) + _STEP


def _normal_tail(p: float) -> float:
    return float(-special.ndtri(min(0.5, p))) if p > 0 else math.inf


def _split_width(n: int, queries: int, beta: float, rho: float) -> float:
    """Each query has n / queries rows of its own, so that nothing was chosen by looking at them.

    Their mean is subgaussian with variance factor queries / (4n) (Hoeffding), the discrete Gaussian noise with its
    own (Canonne, Kamath and Steinke 2020), and they are independent. A row is in one part: its ρ is spent once.
    """
    size = n // queries
    if size == 0:
        return 1.0
    noise = 0.0 if math.isinf(rho) else 1 / (2 * rho * size**2)
    step = 0.0 if math.isinf(rho) else _STEP
    return math.sqrt(2 * math.log(2 * queries / beta) * (1 / (4 * size) + noise)) + step


def _histogram_width(n: int, beta: float, rho: float, universe: int) -> float:
    """All queries at once: half the L1 distance of the noisy histogram from the population bounds each.

    The sample's own distance is at most sqrt(universe / n) / 2 in mean (Cauchy-Schwarz), and one row moves it by 1/n
    (McDiarmid). Of the noise only the positive, or only the negative parts count; Chernoff on their exact law.
    """
    sampling = math.sqrt(universe / n) / 2 + math.sqrt(math.log(2 / beta) / (2 * n))
    sigma = 1 / math.sqrt(rho)  # one row leaves a cell for another: L2 sensitivity sqrt(2)
    span = np.arange(-int(40 * sigma) - 40, int(40 * sigma) + 41)
    logs = -(span**2) / (2 * sigma**2)
    logs = logs - special.logsumexp(logs)

    def tail(log_rate: float) -> float:
        rate = math.exp(log_rate)
        moment = float(special.logsumexp(logs + rate * np.maximum(span, 0)))
        return (universe * moment + math.log(4 / beta)) / rate

    found = optimize.minimize_scalar(tail, bounds=(-12.0, 2.0), method="bounded")
    return sampling + float(found.fun) / n


def updates_for(universe: int, alpha: float) -> int:
    """After how many updates multiplicative weights know the histogram to within alpha."""
    return math.ceil(4 * math.log(max(2, universe)) / alpha**2)


def weights_alpha(n: int, queries: int, universe: int, rho: float, b: float) -> float:
    """Least α at which multiplicative weights keep all answers within 1.25 α of the sample's, with probability 1 - b.

    With noise of the comparisons within α/4 an update needs an error of 3α/4 at least, which brings the weights nearer
    to the histogram by α²/4 in relative entropy, of which there is log(universe) at first: it never runs out of its
    4 log(universe) / α² updates. Thirds of b for thresholds, comparisons and answers; inf if no α ≤ 1 will do.
    """

    def excess(alpha: float) -> float:
        updates = updates_for(universe, alpha)
        scale = 2 / (n * sparse_epsilon(rho / (2 * updates)))
        compared = scale * (math.log(3 * (updates + 1) / b) + 2 * math.log(3 * queries / b))
        answered = math.sqrt(updates / rho) / n * _normal_tail(b / (6 * updates))
        return max(4 * compared, 4 / 3 * answered) + 4 * _STEP - alpha

    if b <= 0 or excess(1.0) > 0:
        return math.inf
    return float(optimize.brentq(excess, 1e-4, 1.0)) if excess(1e-4) > 0 else 1e-4


def _check(n: int, queries: int, beta: float, mechanism: str, rho: float, universe: int | None) -> None:
    for name, value, least in (("n", n, 2), ("max_queries", queries, 1)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise InvalidData(f"{name} must be a whole number, at least {least}")
    if mechanism not in get_args(Mechanism):
        raise InvalidData(f"mechanism must be one of {', '.join(get_args(Mechanism))}")
    if not 0 < beta < 1:
        raise InvalidData("beta must be in (0, 1)")
    if not rho > 0 or (math.isinf(rho) and mechanism != "split"):
        raise InvalidData("rho must be finite and above 0")
    if mechanism in ("histogram", "pmw"):
        if universe is None:
            raise InvalidData(f"{mechanism} needs a finite universe: how many different rows there can be")
        if not 1 <= universe <= LARGEST_UNIVERSE:
            raise InvalidData(f"universe must have 1 to {LARGEST_UNIVERSE:,} rows")
