"""From a robust statistic to a private one: what all estimators of one number share, and the general one.

For analysts with a statistic whose reach is known. Asi, Ullman and Zakynthinou, "From Robustness to Privacy and Back"
(ICML 2023, arXiv 2302.01855).
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import partial
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.checks import ONE_RECORD
from sfumato.statistics.robust.grids import Floats, Grid, Line
from sfumato.statistics.robust.reach import Reach
from sfumato.statistics.robust.rings import depth, rings, withstand
from sfumato.statistics.robust.unbounded import occupied_range

#: Share of ε that finds the range where none is public.
SHARE_FOR_RANGE = 0.25

_BIN = 4  # bins of the range histogram, in scales
_PARTS = 2**30  # default resolution: the range over this


Drawn = Callable[[Release], float | Floats]


@dataclass(frozen=True)
class Need:
    """How many replaced records a statistic of n records withstands, and how many it should: public numbers."""

    n: int
    breakdown: int
    corruptions: int
    risk: str = "lie anywhere in the range"
    relief: str = "a narrower range"

    def warn(self) -> None:
        """Say if the statistic breaks down too early."""
        if self.breakdown < self.corruptions:
            needed = math.ceil(self.n * self.corruptions / max(self.breakdown, 1))
            warnings.warn(
                f"with {self.n} records the statistic withstands {self.breakdown} replaced ones, and the privacy "
                f"parameters and the range ask for {self.corruptions}: the estimate may {self.risk}. About {needed} "
                f"records, a larger epsilon or {self.relief} would do.",
                UserWarning,
                stacklevel=3,
            )


@dataclass(frozen=True)
class Plan:
    """The public part of a choice of one number: the statistic, and how deep its reach is to be known."""

    epsilon: float
    statistic: Reach
    levels: int

    def choice(self, grid: Grid, x: Floats) -> Drawn:
        """Score the grid for the records x now; what is returned draws from it in a release."""
        scored = rings(self.statistic, grid, x, self.levels)
        return lambda release: grid.value(scored.choose(release, self.epsilon))


@dataclass(eq=False, repr=False)
class PrivateStatistic(BaseEstimator):  # type: ignore[misc]
    """What the estimators of one number a column share: the budget, the checks, the release."""

    epsilon: float = 1.0
    _: KW_ONLY
    bounds: Any = None
    resolution: float | None = None
    missing: str = "error"
    noise_seed: int | None = None

    @abstractmethod
    def _statistic(self, n: int, corruptions: int) -> Reach:
        """The statistic of n records, which should withstand that many replaced ones."""

    @abstractmethod
    def _grid(self, ends: tuple[float, float], n: int) -> Grid:
        """The grid of a column with these public bounds."""

    def fit(self, X: Any, y: Any = None) -> Self:
        """Release the estimate. A second fit spends again.

        Parameters
        ----------
        X : array_like of float, shape (n,) or (n, d)
            Records; several columns share the budget equally.
        y : None
            Ignored.

        Returns
        -------
        self

        Raises
        ------
        InvalidData
            On bad data or parameters, before anything is spent.
        InvalidClaim
            On bad privacy parameters, before anything is spent.
        BudgetExceeded
            If the active ledger refuses.
        """
        bound, seed = self._bound(), checks.seed(self.noise_seed)
        if self.missing not in ("error", "centre"):
            raise InvalidData('missing must be "error" or "centre"')
        scalar = np.ndim(X) == 1
        records = checks.matrix(self, np.asarray(X).reshape(-1, 1) if scalar else X, nan=self.missing == "centre")
        need, columns = self._columns(records, bound)
        claim = Claim(bound, unit="person", neighbours="replace-one", assumptions=self._assumptions())
        with Release(claim, purpose=f"{type(self).__name__}, {len(columns)} columns", seed=seed) as release:
            estimates = np.hstack([draw(release) for draw in columns])
        need.warn()
        self.corruptions_ = need.corruptions
        self.claim_ = release.claim
        self.estimate_ = float(estimates[0]) if scalar else estimates
        return self

    def _columns(self, records: Floats, bound: PureDP | ApproxDP) -> tuple[Need, list[Drawn]]:
        """Everything but the draws; each column gets an equal share."""
        n, d = records.shape
        grids = [self._grid(ends, n) for ends in public_ends(self.bounds, d)]
        need, plan = self._plan(bound.epsilon / d, grids, n)
        return need, [plan.choice(grid, column) for grid, column in zip(grids, records.T, strict=True)]

    def _plan(self, epsilon: float, grids: list[Grid], n: int) -> tuple[Need, Plan]:
        corruptions = withstand(epsilon, max(grid.ratio for grid in grids))
        levels = max(depth(grid.points, epsilon) for grid in grids)
        statistic = self._statistic(n, corruptions)
        return Need(n, statistic.breakdown, corruptions), Plan(epsilon, statistic, levels)

    def _bound(self) -> PureDP | ApproxDP:
        return checks.bound(self.epsilon)

    def _assumptions(self) -> tuple[str, ...]:
        return ("the bounds and the number of records are public", ONE_RECORD)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.noise_seed is None
        tags.input_tags.allow_nan = self.missing == "centre"
        return tags


@dataclass(eq=False, repr=False)
class PrivateLocation(PrivateStatistic):
    """What the estimators of a location share: answers on a line, and a way to find where if no range is public."""

    scale: float | None = None
    delta: float | None = None

    def _grid(self, ends: tuple[float, float], n: int) -> Grid:
        return Line.between(*ends, self._resolution(n) or (ends[1] - ends[0]) / _PARTS, n)

    def _resolution(self, n: int) -> float | None:
        scale = None if self.scale is None else checks.positive("scale", self.scale)
        if self.resolution is not None:
            return checks.positive("resolution", self.resolution)
        return None if scale is None else scale / math.sqrt(n)

    def _columns(self, records: Floats, bound: PureDP | ApproxDP) -> tuple[Need, list[Drawn]]:
        if isinstance(bound, PureDP):
            return super()._columns(records, bound)
        n, d = records.shape
        width = _BIN * checks.positive("scale", self.scale)
        share = bound.epsilon / d
        # the range that will be found is three bins wide, wherever it is
        need, plan = self._plan(share * (1 - SHARE_FOR_RANGE), [self._grid((0.0, 3 * width), n)], n)

        def draw(release: Release, column: Floats) -> float | Floats:
            known = np.nan_to_num(column, nan=0.0)
            found = occupied_range(release, known, width, epsilon=share * SHARE_FOR_RANGE, delta=bound.delta / d)
            return math.nan if found is None else plan.choice(self._grid(found, n), column)(release)

        return need, [partial(draw, column=column) for column in records.T]

    def _bound(self) -> PureDP | ApproxDP:
        if (self.bounds is None) == (self.delta is None):
            raise InvalidClaim("give bounds, the public range, or else delta and scale, to find one")
        return checks.bound(self.epsilon, self.delta)

    def _assumptions(self) -> tuple[str, ...]:
        if self.bounds is not None:
            return super()._assumptions()
        return ("the scale and the number of records are public", ONE_RECORD)


def public_ends(bounds: Any, d: int) -> list[tuple[float, float]]:
    """Lower and upper bound of each column; raises InvalidData."""
    try:
        lower, upper = (np.broadcast_to(np.asarray(end, np.float64), (d,)) for end in bounds)
    except (ValueError, TypeError):
        raise InvalidData(f"bounds must be (lower, upper), numbers or {d} numbers each") from None
    with np.errstate(over="ignore", invalid="ignore"):
        if not (np.all(lower < upper) and np.all(np.isfinite(upper - lower))):
            raise InvalidData("bounds must be finite, the lower below the upper")
    return list(zip(lower.tolist(), upper.tolist(), strict=True))


@dataclass(eq=False, repr=False)
class RobustToPrivate(PrivateLocation):
    """Make a robust statistic ε-differentially private, optimally: the paper's transformation in one dimension.

    Parameters
    ----------
    epsilon : float, default 1.0
        Positive; shared equally by the columns.
    statistic : callable
        From the number of records to a `Reach`: `median`, ``lambda n: trimmed_mean(n, n // 10)``, or your own.
    bounds, scale, resolution, delta, missing, noise_seed
        See `DPTrimmedMean`.

    Attributes
    ----------
    estimate_ : float, or ndarray of float, shape (d,)
    claim_ : Claim
    corruptions_ : int
        Replaced records that the statistic should withstand at this ε and range.

    Notes
    -----
    The answer t has probability proportional to exp(-ε/2 · len(x; t)), where len is the least number of records of x
    to replace so that the statistic comes within the resolution of t; t lies on a public grid. For the proof of
    privacy see `Rings`. For a statistic of your own the claim assumes that its reach is exact: an upper bound from a
    search is not, and voids it. `check_sensitivity` finds the worst cases of such mistakes.

    Examples
    --------
    >>> from sfumato.statistics.robust import RobustToPrivate, winsorized_mean
    >>> mean = RobustToPrivate(2.0, statistic=lambda n: winsorized_mean(n, n // 4), bounds=(0, 10))
    >>> bool(-1 < mean.fit([3.0, 4.0, 5.0] * 100).estimate_ < 11)
    True
    """

    statistic: Callable[[int], Reach] | None = None

    def _statistic(self, n: int, corruptions: int) -> Reach:
        if not callable(self.statistic):
            raise InvalidData("statistic must be a callable, from the number of records to its Reach")
        return self.statistic(n)

    def _assumptions(self) -> tuple[str, ...]:
        return (*super()._assumptions(), "the reach of the statistic is exact, as its author proves")
