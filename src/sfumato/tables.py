"""Counting: how many people are in each cell of a table of public bins and categories.

For every release that starts from a data frame: pandas, Polars, PyArrow, DuckDB or PySpark, each counted on its own
engine through Narwhals. Only the counts come back, so a table may be larger than memory.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData

_CELL, _ROWS = "sfumato_cell", "sfumato_rows"


@dataclass(frozen=True)
class Bins:
    """Half-open bins (g0, g1], (g1, g2], … of a numeric column, and a tail for what lies beyond the last edge.

    The value g0 itself belongs to the first bin; smaller values are an error, since the edges say that there are none.

    Parameters
    ----------
    column : str
    edges : sequence of float
        Public, finite and increasing; at least two.

    Raises
    ------
    InvalidData
        If the edges are not that.
    """

    column: str
    edges: tuple[float, ...]

    def __post_init__(self) -> None:
        edges = tuple(float(edge) for edge in self.edges)
        if len(edges) < 2 or not all(map(math.isfinite, edges)) or any(map(operator.ge, edges, edges[1:])):
            raise InvalidData(f"the edges of {self.column!r} must be at least two finite, increasing numbers")
        object.__setattr__(self, "edges", edges)

    def __len__(self) -> int:
        return len(self.edges)  # one bin fewer, and the tail

    @property
    def rule(self) -> str:
        """What a valid column holds."""
        return f"finite numbers of at least {self.edges[0]:g}, none missing"

    def code(self, dtype: nw.dtypes.DType) -> nw.Expr:
        """Expression for the bin's index, -1 where the value is invalid."""
        if not dtype.is_numeric():
            raise InvalidData(f"column {self.column!r} must hold numbers, it holds {dtype}")
        value = nw.col(self.column).cast(nw.Float64)
        valid = value.is_finite().fill_null(False) & (value >= self.edges[0]).fill_null(False)
        # Adding comparisons is exact at the edges, where dividing by a bin's width is not.
        above = [(value > edge).cast(nw.Int64) for edge in self.edges[1:]]
        return nw.when(valid).then(functools.reduce(operator.add, above)).otherwise(nw.lit(-1))


@dataclass(frozen=True)
class Categories:
    """The declared values of a column; any other value is an error.

    Parameters
    ----------
    column : str
    values : sequence of hashable
        Public and distinct. A boolean column is declared by (0, 1) or (False, True).

    Raises
    ------
    InvalidData
        If there are none, or one twice.
    """

    column: str
    values: tuple[Hashable, ...]

    def __post_init__(self) -> None:
        values = tuple(self.values)
        if not values or len(set(values)) != len(values):
            raise InvalidData(f"the values of {self.column!r} must be declared once each")
        object.__setattr__(self, "values", values)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def rule(self) -> str:
        """What a valid column holds."""
        return f"only the declared values {', '.join(map(str, self.values))}, none missing"

    def code(self, dtype: nw.dtypes.DType) -> nw.Expr:
        """Expression for the value's index, -1 where it is not declared."""
        column = nw.col(self.column)
        textual = all(isinstance(value, str) for value in self.values)
        if textual and dtype in (nw.String, nw.Categorical, nw.Enum):
            column = column.cast(nw.String)
        elif textual or not (dtype.is_numeric() or dtype == nw.Boolean):
            kind = "text" if textual else "numbers or booleans"
            raise InvalidData(f"column {self.column!r} must hold {kind} as declared, it holds {dtype}")
        elif dtype == nw.Boolean:
            column = column.cast(nw.Int64)
        places = [
            nw.when((column == _plain(value)).fill_null(False)).then(nw.lit(place)).otherwise(nw.lit(0))
            for place, value in enumerate(self.values, 1)
        ]
        return functools.reduce(operator.add, places) - 1


Axis: TypeAlias = Bins | Categories


