"""The tree of prefixes: which users speak at which level, which prefixes live on, and what they grow into.

For `HeavyHitterProtocol`. Prefix extending: Wang, Li and Jha 2021 (PEM); the rule that lets more prefixes live where
noise is large is ours, for what Zhang, Ye and Hu 2025 call adaptive extension.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Items = NDArray[np.uint64]
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

#: Longest item, so that a value beyond all of them still fits 64 bits.
MOST_BITS = 60
#: Stands for what the encoder does not know: no prefix of it is a candidate at any level.
UNKNOWN = np.uint64(1 << 63)


def prefix_lengths(bits: int, levels: int) -> list[int]:
    """Bits of a prefix at each level: ceil(h · bits / levels) for h = 1 .. levels."""
    return [-(-h * bits // levels) for h in range(1, levels + 1)]


def cheapest_levels(bits: int, kept: int, candidates: int) -> int:
    """Least number of levels at which no level has more candidates than that.

    A count's standard error grows with the root of the number of levels g, and the largest of |C| errors with that of
    2 ln |C|: sqrt(g · (ln kept + ln 2 · bits/g)) grows with g, so that fewer levels are better as long as they fit.
    """
    for levels in range(1, bits):
        first, step = prefix_lengths(bits, levels)[0], math.ceil(bits / levels)
        if max(1 << first, kept << step) <= candidates:
            return levels
    return bits


def members(users: int, level: int, levels: int, seed: tuple[int, ...], *, growing: bool = False) -> Integers:
    """Return the positions of the users who speak at a level: a part of a public random permutation.

    It depends on the number of users and on the seed, not on what they hold; the levels' parts are disjoint and hold
    everyone.

    Parameters
    ----------
    users, level, levels : int
        Levels are counted from 0.
    seed : tuple of int
    growing : bool
        Later levels are larger, by the rule of FedFT (GTF): users/(2g) + h · users/(g(g+1)) at level h = 1 .. g.

    Returns
    -------
    ndarray of int64
    """
    order = np.random.default_rng(seed).permutation(users)
    ends = [_users_before(users, h, levels, growing) for h in (level, level + 1)]
    return order[ends[0] : ends[1]]


def _users_before(users: int, level: int, levels: int, growing: bool) -> int:
    if not growing:
        return level * users // levels
    return (level * users * (levels + 1) + level * (level + 1) * users) // (2 * levels * (levels + 1))


def locate(items: Items, bits: int, length: int, candidates: Items) -> Integers:
    """Return the number of each item's prefix among sorted candidates, or -1.

    Both are uint64, so that no comparison goes through floating point.
    """
    prefixes = items >> np.uint64(bits - length)
    places = np.searchsorted(candidates, prefixes)
    places[places == len(candidates)] = 0
    return np.where(candidates[places] == prefixes, places, -1).astype(np.int64)


def grow(prefixes: Items, step: int) -> Items:
    """Return all continuations of sorted prefixes by `step` bits, sorted."""
    suffixes = np.arange(1 << step, dtype=np.uint64)
    return ((prefixes[:, np.newaxis] << np.uint64(step)) | suffixes).ravel()


def best(counts: Floats, k: int) -> Integers:
    """Return the positions of the k largest counts, largest first; ties by position, which is by prefix."""
    return np.argsort(-counts, kind="stable")[:k]


def kth_largest(counts: Floats, k: int) -> float:
    """Return the k-th largest count, or the least if there are fewer."""
    place = len(counts) - min(k, len(counts))
    return float(np.partition(counts, place)[place])


def survivors(counts: Floats, k: int, sd: float, *, z: float, most: int) -> Integers:
    """Return the positions of the counts that may belong to the k largest, in increasing order.

    Those of at least the k-th largest less z standard errors: k at least, `most` at most. z = 0 and most = k is PEM.
    """
    enough = int(np.count_nonzero(counts >= kth_largest(counts, k) - z * sd))
    return np.sort(best(counts, min(max(enough, k), most)))
