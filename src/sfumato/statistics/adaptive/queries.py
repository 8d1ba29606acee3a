"""Statistical queries: functions of one row into [0, 1], on rows of any form, on an integer grid.

For the mechanisms of this package. Kearns 1998; a value is rounded to a public grid for each row before anything is
summed, so that a sum's sensitivity is a whole number and its noise can be discrete (Mironov 2012).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData

#: A query: rows to values in [0, 1], shape (n,), or (n, k) for k queries at once.
Query: TypeAlias = Callable[..., Any]
Integers: TypeAlias = NDArray[np.int64]

#: Steps of the grid between 0 and 1. Rounding moves a mean by half a step at most, 8e-6; 0 and 1 are on it.
GRID = 2**16

ROW_BY_ROW = "each query is a function of one row at a time, and its code tells nothing but its values"


@dataclass(frozen=True)
class Rows:
    """Rows as an array, a data frame, or several of the same length, such as (X, y).

    Attributes
    ----------
    parts : tuple
        What a query is called with.
    """

    parts: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, rows: Any, least: int = 1) -> Self:
        """Read an argument.

        Raises
        ------
        InvalidData
            If it has no length, too few rows, or parts of different lengths.
        """
        parts = rows if isinstance(rows, tuple) else (rows,)
        lengths = {len(part) if hasattr(part, "__len__") else -1 for part in parts}
        if len(lengths) != 1 or -1 in lengths:
            raise InvalidData(f"{name} must be an array or data frame of rows, or a tuple of them of one length")
        if lengths.pop() < least:
            raise InvalidData(f"{name} needs at least {least} rows")
        return cls(parts)

    def __len__(self) -> int:
        return len(self.parts[0])

    def slice(self, start: int, stop: int) -> Rows:
        """Return rows start to stop."""
        return Rows(tuple(part.iloc[start:stop] if hasattr(part, "iloc") else part[start:stop] for part in self.parts))


def try_on(query: Query, public: Rows) -> None:
    """Try a query on rows that are no secret, so that its mistakes show before anything is spent.

    Raises
    ------
    InvalidData
        If it is no function, or what it gives is not one number in [0, 1] a row, or is another the second time or when
        other rows stand beside.
    """
    values = _values(query, public)
    if not np.all((values >= 0) & (values <= 1)):  # also for NaN
        raise InvalidData("a query must give values in [0, 1]: rescale it, (x + 1) / 2 for x in [-1, 1]")
    half = len(public) // 2
    if not np.array_equal(_values(query, public.slice(half, len(public))), values[half:]):
        raise InvalidData("a query must give a row the same value each time, whatever other rows stand beside it")


def on_grid(query: Query, secret: Rows) -> Integers:
    """Evaluate a query on protected rows, in steps of the grid, 0 to `GRID`; shape (n,) or (n, k).

    Values beyond [0, 1] are clipped and NaN is 0, without a word: an error that one person's row can cause would be an
    answer that nobody paid for.

    Raises
    ------
    InvalidData
        If the query fails or does not give one number a row, which `ROW_BY_ROW` rules out for honest queries; the
        message holds nothing that the query said.
    """
    try:
        values = _values(query, secret)
    except InvalidData:
        raise
    except Exception:
        raise InvalidData("the query failed on the protected rows; try it on rows of your own") from None
    if values.dtype.kind == "f":
        if values.dtype.itemsize < 4:
            values = values.astype(np.float32)  # half precision does not hold the grid
        values = np.fmin(np.fmax(values, 0.0), 1.0)  # of NaN and 0 the maximum is 0
        values *= GRID
        return np.asarray(np.rint(values, out=values), dtype=np.int64)
    return np.asarray(np.clip(values, 0, 1), dtype=np.int64) * GRID


def _values(query: Query, rows: Rows) -> NDArray[Any]:
    if not callable(query):
        raise InvalidData("a query must be a function of the rows")
    values = np.asarray(query(*rows.parts))
    if values.ndim not in (1, 2) or len(values) != len(rows) or values.dtype.kind not in "biuf":
        raise InvalidData("a query must give one number a row, shape (n,), or (n, k) for k queries")
    return values


def count_of(values: Integers) -> int:
    """How many queries a result of `on_grid` answers."""
    return 1 if values.ndim == 1 else int(values.shape[1])


def plain(values: NDArray[np.float64]) -> Any:
    """A float for one query, an array for several."""
    return float(values[0]) if values.ndim and values.size == 1 else values
