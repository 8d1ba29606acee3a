"""The incremental search compiled by numba.

For `search`, where numba can be imported and no workload is a user's function.
"""

from __future__ import annotations

import numpy as np

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic import kernel
from sfumato.synthesis.genetic.flat import flatten
from sfumato.synthesis.genetic.objective import numbered, residuals
from sfumato.synthesis.genetic.proposals import Proposals
from sfumato.synthesis.measuring import Integers
from sfumato.synthesis.workloads import WorkloadSet


class Compiled:
    """Parameters are those of `Reference`, which decides the same."""

    def __init__(self, workloads: WorkloadSet, targets: Integers, rows: Rows, elite: int) -> None:
        self._domain, self._flat = workloads.domain, flatten(workloads)
        self._state = kernel.State(
            rows=np.array(rows, order="C"),
            cells=numbered(workloads, rows).astype(np.int32),
            above=np.zeros((len(rows), len(self._flat.halfspaces.bias))),
            residuals=residuals(workloads.counts(rows), targets),
            values=np.zeros(0),
            gains=np.zeros(0, dtype=np.int64),
            turned=np.zeros(len(self._flat.gates.start) - 1, dtype=np.uint8),
        )
        for x, above in zip(self._state.rows, self._state.above, strict=True):
            kernel.add_up(x, above, self._flat.halfspaces, self._flat.gates)
        shape = (elite, elite + 1)
        self._elite = kernel.Elite(
            behind=np.zeros(elite, dtype=np.int64),
            differing=np.zeros(elite, dtype=np.int64),
            row=np.zeros(shape, dtype=np.int64),
            column=np.zeros(shape, dtype=np.int64),
            value=np.zeros(shape),
        )

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
        sizes, steps = self._domain.sizes, self._domain.steps
        state = self._state._replace(values=np.zeros(size), gains=np.zeros(size, dtype=np.int64))
        return int(kernel.search(proposals, sizes, steps, self._flat, state, self._elite))
