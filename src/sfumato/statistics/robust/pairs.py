"""Reach of the Hodges-Lehmann estimate: the median of the means of all pairs of records.

For locations with nearly the efficiency of the mean. Hodges and Lehmann 1963; reach in the sense of Asi, Ullman and
Zakynthinou (ICML 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Integers


@dataclass(frozen=True)
class PairwiseMedian:
    """Median of (x_i + x_j) / 2 over all i ≤ j; the lower one of two middle pairs.

    It is symmetric and grows in every record. Let k records of x be replaced: each order statistic of the result is at
    most that of x without its k smallest records and with k at the upper bound, and that set is one of them. So its
    value is the largest, and with the k largest records at the lower bound, the least. Each is found by counting pairs
    below a threshold, in whole numbers.

    Attributes
    ----------
    n : int
        Records.
    """

    n: int
    divisor: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if self.n < 1:
            raise InvalidData("expected at least one record")

    @property
    def _rank(self) -> int:
        return (self._pairs(self.n) + 1) // 2

    @property
    def breakdown(self) -> int:
        """Records that may be replaced while a pair without any of them is the middle one: 29 % of many."""
        needed = max(self._rank, self._pairs(self.n) - self._rank + 1)
        return self.n - (math.isqrt(8 * needed - 7) + 1) // 2  # the fewest records that make as many pairs

    def value(self, x: Integers) -> Fraction:
        """The statistic itself."""
        return Fraction(self._middle(np.sort(x), 2 * int(np.median(x)), 1), self.divisor)

    def reach(self, x: Integers, radius: int, levels: int) -> tuple[Integers, Integers]:
        """See `Reach.reach`; O(n log n) for each level and doubling of the step from the one before."""
        padded = np.concatenate((np.full(levels, -radius), x, np.full(levels, radius)))
        low, high = np.zeros((2, levels + 1), np.int64)
        low[0] = high[0] = self._middle(x, 2 * int(np.median(x)), 1)
        for k in range(1, levels + 1):
            for ends, start in ((low, levels - k), (high, levels + k)):
                step = int(abs(ends[k - 1] - ends[max(k - 2, 0)])) or 1
                ends[k] = self._middle(padded[start : start + self.n], int(ends[k - 1]), step)
        return low, high

    @staticmethod
    def _pairs(n: int) -> int:
        return n * (n + 1) // 2

    def _middle(self, x: Integers, near: int, step: int) -> int:
        """Least sum with half of all pairs at or below it; the search doubles its step from `near`, then halves."""
        ranks = np.arange(self.n)

        def enough(total: int) -> bool:
            partners = np.searchsorted(x, total - x, side="right") - ranks  # of each record, itself and later ones
            return int(np.maximum(partners, 0).sum()) >= self._rank

        above = below = near
        if enough(near):
            while enough(below := above - step):
                above, step = below, 2 * step
        else:
            while not enough(above := below + step):
                below, step = above, 2 * step
        while above - below > 1:
            middle = (above + below) // 2
            above, below = (middle, below) if enough(middle) else (above, middle)
        return above


def hodges_lehmann(n: int) -> PairwiseMedian:
    """Median of the means of all pairs of n records."""
    return PairwiseMedian(n)
