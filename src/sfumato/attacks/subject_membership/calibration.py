"""Choose the threshold of an attack from the subjects whose membership the adversary knows.

For both attacks; a threshold never sees a subject that is scored.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from sfumato.attacks.subject_membership.federation import Bools
from sfumato.attacks.subject_membership.network import Floats
from sfumato.errors import InvalidData

_LEAST_OF_A_KIND = 2


class CalibrationError(InvalidData):
    """Too few subjects of known membership to set a threshold."""


def known_truth(known: Iterable[Hashable], membership: Mapping[Any, bool]) -> Bools:
    """Membership of the known subjects, in their order.

    Raises
    ------
    InvalidData
        If one is missing or neither true nor false.
    CalibrationError
        If there are fewer than two of each kind.
    """
    ids = list(known)
    if any(s not in membership for s in ids):
        raise InvalidData("membership must say of each known subject whether it is a member")
    values = [membership[s] for s in ids]
    if not all(v in (0, 1) for v in values):
        raise InvalidData("membership must be true or false")
    truth = np.array(values, dtype=np.bool_)
    if min(truth.sum(), (~truth).sum()) < _LEAST_OF_A_KIND:
        raise CalibrationError("at least two known members and two known others are needed: or give a threshold")
    return truth


def best_threshold(scores: Floats, truth: Bools, false_positive_rate: float | None) -> float:
    """The cut, in the middle between two neighbouring scores, that is right most often about the known subjects.

    Several that are equally right: the middle one. Given a false positive rate instead, the lowest cut that at most
    this share of the known others reaches.

    Parameters
    ----------
    scores : ndarray of float64, shape (n,)
        Higher for members.
    truth : ndarray of bool, shape (n,)
    false_positive_rate : float, optional
    """
    values = np.unique(scores)
    cuts = np.concatenate([[values[0]], (values[1:] + values[:-1]) / 2, [np.nextafter(values[-1], np.inf)]])
    named = scores[np.newaxis] >= cuts[:, np.newaxis]
    if false_positive_rate is not None:
        return float(cuts[np.argmax(named[:, ~truth].mean(axis=1) <= false_positive_rate)])
    best = np.flatnonzero((right := (named == truth).sum(axis=1)) == right.max())
    return float(cuts[best[(len(best) - 1) // 2]])


def refuse_known(subjects: Iterable[Hashable], known: frozenset[Any]) -> None:
    """Raise InvalidData if a subject that calibrated the attack is to be scored."""
    if not known.isdisjoint(subjects):
        raise InvalidData("a subject whose membership was known may not be scored: the result would flatter the attack")
