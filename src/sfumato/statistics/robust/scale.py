"""A private standard deviation from the interquartile range or the median deviation, on a public ladder of scales.

For analysts who know a spread only to some orders of magnitude. Asi, Ullman and Zakynthinou (ICML 2023) applied to
statistics whose reach is a small maximisation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from sfumato.errors import InvalidData
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.deviation import median_absolute_deviation
from sfumato.statistics.robust.grids import Grid, Ladder
from sfumato.statistics.robust.reach import Reach, interquartile_range
from sfumato.statistics.robust.transform import PrivateStatistic

_QUARTILE = 0.6744897501960817  # upper quartile of the standard normal distribution
#: Each statistic, and the standard deviations to one of it where records are normal.
_STATISTICS: dict[str, tuple[Callable[[int], Reach], float]] = {
    "iqr": (interquartile_range, 0.5 / _QUARTILE),
    "mad": (median_absolute_deviation, 1 / _QUARTILE),
}


@dataclass(eq=False, repr=False)
class DPScale(PrivateStatistic):
    """Robust scale with pure differential privacy, in units of the standard deviation of normal records.

    Parameters
    ----------
    epsilon : float, default 1.0
        Positive; shared equally by the columns.
    bounds : (lower, upper)
        Public positive ends of the answer, numbers or one for each column. They may be orders of magnitude apart.
    resolution : float, optional
        Relative differences that do not matter; 0.01 by default.
    missing : {"error", "centre"}
        "centre" counts NaN as 0.
    statistic : {"iqr", "mad"}
        Interquartile range over 1.349, which a quarter of wild records may spoil, or 1.4826 times the median absolute
        deviation from the median, which half of them may; both as accurate where records are normal.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    estimate_, claim_, corruptions_, n_features_in_
        See `DPTrimmedMean`.

    Notes
    -----
    Records are rounded to a power of two below lower / 256 and clipped at 2^50 of those, one by one. The reaches
    are exact, see `InterquantileRange` and `MedianDeviation`; their order on the ladder is kept by any monotone
    rounding, so the proof of `Rings` holds.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import DPScale
    >>> x = np.random.default_rng(0).normal(70, 10, 5000)
    >>> bool(8 < DPScale(epsilon=1.0, bounds=(1e-3, 1e6)).fit(x).estimate_ < 12)
    True
    """

    statistic: Literal["iqr", "mad"] = "iqr"

    def _grid(self, ends: tuple[float, float], n: int) -> Grid:
        resolution = 0.01 if self.resolution is None else checks.positive("resolution", self.resolution)
        lower, upper = ends
        if not 1e-250 < lower < upper < 1e250 or not 1e-4 <= resolution <= 1:
            raise InvalidData("bounds must be above 0 and below 1e250, and resolution in [1e-4, 1]")
        return Ladder(lower, upper, resolution, self._known()[1])

    def _statistic(self, n: int, corruptions: int) -> Reach:
        return self._known()[0](n)

    def _known(self) -> tuple[Callable[[int], Reach], float]:
        if not isinstance(self.statistic, str) or self.statistic not in _STATISTICS:
            raise InvalidData('statistic must be "iqr" or "mad"')
        return _STATISTICS[self.statistic]
