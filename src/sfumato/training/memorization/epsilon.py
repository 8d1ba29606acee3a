"""From memorisation to evidence: a lower bound of ε from how often models with and without one record name its label.

For whoever checks a claim of private training. The inequality is the definition of differential privacy; that it bounds
memorisation is Feldman's (STOC 2020, arXiv 1906.05271). Exact intervals, and a correction for the choice.
"""

from __future__ import annotations

import math
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import ApproxDP, Heuristic
from sfumato.privacy.claim import Claim
from sfumato.privacy.groups import probability_after

Floats: TypeAlias = npt.NDArray[np.float64]
Correction: TypeAlias = Literal["held-out", "bonferroni"]
_EVENTS = ("right with it", "wrong without it")


def lower_bound(
    members: npt.NDArray[np.bool_],
    correct: npt.ArrayLike,
    delta: float = 0.0,
    confidence: float = 0.95,
    *,
    claim: Claim | None = None,
    correction: Correction = "held-out",
) -> Evidence:
    """Bound ε from below by the record that tells most.

    For each record, models that were trained on it name its label with probability p, the others with probability q.
    The training is (ε, δ)-private, neighbours replacing one record, only if p ≤ e^ε q + δ and 1-q ≤ e^ε (1-p) + δ.

    Parameters
    ----------
    members : ndarray of bool, shape (t, n)
        Random subsets of one size.
    correct : ndarray of 0 and 1, shape (t, n)
    delta : float
        In [0, 1).
    confidence : float
        Of the bound, for all records and both events together.
    claim : Claim, optional
        What is tried; without one the evidence carries no verdict.
    correction : {"held-out", "bonferroni"}
        How the choice of the record is paid for: the first half of the models chooses record and event and the second
        is counted, or all models are counted and the error is shared by all records and events.

    Returns
    -------
    Evidence

    Raises
    ------
    InvalidData
        If a parameter is out of range or scores are not 0 and 1.

    Notes
    -----
    The worlds are "the record is in the random subset" and "it is not", the others being random and the size fixed. A
    subset with the record becomes one without it by replacing the record with a random other one, so what is bounded is
    ε of the training at the size of a subset, averaged over the rest, for neighbours that replace one. A claim about
    one record added or removed allows two such steps, and is compared so. It bounds what label memorisation shows;
    the training may betray more.
    """
    inside, right = np.asarray(members, dtype=bool), np.asarray(correct)
    if inside.ndim != 2 or right.shape != inside.shape or not np.isin(right, (0, 1)).all():
        raise InvalidData("members and correct must both be models × records, correct of 0 and 1")
    if not 0 <= delta < 1 or not 0 < confidence < 1:
        raise InvalidData(f"delta must be in [0, 1) and confidence in (0, 1), got {delta} and {confidence}")
    if correction not in get_args(Correction):
        raise InvalidData(f"correction must be one of {', '.join(get_args(Correction))}")
    alpha, half = 1 - confidence, len(inside) // 2
    if correction == "held-out":
        event, record = _best(_lower_ends(inside[:half], right[:half], alpha), delta)
        counted, share = slice(half, None), alpha
        ends = _lower_ends(inside[counted, [record]], right[counted, [record]], share)
        chosen = event, 0
    else:
        counted, share = slice(None), alpha / (2 * inside.shape[1])
        ends = _lower_ends(inside, right, share)
        event, record = chosen = _best(ends, delta)
    low, high = (float(each[chosen]) for each in ends)
    with_it, without = int(inside[counted, record].sum()), int((~inside[counted, record]).sum())
    perfect = _perfect(with_it, without, share)
    value = _epsilon(low, high, delta)
    most = _epsilon(*perfect, delta)
    return Evidence(
        attack="label memorisation",
        metric=f"epsilon lower bound at delta = {delta:g}",
        value=value,
        interval=(value, math.inf),
        level=confidence,
        samples=len(right[counted]),
        claim=Claim(Heuristic("nothing was promised"), unit="record") if claim is None else claim,
        verdict="inconclusive" if claim is None else _verdict(claim, low, high, perfect, delta),
        notes=(
            f"record {record}, {_EVENTS[event]}: probability at least {low:.3f} against at most {high:.3f}",
            f"{with_it} models with it and {without} without; {correction}; it could have shown at most {most:.2f}",
            "one record replaced, at the size of a subset",
        ),
    )


def _lower_ends(inside: npt.NDArray[np.bool_], right: npt.NDArray[Any], alpha: float) -> tuple[Floats, Floats]:
    """Bounds, for both events and each record, of the larger probability from below and of the smaller from above."""
    hits_in, n_in = (right * inside).sum(axis=0, dtype=np.int64), inside.sum(axis=0, dtype=np.int64)
    hits_out, n_out = (right * ~inside).sum(axis=0, dtype=np.int64), (~inside).sum(axis=0, dtype=np.int64)
    larger, many = np.stack([hits_in, n_out - hits_out]), np.stack([n_in, n_out])
    smaller, others = np.stack([hits_out, n_in - hits_in]), np.stack([n_out, n_in])
    known = (many > 0) & (others > 0)
    low, high = np.zeros(known.shape), np.ones(known.shape)
    low[known] = clopper_pearson_lower(larger[known], many[known], alpha / 2)
    high[known] = clopper_pearson_upper(smaller[known], others[known], alpha / 2)
    return low, high


def _perfect(with_it: int, without: int, alpha: float) -> tuple[float, float]:
    """The bounds that models would give that are right with the record and never without it."""
    if not with_it or not without:
        return 0.0, 1.0
    ends = ((with_it, without), (without, with_it))
    found = [
        (float(clopper_pearson_lower(n, n, alpha / 2)), float(clopper_pearson_upper(0, m, alpha / 2))) for n, m in ends
    ]
    return max(found, key=lambda pair: pair[0] / pair[1])


def _best(ends: tuple[Floats, Floats], delta: float) -> tuple[int, int]:
    low, high = ends
    event, record = np.unravel_index(np.argmax((low - delta) / high), low.shape)
    return int(event), int(record)


def _epsilon(low: float, high: float, delta: float) -> float:
    return max(0.0, math.log((low - delta) / high)) if low > delta else 0.0


def _verdict(claim: Claim, low: float, high: float, perfect: tuple[float, float], delta: float) -> Verdict:
    if not claim.formal:
        return "inconclusive"
    if claim.unit not in ("record", "person"):
        raise InvalidData(f"claim must be about a record, or a person with one record, got {claim.unit}")
    steps = 2 if claim.neighbours == "add-remove" else 1
    bound = Claim(ApproxDP(claim.epsilon_at(delta), delta), unit=claim.unit, neighbours=claim.neighbours)
    if low > probability_after(bound, high, steps):
        return "falsified"
    return "consistent" if perfect[0] > probability_after(bound, perfect[1], steps) else "inconclusive"
