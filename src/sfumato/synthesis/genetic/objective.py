"""The objective of the search, Σ (count - target)², in whole numbers: every engine computes it without rounding.

For the engines, which must agree on every candidate to the last bit, in whatever order they add.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.measuring import Integers, Measurements
from sfumato.synthesis.workloads import WorkloadSet

#: Targets are rounded to multiples of 1 / UNIT of a row: far below any noise.
UNIT = 1 << 16


def targets(found: Measurements, n: int) -> Integers:
    """Return the noisy answers as numbers of n rows, in units of 1 / UNIT."""
    return np.rint(found.answers * (n * UNIT)).astype(np.int64)


def residuals(counts: Integers, targets: Integers) -> Integers:
    """Return counts less targets, in units of 1 / UNIT."""
    return counts * UNIT - targets


def squares(residuals: Integers) -> float:
    """Return the objective."""
    return float(np.sum((residuals / UNIT) ** 2))


def numbered(workloads: WorkloadSet, rows: Rows) -> Integers:
    """Return the cell of each row in each workload, numbered through all workloads, -1 for none; in C order."""
    cells = workloads.cells(rows)
    return np.ascontiguousarray(np.where(cells >= 0, cells + workloads.offsets[:-1], -1))


def gains(old: NDArray[np.int64], new: NDArray[np.int64], residuals: Integers) -> Integers:
    """Return by how much the objective moves, in units of 1 / UNIT, when a row moves between cells.

    A row that leaves a cell with residual r moves the objective by (r - 1)² - r² = 1 - 2r, one that enters by 1 + 2r.

    Parameters
    ----------
    old, new : ndarray of int64, shape (candidates, workloads)
        Cells numbered through all workloads, or -1 for none.
    residuals : ndarray of int64, shape (n_cells,)

    Returns
    -------
    ndarray of int64, shape (candidates,)
    """
    left = np.where(old >= 0, UNIT - 2 * residuals[old], 0)
    entered = np.where(new >= 0, UNIT + 2 * residuals[new], 0)
    return np.asarray(np.where(old != new, left + entered, 0).sum(axis=1))
