"""What the unsound estimators share: the acknowledgement they demand and the product-limit curve they start from.

For the victims of this package. They exist to be attacked: their noise is NumPy's and promises nothing.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim

Floats = NDArray[np.float64]


def demand_acknowledgement(name: str, given: bool, why: str) -> Claim:
    """Return the hollow claim of a victim, or refuse to run it unasked.

    Raises
    ------
    InvalidClaim
        Unless the caller has written that the result is not private.
    """
    if given is not True:
        raise InvalidClaim(f"{name} is not private ({why}): pass i_know_this_is_not_private=True to study it")
    return Claim(Heuristic(why))


def check_epsilon(epsilon: float) -> float:
    """Return epsilon, or say that it must be finite and positive."""
    if isinstance(epsilon, bool) or not (0 < epsilon < np.inf):
        raise InvalidClaim("epsilon must be finite and above 0")
    return float(epsilon)


def read_durations(durations: ArrayLike, events: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """Return durations and 0/1 events as arrays of one length; raises InvalidData otherwise."""
    times, seen = np.asarray(durations, dtype=float), np.asarray(events)
    if times.ndim != 1 or times.shape != seen.shape or not len(times):
        raise InvalidData("durations and events must be nonempty sequences of the same length")
    if not np.all(np.isfinite(times)) or np.any(times < 0):
        raise InvalidData("durations must be finite and at least 0")
    if not np.all((seen == 0) | (seen == 1)):
        raise InvalidData("events must be 0/1 or booleans")
    return times, seen.astype(np.int64)


def product_limit(times: Floats, events: NDArray[np.int64], at: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Return the exact Kaplan-Meier curve, and the numbers at risk, at increasing times `at`."""
    order = np.sort(times)
    deaths, d = np.unique(times[events == 1], return_counts=True)
    at_risk = len(times) - np.searchsorted(order, deaths, side="left")
    curve = np.concatenate(([1.0], np.cumprod(1 - d / at_risk)))
    risk = len(times) - np.searchsorted(order, at, side="left")
    return curve[np.searchsorted(deaths, at, side="right")], risk.astype(np.int64)


def leave_one_out_curves(times: Floats, events: NDArray[np.int64], at: Floats) -> Floats:
    """Return the exact curves without one person, a row for each distinct record, shape (records, len(at))."""
    everyone = np.arange(len(times))
    _, firsts = np.unique(np.column_stack([times, events]), axis=0, return_index=True)
    return np.stack([product_limit(times[everyone != i], events[everyone != i], at)[0] for i in firsts])
