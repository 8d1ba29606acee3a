"""The set of error rates that (ε, δ)-differential privacy allows to a test, and the ε of a point.

For the intervals and the auditor of this package. Kairouz, Oh, Viswanath, "The composition theorem
for differential privacy" (2015); Zanella-Béguelin et al., "Bayesian estimation of DP" (ICML 2023).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

LARGEST_EXPONENT = 700.0  # exp() of more overflows a double; the region is then the whole square


def false_positive_range(false_negative_rate: npt.ArrayLike, epsilon: float, delta: float) -> tuple[Floats, Floats]:
    """Least and greatest false-positive rate that (ε, δ)-DP allows at a false-negative rate.

    Parameters
    ----------
    false_negative_rate : array_like
        Values in [0, 1].
    epsilon, delta : float
        The privacy parameters, epsilon >= 0 and 0 <= delta < 1.

    Returns
    -------
    tuple of ndarray
        ``(least, greatest)``, the shape of the input, clipped to [0, 1].
    """
    x = np.asarray(false_negative_rate, dtype=np.float64)
    grow = math.exp(min(epsilon, LARGEST_EXPONENT))
    shrink = math.exp(-epsilon)
    least = np.maximum(1 - delta - x * grow, (1 - delta - x) * shrink)
    greatest = np.minimum(1 + (delta - x) * shrink, delta + (1 - x) * grow)
    return np.clip(least, 0.0, 1.0), np.clip(greatest, 0.0, 1.0)


def point_epsilon(false_negative_rate: npt.ArrayLike, false_positive_rate: npt.ArrayLike, delta: float) -> Floats:
    """Least ε at which (ε, δ)-DP allows a pair of error rates.

    A test worse than chance is judged by its complement, so the value is symmetric about the
    line ``fnr + fpr = 1``. It is 0 near that line and infinite for a test without one kind of error.
    """
    x, y = np.broadcast_arrays(
        np.asarray(false_negative_rate, dtype=np.float64), np.asarray(false_positive_rate, dtype=np.float64)
    )
    flip = x + y > 1
    x, y = np.where(flip, 1 - x, x), np.where(flip, 1 - y, y)
    small, large = np.minimum(x, y), np.maximum(x, y)
    inside = large > 1 - delta - small
    with np.errstate(divide="ignore", invalid="ignore"):
        value = np.log(np.maximum(1 - delta - large, 0.0)) - np.log(small)
    return np.where(inside, 0.0, np.maximum(np.where(small <= 0, np.inf, value), 0.0))
