"""What memorised records are worth: accuracy without them, beside accuracy without as many others.

For a model owner who would drop what is memorised. Feldman and Zhang, "What Neural Networks Memorize and Why" (NeurIPS
2020, arXiv 2008.03703).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.utils.parallel import Parallel, delayed

from sfumato.errors import InvalidData
from sfumato.training.memorization.bootstrap import group_drops
from sfumato.training.memorization.cost import whole
from sfumato.training.memorization.learners import Records, TrainFunction, score, train

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def removal_curve(
    estimator: Any | TrainFunction,
    X: Any,
    y: Any,
    X_test: Any,
    y_test: Any,
    memorization: npt.ArrayLike,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    repeats: int = 10,
    confidence: float = 0.95,
    n_boot: int = 1000,
    n_jobs: int = 1,
    random_state: int = 0,
) -> pd.DataFrame:
    """Retrain without the records of memorisation at least a threshold, and without the same number at random.

    Parameters
    ----------
    estimator : classifier or callable
        As for `MemorizationEstimator`.
    X, y : n training records
    X_test, y_test : m test records
    memorization : array of float, shape (n,)
        Scores; records without one (NaN) stay. Scores from the same records make the removed ones a choice, not a
        test: the gap is what removing *these* costs.
    thresholds : sequence of float
    repeats : int
        Trainings for each point of the curve; the control draws anew each time.
    confidence : float
    n_boot : int
        Bootstrap draws over trainings and test records.
    n_jobs : int
    random_state : int

    Returns
    -------
    DataFrame
        A row for each threshold: `threshold`, `removed`, `accuracy` without the memorised, `control` without others,
        `gap` (control minus accuracy) with `low` and `high`.

    Raises
    ------
    InvalidData
        If data are not as declared, or a threshold would remove all records.
    """
    data, test = Records.checked(X, y), Records.checked(X_test, y_test, "y_test")
    values = np.nan_to_num(np.asarray(memorization, dtype=np.float64), nan=-np.inf)
    n = len(data.y)
    if values.shape != (n,):
        raise InvalidData(f"memorization must have one score for each of {n} records, got shape {values.shape}")
    if not len(thresholds) or (values >= min(thresholds)).all():
        raise InvalidData("thresholds must be given, and leave some records")
    repeats, classes = whole(repeats, 2), np.unique(np.concatenate([data.y, test.y]))

    def correctness(removed: npt.NDArray[np.int64], seed: int) -> npt.NDArray[Any]:
        model = train(estimator, data, np.delete(np.arange(n), removed), seed)
        return score(model, test, "correct", classes)

    rows = []
    for position, threshold in enumerate(thresholds):
        rng = np.random.default_rng([random_state, position])
        memorised = np.flatnonzero(values >= threshold)
        seeds = rng.integers(2**31, size=repeats)
        removed = [memorised] * repeats + [rng.choice(n, len(memorised), replace=False) for _ in range(repeats)]
        work = (delayed(correctness)(gone, int(s)) for gone, s in zip(removed, [*seeds, *seeds], strict=True))
        found = np.stack(Parallel(n_jobs=n_jobs)(work))
        without, control = found[:repeats], found[repeats:]
        one_group = np.zeros(len(test.y), dtype=np.int64)
        (gap,), draws = group_drops(control, without, one_group, 1, n_boot, rng)
        low, high = np.quantile(draws[:, 0], [(1 - confidence) / 2, (1 + confidence) / 2])
        rows.append((threshold, len(memorised), without.mean(), control.mean(), gap, low, high))
    return pd.DataFrame(rows, columns=["threshold", "removed", "accuracy", "control", "gap", "low", "high"])
