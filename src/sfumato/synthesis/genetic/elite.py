"""The elite without its data sets: what each differs in from the best one, a few cells.

For `vectorised`. Offspring differ in one cell from the best, and each time the best is replaced every other data set
falls behind by a place and by a cell, so none of a handful differs in more than a handful of cells.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic.proposals import Proposals


@dataclass
class Member:
    """A data set of the elite.

    Attributes
    ----------
    behind : int
        Its objective less that of the best.
    cells : dict
        Values by (row, column) where it may differ from the best.
    """

    behind: int = 0
    cells: dict[tuple[int, int], float] = field(default_factory=dict)


class Elite:
    """Data sets in order, best first; those that came earlier go before their equals.

    Parameters
    ----------
    size : int
        How many; all alike at first.
    """

    def __init__(self, size: int) -> None:
        self._members = [Member() for _ in range(size)]

    @property
    def worst(self) -> int:
        """What a candidate must be better than to enter."""
        return self._members[-1].behind

    @property
    def improved(self) -> bool:
        """Whether a candidate has taken the place of the best."""
        return self._members[0].behind < 0

    @property
    def rows(self) -> set[int]:
        """Rows in which some data set differs from the best."""
        return {row for member in self._members for row, _ in member.cells}

    def insert(self, gain: int, row: int, column: int, value: float) -> None:
        """Let in an offspring of the best; the last data set falls out."""
        place = bisect_right(self._members, gain, key=lambda member: member.behind)
        self._members.insert(place, Member(gain, {(row, column): value}))
        self._members.pop()

    def crown(self, rows: Rows) -> tuple[int, int, int, float]:
        """Make the first the best, and state the others relative to it.

        Parameters
        ----------
        rows : ndarray of float64
            Of the best until now.

        Returns
        -------
        gain, row, column, value
            What the new best changes of the old one.
        """
        best = self._members[0]
        (((row, column), value),) = best.cells.items()
        for member in self._members[1:]:
            member.behind -= best.behind
            member.cells.setdefault((row, column), float(rows[row, column]))
        self._members[0] = Member()
        return best.behind, row, column, value

    def lookup(self, rows: Rows, asked: Proposals) -> NDArray[np.float64]:
        """Return the cells that crossovers copy; what it gives for mutations means nothing."""
        found = rows[asked.donor, asked.column]
        for place, member in enumerate(self._members):
            for (row, column), value in member.cells.items():
                found[(asked.donor == row) & (asked.column == column) & (asked.source == place)] = value
        return found
