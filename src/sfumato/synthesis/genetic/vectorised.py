"""The incremental search in NumPy: counts follow the one row that changes, and many candidates are tried at once.

For whoever has no compiler, and for workloads of users' functions, which cannot be compiled.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic.elite import Elite
from sfumato.synthesis.genetic.objective import UNIT, gains, numbered, residuals
from sfumato.synthesis.genetic.proposals import Proposals, copied
from sfumato.synthesis.measuring import Integers
from sfumato.synthesis.workloads import WorkloadSet

_FEWEST, _MOST = 16, 1024  # candidates whose cells are computed together


class Vectorised:
    """The best data set, its residuals, and what the others of the elite differ in.

    Parameters are those of `Reference`, which decides the same.
    """

    def __init__(self, workloads: WorkloadSet, targets: Integers, rows: Rows, elite: int) -> None:
        self.rows = np.ascontiguousarray(rows)
        self.residuals = residuals(workloads.counts(rows), targets)
        self._workloads = workloads
        self._cells = numbered(workloads, self.rows)
        self._elite = Elite(elite)
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

    def _values(self, asked: Proposals) -> NDArray[np.float64]:
        domain = self._workloads.domain
        sizes, steps = domain.sizes[asked.column], domain.steps[asked.column]
        crossed = copied(self._elite.lookup(self.rows, asked), asked.value, sizes, steps)
        return np.where(asked.source >= 0, crossed, asked.value)


class _Block:
    """Candidates whose cells are computed together, tried in order until a change makes one of the rest stale."""

    def __init__(self, search: Vectorised, asked: Proposals, size: int) -> None:
        self.search, self.asked, self.size = search, asked, size
        self.place, self.stop = 0, len(asked.row)
        self.values = search._values(asked)
        changed = search.rows[asked.row]
        changed[np.arange(self.stop), asked.column] = self.values
        self.cells = numbered(search._workloads, changed)
        self.donors = np.where(asked.source >= 0, asked.donor, -1)
        self.elite_is_new = False

    def run(self) -> int:
        moved, width, elite = 0, self.size, self.search._elite
        while self.place < self.stop:
            tried = slice(self.place, min(self.stop, self.place + width))
            found = gains(self.search._cells[self.asked.row[tried]], self.cells[tried], self.search.residuals)
            good = np.flatnonzero(found < elite.worst)
            if not len(good):
                self.place, width = tried.stop, 2 * width
                continue
            first = int(good[0]) // self.size * self.size
            self.place += first
            self._select(found[first : first + self.size])
            if elite.improved:
                moved += self._replace()
                width = max(self.size, width // 2 // self.size * self.size)
            self.place += self.size
        return moved

    def _select(self, found: Integers) -> None:
        """Let the better ones of a generation into the elite."""
        elite, asked = self.search._elite, self.asked
        if not self.elite_is_new:
            self._spoil(np.isin(self.donors, list(elite.rows)))
            self.elite_is_new = True
        for i, gain in enumerate(found.tolist(), start=self.place):
            if gain < elite.worst:
                row = int(asked.row[i])
                elite.insert(gain, row, int(asked.column[i]), float(self.values[i]))
                self._spoil(self.donors == row)

    def _replace(self) -> int:
        """Let the best of the generation take the place of the best data set."""
        search = self.search
        gain, row, column, value = search._elite.crown(search.rows)
        search.rows[row, column] = value
        new = numbered(search._workloads, search.rows[[row]])[0]
        old = search._cells[row]
        moved = new != old
        search.residuals[old[moved & (old >= 0)]] -= UNIT
        search.residuals[new[moved & (new >= 0)]] += UNIT
        search._cells[row] = new
        self._spoil(self.asked.row == row)
        return gain

    def _spoil(self, stale: NDArray[np.bool_]) -> None:
        """Stop before the first generation after this one with a stale candidate."""
        after = self.place + self.size
        found = np.flatnonzero(stale[after : self.stop])
        if len(found):
            self.stop = after + int(found[0]) // self.size * self.size
