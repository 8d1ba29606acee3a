"""Reach of the median absolute deviation, exactly.

For scales that half of the records may spoil. Hampel 1974; reach in the sense of Asi, Ullman and Zakynthinou (ICML
2023), with a count of replacements of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Integers


@dataclass(frozen=True)
class MedianDeviation:
    """Record of rank h = ⌈n/2⌉ among the distances from the record of rank h: the median absolute deviation.

    Attributes
    ----------
    n : int
        Records, at least 3.

    Notes
    -----
    Fix a centre c and a distance r > 0. Let e count the records at c; below and above those beside it; in those at a
    distance under r; left and right those at or below c - r and at or above c + r. Records are integers from -R to R.

    *At most r.* A set of records has median c and deviation at most r if and only if below ≤ h-1, above ≤ n-h, and at
    least h records lie in [c - r, c + r]. A replacement lowers each of the first two and raises the third by one at
    most. All of that is done at once by moving records to c, those on the crowded side first and among them those that
    are far off, so k replacements are enough if and only if x_{h-k} ≤ c ≤ x_{h+k} and h - k records lie within r of c.
    Of a window of h - k records in a row, the best c is its middle, or the nearest one allowed. (Without a record at c,
    below or above is too large, so that k > 0 and one is moved there.)

    *At least r.* It is, if and only if below ≤ h-1, above ≤ n-h and in ≤ h-1. Then n-h+1 records lie far off, too many
    for one side, so that there is room on both: -R + r ≤ c ≤ R - r. Now records are taken out, near ones on a crowded
    side first, and put to the far end where there is room: there is as long as one stays at c, for the two sides hold
    n - 1. Where e = 0 one is put there, and in grows by one before it shrinks: write h' = h - 1 then, and h' = h
    otherwise. To take g from below and m from within needs max(g, m, g + m - (those in both)) replacements, and
    likewise above. So k are enough, k ≥ 1 if e = 0, if and only if x_{h-k} ≤ c ≤ x_{h+k}, in ≤ h' - 1 + k,
    right ≥ n - h - h' + 2 - k and left ≥ h - h' + 1 - k. The largest such r for a c is the least of the distance of
    the (h' + k)-th nearest record, of c - P and of Q - c, where P and Q are the bounds or, for the smallest k, one of
    the outer records. Each of these rises or falls by one with c, so that their minimum is largest at an end of the
    range of c or where a rising one meets a falling one: half-way between two records or walls, to the nearest integer
    on either side.
    """

    n: int
    divisor: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.n < 3:
            raise InvalidData(f"a median absolute deviation needs at least 3 records, got n_samples = {self.n}")

    @property
    def _half(self) -> int:
        return (self.n + 1) // 2

    @property
    def breakdown(self) -> int:
        """Records that may be replaced before the deviation can be 0 or without bound whatever the data."""
        return self._half - 2

    def value(self, x: Integers) -> Fraction:
        """The statistic itself."""
        middle = np.sort(x)[self._half - 1]
        return Fraction(int(np.sort(np.abs(x - middle))[self._half - 1]))

    def reach(self, x: Integers, radius: int, levels: int) -> tuple[Integers, Integers]:
        """See `Reach.reach`; O(n log n) for each level."""
        low, high = np.zeros((2, levels + 1), np.int64)
        low[0] = high[0] = int(self.value(x))
        for k in range(1, levels + 1):
            ends = _ranked(x, self._half - k, radius), _ranked(x, self._half + k, radius)
            low[k] = self._least(x, k, *ends)
            high[k] = max(self._most_about_records(x, k, radius), self._most(x, k, radius, *ends))
        return low, high

    def _least(self, x: Integers, k: int, first: int, last: int) -> int:
        window = self._half - k
        if window <= 1:
            return 0
        start, stop = x[: self.n - window + 1], x[window - 1 :]
        centre = np.clip((start + stop) // 2, first, last)
        return int(np.maximum(centre - start, stop - centre).min())

    def _most_about_records(self, x: Integers, k: int, radius: int) -> int:
        """Largest deviation from a record that stays."""
        centres = x[max(self._half - k, 1) - 1 : self._half + k]
        wall = _ranked(x, 2 * self._half - 1 + k, radius)
        return _room(x, centres, self._half + k, -radius, wall)

    def _most(self, x: Integers, k: int, radius: int, first: int, last: int) -> int:
        """Largest deviation from a record that is put anywhere from first to last."""
        near = self._half - 1 + k
        left, right = _ranked(x, 2 - k, radius), _ranked(x, 2 * self._half - 2 + k, radius)
        twice = np.concatenate(
            (
                [2 * first, 2 * last, left + right],
                x[: max(self.n - near, 0)] + x[min(near, self.n) :],
                x + left,
                x + right,
            )
        )
        centres = np.clip(np.concatenate((twice // 2, -(-twice // 2))), first, last)
        return _room(x, centres, near, left, right)


def _ranked(x: Integers, rank: int, radius: int) -> int:
    """Record of a rank from 1; the lower bound below, the upper one beyond."""
    if rank < 1:
        return -radius
    return int(x[rank - 1]) if rank <= len(x) else radius


def _room(x: Integers, centres: Integers, near: int, left: int, right: int) -> int:
    """Largest of the distances from a centre to the nearest of its near-th nearest record and of both walls."""
    room = np.minimum(centres - left, right - centres)
    if near <= len(x):
        start, stop = x[: len(x) - near + 1], x[near - 1 :]
        window = np.searchsorted(start + stop, 2 * centres, side="left")  # from here on the upper end is further off
        up, down = window < len(start), window > 0
        room[up] = np.minimum(room[up], (stop[window[up]] - centres[up]))
        room[down] = np.minimum(room[down], centres[down] - start[window[down] - 1])
    return max(int(room.max()), 0)


def median_absolute_deviation(n: int) -> MedianDeviation:
    """Median of the distances of n records from their median; of two middle ones, the lower.

    Raises
    ------
    InvalidData
        If there are fewer than 3 records.
    """
    return MedianDeviation(n)
