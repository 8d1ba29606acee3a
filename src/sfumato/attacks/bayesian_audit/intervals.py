"""Intervals for the ε of one attack from its four counts: exact, Jeffreys, and joint-beta.

For a privacy engineer who has the true and false positives of an attack. Zanella-Béguelin et al.,
"Bayesian Estimation of Differential Privacy" (ICML 2023, arXiv 2206.05199).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from sfumato.attacks.bayesian_audit.regions import (
    LARGEST_EXPONENT,
    Floats,
    false_positive_range,
    kinks,
    point_epsilon,
)
from sfumato.errors import InvalidData

Method = Literal["joint-beta", "clopper-pearson", "jeffreys"]
Side = Literal["two", "lower", "upper"]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_LOWER_TAIL = np.array([1e-16, 1e-12, 1e-8, 1e-5, 1e-3, 0.02, 0.15, 0.5])
# Panels end at these quantiles of either rate: between two of them the integrand is a polynomial to 1e-12.
_PANEL_QUANTILES = np.concatenate([_LOWER_TAIL, 1 - _LOWER_TAIL[-2::-1]])


@dataclass(frozen=True)
class AttackCounts:
    """What an attack got right and wrong.

    Parameters
    ----------
    tp, fn : int
        Trials with the first input (member, "1") that the attack named so, and those it missed.
    fp, tn : int
        Trials with the second input that it named wrongly, and those it named rightly.

    Raises
    ------
    InvalidData
        If a count is negative or not a whole number, or if one side has no trial.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    def __post_init__(self) -> None:
        for name in ("tp", "fn", "fp", "tn"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if self.tp + self.fn == 0:
            raise InvalidData("tp + fn must be at least 1: no trial with the first input")
        if self.fp + self.tn == 0:
            raise InvalidData("fp + tn must be at least 1: no trial with the second input")

    @classmethod
    def from_guesses(cls, guesses: npt.ArrayLike, labels: npt.ArrayLike) -> AttackCounts:
        """Count guesses in {0, 1} against labels in {0, 1} (1 = first input, member)."""
        guess, truth = np.asarray(guesses), np.asarray(labels)
        if guess.shape != truth.shape or guess.ndim != 1:
            raise InvalidData("guesses and labels must be one-dimensional and of the same length")
        for name, values in (("guesses", guess), ("labels", truth)):
            if not np.isin(values, (0, 1)).all():
                raise InvalidData(f"{name} must hold only 0 and 1")
        hit, member = guess == 1, truth == 1
        return cls(
            tp=int(np.sum(hit & member)),
            fn=int(np.sum(~hit & member)),
            fp=int(np.sum(hit & ~member)),
            tn=int(np.sum(~hit & ~member)),
        )

    @classmethod
    def from_scores(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> AttackCounts:
        """Count ``score > threshold``; choose the threshold on other data than these scores."""
        values = np.asarray(scores, dtype=np.float64)
        if np.isnan(values).any() or math.isnan(threshold):
            raise InvalidData("scores and threshold must not be NaN")
        return cls.from_guesses((values > threshold).astype(np.int64), labels)


@dataclass(frozen=True)
class Interval:
    """Ends of an interval for ε; ``kind`` says whether it may carry a verdict."""

    lower: float
    upper: float
    alpha: float
    method: Method
    side: Side = "two"

    @property
    def kind(self) -> Literal["confidence", "credible"]:
        """``confidence`` covers the truth with its level; ``credible`` is an estimate, never a proof."""
        return "confidence" if self.method == "clopper-pearson" else "credible"

    @property
    def level(self) -> float:
        """Nominal level, ``1 - alpha``."""
        return 1 - self.alpha


def clopper_pearson_lower(hits: npt.ArrayLike, trials: npt.ArrayLike, alpha: float) -> Floats:
    """One-sided exact lower bound of a rate: it exceeds the rate with probability at most alpha."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    bound = special.betaincinv(np.maximum(k, 1.0), n - k + 1, alpha)
    return np.asarray(np.where(k > 0, bound, 0.0), dtype=np.float64)


def clopper_pearson_upper(hits: npt.ArrayLike, trials: npt.ArrayLike, alpha: float) -> Floats:
    """One-sided exact upper bound of a rate: it falls below the rate with probability at most alpha."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    # The tail at k = 0 is below 1e-16 of a double's 1; the complement keeps its digits.
    bound = 1 - special.betaincinv(np.maximum(n - k, 1.0), k + 1, alpha)
    return np.asarray(np.where(k < n, bound, 1.0), dtype=np.float64)


def epsilon_interval(
    counts: AttackCounts,
    delta: float,
    alpha: float = 0.05,
    *,
    method: Method = "joint-beta",
    side: Side = "two",
) -> Interval:
    """Interval for the ε that one attack demonstrates.

    Its upper end bounds the ε of *this attack*, never the ε of the mechanism.

    Parameters
    ----------
    counts : AttackCounts
        The attack's four counts, on data that chose neither its threshold nor its event.
    delta : float
        The δ at which ε is stated, in [0, 1).
    alpha : float, default 0.05
        One minus the level, in (0, 1). A one-sided interval puts all of it on its side.
    method : {"joint-beta", "clopper-pearson", "jeffreys"}
        ``clopper-pearson`` is exact (each rate at ``alpha/2``, union bound) and the only one that
        may carry a verdict. ``joint-beta`` is the paper's credible interval (Jeffreys prior): near
        ε = 0 its lower end is above 0 almost surely. ``jeffreys`` is the rectangle of two Jeffreys
        intervals.
    side : {"two", "lower", "upper"}

    Raises
    ------
    InvalidData
        If delta, alpha, method or side is not one of the above.
    """
    _check_level(delta, alpha)
    if side not in ("two", "lower", "upper"):
        raise InvalidData("side must be 'two', 'lower' or 'upper'")
    tail = alpha / 2 if side == "two" else alpha
    if method == "joint-beta":
        posterior = EpsilonPosterior(counts, delta)
        lower = 0.0 if side == "upper" else posterior.quantile(tail)
        upper = math.inf if side == "lower" else posterior.quantile(1 - tail)
    elif method in ("clopper-pearson", "jeffreys"):
        lower, upper = _rectangle(counts, delta, tail, method)
        lower = 0.0 if side == "upper" else lower
        upper = math.inf if side == "lower" else upper
    else:
        raise InvalidData("method must be 'joint-beta', 'clopper-pearson' or 'jeffreys'")
    return Interval(lower=lower, upper=upper, alpha=alpha, method=method, side=side)


def epsilon_intervals(
    counts: Sequence[AttackCounts] | npt.ArrayLike,
    delta: float,
    alpha: float = 0.05,
    *,
    method: Method = "joint-beta",
    side: Side = "two",
) -> Floats:
    """`epsilon_interval` of many attacks: array (k, 4) of tp, fn, fp, tn in, array (k, 2) of ends out."""
    if isinstance(counts, Sequence) and all(isinstance(row, AttackCounts) for row in counts):
        tables = [row for row in counts if isinstance(row, AttackCounts)]
    else:
        rows = np.asarray(counts)
        if rows.ndim != 2 or rows.shape[1] != 4:
            raise InvalidData("counts must have shape (k, 4): tp, fn, fp, tn")
        tables = [AttackCounts(*row) for row in rows.tolist()]
    found = [epsilon_interval(table, delta, alpha, method=method, side=side) for table in tables]
    return np.array([[each.lower, each.upper] for each in found], dtype=np.float64).reshape(-1, 2)


class EpsilonPosterior:
    """Posterior of the ε that an attack demonstrates, its two error rates having independent Betas.

    The published code integrates in two dimensions by adaptive quadrature; one dimension is closed
    (an incomplete beta function), so this is a one-dimensional composite Gauss-Legendre rule in
    θ = arcsin √x, which takes away the x^-1/2 singularities of the Jeffreys prior.

    A random challenge bit (joint-dirichlet in the published code) gives the same posterior: by the
    aggregation property of the Dirichlet the two rates are again these independent Betas.

    Parameters
    ----------
    counts : AttackCounts
    delta : float
        In [0, 1).
    prior : tuple of float, default (0.5, 0.5)
        Beta prior of both rates: pseudo-counts of errors and of successes, each at least 0.5.
    """

    def __init__(self, counts: AttackCounts, delta: float, prior: tuple[float, float] = (0.5, 0.5)) -> None:
        _check_level(delta, 0.5)
        if len(prior) != 2 or not all(0.5 <= each < math.inf for each in prior):
            raise InvalidData("prior must be two numbers, each at least 0.5")
        self.counts = counts
        self.delta = float(delta)
        self.prior = prior
        self._x = (prior[0] + counts.fn, prior[1] + counts.tp)  # false-negative rate
        self._y = (prior[0] + counts.fp, prior[1] + counts.tn)  # false-positive rate

    def cdf(self, epsilon: float) -> float:
        """Posterior probability that the attack demonstrates at most `epsilon`."""
        if math.isnan(epsilon):
            raise InvalidData("epsilon must be a number")
        if epsilon < 0:
            return 0.0
        if epsilon > LARGEST_EXPONENT:
            return 1.0
        theta, mass = self._rule(epsilon)
        least, greatest = false_positive_range(np.sin(theta) ** 2, epsilon, self.delta)
        a, b = self._y
        inside = special.betainc(a, b, greatest) - special.betainc(a, b, least)
        return float(np.clip(mass @ inside, 0.0, 1.0))

    def quantile(self, p: float) -> float:
        """Least ε whose posterior probability reaches `p` (0 < p < 1); 0 when ε = 0 already does."""
        if not 0 < p < 1:
            raise InvalidData("p must lie strictly between 0 and 1")
        if self.cdf(0.0) >= p:
            return 0.0
        low, high = 0.0, 1.0
        while self.cdf(high) < p:
            low, high = high, 2 * high
        return float(optimize.toms748(lambda each: self.cdf(each) - p, low, high, xtol=1e-10, rtol=1e-12))

    def pdf(self, epsilon: float) -> float:
        """Posterior density at `epsilon` > 0, by central difference of the distribution function."""
        step = min(1e-4 * max(1.0, epsilon), epsilon / 2)
        if step <= 0:
            raise InvalidData("epsilon must be positive")
        return float((self.cdf(epsilon + step) - self.cdf(epsilon - step)) / (2 * step))

    def mean(self) -> float:
        """Posterior mean of ε."""
        # Panels halve towards 0, where the distribution function may rise like a square root.
        ends = np.append(0.0, self.quantile(1 - 1e-12) * 2.0 ** np.arange(-10, 1))
        half = np.diff(ends) / 2
        nodes = (ends[:-1] + half)[:, None] + half[:, None] * _NODES
        above = np.array([self.probability_above(float(each)) for each in nodes.ravel()])
        return float((half[:, None] * _WEIGHTS).ravel() @ above)

    def probability_above(self, epsilon: float) -> float:
        """Posterior probability that the attack demonstrates more than `epsilon`."""
        return 1.0 - self.cdf(epsilon)

    @cached_property
    def _quantiles(self) -> tuple[Floats, Floats]:
        """Quantiles of both rates at which panels end; they do not depend on ε."""
        return (
            np.asarray(special.betaincinv(*self._x, _PANEL_QUANTILES)),
            np.asarray(special.betaincinv(*self._y, _PANEL_QUANTILES)),
        )

    def _rule(self, epsilon: float) -> tuple[Floats, Floats]:
        """Nodes θ and the posterior mass of the false-negative rate at each, for one ε."""
        x, q = self._quantiles
        grow, shrink, delta = math.exp(epsilon), math.exp(-epsilon), self.delta
        arms = [
            (1 - delta - q) * shrink,
            1 - delta - q * grow,
            1 - (q - delta) * grow,
            1 - (q - delta) * shrink,
            delta + (1 - q) * grow,
            1 - (q - delta) / grow,
        ]
        cuts = np.concatenate([x, kinks(epsilon, delta), *arms])
        # Outside the extreme quantiles lies 1e-16 of the mass.
        cuts = np.unique(np.clip(cuts, x[0], x[-1]))
        ends = np.arcsin(np.sqrt(cuts))
        ends = ends[np.concatenate([[True], np.diff(ends) > 1e-14])]
        half = np.diff(ends)[:, None] / 2
        theta = (ends[:-1, None] + half + half * _NODES).ravel()
        a, b = self._x
        with np.errstate(divide="ignore"):
            density = (
                math.log(2)
                + (2 * a - 1) * np.log(np.sin(theta))
                + (2 * b - 1) * np.log(np.cos(theta))
                - special.betaln(a, b)
            )
        return theta, np.exp(density) * (half * _WEIGHTS).ravel()


def _rectangle(counts: AttackCounts, delta: float, tail: float, method: Method) -> tuple[float, float]:
    """Least and greatest point ε over the rectangle of the two rates' intervals."""
    errors = np.array([counts.fn, counts.fp], dtype=np.float64)
    trials = np.array([counts.tp + counts.fn, counts.fp + counts.tn], dtype=np.float64)
    each = tail  # two ends that move ε the same way, one a rate, together hold with 1 - 2 * (tail / 2)
    if method == "clopper-pearson":
        low = clopper_pearson_lower(errors, trials, each / 2)
        high = clopper_pearson_upper(errors, trials, each / 2)
    else:
        low = special.betaincinv(errors + 0.5, trials - errors + 0.5, each / 2)
        high = special.betaincinv(errors + 0.5, trials - errors + 0.5, 1 - each / 2)
        low, high = np.where(errors == 0, 0.0, low), np.where(errors == trials, 1.0, high)
    near = point_epsilon(low[0], low[1], delta) if low.sum() < 1 else 0.0
    far = point_epsilon(high[0], high[1], delta) if high.sum() > 1 else 0.0
    if high.sum() < 1:
        return float(point_epsilon(high[0], high[1], delta)), float(near)
    if low.sum() > 1:
        return float(point_epsilon(low[0], low[1], delta)), float(far)
    return 0.0, float(max(near, far))


def _whole(name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidData(f"{name} must be a whole number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise InvalidData(f"{name} must be a whole number, at least 0")
    return int(value)


def _check_level(delta: float, alpha: float) -> None:
    if not 0 <= delta < 1:
        raise InvalidData("delta must lie in [0, 1)")
    if not 0 < alpha < 1:
        raise InvalidData("alpha must lie strictly between 0 and 1")
