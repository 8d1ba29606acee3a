"""The incremental search in NumPy: counts follow the one row that changes, and many candidates are tried at once.

For whoever has no compiler, and for workloads of users' functions, which cannot be compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic.elite import Elite
from sfumato.synthesis.genetic.flat import flatten, flattenable
from sfumato.synthesis.genetic.objective import UNIT, gains, numbered, residuals
from sfumato.synthesis.genetic.proposals import Proposals, copied
from sfumato.synthesis.measuring import Integers
from sfumato.synthesis.workloads import WorkloadSet

_FEWEST, _MOST = 16, 2048  # candidates whose cells are computed together

#: Maps rows, their cells, and candidates as (row, column, value) to the workloads in which their cells may change, and
#: the cells there; each of shape (candidates, workloads looked at).
Look = Callable[[Rows, Integers, Integers, Integers, NDArray[np.float64]], tuple[Integers, Integers]]


class Vectorised:
    """The best data set, its residuals, and what the others of the elite differ in.

    Parameters are those of `Reference`, which decides the same.
    """

    def __init__(self, workloads: WorkloadSet, targets: Integers, rows: Rows, elite: int) -> None:
        self.rows = np.ascontiguousarray(rows)
        self.residuals = residuals(workloads.counts(rows), targets)
        self.cells = numbered(workloads, self.rows)
        self.elite = Elite(elite)
        self.domain = workloads.domain
        plain = all(flattenable(workload) and not workload.gate for workload in workloads)
        self.look = along_axes(workloads) if plain else everywhere(workloads)
        self._length = _FEWEST

    def run(self, proposals: Proposals, size: int) -> int:
        """Try proposals, `size` of them a generation; return by how much the objective moved, in units of 1 / UNIT."""
        moved, start, total = 0, 0, len(proposals.row)
        while start < total:
            length = max(1, self._length // size) * size
            block = _Block(self, proposals.part(start, min(total, start + length)), size)
            moved += block.run()
            start += block.place
            # a block that a change cut short was too long; the next one follows what was used of it
            self._length = min(_MOST, max(_FEWEST, 2 * block.place))
        return moved


class _Block:
    """Candidates whose cells are computed together, tried in order until a change makes one of the rest stale."""

    def __init__(self, search: Vectorised, asked: Proposals, size: int) -> None:
        self.search, self.elite, self.asked, self.size = search, search.elite, asked, size
        self.place, self.stop = 0, len(asked.row)
        sizes, steps = search.domain.sizes[asked.column], search.domain.steps[asked.column]
        crossed = copied(self.elite.lookup(search.rows, asked), asked.value, sizes, steps)
        self.values = np.where(asked.source >= 0, crossed, asked.value)
        self.which, self.cells = search.look(search.rows, search.cells, asked.row, asked.column, self.values)
        self.donors = np.where(asked.source >= 0, asked.donor, -1)
        self.elite_is_as_it_was = True

    def run(self) -> int:
        moved, width, search = 0, self.size, self.search
        while self.place < self.stop:
            tried = slice(self.place, min(self.stop, self.place + width))
            old = search.cells[self.asked.row[tried, np.newaxis], self.which[tried]]
            found = gains(old, self.cells[tried], search.residuals)
            good = np.flatnonzero(found < self.elite.worst)
            if not len(good):
                self.place, width = tried.stop, 2 * width
                continue
            first = int(good[0]) // self.size * self.size
            self.place += first
            generation = found[first : first + self.size]
            self._select(generation)
            if self.elite.improved:
                moved += self._replace(self.place + int(generation.argmin()))
                width = max(self.size, width // 2 // self.size * self.size)
            self.place += self.size
        return moved

    def _select(self, generation: Integers) -> None:
        """Let the better ones of a generation into the elite."""
        if self.elite_is_as_it_was:
            self._spoil(np.isin(self.donors, list(self.elite.rows)))
            self.elite_is_as_it_was = False
        for i, gain in enumerate(generation.tolist(), start=self.place):
            if gain < self.elite.worst:
                row = int(self.asked.row[i])
                self.elite.insert(gain, row, int(self.asked.column[i]), float(self.values[i]))
                self._spoil(self.donors == row)

    def _replace(self, best: int) -> int:
        """Let the best of the generation take the place of the best data set."""
        search = self.search
        gain, row, column, value = self.elite.crown(search.rows)
        search.rows[row, column] = value
        which, new = self.which[best], self.cells[best]
        old = search.cells[row, which]
        moved = new != old
        search.residuals[old[moved & (old >= 0)]] -= UNIT
        search.residuals[new[moved & (new >= 0)]] += UNIT
        search.cells[row, which[moved]] = new[moved]
        self._spoil(self.asked.row == row)
        return gain

    def _spoil(self, stale: NDArray[np.bool_]) -> None:
        """Stop before the first generation after this one with a stale candidate."""
        after = self.place + self.size
        found = np.flatnonzero(stale[after : self.stop])
        if len(found):
            self.stop = after + int(found[0]) // self.size * self.size


def everywhere(workloads: WorkloadSet) -> Look:
    """Look at all workloads, whatever they are, by evaluating the changed rows."""
    all_of_them = np.arange(len(workloads))

    def look(
        rows: Rows, cells: Integers, row: Integers, column: Integers, value: NDArray[np.float64]
    ) -> tuple[Integers, Integers]:
        changed = rows[row]
        changed[np.arange(len(row)), column] = value
        return np.broadcast_to(all_of_them, (len(row), len(workloads))), numbered(workloads, changed)

    return look


def along_axes(workloads: WorkloadSet) -> Look:
    """Look at the marginals with an axis on the column that changes, and step along it."""
    start, *lists = flatten(workloads).along
    longest = int(np.diff(start).max())
    # shorter lists are filled with steps of no cells
    workload, stride, bins = (np.zeros((len(start) - 1, longest), dtype=np.int64) for _ in lists)
    for column, (first, last) in enumerate(pairwise(start)):
        for table, each in zip((workload, stride, bins), lists, strict=True):
            table[column, : last - first] = each[first:last]

    def look(
        rows: Rows, cells: Integers, row: Integers, column: Integers, value: NDArray[np.float64]
    ) -> tuple[Integers, Integers]:
        which, cuts = workload[column], bins[column]
        before = rows[row, column]
        steps = _codes(value[:, np.newaxis], cuts) - _codes(before[:, np.newaxis], cuts)
        return which, cells[row[:, np.newaxis], which] + stride[column] * steps

    return look


def _codes(values: NDArray[np.float64], bins: Integers) -> Integers:
    """Categories as they are, numbers by their bins: `workloads._cut` for many cuts."""
    return np.where(bins > 0, np.minimum((values * bins).astype(np.int64), bins - 1), values.astype(np.int64))