def count(
    frame: Any, axes: Sequence[Axis], *, person: str | None = None, max_records: int | None = None
) -> NDArray[np.int64]:
    """Count the rows of a frame in each cell.

    Without `person` every row is taken for another person. With it, a person with several rows is an error, unless
    `max_records` bounds them: then the rows that come first in the order of the cells are kept, at most that many a
    person. Which are kept depends on that person's rows alone, so adding or removing a person changes the table by at
    most `max_records` in L1 (one without it), and replacing one by at most twice that.

    Parameters
    ----------
    frame : pandas, Polars, PyArrow, DuckDB or PySpark frame
    axes : sequence of Bins or Categories
    person : str, optional
        Column that identifies people.
    max_records : int, optional
        At least 1; needs `person`.

    Returns
    -------
    ndarray of int64, shape (len(axes[0]), len(axes[1]), …)
        The last cell along a `Bins` axis is its tail.

    Raises
    ------
    InvalidData
        If a column is missing or holds what its axis does not declare, or a person has too many rows. The message
        names the column and the rule, never a value.
    """
    table = _lazy(frame)
    schema = table.collect_schema()
    for name in [axis.column for axis in axes] + ([person] if person else []):
        if name not in schema:
            raise InvalidData(f"there is no column {name!r}; the table has {', '.join(map(repr, schema))}")
    shape = tuple(len(axis) + 1 for axis in axes)  # index 0 collects what is invalid
    cell: Any = nw.lit(0)
    for axis, size in zip(axes, shape, strict=True):
        cell = cell * size + (axis.code(schema[axis.column]) + 1)
    coded = table.with_columns(cell.alias(_CELL))
    if person is None:
        if max_records is not None:
            raise InvalidData("max_records needs the column that identifies people")
        counted = coded.group_by(_CELL).agg(nw.len().alias(_ROWS))
    else:
        if not _check_people(table, person, max_records):
            return np.zeros(tuple(map(len, axes)), dtype=np.int64)
        counted = _bounded(coded, person, max_records or 1)
    return _filled(counted, axes, shape)


def _lazy(frame: Any) -> nw.LazyFrame[Any]:
    try:
        table: nw.LazyFrame[Any] = nw.from_native(frame).lazy()
    except TypeError:
        raise InvalidData(
            f"expected a pandas, Polars, PyArrow, DuckDB or PySpark frame, got {type(frame).__name__}"
        ) from None
    return table


def _check_people(table: nw.LazyFrame[Any], person: str, max_records: int | None) -> int:
    if max_records is not None and max_records < 1:
        raise InvalidData(f"max_records must be at least 1, got {max_records}")
    column = nw.col(person)
    sums = table.select(
        nw.len().alias("rows"), column.is_null().cast(nw.Int64).sum().alias("nulls"), column.n_unique().alias("people")
    ).collect()
    rows, nulls, people = (int(sums[name].to_list()[0] or 0) for name in ("rows", "nulls", "people"))
    if nulls:
        raise InvalidData(f"column {person!r} must name a person in each row, none missing")
    if max_records is None and rows != people:
        raise InvalidData(f"a person in column {person!r} has several rows: give max_records, or one row each")
    return rows


def _bounded(coded: nw.LazyFrame[Any], person: str, most: int) -> nw.LazyFrame[Any]:
    """Count at most `most` rows of each person: rows of one cell are alike, so counts a person and cell suffice."""
    each = coded.group_by(person, _CELL).agg(nw.len().alias(_ROWS)).with_columns(nw.col(_ROWS).cast(nw.Int64))
    if each.implementation.is_pyarrow():  # it has no running sums within groups; one row a person and cell is small
        each = nw.from_native(each.collect().to_pandas()).lazy()
    running = each.with_columns(
        nw.col(_ROWS).cum_sum().over(person, order_by=_CELL).cast(nw.Int64).alias("sfumato_until")
    )
    room = most - (nw.col("sfumato_until") - nw.col(_ROWS))
    kept = nw.when(room >= nw.col(_ROWS)).then(nw.col(_ROWS)).otherwise(room)
    return (
        running.with_columns(kept.alias(_ROWS))
        .filter(nw.col(_ROWS) > 0)
        .group_by(_CELL)
        .agg(nw.col(_ROWS).sum().alias(_ROWS))
    )


def _filled(counted: nw.LazyFrame[Any], axes: Sequence[Axis], shape: tuple[int, ...]) -> NDArray[np.int64]:
    result = counted.collect()
    cells = np.zeros(math.prod(shape), dtype=np.int64)
    cells[np.array(result[_CELL].to_list(), dtype=np.int64)] = np.array(result[_ROWS].to_list(), dtype=np.int64)
    table = cells.reshape(shape)
    for k, axis in enumerate(axes):
        if table.take(0, axis=k).any():
            raise InvalidData(f"column {axis.column!r} must hold {axis.rule}")
    return np.ascontiguousarray(table[(slice(1, None),) * len(axes)])


def _plain(value: Hashable) -> Any:
    """Labels as Python scalars: engines do not agree on NumPy's, nor on comparing booleans with integers."""
    plain = value.item() if isinstance(value, np.generic) else value
    return int(plain) if isinstance(plain, bool) else plain
