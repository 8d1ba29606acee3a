"""What an audit of n trials can certify, against which profile, and how many trials it needs.

For the auditor, which turns every claim into points of its privacy profile. Card 31, F.6, F.8, F.9;
exact binomial bounds by Clopper and Pearson (1934).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from sfumato.attacks.bayesian_audit.regions import Floats
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL, ApproxDP, PureDP
from sfumato.privacy.claim import Claim

PROFILE_POINTS = 48  # more points cost no confidence, since one pair of bounds serves all
_FARTHEST = 100.0  # where the grid of a profile ends whose δ never falls below one trial's share

#: A privacy profile: the least δ(ε), such as ``get_delta_for_epsilon`` of a dp-accounting PLD.
Curve = Callable[[float], float]


@dataclass(frozen=True)
class Profile:
    """Points (ε, δ) that the claim promises all at once: ``P[S|x] ≤ e^ε P[S|x'] + δ`` for every S."""

    epsilons: Floats
    deltas: Floats

    def margin(self, lower: npt.ArrayLike, upper: npt.ArrayLike) -> Floats:
        """Largest ``ln(lower - δ) - ln(upper) - ε`` over the points; above 0 the claim is refuted.

        One pair of bounds serves every point: if it holds, it holds for all of them.
        """
        low, high = np.atleast_1d(np.asarray(lower)), np.atleast_1d(np.asarray(upper))
        rest = low[:, None] - self.deltas
        with np.errstate(divide="ignore"):
            each = np.log(np.maximum(rest, 0.0)) - np.log(high)[:, None] - self.epsilons
        return np.asarray(each.max(axis=1), dtype=np.float64)


def profile_of(claim: Claim, trials: int, curve: Curve | None = None) -> Profile:
    """Points at which a claim is tested: its own (ε, δ), or a grid along its privacy profile, or along `curve`.

    Raises
    ------
    InvalidClaim
        If the claim is not a differential privacy bound.
    InvalidData
        If the curve is not a privacy profile.
    """
    bound = claim.bound
    if not isinstance(bound, FORMAL):
        raise InvalidClaim("claim must be a differential privacy bound to be audited against")
    if curve is not None:
        return _along(curve, trials)
    if isinstance(bound, PureDP):
        return Profile(np.array([bound.epsilon]), np.array([0.0]))
    if isinstance(bound, ApproxDP):
        return Profile(np.array([bound.epsilon]), np.array([bound.delta]))
    end = claim.epsilon_at(1 / max(trials, 2))
    grid = np.linspace(0.0, end if math.isfinite(end) else 10.0, PROFILE_POINTS)
    return Profile(grid, np.array([claim.delta_at(float(each)) for each in grid]))


def _along(curve: Curve, trials: int) -> Profile:
    end = 1.0
    while end < _FARTHEST and curve(end) > 1 / max(trials, 2):
        end *= 2
    grid = np.linspace(0.0, end, PROFILE_POINTS)
    deltas = np.array([curve(float(each)) for each in grid], dtype=np.float64)
    if not ((deltas >= 0) & (deltas <= 1)).all() or (np.diff(deltas) > 1e-9).any():
        raise InvalidData("profile must map each epsilon >= 0 to a delta in [0, 1] that does not rise with epsilon")
    return Profile(grid, deltas)


def rate_bounds(hits: npt.ArrayLike, other_hits: npt.ArrayLike, trials: int, alpha: float) -> tuple[Floats, Floats]:
    """Lower bound of the first rate and upper bound of the second, together wrong at most alpha."""
    return (
        clopper_pearson_lower(hits, trials, alpha / 2),
        clopper_pearson_upper(other_hits, trials, alpha / 2),
    )


def lower_epsilon(lower: float, upper: float, delta: float) -> float:
    """ε that the two bounds certify at δ; 0 if none."""
    return max(0.0, math.log(lower - delta) - math.log(upper)) if lower > delta else 0.0


def largest_epsilon(trials: int, delta: float = 0.0, alpha: float = 0.05) -> float:
    """Largest ε that `trials` runs a side can certify: that of an attack that never errs."""
    low, high = rate_bounds(trials, 0, trials, alpha)
    return lower_epsilon(float(low), float(high), delta)


def can_refute(profile: Profile, trials: int, alpha: float) -> bool:
    """Whether an attack that never errs would refute the profile with this many trials."""
    return bool(profile.margin(*rate_bounds(trials, 0, trials, alpha))[0] > 0)


def trials_to_refute(epsilon: float, truth: float, rate: float, alpha: float = 0.05, power: float = 0.9) -> int:
    """Trials a side that refute a claimed ε when the event's true log-ratio is `truth` > ε.

    Parameters
    ----------
    epsilon : float
        The claim.
    truth : float
        ``ln(P[S|x] / P[S|x'])`` of the event found.
    rate : float
        ``P[S|x]``, in (0, 1).
    alpha, power : float
        False-alarm rate and the probability to refute.
    """
    if not (truth > epsilon >= 0 and 0 < rate < 1 and 0 < alpha < 1 and 0 < power < 1):
        raise InvalidData("expected truth > epsilon >= 0 and rate, alpha and power in (0, 1)")
    other = rate * math.exp(-truth)
    z = float(stats.norm.isf(alpha / 2) + stats.norm.isf(1 - power))
    return math.ceil(z**2 * ((1 - rate) / rate + (1 - other) / other) / (truth - epsilon) ** 2)
