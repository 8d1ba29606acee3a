"""The genetic algorithm as the paper states it: whole data sets, each candidate counted anew from all its rows.

For tests and for readers; `vectorised` and `compiled` decide the same and are thousands of times faster. Liu, Tang,
Vietri and Wu 2023 (Private-GSD), Algorithm 2.
"""

from __future__ import annotations

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic.objective import UNIT, residuals
from sfumato.synthesis.genetic.proposals import Proposals, copied
from sfumato.synthesis.measuring import Integers
from sfumato.synthesis.workloads import WorkloadSet


class Reference:
    """An elite of data sets, best first, and the generations that improve it.

    Parameters
    ----------
    workloads : WorkloadSet
    targets : ndarray of int64, shape (n_cells,)
    rows : ndarray of float64, shape (n, d)
        All of the elite begins with these rows.
    elite : int
        Data sets that are kept.
    """

    def __init__(self, workloads: WorkloadSet, targets: Integers, rows: Rows, elite: int) -> None:
        self._workloads, self._targets = workloads, targets
        self._elite = [(self._objective(rows), rows)] * elite

    @property
    def rows(self) -> Rows:
        """The best data set."""
        return self._elite[0][1]

    @property
    def residuals(self) -> Integers:
        """Its counts less their targets."""
        return residuals(self._workloads.counts(self.rows), self._targets)

    def run(self, proposals: Proposals, size: int) -> int:
        """Try proposals, `size` of them a generation: the elite and its offspring compete for the elite's places.

        Returns
        -------
        int
            By how much the objective moved, in units of 1 / UNIT.
        """
        before = self._elite[0][0]
        for start in range(0, len(proposals.row), size):
            offspring = [self._offspring(proposals, i) for i in range(start, start + size)]
            competing = self._elite + [(self._objective(rows), rows) for rows in offspring]
            self._elite = sorted(competing, key=lambda each: each[0])[: len(self._elite)]
        return (self._elite[0][0] - before) // UNIT

    def _offspring(self, proposals: Proposals, i: int) -> Rows:
        row, column = proposals.row[i], proposals.column[i]
        value = proposals.value[i]
        if proposals.source[i] >= 0:
            donor = self._elite[proposals.source[i]][1][proposals.donor[i], column]
            domain = self._workloads.domain
            value = copied(donor, value, domain.sizes[column], domain.steps[column])
        rows = self.rows.copy(order="F")
        rows[row, column] = value
        return rows

    def _objective(self, rows: Rows) -> int:
        """The objective in units of 1 / UNIT²: whole numbers of any size."""
        return sum(r * r for r in residuals(self._workloads.counts(rows), self._targets).tolist())
