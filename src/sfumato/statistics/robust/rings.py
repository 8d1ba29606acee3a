"""Rings: the grid's points by path length, and the mechanism that chooses one.

For the private estimators of one number: Asi, Ullman and Zakynthinou (ICML 2023), the smoothed inverse-sensitivity
mechanism, as an exponential mechanism over finitely many points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.release import Release
from sfumato.statistics.robust.grids import Floats, Grid, Integers
from sfumato.statistics.robust.reach import Reach

_LARGEST = 2**62  # values times the divisor must fit int64
_NEGLIGIBLE = 40.0  # points at the deepest level weigh together at most e^-40 of the best one


@dataclass(frozen=True)
class Rings:
    """The score of every point of a grid, from the first to the last, as runs of equal scores.

    Attributes
    ----------
    scores : ndarray of int64, shape (k,)
        Minus the path length: the number of records to replace until the statistic comes within the resolution.
    copies : ndarray of int64, shape (k,)
        Run lengths; they add up to the number of points.

    Notes
    -----
    A neighbour x' differs from x in one replaced record. Whatever k replacements make of x can be made of x' by k + 1,
    so the reach of x at k lies inside that of x' at k + 1, and so do both intervals after the same monotone widening
    and clipping. The path length of any point, the first k whose interval holds it, therefore differs by at most 1
    between x and x', and so it does when all lengths beyond a public depth are counted as that depth. A score of
    sensitivity 1 chosen from by weights exp(ε · score / 2) is ε-DP: the weight of a point and the sum of all weights
    change by at most e^(ε/2) each.
    """

    scores: Integers
    copies: Integers

    def choose(self, release: Release, epsilon: float) -> int:
        """Choose a point, ε-differentially privately."""
        return release.choose(self.scores, sensitivity=1, epsilon=epsilon, copies=self.copies)

    def log_probabilities(self, epsilon: float) -> Floats:
        """Log-probability of any one point of each run: for the data's owner, never for publication."""
        weights = epsilon / 2 * self.scores
        with np.errstate(divide="ignore"):
            total = np.logaddexp.reduce(weights + np.log(self.copies))
        return np.asarray(weights - total)

    def by_point(self, values: NDArray[np.float64] | Integers) -> NDArray[np.float64]:
        """A value for each run, written out to one for each point."""
        return np.repeat(np.asarray(values, np.float64), self.copies)


def rings(statistic: Reach, grid: Grid, x: Floats, levels: int) -> Rings:
    """Score every point of the grid for the records x.

    Parameters
    ----------
    statistic : Reach
    grid : Grid
    x : ndarray of float, shape (n,)
        Finite, or infinite where beyond the bounds.
    levels : int
        Public depth: longer paths count as levels + 1.

    Raises
    ------
    InvalidClaim
        If the statistic's intervals are not nested, so that its reach cannot be exact.
    InvalidData
        If its divisor is too large for the grid.
    """
    if statistic.divisor * grid.radius >= _LARGEST:
        raise InvalidData("the statistic's divisor is too large for a grid this fine")
    cells = np.sort(grid.cells(x))
    levels = min(levels, len(cells))
    low, high = statistic.reach(cells, grid.radius, levels)
    if low.shape != (levels + 1,) or high.shape != low.shape or np.any(low > high) or not _nested(low, high):
        raise InvalidClaim("the statistic's reach must be intervals, each inside the next: it is not exact")
    first, last = grid.ends(low, high, statistic.divisor)
    first, last = np.clip(first, 0, grid.points), np.clip(last, -1, grid.points - 1)
    left = np.diff(np.concatenate(([0], first[::-1])))
    right = np.diff(np.concatenate((last, [grid.points - 1])))
    depth = np.arange(levels + 2)
    scores = -np.concatenate((depth[:0:-1], depth))
    return Rings(scores, np.concatenate((left, [last[0] - first[0] + 1], right)))


def _nested(low: Integers, high: Integers) -> bool:
    return bool(np.all(low[1:] <= low[:-1]) and np.all(high[1:] >= high[:-1]))


def depth(points: int, epsilon: float) -> int:
    """Public depth beyond which all path lengths are counted alike, without loss of accuracy."""
    return math.ceil(2 / epsilon * (math.log(points) + _NEGLIGIBLE))


def withstand(epsilon: float, ratio: float, *, beta: float = 0.05, dimension: int = 1) -> int:
    """Number of replaced records that a statistic must withstand for its private version to work.

    If the statistic errs by at most α whichever nτ = ⌈2 (d ln(R/ρ + 1) + ln(1/β)) / ε⌉ records are replaced, the
    private answer errs by at most α + ρ, with probability 1 - β: points further off have scores below -nτ, and there
    are (R/ρ + 1)^d times as many of them as of best ones.

    Parameters
    ----------
    epsilon : float
    ratio : float
        R/ρ: half of the public range over the resolution.
    beta : float, default 0.05
    dimension : int, default 1

    Returns
    -------
    int

    Notes
    -----
    The accuracy half of Asi, Ullman and Zakynthinou (ICML 2023), with constants of our own.
    """
    return math.ceil(2 * (dimension * math.log(ratio + 1) + math.log(1 / beta)) / epsilon)
