"""Intervals for the ε of one attack from its four counts: exact, Jeffreys, and joint-beta.

For a privacy engineer who has the true and false positives of an attack. Zanella-Béguelin et al.,
"Bayesian Estimation of Differential Privacy" (ICML 2023, arXiv 2206.05199).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.attacks.bayesian_audit.posterior import EpsilonPosterior
from sfumato.attacks.bayesian_audit.regions import Floats, point_epsilon
from sfumato.errors import InvalidData
from sfumato.evidence import clopper_pearson_lower, clopper_pearson_upper

Method = Literal["joint-beta", "clopper-pearson", "jeffreys"]
Side = Literal["two", "lower", "upper"]


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
        levels = {"two": [tail, 1 - tail], "lower": [tail], "upper": [1 - tail]}[side]
        ends = EpsilonPosterior(counts, delta).quantiles(levels)
        lower = 0.0 if side == "upper" else float(ends[0])
        upper = math.inf if side == "lower" else float(ends[-1])
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


def _check_level(delta: float, alpha: float) -> None:
    if not 0 <= delta < 1:
        raise InvalidData("delta must lie in [0, 1)")
    if not 0 < alpha < 1:
        raise InvalidData("alpha must lie strictly between 0 and 1")
