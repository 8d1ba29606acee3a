"""1/(1 + z) as a short sum of exponentials: the published route from smooth kernels to exponential and Gaussian ones.

For the comparison with mixtures in `kernels`. Backurs et al. (ICLR 2024); trapezoid rule: Beylkin and Monzón 2005.
"""

from __future__ import annotations

import math

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.similarity.rows import Floats
from sfumato.statistics.similarity.spending import positive

_CHECKED = 20_000  # points of the dense grid on which the error is verified


def exponential_sum(alpha: float, z_max: float = 1000.0) -> tuple[Floats, Floats]:
    """Positive weights w and rates r with |1/(1 + z) - Σ w e^(-r z)| ≤ alpha for 0 ≤ z ≤ z_max.

    1/(1 + z) = ∫ e^-u e^(-uz) du over u > 0. With u = e^v it is the integral of exp(v - e^v (1 + z)) over all v, smooth
    and falling off at both ends, which the trapezoid rule with O(log² 1/alpha) nodes gives. The widest step and the
    fewest nodes are searched for, and the error is verified on a dense grid (20,000 points from 0, even in log(1 + z)).

    Parameters
    ----------
    alpha : float
        In [1e-10, 0.5].
    z_max : float
        Positive.

    Returns
    -------
    weights, rates : ndarray of float, shape (J,)
        All positive; for a kernel 1/(1 + ‖x - y‖) take z = ‖x - y‖, for 1/(1 + ‖x - y‖²) its square.
    """
    if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 1e-10 <= alpha <= 0.5:
        raise InvalidData("alpha must be in [1e-10, 0.5]")
    z = np.expm1(np.linspace(0, math.log1p(positive("z_max", z_max)), _CHECKED))
    # above e^v = top, and below e^v = bottom, the integral is at most alpha / 8 each
    top, bottom = math.log(math.log(8 / alpha)), math.log(alpha / 8)
    for step in 2.0 * 0.95 ** np.arange(60):
        rates = np.exp(top - step * np.arange(math.ceil((top - bottom) / step) + 1))
        weights = step * rates * np.exp(-rates)
        if error_of(weights, rates, z) <= alpha:
            return _shortest(weights, rates, z, alpha)
    raise InvalidData("no sum of exponentials was found: raise alpha or lower z_max")


def _shortest(weights: Floats, rates: Floats, z: Floats, alpha: float) -> tuple[Floats, Floats]:
    """Drop nodes from both ends for as long as the error stays within alpha."""
    for cut in (slice(1, None), slice(None, -1)):
        while len(weights) > 1 and error_of(weights[cut], rates[cut], z) <= alpha:
            weights, rates = weights[cut], rates[cut]
    return weights, rates


def error_of(weights: Floats, rates: Floats, z: Floats) -> float:
    """Largest |1/(1 + z) - Σ w e^(-r z)| on a grid."""
    total = np.zeros_like(z)
    for weight, rate in zip(weights, rates, strict=True):
        total += weight * np.exp(-rate * z)
    return float(np.abs(total - 1 / (1 + z)).max())
