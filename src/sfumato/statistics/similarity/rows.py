"""Rows of people: checked, and put on a public integer grid one by one, before anything is summed.

For every estimator of this package. A row's integers depend on that row alone and to the last bit: each step is one
correctly rounded operation on each number, so neither the other people nor their number can move them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse
from sklearn.utils.validation import validate_data

from sfumato.errors import InvalidData

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BOX = 2**30  #: steps of the grid along one side of a box
BALL = 2**24  #: steps of the grid along the radius of a ball
_CELLS = 2**17  #: numbers worked on at once: they stay in the processor's cache


def read_rows(estimator: Any, X: ArrayLike, *, reset: bool) -> Floats:
    """Return X as finite doubles, shape (n, d); n may be 0, since refusing an empty data set would show that it is.

    Raises
    ------
    InvalidData
        If X is not a dense table of finite real numbers, or has other columns than the fitted one. The message has
        no value of X in it.
    """
    if sparse.issparse(X):
        raise InvalidData("X must be dense: a sparse matrix came")
    try:
        table = np.asarray(X)
        if table.dtype.kind == "c":
            raise InvalidData("Complex data not supported: X must be real")
        if table.dtype.kind not in "buifO":
            raise InvalidData("X must be numeric")
        rows = np.asarray(table, np.float64)
    except (TypeError, ValueError) as error:
        # without the cause: numpy's message quotes the value
        raise error if isinstance(error, InvalidData) else InvalidData("X must be a table of numbers") from None
    if rows.ndim != 2:
        raise InvalidData(f"X must have 2 dimensions, got {rows.ndim}. Reshape your data: one row a person")
    if rows.shape[1] == 0:
        raise InvalidData(f"0 feature(s) (shape={rows.shape}) while a minimum of 1 is required.")
    if not np.isfinite(rows).all():
        raise InvalidData("X contains NaN or inf: every value must be finite")
    try:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
    except ValueError as error:  # names and number of columns
        raise InvalidData(str(error)) from None
    return rows


def blocks(n: int, width: int) -> Iterator[slice]:
    """Slices of n rows of `width` numbers, each small enough for the cache."""
    size = max(1, _CELLS // max(width, 1))
    return (slice(start, start + size) for start in range(0, n, size))


def in_box(rows: Floats, low: Floats, width: Floats) -> Integers:
    """Put rows on the grid 0 .. BOX - 1 of each side; what lies outside is clipped, shape (n, d)."""
    with np.errstate(over="ignore"):
        steps = np.rint((rows - low) / width * BOX)
    return np.asarray(np.clip(steps, 0, BOX - 1), np.int64)


def in_ball(rows: Floats, radius: float) -> Integers:
    """Put rows on the grid of a ball round the origin; each row's norm is at most BALL, in integers, shape (n, d).

    Coordinates are clipped to the radius, rounded, and a row whose norm is still above BALL is scaled down and
    truncated towards zero. Four roundings (of the squared norm, its root, the factor, the product) leave the squared
    norm below BALL² (1 + 2^-50) < BALL² + 1; as it is an integer, it is at most BALL².
    """
    with np.errstate(over="ignore"):
        steps = np.asarray(np.rint(np.clip(rows / radius, -1, 1) * BALL), np.int64)
    squares = (steps * steps).sum(axis=1)
    far = squares > BALL**2
    factor = BALL / np.sqrt(squares[far].astype(np.float64))
    steps[far] = np.trunc(steps[far] * factor[:, np.newaxis]).astype(np.int64)
    return steps


def largest_l1(d: int) -> int:
    """Largest L1 norm of a row in the ball: √d times its L2 norm (Cauchy and Schwarz), rounded up."""
    return math.isqrt(d * BALL**2) + 1
