"""Exact one-dimensional total-variation denoising.

For the "tv" smoother. The taut string: Davies and Kovac 2001.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def denoise(values: Floats, weight: float) -> Floats:
    """Minimise ½‖x − values‖² + weight · Σ|x_{i+1} − x_i|.

    x is the slope of the shortest string from end to end of the running sum within a tube of radius `weight`.

    Parameters
    ----------
    values : ndarray of float, shape (n,)
    weight : float
        At least 0.

    Returns
    -------
    ndarray of float, shape (n,)
    """
    n = len(values)
    if n < 2 or weight == 0:
        return values.copy()
    total = np.concatenate(([0.0], np.cumsum(values)))
    radius = np.full(n + 1, weight)
    radius[[0, n]] = 0.0
    smooth, start, height = np.empty(n), 0, 0.0
    while start < n:
        end, slope = _straight_piece(total[start + 1 :] - height, radius[start + 1 :])
        smooth[start : start + end] = slope
        start, height = start + end, height + slope * end
    return smooth


def _straight_piece(centre: Floats, radius: Floats) -> tuple[int, float]:
    """Length and slope of the string's first straight piece from the origin, through a tube at 1, 2, …."""
    steps = np.arange(1, len(centre) + 1)
    low, high = (centre - radius) / steps, (centre + radius) / steps
    steepest, flattest = np.maximum.accumulate(low), np.minimum.accumulate(high)
    blocked = np.flatnonzero(steepest > flattest)
    if not len(blocked):
        return len(centre), float(low[-1])
    k = int(blocked[0])
    # The string bends where it touches the side that the rest of the tube turns away from.
    side, touching = (high, np.argmin(high[:k])) if low[k] > flattest[k - 1] else (low, np.argmax(low[:k]))
    return int(touching) + 1, float(side[touching])
