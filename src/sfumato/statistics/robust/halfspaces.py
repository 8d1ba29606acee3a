"""The deepest point of a public grid: a private mean of several columns at once.

For analysts of two or three related numbers a record. Tukey 1975; as the mean of Asi, Ullman and Zakynthinou (ICML
2023) where its exponential mechanism is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.release import Release
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.depth import halfspace_depth
from sfumato.statistics.robust.finite import MOST_CANDIDATES
from sfumato.statistics.robust.grids import Floats
from sfumato.statistics.robust.nets import directions
from sfumato.statistics.robust.reach import Reach, median
from sfumato.statistics.robust.rings import withstand
from sfumato.statistics.robust.transform import Drawn, Need, PrivateLocation, public_ends

#: Share of ε for the medians about which the grid is laid.
SHARE_FOR_CENTRE = 0.25

_HALF = 2  # of the grid's width, in scales


@dataclass(eq=False, repr=False)
class DPDepthMean(PrivateLocation):
    """Deepest point of a public grid, the centre of elliptical records, with pure differential privacy.

    For one to three columns whose wild records may be odd only as a pair. Where records are spherical and clean, a
    median of each column (`DPMedian`) is as good.

    Parameters
    ----------
    epsilon : float, default 1.0
    bounds : (lower, upper)
        The public range of a record, numbers or one for each column. Records beyond it are moved to it.
    scale : float, optional
        A public guess of the records' spread, the same for all columns. With it a quarter of epsilon finds a private
        median of each column and the grid reaches two scales from there, so that the range may be far too wide; without
        it the grid spans the bounds.
    grid_size : int, default 41
        Values of each column on the grid; at most 5e7 points in all.
    resolution, delta, missing, noise_seed
        See `DPTrimmedMean`; resolution is that of the medians.

    Attributes
    ----------
    estimate_ : ndarray of float, shape (d,), or float for a vector
    claim_ : Claim
    corruptions_ : int
        Replaced records that the deepest point should withstand at this ε and grid.
    n_features_in_ : int

    Notes
    -----
    A point's score is its `halfspace_depth` over a public family of directions: 32 in the plane, 64 in space, and the
    axes. A replaced record moves each count by at most 1, thus the minimum, and point t is chosen with probability
    proportional to exp(ε · score / 2), exactly: ε-DP for any data. The grid is laid by public numbers and by medians
    that were paid for.

    The paper's mechanism draws from the polytopes between levels of depth. Their vertices and volumes are known to a
    rounding only, so that neighbours' densities differ by more than the proof says, and what a rounded point tells of
    its polytope is not bounded at all; it is not offered. Nor are more than three columns: grids and families of
    directions grow exponentially. There, `DPMedian` of a matrix has boxes for polytopes, and is exact.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import DPDepthMean
    >>> x = np.random.default_rng(0).normal([3, -1], 1, (4000, 2))
    >>> mean = DPDepthMean(epsilon=1.0, bounds=(-1e3, 1e3), scale=1.0).fit(x)
    >>> bool(np.abs(mean.estimate_ - [3, -1]).max() < 0.5)
    True
    """

    grid_size: int = 41

    def _statistic(self, n: int, corruptions: int) -> Reach:
        return median(n)

    def _columns(self, records: Floats, bound: PureDP | ApproxDP) -> tuple[Need, list[Drawn]]:
        n, d = records.shape
        size = self._size(d)
        known = self._clipped(records)
        if self.scale is None:
            ends = np.array(public_ends(self.bounds, d))
            grid = _Box(ends.mean(axis=1), np.ptp(ends, axis=1) / 2, size)
            return _need(n, bound.epsilon, size, d), [lambda release: grid.deepest(known, release, bound.epsilon)]
        share = bound.epsilon * SHARE_FOR_CENTRE
        part = PureDP(share) if isinstance(bound, PureDP) else ApproxDP(share, bound.delta)
        first, medians = super()._columns(records, part)
        half = np.full(d, _HALF * checks.positive("scale", self.scale))

        def draw(release: Release) -> Floats:
            centre = np.hstack([each(release) for each in medians])
            if np.isnan(centre).any():
                return np.full(d, math.nan)
            return _Box(centre, half, size).deepest(known, release, bound.epsilon - share)

        needs = first, _need(n, bound.epsilon - share, size, d)
        return max(needs, key=lambda need: need.corruptions / max(need.breakdown, 1)), [draw]

    def _size(self, d: int) -> int:
        if not 1 <= d <= 3:
            raise InvalidData(
                f"depth is offered for 1 to 3 columns, got n_features = {d}: DPMedian takes any number, with boxes"
            )
        size = checks.whole("grid_size", self.grid_size, 3, MOST_CANDIDATES)
        if size**d > MOST_CANDIDATES:
            raise InvalidData(f"{size**d} points on the grid, at most {MOST_CANDIDATES}: lower grid_size")
        return size

    def _clipped(self, records: Floats) -> Floats:
        """Each record moved into the bounds, NaN to their centre."""
        if self.bounds is None:
            return np.nan_to_num(records, nan=0.0)
        lower, upper = np.array(public_ends(self.bounds, records.shape[1])).T
        return np.clip(np.where(np.isnan(records), lower + (upper - lower) / 2, records), lower, upper)


@dataclass(frozen=True)
class _Box:
    """A grid of size^d points about a centre, up to `half` away from it in each column."""

    centre: Floats
    half: Floats
    size: int

    def deepest(self, X: Floats, release: Release, epsilon: float) -> Floats:
        steps = np.linspace(-1, 1, self.size)
        d = len(self.half)
        points = np.stack(np.meshgrid(*[steps] * d, indexing="ij"), axis=-1).reshape(-1, d)
        with np.errstate(over="ignore", invalid="ignore"):  # a warning would depend on the data
            standard = (X - self.centre) / self.half
        scores = halfspace_depth(standard, points, directions(d))
        chosen = release.choose(scores, sensitivity=1, epsilon=epsilon)
        return np.asarray(self.centre + points[chosen] * self.half)


def _need(n: int, epsilon: float, size: int, d: int) -> Need:
    """Some point is deeper than n / (d + 1) records whatever the data are (Donoho and Gasko 1992)."""
    return Need(n, max(n // (d + 1) - 1, 0), withstand(epsilon, (size - 1) / 2, dimension=d))
