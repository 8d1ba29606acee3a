"""Laws of small integers in log space: sums of independent ones, and Rényi divergences.

For the exact accounts of `sfumato.federation.quantization`; plain powers overflow from a hundred summands on. Rényi
divergence: van Erven and Harremoës 2014.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_SMALLEST = -600.0  # log of what float64 holds with room to spare


def log_moment(log_p: Floats, log_q: Floats, order: float) -> Floats:
    """Log of the sum of P^order Q^(1 - order) along the last axis, for order > 1.

    Jointly convex in (P, Q), so its largest value over a polytope of pairs is at a corner.

    Parameters
    ----------
    log_p, log_q : ndarray of float64, shapes (..., k) that broadcast
        Where P is 0 the term is 0; where only Q is 0 it is infinite.
    order : float
        Finite.
    """
    with np.errstate(invalid="ignore"):
        terms = np.where(np.isneginf(log_p), -np.inf, order * log_p - (order - 1) * log_q)
        largest = terms.max(axis=-1, keepdims=True)
        total = np.exp(terms - largest).sum(axis=-1)
        return np.asarray(np.where(np.isposinf(largest[..., 0]), np.inf, np.log(total) + largest[..., 0]))


def renyi_divergence(log_p: Floats, log_q: Floats, order: float) -> Floats:
    """Rényi divergence of an order above 1, infinity included, along the last axis; at least 0."""
    if math.isinf(order):
        with np.errstate(invalid="ignore"):
            loss = np.where(np.isneginf(log_p), -np.inf, log_p - log_q)
        return np.asarray(np.maximum(loss.max(axis=-1), 0.0))
    return np.asarray(np.maximum(log_moment(log_p, log_q, order) / (order - 1), 0.0))


def log_convolve(log_p: Floats, log_q: Floats) -> Floats:
    """Law of the sum of two independent integers along the last axis.

    Parameters
    ----------
    log_p : ndarray of float64, shape (..., k)
    log_q : ndarray of float64, shape (l,)

    Returns
    -------
    ndarray of float64, shape (..., k + l - 1)
    """
    k, n = log_p.shape[-1], len(log_q)
    if log_p.ndim == 1 and k > n:
        return log_convolve(log_q, log_p)
    if log_p.min() + log_q.min() > _SMALLEST:  # nothing vanishes: sums of products are as accurate as their logs
        shifted = np.zeros((k, k + n - 1))
        for i in range(k):
            shifted[i, i : i + n] = np.exp(log_q)
        return np.asarray(np.log(np.exp(log_p) @ shifted))
    total = np.full((*log_p.shape[:-1], k + n - 1), -np.inf)
    for i in range(k):
        place = total[..., i : i + n]
        np.logaddexp(place, log_p[..., i : i + 1] + log_q, out=place)
    return total


def log_powers(log_p: Floats, most: int) -> list[Floats]:
    """Laws of the sums of 0, 1, ..., `most` independent copies of an integer."""
    powers = [np.zeros(1)]
    for _ in range(most):
        powers.append(log_convolve(log_p, powers[-1]))
    return powers


def log_power(log_p: Floats, times: int) -> Floats:
    """Law of the sum of that many independent copies, by repeated squaring."""
    result = np.zeros(1)
    while times:
        if times & 1:
            result = log_convolve(result, log_p)
        times >>= 1
        if times:
            log_p = log_convolve(log_p, log_p)
    return result
