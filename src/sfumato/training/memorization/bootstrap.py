"""Paired bootstrap over models and test records, of how much accuracy one family of models loses against another.

For the removal study and the disparate effect: accuracies of both families on the same test records.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData

Floats: TypeAlias = npt.NDArray[np.float64]


def group_drops(
    baseline: npt.ArrayLike,
    limited: npt.ArrayLike,
    groups: npt.NDArray[np.int64],
    n_groups: int,
    n_boot: int,
    rng: np.random.Generator,
) -> tuple[Floats, Floats]:
    """Accuracy of the baseline minus that of the limited models, in each group: estimate, and bootstrap draws.

    Parameters
    ----------
    baseline, limited : array of 0 and 1, shapes (a, m) and (b, m)
        Correctness of each model on each test record.
    groups : ndarray of int, shape (m,)
        Group of each test record, 0 … n_groups - 1, none of them empty.
    n_groups, n_boot : int
    rng : Generator

    Returns
    -------
    (drops, draws) : ndarrays of float, shapes (n_groups,) and (n_boot, n_groups)
        A draw takes models of each family and test records of each group with replacement, the same test records for
        both families.
    """
    one, two = np.asarray(baseline, dtype=np.float64), np.asarray(limited, dtype=np.float64)
    sizes = np.bincount(groups, minlength=n_groups)
    if one.ndim != 2 or two.ndim != 2 or not one.shape[1] == two.shape[1] == len(groups) or not sizes.all():
        raise InvalidData("correctness must be models × test records, with a group for each record and no group empty")
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def means(values: Any) -> Floats:
        return np.asarray(np.add.reduceat(values, starts, axis=-1) / sizes)

    drops = means((one.mean(axis=0) - two.mean(axis=0))[order])
    models = [rng.multinomial(len(m), np.full(len(m), 1 / len(m)), size=n_boot) / len(m) for m in (one, two)]
    lost = (models[0] @ one - models[1] @ two)[:, order]
    weights = np.concatenate([rng.multinomial(k, np.full(k, 1 / k), size=n_boot) for k in sizes], axis=1)
    return drops, means(lost * weights)
