"""Unary encoding: a bit for each category, each flipped at random, exactly.

For `Release.unary_encoding`, which is where it is drawn. Wang, Blocki, Li and Jha 2017 ("optimized unary encoding").
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.noise import bernoulli
from sfumato.privacy.probability import odds

_CHUNK = 2**20  # bits worked on at once


def unary_encoding(categories: ArrayLike, k: int, epsilon: float, entropy: Entropy) -> NDArray[np.uint8]:
    """Report k bits a unit: that of its own category 1 with probability 1/2, each other with 1/(e^ε + 1).

    Parameters
    ----------
    categories : array_like of int, shape (n,)
        In -1 .. k-1; -1 belongs to none of them and has no bit of its own.
    k : int
        At least 1.
    epsilon : float
        Above 0.
    entropy : Entropy

    Returns
    -------
    ndarray of uint8, shape (n, ceil(k / 8))
        The bits as `numpy.packbits` packs them.

    Raises
    ------
    InvalidData
        If a category is outside -1 .. k-1.
    """
    values = np.asarray(categories, dtype=np.int64)
    if k < 1:
        raise InvalidClaim(f"k must be at least 1, got {k}")
    if np.any((values < -1) | (values >= k)):
        raise InvalidData(f"categories must lie in -1 .. {k - 1}")
    others = odds(1, Fraction(epsilon))
    packed = np.empty((len(values), -(-k // 8)), dtype=np.uint8)
    rows = max(1, _CHUNK // k)
    for start in range(0, len(values), rows):
        part = values[start : start + rows]
        bits = bernoulli(others, (len(part), k), entropy)
        # Both are drawn for everyone: which unit has a category shows in nothing but the report.
        own = bernoulli(Fraction(1, 2), len(part), entropy)
        has = np.flatnonzero(part >= 0)
        bits[has, part[has]] = own[has]
        packed[start : start + rows] = np.packbits(bits, axis=1)
    return packed
