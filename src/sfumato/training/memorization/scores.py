"""Memorisation and influence from models that were trained on random subsets: rates with and without each record.

For a model owner who asks which records a model knows by heart. Feldman and Zhang, "What Neural Networks Memorize and
Why" (NeurIPS 2020, arXiv 2008.03703); intervals by Newcombe (1998) and by Clopper and Pearson.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy import sparse, stats

from sfumato.errors import InvalidData
from sfumato.evidence import clopper_pearson_lower, clopper_pearson_upper

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Interval: TypeAlias = Literal["newcombe", "clopper-pearson", "normal"]

_BLOCK = 1024  # training records whose influence is held densely at once


@dataclass(frozen=True)
class Rates:
    """How often models were right on each record, by whether they were trained on it.

    Attributes
    ----------
    in_rate, out_rate : ndarray of float, shape (n,)
        Mean score of the models with and without the record; NaN where there are none.
    in_models, out_models : ndarray of int, shape (n,)
    in_variance, out_variance : ndarray of float, shape (n,)
        Of one model's score; c(1-c) for correctness.
    """

    in_rate: Floats
    out_rate: Floats
    in_models: npt.NDArray[np.int64]
    out_models: npt.NDArray[np.int64]
    in_variance: Floats
    out_variance: Floats

    @property
    def memorization(self) -> Floats:
        """Rate with the record minus rate without it."""
        return self.in_rate - self.out_rate

    @property
    def standard_error(self) -> Floats:
        """Of `memorization`; it is 0 where all models agree, so prefer `interval`."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.sqrt(self.in_variance / self.in_models + self.out_variance / self.out_models)

    def interval(self, confidence: float = 0.95, method: Interval = "newcombe") -> tuple[Floats, Floats]:
        """Confidence interval of each record's memorisation, for each by itself.

        Parameters
        ----------
        confidence : float
        method : {"newcombe", "clopper-pearson", "normal"}
            "newcombe" (hybrid score) covers about as often as it says; "clopper-pearson" at least as often, from exact
            intervals of both rates at half the error each; both are for correctness, 0 or 1. "normal" is the mean
            plus and minus standard errors, for scores in between.

        Returns
        -------
        (lower, upper) : pair of ndarray of float, shape (n,)
        """
        if not 0 < confidence < 1:
            raise InvalidData(f"confidence must be in (0, 1), got {confidence}")
        if method not in get_args(Interval):
            raise InvalidData(f"method must be one of {', '.join(get_args(Interval))}")
        alpha = 1 - confidence
        if method == "normal":
            half = stats.norm.isf(alpha / 2) * self.standard_error
            return np.clip(self.memorization - half, -1, 1), np.clip(self.memorization + half, -1, 1)
        if method == "newcombe":
            (in_low, in_high), (out_low, out_high) = (
                _wilson(rate, models, alpha)
                for rate, models in ((self.in_rate, self.in_models), (self.out_rate, self.out_models))
            )
            down = np.hypot(self.in_rate - in_low, out_high - self.out_rate)
            up = np.hypot(in_high - self.in_rate, self.out_rate - out_low)
            return self.memorization - down, self.memorization + up
        hits_in, hits_out = self.hits()
        low = _within(clopper_pearson_lower, hits_in, self.in_models, alpha / 4)
        high = _within(clopper_pearson_upper, hits_in, self.in_models, alpha / 4)
        out_low = _within(clopper_pearson_lower, hits_out, self.out_models, alpha / 4)
        out_high = _within(clopper_pearson_upper, hits_out, self.out_models, alpha / 4)
        return low - out_high, high - out_low

    def hits(self) -> tuple[Floats, Floats]:
        """How many models were right, with and without each record."""
        return np.rint(self.in_rate * self.in_models), np.rint(self.out_rate * self.out_models)


def _wilson(rate: Floats, n: npt.NDArray[np.int64], alpha: float) -> tuple[Floats, Floats]:
    z = stats.norm.isf(alpha / 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        middle = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # at rates 0 and 1 rounding would put an end past the rate
    return np.minimum(middle - half, rate), np.maximum(middle + half, rate)


def _within(bound: Any, hits: Floats, n: npt.NDArray[np.int64], alpha: float) -> Floats:
    known = n > 0
    found = np.full(len(n), np.nan)
    found[known] = bound(hits[known], n[known], alpha)
    return found


def rates(members: Bools, scores: npt.ArrayLike) -> Rates:
    """Rates of each record with and without it.

    Parameters
    ----------
    members : ndarray of bool, shape (t, n)
        Which records each of t models was trained on.
    scores : ndarray, shape (t, n)
        Score of each model on each record, in [0, 1]: correctness, or the probability of the right class.
    """
    inside = np.asarray(members, dtype=bool)
    given = np.asarray(scores)
    if inside.ndim != 2 or given.shape != inside.shape:
        raise InvalidData(f"members and scores must both be models × records, got {inside.shape} and {given.shape}")
    found: list[Any] = []
    for chosen in (inside, ~inside):
        models = chosen.sum(axis=0, dtype=np.int64)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(chosen, given, 0).sum(axis=0, dtype=np.float64) / models
            squares = np.where(chosen, np.square(given, dtype=np.float64), 0.0).sum(axis=0) / models
        found.append((mean, models, np.maximum(squares - mean**2, 0.0)))
    (in_rate, in_models, in_variance), (out_rate, out_models, out_variance) = found
    return Rates(in_rate, out_rate, in_models, out_models, in_variance, out_variance)


def influence_matrix(members: Bools, test_scores: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Influence of each of n training records on each of m test records, dense.

    Parameters
    ----------
    members : ndarray of bool, shape (t, n)
    test_scores : ndarray, shape (t, m)

    Returns
    -------
    ndarray of float32, shape (n, m)
        Rate on the test record of models with the training record, minus that of models without it; NaN in rows of
        records that all models or none were trained on.
    """
    scores = np.asarray(test_scores, dtype=np.float32)
    inside = np.asarray(members, dtype=bool)
    if inside.ndim != 2 or scores.ndim != 2 or len(scores) != len(inside):
        raise InvalidData(f"members and test_scores must have a row for each model, got {inside.shape}, {scores.shape}")
    models = inside.sum(axis=0, dtype=np.float32)[:, np.newaxis]
    # sums of the models without a record are those of all minus those of the models with it
    with_record = inside.T.astype(np.float32) @ scores
    without = scores.sum(axis=0, dtype=np.float32) - with_record
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(with_record / models - without / (len(inside) - models), dtype=np.float32)


def influence_above(members: Bools, test_scores: npt.ArrayLike, threshold: float) -> sparse.csr_array:
    """Influences of absolute value at least `threshold`, sparse; computed in blocks of training records."""
    if not 0 < threshold <= 1:
        raise InvalidData(f"threshold must be in (0, 1], got {threshold}")
    blocks = []
    for first in range(0, members.shape[1], _BLOCK):
        dense = influence_matrix(members[:, first : first + _BLOCK], test_scores)
        dense[~(np.abs(dense) >= threshold)] = 0  # NaN too
        blocks.append(sparse.csr_array(dense))
    return sparse.csr_array(sparse.vstack(blocks))
