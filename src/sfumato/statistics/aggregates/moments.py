"""What a linear fit to bag means needs of the features: their scatter between bags and within, in one pass.

For `AggregateRegressor`. Javanmard et al. (ICLR 2024, arXiv 2401.11081): XᵀX splits into a part that the bag loss
sees and a part that only the instance loss does; the second is the regulariser.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates.bags import Bags, Floats, Integers, read_bags
from sfumato.statistics.aggregates.releasing import AggregateResponses

_BLOCK = 2**23  # numbers worked on at once


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sums over bags, about the weighted means, of features in units of their deviations.

    Attributes
    ----------
    between : ndarray, shape (d, d)
        A = Σ w_b k_b (x̄_b - c)(x̄_b - c)ᵀ.
    within : ndarray, shape (d, d)
        B = Σ w_b Σ_i (x_i - x̄_b)(x_i - x̄_b)ᵀ; A + B is the scatter of people.
    cross : ndarray, shape (d,)
        Σ w_b k_b (x̄_b - c)(ȳ_b - c_y).
    square : float
        Σ w_b k_b (ȳ_b - c_y)².
    features, response : ndarray, shape (d,), and float
        The centres c, in the features' own units, and c_y; 0 without an intercept.
    scale : ndarray, shape (d,)
        The deviations by which the features were divided; 1 for constant ones.
    """

    between: Floats
    within: Floats
    cross: Floats
    square: float
    features: Floats
    response: float
    scale: Floats


def moments(X: Floats, bags: Bags, means: Floats, weights: Floats, *, intercept: bool) -> Moments:
    """Compute `Moments`; `weights` are relative weights of people by bag, shape (m,)."""
    total = weights * bags.sizes
    x_bar = bags.means(X)
    d = X.shape[1]
    centre = np.average(x_bar, axis=0, weights=total) if intercept else np.zeros(d)
    level = float(np.average(means, weights=total)) if intercept else 0.0
    x_bar = x_bar - centre
    y = means - level
    between = (x_bar * total[:, np.newaxis]).T @ x_bar
    within = np.zeros((d, d))
    if (bags.sizes > 1).any():
        step = max(1, _BLOCK // d)
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            own = X[part] - centre - x_bar[bags.of[part]]
            own *= np.sqrt(weights)[bags.of[part], np.newaxis]
            within += own.T @ own
    deviation = np.sqrt(np.diag(between + within) / total.sum())
    scale = np.where(deviation > 0, deviation, 1.0)
    square = np.outer(scale, scale)
    cross = x_bar.T @ (total * y) / scale
    return Moments(between / square, within / square, cross, float(total @ y**2), centre, level, scale)


def read_responses(y: AggregateResponses | Floats, bag_id: Integers | None, n: int) -> tuple[Bags, Floats, Floats]:
    """Return the bags, their means, and the variance of the noise of each mean (0 if it is not told)."""
    bags = Bags(np.arange(n), np.ones(n, np.bool_), np.ones(n, np.int64)) if bag_id is None else read_bags(bag_id, n)
    if isinstance(y, AggregateResponses):
        if not np.array_equal(y.sizes, bags.sizes):
            raise InvalidData("y was aggregated over other bags: their sizes are not those of bag_id")
        return bags, y.means, y.noise_variance
    if y.shape != (len(bags),):
        raise InvalidData(
            "y must have one entry a bag (inconsistent numbers of samples where bag_id is not given: each row is a bag)"
        )
    return bags, y, np.zeros(len(bags))
