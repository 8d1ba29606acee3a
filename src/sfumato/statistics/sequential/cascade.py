"""Binary signals: when a herd starts under randomized response, how often it is right, and how long it takes.

For whoever picks ε with binary signals. Bikhchandani, Hirshleifer and Welch 1992 with flipped reports, as in Liu and
Rahimian 2025; gambler's ruin.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData

_EXACT = 1e-9  # relative distance from an integer at which λ/λ' counts as that integer


def reported_accuracy(p: float, flip: ArrayLike) -> NDArray[np.float64]:
    """Probability that a report equals θ: the signal is right and kept, or wrong and flipped."""
    u = np.asarray(flip, dtype=float)
    return p * (1 - u) + (1 - p) * u


def cascade_threshold(p: float, epsilon: float) -> int:
    """Lead k of one action at which everyone follows the crowd: floor(λ/λ') + 1.

    λ = ln(p/(1-p)) is a signal's weight, λ' a report's. At exact equality the agent follows its own signal; a ratio
    within 1e-9 of an integer counts as that integer.

    Parameters
    ----------
    p : float
        In (½, 1).
    epsilon : float
        Above 0; inf for no noise.

    Raises
    ------
    InvalidData, InvalidClaim
        If p or epsilon is out of range.
    """
    right = _checked(p, epsilon)
    ratio = math.log(p / (1 - p)) / math.log(right / (1 - right))
    nearest = round(ratio)
    whole = nearest if abs(ratio - nearest) <= _EXACT * ratio else math.floor(ratio)
    return whole + 1


def cascade_probability(p: float, epsilon: float) -> float:
    """Probability that the cascade is on the right side. Not monotone in ε: it jumps where λ/λ' crosses an integer."""
    right = _checked(p, epsilon)
    return 1 / (1 + ((1 - right) / right) ** cascade_threshold(p, epsilon))


def cascade_time(p: float, epsilon: float) -> float:
    """Expected number of reports before the cascade: the duration of a gambler's ruin between -k and k."""
    right = _checked(p, epsilon)
    k = cascade_threshold(p, epsilon)
    return k / (2 * right - 1) * (1 - 2 / (1 + (right / (1 - right)) ** k))


def _checked(p: float, epsilon: float) -> float:
    if not 0.5 < p < 1:
        raise InvalidData("p must lie strictly between 0.5 and 1")
    if not epsilon > 0:
        raise InvalidClaim("epsilon must be above 0: a fair coin starts no cascade")
    return float(reported_accuracy(p, 1 / (1 + math.exp(epsilon)) if epsilon < 700 else 0.0))
