"""One line for each question: private mean, median, quantile, scale, centre, line and direction.

For whoever needs one number and its claim; the estimators of this package do the work.
"""

from __future__ import annotations

from typing import Any

from sfumato.statistics.robust.finite import DPPrincipalDirection
from sfumato.statistics.robust.grids import Floats
from sfumato.statistics.robust.halfspaces import DPDepthMean
from sfumato.statistics.robust.location import DPMedian, DPQuantile, DPTrimmedMean
from sfumato.statistics.robust.regression import DPDepthRegression
from sfumato.statistics.robust.scale import DPScale
from sfumato.statistics.robust.stable import ProposeTestRelease


def private_mean(x: Any, epsilon: float, **parameters: Any) -> float | Floats:
    """Trimmed mean of x; parameters as `DPTrimmedMean`: `bounds`, or `scale` and `delta`."""
    return _estimate(DPTrimmedMean(epsilon, **parameters), x)


def private_median(x: Any, epsilon: float, **parameters: Any) -> float | Floats:
    """Median of x; parameters as `DPMedian`."""
    return _estimate(DPMedian(epsilon, **parameters), x)


def private_quantile(x: Any, p: float, epsilon: float, **parameters: Any) -> float | Floats:
    """Quantile of x; parameters as `DPQuantile`."""
    return _estimate(DPQuantile(epsilon, p=p, **parameters), x)


def private_scale(x: Any, epsilon: float, **parameters: Any) -> float | Floats:
    """Standard deviation of x by its interquartile range; parameters as `DPScale`."""
    return _estimate(DPScale(epsilon, **parameters), x)


def private_center(X: Any, epsilon: float, **parameters: Any) -> float | Floats:
    """Deepest point of X, shape (d,); parameters as `DPDepthMean`."""
    return _estimate(DPDepthMean(epsilon, **parameters), X)


def propose_test_release(x: Any, epsilon: float, delta: float, **parameters: Any) -> float | Floats:
    """Trimmed mean of x, or NaN where x is not stable; parameters as `ProposeTestRelease`: `scale`."""
    return _estimate(ProposeTestRelease(epsilon, delta=delta, **parameters), x)


def private_regression(X: Any, y: Any, epsilon: float, **parameters: Any) -> DPDepthRegression:
    """Fitted line; parameters as `DPDepthRegression`: `X_bounds`, `y_bounds`."""
    return DPDepthRegression(epsilon, **parameters).fit(X, y)


def private_direction(X: Any, epsilon: float, **parameters: Any) -> Floats:
    """First principal direction, shape (d,); parameters as `DPPrincipalDirection`."""
    direction: Floats = DPPrincipalDirection(epsilon, **parameters).fit(X).components_[0]
    return direction


def _estimate(estimator: Any, x: Any) -> float | Floats:
    estimate: float | Floats = estimator.fit(x).estimate_
    return estimate
