"""How likely a report is given the state, to full relative precision far into the tails.

For the Bayesian update of `SequentialLearning`: each agent's log-likelihood ratio is a difference of two of these, and
late in a herd both probabilities are far below any rounding of 1 - P.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

Floats = NDArray[np.float64]

_LOG_HALF = math.log(0.5)
_ROOT2 = math.sqrt(2)


def log_normal_plus(z: ArrayLike, sigma: float) -> Floats:
    """log Pr[s > t] for s ~ N(θ, σ²), with z = θ - t."""
    return np.asarray(special.log_ndtr(np.asarray(z, dtype=float) / sigma), dtype=np.float64)


def log_smooth_plus(z: ArrayLike, sigma: float, epsilon: ArrayLike) -> Floats:
    """log Pr[s + Laplace(1/ε) > t] for s ~ N(θ, σ²), with z = θ - t.

    The event that the noisy signal exceeds the threshold splits by the side that the signal itself is on: with

        T(z) = ½ exp(ε²σ²/2 - εz) Φ(z/σ - εσ),

    the upper side contributes Φ(z/σ) - T(z), at least half of Φ(z/σ), and the lower side T(-z). Both are positive, so
    nothing cancels; the complement is the same formula at -z.

    Parameters
    ----------
    z : array_like of float
    sigma : float
        Above 0.
    epsilon : array_like of float
        At least 0, broadcast against `z`; at 0 the report is a fair coin.

    Returns
    -------
    ndarray of float64
        Relative precision of the probability about 1e-13, down to exp(-10**6) and below.
    """
    x, rate = np.broadcast_arrays(np.asarray(z, dtype=float) / sigma, np.asarray(epsilon, dtype=float) * sigma)
    upper = special.log_ndtr(x) + np.log1p(-np.exp(_log_share(x, rate)))
    return np.asarray(np.logaddexp(upper, _log_flipped(-x, rate)), dtype=np.float64)


def _log_flipped(x: Floats, rate: Floats) -> Floats:
    """log T in units of σ: log of ½ exp(rate²/2 - rate·x) Φ(x - rate), by the scaled erfc where Φ underflows."""
    y = rate - x
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        tail = 2 * _LOG_HALF + np.log(special.erfcx(y / _ROOT2)) - x**2 / 2
        body = _LOG_HALF + rate**2 / 2 - rate * x + special.log_ndtr(x - rate)
    return np.asarray(np.where(y > 0, tail, body), dtype=np.float64)


def _log_share(x: Floats, rate: Floats) -> Floats:
    """log T(z)/Φ(z): the Gaussian exponents cancel exactly below the threshold, and are harmless above it."""
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        below = _LOG_HALF + np.log(special.erfcx((rate - x) / _ROOT2)) - np.log(special.erfcx(-x / _ROOT2))
        above = _log_flipped(x, rate) - special.log_ndtr(x)
    return np.asarray(np.minimum(np.where(x < 0, below, above), _LOG_HALF), dtype=np.float64)


def log_uniform_plus(z: ArrayLike, sigma: float, flip: ArrayLike) -> Floats:
    """log of u + (1 - 2u) Φ(z/σ): the intended action, flipped with probability u."""
    u = np.asarray(flip, dtype=float)
    return np.asarray(np.log(u + (1 - 2 * u) * special.ndtr(np.asarray(z, dtype=float) / sigma)), dtype=np.float64)
