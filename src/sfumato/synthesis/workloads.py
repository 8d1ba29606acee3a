"""Workloads: sets of counting queries of which one row answers at most one, so that a row moves one cell of each.

For synthesizers and for whoever measures their error; `families` makes them. The notion is that of Liu, Tang, Vietri
and Wu 2023 (Private-GSD): one row, one cell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.errors import InvalidData, SensitivityError, WorkloadTooLarge
from sfumato.synthesis.domain import Domain, Rows

Cells = NDArray[np.int32]  # cell of a workload that a row lies in; -1 for none

MOST_CELLS = 5_000_000


class Axis(NamedTuple):
    """One column, cut into cells: a categorical column by its categories, a numeric one into equal bins."""

    column: int
    cells: int
    binned: bool


class HalfSpace(NamedTuple):
    """The condition that the sum of coefficient times value over some columns exceeds a bias."""

    columns: tuple[int, ...]
    coefficients: tuple[float, ...]
    bias: float


class Prefix(NamedTuple):
    """The condition that each column's value is below its threshold."""

    columns: tuple[int, ...]
    thresholds: tuple[float, ...]


class Asked(NamedTuple):
    """Some columns of a user's function of rows: those queries of it that make up one workload."""

    function: UserQueries
    queries: tuple[int, ...]


Gate = HalfSpace | Prefix | None


@dataclass(frozen=True)
class Workload:
    """A partition of the rows that pass a gate, or of all rows: each row lies in one cell or in none.

    Parameters
    ----------
    family : str
        "marginals", "half-spaces", "prefixes" or "queries".
    axes : tuple of Axis
        The cells are all combinations of the axes' cells, the last axis running fastest.
    gate : HalfSpace, Prefix or None
        Rows that fail it lie in no cell.
    asked : Asked, optional
        Of a user's queries; then there are no axes and no gate.
    """

    family: str
    axes: tuple[Axis, ...] = ()
    gate: Gate = None
    asked: Asked | None = None

    @cached_property
    def size(self) -> int:
        """Number of cells."""
        return len(self.asked.queries) if self.asked else math.prod(axis.cells for axis in self.axes)

    @cached_property
    def columns(self) -> tuple[int, ...]:
        """Columns on which a row's cell depends, in order."""
        if self.asked:
            return tuple(range(self.asked.function.n_columns))
        gated = self.gate.columns if self.gate else ()
        return tuple(sorted({axis.column for axis in self.axes} | set(gated)))


@dataclass(frozen=True, eq=False)
class UserQueries:
    """A function of a frame of rows to zeros and ones, shape (rows, m), that treats every row by itself."""

    function: Callable[[pd.DataFrame], Any]
    domain: Domain
    m: int

    @property
    def n_columns(self) -> int:
        """Number of the domain's columns."""
        return len(self.domain)

    def __call__(self, rows: Rows) -> NDArray[np.bool_]:
        """Answer for encoded rows; whatever is not exactly 1 counts as 0."""
        try:
            answers = np.asarray(self.function(self.domain.decode(rows)))
        except Exception:  # its text may hold a value of the table
            raise InvalidData("a query function failed on a row of the table") from None
        if answers.shape != (len(rows), self.m):
            raise SensitivityError(f"a query function must return shape (rows, {self.m})")
        return cast(NDArray[np.bool_], answers == 1)


