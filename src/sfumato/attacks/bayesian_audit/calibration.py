"""Scores of membership that know how hard each canary is: likelihood ratios against reference runs.

For `CanaryGame(calibrate=…)`. LiRA: Carlini, Chien, Nasr, Song, Terzis, Tramèr, "Membership Inference Attacks From
First Principles" (IEEE S&P 2022). RMIA: Zarifzadeh, Liu, Shokri, "Low-Cost High-Power Membership Inference Attacks"
(ICML 2024).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from sfumato.errors import InvalidData

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

#: ``calibrate(scores, reference, included)``: scores (r, m + k) of r runs, m canaries first and k population records
#: after them; the same of s reference runs, (s, m + k); who was in those, (s, m). Returns (r, m).
Calibration = Callable[[Floats, Floats, Bools], Floats]

_ENOUGH = 64  # reference runs of a kind from which a canary has a variance of its own, as in the paper
_LEAST_VARIANCE = 1e-12


def lira(scores: npt.ArrayLike, reference: npt.ArrayLike, included: npt.ArrayLike) -> Floats:
    """Log-likelihood ratio of each score: a normal law fitted to the runs with the canary, against one without.

    With fewer than 64 reference runs on either side, all canaries share the two variances. A canary that is on one
    side only in all reference runs has the ratio 0.

    Parameters
    ----------
    scores : array_like, shape (r, m + k)
        Of r runs; the k columns after those of the canaries are not looked at. The nearer to normal the better: a
        logit of the confidence, or a loss, not a probability.
    reference : array_like, shape (s, m + k)
        The same of runs whose membership is known.
    included : array_like of bool, shape (s, m)

    Returns
    -------
    ndarray of float, shape (r, m)
        Higher where a canary looks included.
    """
    values, known, inside = _checked(scores, reference, included)
    m = inside.shape[1]
    ratio = np.zeros((len(values), m))
    counts = inside.sum(axis=0), (~inside).sum(axis=0)
    usable = (counts[0] > 0) & (counts[1] > 0)
    for sign, side, count in ((1, inside, counts[0]), (-1, ~inside, counts[1])):
        mean = np.where(side, known[:, :m], 0.0).sum(axis=0) / np.maximum(count, 1)
        squares = np.where(side, (known[:, :m] - mean) ** 2, 0.0)
        shared = squares.sum() / max(1, int((count - (count > 0)).sum()))
        own = squares.sum(axis=0) / np.maximum(count - 1, 1)
        variance = np.maximum(np.where(count >= _ENOUGH, own, shared), _LEAST_VARIANCE)
        ratio -= sign * ((values[:, :m] - mean) ** 2 / variance + np.log(variance)) / 2
    return np.where(usable, ratio, 0.0)


def rmia(scores: npt.ArrayLike, reference: npt.ArrayLike, included: npt.ArrayLike, *, gamma: float = 1.0) -> Floats:
    """Share of population records that a canary's likelihood ratio beats by the factor gamma.

    The likelihood ratio of a record x is p(x | model) over the average of p(x | reference model); of a canary, half of
    that average is over the runs with it and half over those without, where there are both.

    Parameters
    ----------
    scores, reference : array_like, shapes (r, m + k) and (s, m + k)
        Log-likelihoods, of k ≥ 1 population records after the m canaries.
    included : array_like of bool, shape (s, m)
    gamma : float, default 1.0
        At least 1.

    Returns
    -------
    ndarray of float, shape (r, m)
        In [0, 1], higher where a canary looks included.
    """
    values, known, inside = _checked(scores, reference, included)
    m = inside.shape[1]
    if values.shape[1] == m:
        raise InvalidData("rmia needs the scores of at least one population record after those of the canaries")
    if not gamma >= 1:
        raise InvalidData("gamma must be at least 1")
    canaries = values[:, :m] - _log_average(known[:, :m], inside)
    others = values[:, m:] - special.logsumexp(known[:, m:], axis=0) + np.log(len(known))
    below = canaries - np.log(gamma)
    ranks = [np.searchsorted(np.sort(row), own, side="right") for row, own in zip(others, below, strict=True)]
    return np.asarray(np.stack(ranks) / others.shape[1], dtype=np.float64)


def _log_average(known: Floats, inside: Bools) -> Floats:
    """Log of the mean likelihood of each canary, runs with and without it weighing the same."""
    sides = []
    for side in (inside, ~inside):
        count = side.sum(axis=0)
        log = special.logsumexp(np.where(side, known, -np.inf), axis=0) - np.log(np.maximum(count, 1))
        sides.append(np.where(count > 0, log, np.nan))
    first, second = (np.where(np.isnan(a), b, a) for a, b in (sides, sides[::-1]))
    return np.asarray(np.logaddexp(first, second) - np.log(2), dtype=np.float64)


def _checked(scores: npt.ArrayLike, reference: npt.ArrayLike, included: npt.ArrayLike) -> tuple[Floats, Floats, Bools]:
    values, known = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    inside = np.asarray(included, dtype=np.bool_)
    if values.ndim != 2 or known.ndim != 2 or values.shape[1] != known.shape[1]:
        raise InvalidData("scores and reference must be runs by records, of the same records")
    if inside.ndim != 2 or len(inside) != len(known) or not 1 <= inside.shape[1] <= values.shape[1]:
        raise InvalidData("included must be reference runs by canaries")
    if len(known) < 2:
        raise InvalidData("at least two reference runs are needed")
    return values, known, inside
