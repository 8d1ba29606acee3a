"""Counts people into disjoint cells: status by group by time interval, and one tail cell.

For the sound estimators, whose whole privacy proof is that a person lies in exactly one cell.
Intervals are (a, b]; the construction is that of a life table (Cutler and Ederer 1958).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData

#: Rows worked on at a time: large enough for numpy's speed, small enough that memory is O(bins).
_CHUNK = 1 << 16


def check_durations(durations: ArrayLike) -> NDArray[Any]:
    """Return durations as a numeric vector, or raise InvalidData; NaN, inf and negatives are refused."""
    times = _vector("durations", durations)
    if times.dtype.kind not in "iuf":
        raise InvalidData("durations must be numbers (give dates or timedeltas in a unit, such as days)")
    for start in range(0, len(times), _CHUNK):
        # min and max see NaN and ±inf too, in two passes without a temporary mask
        part = times[start : start + _CHUNK]
        low, high = part.min(), part.max()
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InvalidData("durations must be finite: NaN or infinity found")
        if low < 0:
            raise InvalidData("durations must be at least 0: a negative one found")
    return times


def check_statuses(name: str, statuses: ArrayLike, n: int, largest: int = 1) -> NDArray[Any]:
    """Return statuses 0..largest as an integer or bool vector of length n, or raise InvalidData."""
    vector = _vector(name, statuses)
    if len(vector) != n:
        raise InvalidData(f"{name} must have the same length as durations")
    expected = f"{name} must hold only the integers 0..{largest}" + (" or booleans" if largest == 1 else "")
    if vector.dtype.kind == "b":
        return vector
    if vector.dtype.kind not in "iuf":
        raise InvalidData(expected)
    for start in range(0, n, _CHUNK):
        part = vector[start : start + _CHUNK]
        low, high = part.min(), part.max()
        # NaN fails both comparisons
        if not (low >= 0 and high <= largest) or (part.dtype.kind == "f" and np.any(part != np.floor(part))):
            raise InvalidData(expected)
    return vector


def check_labels(group_labels: Sequence[Any]) -> tuple[Hashable, ...]:
    """Return the public group labels as a tuple of distinct plain values, or raise InvalidData."""
    if isinstance(group_labels, (str, bytes)) or not hasattr(group_labels, "__iter__"):
        raise InvalidData("group_labels must be a sequence of labels")
    labels = tuple(x.item() if isinstance(x, np.generic) else x for x in group_labels)
    if not labels:
        raise InvalidData("group_labels must name at least one group")
    if not all(isinstance(label, (str, int, float, bool)) for label in labels):
        raise InvalidData("group_labels must be strings, numbers or booleans")
    if len(set(labels)) != len(labels):
        raise InvalidData("group_labels must be distinct")
    return labels


def group_codes(groups: ArrayLike, labels: Sequence[Any], n: int) -> NDArray[np.intp]:
    """Return each row's position in the declared labels; an undeclared value raises InvalidData.

    The message does not say which value or how many: it would be read from private data.
    """
    values = groups if isinstance(groups, (pd.Series, pd.Index, pd.Categorical)) else np.asarray(groups)
    if np.ndim(values) != 1 or len(values) != n:
        raise InvalidData("groups must be a vector with the same length as durations")
    index = pd.Index(values)
    if index.dtype == bool:
        # True and 1 are one label, as they are in Python; pandas keeps them apart
        index = index.astype(int)
    plain = [int(label) if isinstance(label, bool) else label for label in labels]
    codes: NDArray[np.intp] = pd.Index(plain).get_indexer(index)
    if np.any(codes < 0):
        raise InvalidData("groups holds a value that group_labels does not declare")
    return codes


def count_cells(
    durations: NDArray[Any],
    statuses: NDArray[Any],
    edges: NDArray[np.float64],
    *,
    n_statuses: int = 2,
    codes: NDArray[np.intp] | None = None,
    n_groups: int = 1,
) -> NDArray[np.int64]:
    """Count rows by group, status and interval.

    Parameters
    ----------
    durations, statuses : ndarray, shape (n,)
        As `check_durations` and `check_statuses` return them.
    edges : ndarray of float, shape (m + 1,)
        Public, increasing, from 0. Intervals are (a, b]; time 0 goes to the first.
    n_statuses : int
        Statuses are 0 (censored) up to `n_statuses` - 1.
    codes : ndarray of int, shape (n,), optional
        Group of each row.
    n_groups : int

    Returns
    -------
    ndarray of int64, shape (n_groups, n_statuses, m + 1)
        The last column counts times beyond the last edge. Every row is in exactly one cell.
    """
    upper = edges[1:]
    width = len(upper) + 1
    size = n_groups * n_statuses * width
    total = np.zeros(size, np.int64)
    for start in range(0, len(durations), _CHUNK):
        rows = slice(start, start + _CHUNK)
        # side="left" counts the edges below t: exactly the (a, b] rule, also at the edges themselves
        cell = np.searchsorted(upper, durations[rows].astype(np.float64, copy=False), side="left")
        cell += width * statuses[rows].astype(np.intp, copy=False)
        if codes is not None:
            cell += n_statuses * width * codes[rows]
        total += np.bincount(cell, minlength=size)
    return total.reshape(n_groups, n_statuses, width)


def largest(durations: NDArray[Any]) -> float:
    """The largest duration. Private: it may only decide a warning to the data's own custodian."""
    return float(durations.max(initial=0.0))


def _vector(name: str, values: ArrayLike) -> NDArray[Any]:
    if isinstance(values, pd.Series) and values.isna().any():
        raise InvalidData(f"{name} must not have missing values")
    vector = np.asarray(values)
    if vector.ndim != 1:
        raise InvalidData(f"{name} must be one-dimensional, got {vector.ndim} dimensions")
    if vector.dtype == object and all(isinstance(x, (int, float, np.number, np.bool_)) for x in vector):
        try:
            return vector.astype(np.float64)
        except OverflowError:
            raise InvalidData(f"{name} must be finite") from None
    return vector
