"""The incremental search compiled by numba.

For `search`, where numba can be imported and no workload is a user's function.
"""

from __future__ import annotations

import numpy as np

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic import kernel
from sfumato.synthesis.genetic.flat import flatten
from sfumato.synthesis.genetic.objective import residuals
from sfumato.synthesis.genetic.proposals import Proposals
from sfumato.synthesis.measuring import Integers
from sfumato.synthesis.workloads import WorkloadSet


class Compiled:
    """Parameters are those of `Reference`, which decides the same."""

    def __init__(self, workloads: WorkloadSet, targets: Integers, rows: Rows, elite: int) -> None:
        n, halfspaces = len(rows), 0
        self._domain, self._flat = workloads.domain, flatten(workloads)
        halfspaces = len(self._flat.bias)
        width = elite + 1
        self._state = kernel.State(
            rows=np.array(rows, order="C"),
            cells=np.ascontiguousarray(workloads.cells(rows)),
            sums=np.zeros((n, halfspaces)),
            residuals=residuals(workloads.counts(rows), targets),
            behind=np.zeros(elite, dtype=np.int64),
            differing=np.zeros(elite, dtype=np.int64),
            row=np.zeros((elite, width), dtype=np.int64),
            column=np.zeros((elite, width), dtype=np.int64),
            value=np.zeros((elite, width)),
            which=np.zeros(len(workloads), dtype=np.int64),
            entered=np.zeros(len(workloads), dtype=np.int64),
            turned=np.zeros(halfspaces, dtype=np.uint8),
            values=np.zeros(0),
        )
        for row in range(n):
            kernel.add_up(row, self._flat, self._state)

    @property
    def rows(self) -> Rows:
        """The best data set."""
        return self._state.rows

    @property
    def residuals(self) -> Integers:
        """Its counts less their targets."""
        return self._state.residuals

    def run(self, proposals: Proposals, size: int) -> int:
        """Try proposals, `size` of them a generation; return by how much the objective moved, in units of 1 / UNIT."""
        state = self._state._replace(values=np.zeros(size))
        sizes, steps = self._domain.sizes, self._domain.steps
        return int(kernel.search(proposals, size, sizes, steps, self._flat, state))
