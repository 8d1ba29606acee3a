"""Robust statistics made private, and private ones shown robust.

For analysts of one number a record, or of a regression of few coefficients. Asi, Ullman and Zakynthinou, "From
Robustness to Privacy and Back" (ICML 2023, arXiv 2302.01855).
"""

from sfumato.statistics.robust.back import robustness_of
from sfumato.statistics.robust.depth import check_sensitivity
from sfumato.statistics.robust.deviation import MedianDeviation, median_absolute_deviation
from sfumato.statistics.robust.finite import DPPrincipalDirection, FiniteRange
from sfumato.statistics.robust.functions import (
    private_center,
    private_direction,
    private_mean,
    private_median,
    private_quantile,
    private_regression,
    private_scale,
    propose_test_release,
)
from sfumato.statistics.robust.halfspaces import DPDepthMean
from sfumato.statistics.robust.location import DPHodgesLehmann, DPMedian, DPQuantile, DPTrimmedMean, DPWinsorizedMean
from sfumato.statistics.robust.pairs import PairwiseMedian, hodges_lehmann
from sfumato.statistics.robust.reach import (
    InterquantileRange,
    LStatistic,
    Reach,
    interquartile_range,
    median,
    quantile,
    trimmed_mean,
    winsorized_mean,
)
from sfumato.statistics.robust.regression import DPDepthRegression
from sfumato.statistics.robust.rings import Rings, withstand
from sfumato.statistics.robust.scale import DPScale
from sfumato.statistics.robust.stable import ProposeTestRelease
from sfumato.statistics.robust.transform import RobustToPrivate

__all__ = [
    "DPDepthMean",
    "DPDepthRegression",
    "DPHodgesLehmann",
    "DPMedian",
    "DPPrincipalDirection",
    "DPQuantile",
    "DPScale",
    "DPTrimmedMean",
    "DPWinsorizedMean",
    "FiniteRange",
    "InterquantileRange",
    "LStatistic",
    "MedianDeviation",
    "PairwiseMedian",
    "ProposeTestRelease",
    "Reach",
    "Rings",
    "RobustToPrivate",
    "check_sensitivity",
    "hodges_lehmann",
    "interquartile_range",
    "median",
    "median_absolute_deviation",
    "private_center",
    "private_direction",
    "private_mean",
    "private_median",
    "private_quantile",
    "private_regression",
    "private_scale",
    "propose_test_release",
    "quantile",
    "robustness_of",
    "trimmed_mean",
    "winsorized_mean",
    "withstand",
]
