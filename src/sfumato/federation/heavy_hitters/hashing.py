"""Hash functions of local hashing: one a user, known by its seed, and the counting of what their reports support.

For `OLH`. Multiply-add-shift (Dietzfelbinger 1996): h(x) = the upper half of a·x + b mod 2^64 is exactly pairwise
independent over 32-bit x when a and b are uniform; they are two outputs of splitmix64 (Steele et al. 2014).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData

Words = NDArray[np.uint64]
Integers = NDArray[np.int64]

#: Most buckets: the range 2^32 is cut into them, so that their probabilities differ by 2^-16 of themselves at most.
MOST_BUCKETS = 2**16

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_BLOCK = 2**14  # users that NumPy works on at once: their words stay in the processor's cache
_WORTH_COMPILING = 2**25  # pairs of user and candidate


def buckets(seeds: Words, values: Integers, size: int) -> Integers:
    """Return each user's bucket of the user's own value, under the user's own function.

    Parameters
    ----------
    seeds : ndarray of uint64, shape (n,)
    values : ndarray of int64, shape (n,)
        In 0 .. 2^32 - 1.
    size : int
        Number of buckets, 2 .. `MOST_BUCKETS`.

    Returns
    -------
    ndarray of int64, shape (n,)
        In 0 .. size-1.
    """
    factor, shift = _family(seeds)
    return (((_upper(factor, shift, values.astype(np.uint64))) * np.uint64(size)) >> _HALF).astype(np.int64)


def count_support(seeds: Words, reported: Integers, candidates: int, size: int) -> Integers:
    """Count, for each x in 0 .. candidates-1, the users whose function puts x into the bucket that they reported.

    Takes n · candidates hash evaluations. A compiled loop does many of them if numba is installed; NumPy does the same,
    about twenty-five times slower.

    Parameters
    ----------
    seeds : ndarray of uint64, shape (n,)
    reported : ndarray of int64, shape (n,)
        In 0 .. size-1.
    candidates : int
    size : int

    Returns
    -------
    ndarray of int64, shape (candidates,)
    """
    factor, shift = _family(seeds)
    first, beyond = _ends(reported, size), _ends(reported + 1, size)
    width = beyond - first
    counts = np.zeros(candidates, dtype=np.int64)
    loop = _compiled() if len(seeds) * candidates >= _WORTH_COMPILING else None
    if loop is not None:
        loop(factor, shift, first, width, counts)
    else:
        _count_in_blocks(factor, shift, first, width, counts)
    return counts


def _count_in_blocks(factor: Words, shift: Words, first: Words, width: Words, counts: Integers) -> None:
    for start in range(0, len(factor), _BLOCK):
        part = slice(start, start + _BLOCK)
        step, low, wide, word = factor[part], first[part], width[part], shift[part].copy()
        hashed = np.empty_like(word)
        for x in range(len(counts)):  # word is factor · x + shift
            np.right_shift(word, _HALF, out=hashed)
            hashed -= low  # below 0 it wraps round to the top, beyond any width
            counts[x] += np.count_nonzero(hashed < wide)
            word += step


@cache
def _compiled() -> Callable[..., None] | None:
    try:
        import numba
    except ModuleNotFoundError:
        return None

    def loop(factor: Any, shift: Any, first: Any, width: Any, counts: Any) -> None:
        half = np.uint64(32)
        for user in range(len(factor)):
            word, step, low, wide = shift[user], factor[user], first[user], width[user]
            for x in range(len(counts)):
                counts[x] += np.int64(((word >> half) - low) < wide)
                word += step

    return numba.njit(loop, nogil=True)  # type: ignore[no-any-return]


def _family(seeds: Words) -> tuple[Words, Words]:
    if seeds.dtype != np.uint64:
        raise InvalidData(f"seeds must be uint64, got {seeds.dtype}")
    return _mix(seeds + _GAMMA), _mix(seeds + _GAMMA + _GAMMA)


def _mix(words: Words) -> Words:
    mixed = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _upper(factor: Words, shift: Words, values: Words) -> Words:
    word = factor * values
    word += shift
    word >>= _HALF
    return word


def _ends(bucket: Integers, size: int) -> Words:
    """The least 32-bit hash whose bucket, floor(hash · size / 2^32), is at least that one."""
    divisor = np.uint64(size)
    return ((bucket.astype(np.uint64) << _HALF) + divisor - np.uint64(1)) // divisor
