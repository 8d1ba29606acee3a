"""What moving one coordinate by at most t costs, and what that makes of a vector that moves by at most r in l2.

For `QuantizedMean`: the step from a coordinate's Rényi curve to a vector's, which the paper leaves out.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from sfumato.federation.quantization.aggregate import Blanket, log_law
from sfumato.federation.quantization.divergence import Floats, log_moment

_FINE, _COARSE = 1.01, 1.15  # ratios of neighbouring distances: near the distance of interest, and elsewhere


def vector_rdp(law: Any, orders: tuple[float, ...], reach: float, size: int, honest: int | None = None) -> Floats:
    """Bound the Rényi divergence of `size` coordinates, each reported by `law`, that move by at most `reach` in l2.

    Let e(t) be the largest divergence of one coordinate that moves by at most t (`moved`). Coordinates are reported
    independently, so divergences add: the vector's is at most max sum_j e(t_j) over sum_j t_j² <= r². With a concave,
    nondecreasing ê >= e in the variable t², Jensen gives size · ê(r² / size). ê is the concave hull of a step function:
    e is computed at increasing distances, and counts in between as at the next one, so that nothing is missed.

    Parameters
    ----------
    law : RQM or PBM
    orders : tuple of float
        Above 1.
    reach : float
        r.
    size : int
    honest : int, optional
        The sum of so many honest clients' reports is seen; by default the report itself.

    Returns
    -------
    ndarray of float64, shape (len(orders),)
    """
    most = 2 * law.clip
    typical = min(reach / np.sqrt(size), most)
    distances = _distances(law, typical)
    curve = moved(law, orders, distances, honest)
    squares = np.concatenate(([0.0], distances**2))
    steps = np.concatenate((curve, curve[:, -1:]), axis=1)  # at squares[k]: what counts just beyond it
    return size * np.array([_hull_at(squares, row, typical**2) for row in steps])


def moved(law: Any, orders: tuple[float, ...], distances: Floats, honest: int | None = None) -> Floats:
    """Largest divergence of two numbers at most so far apart, shape (len(orders), len(distances)).

    exp((α - 1) D_α) is convex in the pair of numbers on each rectangle between neighbouring corners, and so largest at
    a vertex of what the band |x - x'| <= t leaves of it: pairs of corners no further apart, and pairs of a corner and
    the number exactly t away. `distances`, increasing, must contain those between corners.
    """
    corners = law.corners
    first, second, index = [], [], []
    for i, t in enumerate(distances):
        for sign in (1.0, -1.0):
            other = corners + sign * t
            inside = np.abs(other) <= law.clip * (1 + 1e-12)
            inside &= corners + other >= -1e-9 * law.clip  # the rest are mirror images: P(i | -x) = P(m-1-i | x)
            first.append(corners[inside])
            second.append(other[inside])
            index.append(np.full(int(inside.sum()), i))
    x, y, place = np.concatenate(first), np.concatenate(second), np.concatenate(index)
    log_x, log_y = log_law(law, x), log_law(law, y)
    result = np.zeros((len(orders), len(distances)))
    for p, q in ((log_x, log_y), (log_y, log_x)):
        if honest is None:
            moments = np.array([log_moment(p, q, order) for order in orders])
        else:
            moments = Blanket.of(law, honest).log_moments(p, q, orders)
        for row, order in enumerate(orders):
            np.maximum.at(result[row], place, np.maximum(moments[row], 0.0) / (order - 1))
    return np.maximum.accumulate(result, axis=1)


@lru_cache(maxsize=64)
def _distances(law: Any, typical: float) -> Floats:
    most = 2 * law.clip
    fine = typical * _FINE ** np.arange(-40, 41)
    coarse = typical * 1e-2 * _COARSE ** np.arange(int(np.log(most / typical * 100) / np.log(_COARSE)) + 2)
    between = np.abs(law.corners[:, np.newaxis] - law.corners).ravel()
    every = np.concatenate((fine, coarse, between, [most]))
    return np.unique(every[(every > 0) & (every <= most)])


def _hull_at(x: Floats, y: Floats, at: float) -> float:
    """Value at a point of the least concave function above all points (x, y); x increases and y does not fall."""
    left, right = x <= at, x > at
    best = float(y[left].max())
    if right.any():
        share = (at - x[left])[:, np.newaxis] / (x[right] - x[left][:, np.newaxis])
        best = max(best, float((y[left][:, np.newaxis] * (1 - share) + y[right] * share).max()))
    return best
