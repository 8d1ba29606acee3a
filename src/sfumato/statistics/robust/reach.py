"""Reach: how far the value of a robust statistic moves when k records are replaced, for every k, exactly.

For the transformation, which needs nothing else of a statistic. Definition: Asi, Ullman and Zakynthinou (ICML 2023),
path length; closed forms for weighted means of order statistics and for interquantile ranges are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Protocol

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Integers


class Reach(Protocol):
    """A statistic of n records that knows its reach.

    Attributes
    ----------
    divisor : int
        The statistic is an integer over `divisor`, in cells.
    breakdown : int
        Records that may be replaced before the reach touches the bounds whatever the data.
    """

    @property
    def divisor(self) -> int: ...

    @property
    def breakdown(self) -> int: ...

    def reach(self, x: Integers, radius: int, levels: int) -> tuple[Integers, Integers]:
        """Least and largest value, times `divisor`, of the statistic over all data sets with at most k of x replaced.

        Parameters
        ----------
        x : ndarray of int64, shape (n,)
            Sorted, in -radius .. radius; replacements lie there too.
        radius : int
        levels : int
            At most n.

        Returns
        -------
        low, high : ndarray of int64, shape (levels + 1,)
            For k = 0 .. levels. They must be exact: with a bound found by a search that may fail, neighbours' path
            lengths differ by more than one and no privacy claim holds.
        """
        ...


@dataclass(frozen=True)
class LStatistic:
    """A weighted mean of order statistics, with weights that are constant on runs of ranks.

    It grows in every record, so replacing k records by the upper bound, the k smallest ones, moves it up most: the
    order statistics shift by k ranks and the bound fills the top. Its reach is a difference of prefix sums.

    Attributes
    ----------
    n : int
        Records.
    runs : tuple of (start, stop, weight)
        Ranks start .. stop-1, from 0, and their positive whole weight.

    Raises
    ------
    InvalidData
        If a run or a weight is anything else: with a negative weight the reach would be wrong.
    """

    n: int
    runs: tuple[tuple[int, int, int], ...]

    def __post_init__(self) -> None:
        if not self.runs or any(not 0 <= a < b <= self.n or w < 1 for a, b, w in self.runs):
            raise InvalidData("runs must be (start, stop, weight) with 0 <= start < stop <= n and weight at least 1")

    @property
    def divisor(self) -> int:
        """Sum of the weights."""
        return sum((stop - start) * weight for start, stop, weight in self.runs)

    @property
    def breakdown(self) -> int:
        """Ranks below the first used one, or above the last, whichever are fewer."""
        return min(min(start for start, _, _ in self.runs), self.n - max(stop for _, stop, _ in self.runs))

    def value(self, x: Integers) -> Fraction:
        """The statistic itself."""
        ordered = np.sort(x)
        total = sum(weight * int(ordered[start:stop].sum()) for start, stop, weight in self.runs)
        return Fraction(total, self.divisor)

    def reach(self, x: Integers, radius: int, levels: int) -> tuple[Integers, Integers]:
        """See `Reach.reach`; O(n)."""
        shifts = np.arange(levels + 1)
        above = _prefix_sums(np.concatenate((x, np.full(levels, radius))))
        below = _prefix_sums(np.concatenate((np.full(levels, -radius), x)))
        low, high = np.zeros((2, levels + 1), np.int64)
        for start, stop, weight in self.runs:
            high += weight * (above[stop + shifts] - above[start + shifts])
            low += weight * (below[stop + levels - shifts] - below[start + levels - shifts])
        return low, high


def _prefix_sums(x: Integers) -> Integers:
    return np.concatenate((np.zeros(1, np.int64), np.cumsum(x)))


def trimmed_mean(n: int, trim: int) -> LStatistic:
    """Mean of n records without the `trim` smallest and largest.

    Raises
    ------
    InvalidData
        If nothing is left.
    """
    if n < 2 * trim + 1:
        raise InvalidData(
            f"trimming {trim} records on each side needs at least {2 * trim + 1} records, got n_samples = {n}"
        )
    return LStatistic(n, ((trim, n - trim, 1),))


def winsorized_mean(n: int, trim: int) -> LStatistic:
    """Mean of n records, the `trim` smallest and largest moved to the nearest one that is kept."""
    trimmed_mean(n, trim)
    if trim == 0 or n == 2 * trim + 1:
        return LStatistic(n, ((trim, n - trim, 1),))
    return LStatistic(n, ((trim, trim + 1, trim), (trim, n - trim, 1), (n - trim - 1, n - trim, trim)))


def median(n: int) -> LStatistic:
    """Median of n records, the mean of the two middle ones where n is even."""
    return trimmed_mean(n, (n - 1) // 2)


def quantile(n: int, p: float) -> LStatistic:
    """Record of rank ⌈np⌉: numpy's "inverted_cdf"."""
    rank = min(max(math.ceil(n * p) - 1, 0), n - 1)
    return LStatistic(n, ((rank, rank + 1, 1),))


@dataclass(frozen=True)
class InterquantileRange:
    """Difference of two order statistics, of ranks `first` < `last` from 0.

    Upwards, j of k replacements go to the top and the rest to the bottom, and the k records given up lay between the
    two ranks: the range becomes x[last + j] - x[first - (k - j)], a bound where there is no such record. Downwards,
    all k are put between the two ranks, and the k records given up lay outside, j of them below: what is left of the
    window is x[last - k + j] - x[first + j]. Both are O(levels) for each k.
    """

    n: int
    first: int
    last: int
    divisor: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not 0 <= self.first < self.last < self.n:
            raise InvalidData("expected ranks 0 <= first < last < n")

    @property
    def breakdown(self) -> int:
        """Records that may be replaced before the range can be 0 or without bound."""
        return min(self.first, self.n - 1 - self.last, self.last - self.first - 1)

    def value(self, x: Integers) -> Fraction:
        """The statistic itself."""
        ordered = np.sort(x)
        return Fraction(int(ordered[self.last] - ordered[self.first]))

    def reach(self, x: Integers, radius: int, levels: int) -> tuple[Integers, Integers]:
        """See `Reach.reach`; O(n + levels²)."""
        padded = np.concatenate((np.full(levels, -radius), x, np.full(levels, radius)))
        low, high = np.zeros((2, levels + 1), np.int64)
        for k in range(levels + 1):
            j = np.arange(k + 1)
            high[k] = np.max(padded[levels + self.last + j] - padded[levels + self.first - k + j])
            if self.last - self.first > k:
                low[k] = np.min(x[self.last - k + j] - x[self.first + j])
        return low, high


def interquartile_range(n: int) -> InterquantileRange:
    """Range of the middle half of n records.

    Raises
    ------
    InvalidData
        If there are fewer than 4 records.
    """
    if n < 4:
        raise InvalidData(f"an interquartile range needs at least 4 records, got n_samples = {n}")
    return InterquantileRange(n, math.ceil(n / 4) - 1, math.ceil(3 * n / 4) - 1)