class WorkloadSet(Sequence[Workload]):
    """Workloads over one domain, their cells numbered through.

    *Sensitivity.* A row lies in at most one cell of each workload, by construction: `cells` gives one number a row and
    workload. So replacing one row takes 1 from at most one cell of a workload and adds 1 to at most one: the counts
    of a workload move by at most √2 in L2 and by 1 in each cell; those of W workloads by √(2W) in L2. Adding or
    removing a row moves them by at most 1, and √W.

    Parameters
    ----------
    domain : Domain
    workloads : sequence of Workload
    max_cells : int, default 5,000,000

    Raises
    ------
    InvalidData
        If there is no workload, or one names a column that its axis does not fit.
    WorkloadTooLarge
        If they have more than `max_cells` cells together.

    Attributes
    ----------
    offsets : ndarray of int64, shape (workloads + 1,)
        Where each workload's cells begin.
    """

    def __init__(self, domain: Domain, workloads: Sequence[Workload], *, max_cells: int = MOST_CELLS) -> None:
        self.domain = domain
        self.workloads = tuple(workloads)
        if not self.workloads:
            raise InvalidData("at least one workload is needed")
        total = 0
        for workload in self.workloads:
            _check_axes(domain, workload)
            total += workload.size
            if total > max_cells:
                raise WorkloadTooLarge(f"more than {max_cells:,} cells: ask for fewer columns, bins or workloads")
        self.offsets = np.concatenate([[0], np.cumsum([w.size for w in self.workloads], dtype=np.int64)])

    def __len__(self) -> int:
        return len(self.workloads)

    def __getitem__(self, place: Any) -> Any:
        return self.workloads[place]

    def __iter__(self) -> Iterator[Workload]:
        return iter(self.workloads)

    def __add__(self, other: WorkloadSet) -> WorkloadSet:
        if other.domain != self.domain:
            raise InvalidData("workloads can only be joined if they are over the same domain")
        return WorkloadSet(self.domain, self.workloads + other.workloads)

    @property
    def n_cells(self) -> int:
        """Cells of all workloads together."""
        return int(self.offsets[-1])

    def subset(self, which: Sequence[int] | NDArray[np.int64]) -> WorkloadSet:
        """Return some of the workloads, in the order given."""
        return WorkloadSet(self.domain, [self.workloads[int(w)] for w in which], max_cells=self.n_cells)

    def cells(self, rows: Rows) -> Cells:
        """Return the cell of each row in each workload, numbered within the workload, -1 for none.

        A row's cells depend on that row alone: every step is elementwise, in one order, whatever other rows are there.

        Parameters
        ----------
        rows : ndarray of float64, shape (n, d)

        Returns
        -------
        ndarray of int32, shape (n, workloads)
        """
        found = np.empty((len(rows), len(self)), dtype=np.int32, order="F")
        for place, cells in enumerate(_Evaluation(rows).all(self.workloads)):
            found[:, place] = cells
        return found

    def counts(self, rows: Rows) -> NDArray[np.int64]:
        """Count the rows in each cell.

        Parameters
        ----------
        rows : ndarray of float64, shape (n, d)

        Returns
        -------
        ndarray of int64, shape (n_cells,)
        """
        counts = np.empty(self.n_cells, dtype=np.int64)
        for place, cells in enumerate(_Evaluation(rows).all(self.workloads)):
            start, stop = self.offsets[place], self.offsets[place + 1]
            # one bin more, in front, takes the rows that lie in no cell
            counts[start:stop] = np.bincount(cells + 1, minlength=stop - start + 1)[1:]
        return counts


@dataclass
class _Evaluation:
    """The cells of rows, with what several workloads share computed once and let go when it is no longer shared."""

    rows: Rows
    codes: dict[Axis, NDArray[np.int32]] = field(default_factory=dict)
    passed: tuple[Gate, Any] = (None, None)
    answered: tuple[UserQueries | None, Any] = (None, None)

    def all(self, workloads: Sequence[Workload]) -> Iterator[NDArray[np.int32]]:
        for workload in workloads:
            yield self._asked(workload.asked) if workload.asked else self._gated(workload)

    def _gated(self, workload: Workload) -> NDArray[np.int32]:
        cells = np.zeros(len(self.rows), dtype=np.int32)
        for axis in workload.axes:
            cells = cells * np.int32(axis.cells) + self._code(axis)
        if workload.gate is None:
            return cells
        if self.passed[0] != workload.gate:
            self.passed = (workload.gate, passes(workload.gate, self.rows))
        return np.where(self.passed[1], cells, np.int32(-1))

    def _code(self, axis: Axis) -> NDArray[np.int32]:
        if axis not in self.codes:
            self.codes[axis] = _cut(self.rows[:, axis.column], axis)
        return self.codes[axis]

    def _asked(self, asked: Asked) -> NDArray[np.int32]:
        if self.answered[0] is not asked.function:
            self.answered = (asked.function, asked.function(self.rows))
        hits = self.answered[1][:, list(asked.queries)]
        # the first hit counts, so that a row lies in one cell whatever the function does
        return np.where(hits.any(axis=1), hits.argmax(axis=1), -1).astype(np.int32)


def _cut(values: NDArray[np.float64], axis: Axis) -> NDArray[np.int32]:
    """Codes of categories as they are; numbers in [0, 1] into half-open bins of equal width, 1 into the last."""
    if not axis.binned:
        return values.astype(np.int32)
    return np.minimum((values * axis.cells).astype(np.int32), axis.cells - 1)


def passes(gate: HalfSpace | Prefix, rows: Rows) -> NDArray[np.bool_]:
    """Tell which rows pass a gate; sums run column by column, so that a row's own numbers alone decide.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    if isinstance(gate, Prefix):
        below = np.ones(len(rows), dtype=bool)
        for column, threshold in zip(gate.columns, gate.thresholds, strict=True):
            below &= rows[:, column] < threshold
        return below
    total = np.zeros(len(rows))
    for column, coefficient in zip(gate.columns, gate.coefficients, strict=True):
        total += coefficient * rows[:, column]
    return total > gate.bias


def _check_axes(domain: Domain, workload: Workload) -> None:
    if workload.asked:
        if workload.asked.function.domain != domain:
            raise InvalidData("the queries were made for another domain")
        return
    if any(not 0 <= column < len(domain) for column in workload.columns):
        raise InvalidData(f"a workload names a column that is not among the domain's {len(domain)}")
    for axis in workload.axes:
        size = int(domain.sizes[axis.column])
        if axis.binned != (size == 0) or axis.cells < 1 or (size and axis.cells != size):
            raise InvalidData(f"an axis does not fit column {domain.names[axis.column]!r}")
