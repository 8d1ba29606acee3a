"""The counterexample: two neighbouring cohorts between which noise on the curve cannot hide.

For tests, studies and the docs; from the notes on system 01 (derived there, measured here).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Cohort = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class Counterexample:
    """Cohorts that differ in one person's record or presence, and the public grid on which curves are released.

    49 of 50 patients are censored at time 10. The last dies at 11 in the first cohort, at 100 in the second: between
    those times the exact curve is 0 in one and 1 in the other, while noise that follows the number at risk has
    scale 1/50 of what one person can do. `without` is the first cohort without that patient: its curve never falls, and
    a scale taken from leaving its members out is zero.
    """

    first: Cohort
    second: Cohort
    without: Cohort
    grid: NDArray[np.float64]


def counterexample(n: int = 50) -> Counterexample:
    """Return the pair for n patients, on the grid 1, 2, …, 100."""

    def cohort(death: float) -> Cohort:
        return np.append(np.full(n - 1, 10.0), death), np.append(np.zeros(n - 1, dtype=np.int64), 1)

    first = cohort(11.0)
    return Counterexample(first, cohort(100.0), (first[0][:-1], first[1][:-1]), np.arange(1.0, 101.0))
