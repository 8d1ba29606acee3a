"""A public random rotation that spreads a vector over its coordinates, in O(d log d).

For `QuantizedMean` with an l2 clip. Ailon and Chazelle 2009 (random signs, then Hadamard); in private sums: Kairouz,
Liu and Steinke 2021.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sfumato.federation.quantization.divergence import Floats


def padded(dimension: int) -> int:
    """The next power of two, at least `dimension`."""
    return 1 << (dimension - 1).bit_length()


def signs(size: int, seed: int) -> NDArray[np.int8]:
    """Public random signs, shape (size,)."""
    return (1 - 2 * np.random.default_rng(seed).integers(0, 2, size)).astype(np.int8)


def hadamard(vectors: Floats) -> Floats:
    """Multiply by the orthonormal Hadamard matrix along the last axis, whose length is a power of two; its own inverse.

    Parameters
    ----------
    vectors : ndarray of float64, shape (..., 2^k)

    Returns
    -------
    ndarray of float64, same shape
        A new array.
    """
    size = vectors.shape[-1]
    flat = np.array(vectors, dtype=np.float64).reshape(-1, size)
    half = 1
    while half < size:
        pairs = flat.reshape(len(flat), -1, 2, half)
        low, high = pairs[:, :, 0], pairs[:, :, 1]
        difference = low - high
        low += high
        high[:] = difference
        half *= 2
    flat /= math.sqrt(size)
    return flat.reshape(vectors.shape)


def rotate(vectors: Floats, seed: int) -> Floats:
    """Pad with zeros to a power of two, multiply by public signs, transform. Keeps all distances.

    Parameters
    ----------
    vectors : ndarray of float64, shape (n, d)

    Returns
    -------
    ndarray of float64, shape (n, padded(d))
    """
    n, dimension = vectors.shape
    wide = np.zeros((n, padded(dimension)))
    wide[:, :dimension] = vectors
    wide *= signs(wide.shape[1], seed)
    return hadamard(wide)


def rotate_back(rotated: Floats, dimension: int, seed: int) -> Floats:
    """Undo `rotate` and drop the padding; shapes (..., padded(d)) and (..., d)."""
    return np.asarray((hadamard(rotated) * signs(rotated.shape[-1], seed))[..., :dimension])
