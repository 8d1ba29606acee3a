"""Quantisers whose own randomness is the noise, drawn exactly: comparisons of integers decide every outcome.

For `PrepaidNoise`, which is where they are drawn. Youn, Hu, Ziani and Abernethy 2023 (randomized quantization), Chen,
Özgür and Kairouz 2022 (Poisson binomial). Positions are fixed-point numbers with 32 binary digits after the point.
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.noise import uniform_integers
from sfumato.privacy.probability import Probability, rational

#: Binary digits after the point of a position.
FRACTION_BITS = 32
MOST_LEVELS = 256

_CHUNK = 2**15
_TIE = 255  # no run is as long: levels 0 and m - 1 are always kept


def randomized_quantization(
    positions: NDArray[np.int64], levels: int, keep: Fraction, entropy: Entropy
) -> NDArray[np.uint8]:
    """Keep each interior level with probability `keep`, and round each position at random to a kept neighbour.

    Levels are kept afresh for every position. Only the kept levels next to a position matter: going down from it or up,
    the number of dropped levels is geometric, cut off at the ends, which are always kept. Between neighbours a <= u < b
    the report is b with probability (u - a) / (b - a), so that its mean is u.

    Parameters
    ----------
    positions : ndarray of int64, any shape
        2^32 times the place among levels 0 .. levels-1; at least 0 and below (levels - 1) · 2^32.
    levels : int
        3 .. 256.
    keep : Fraction
        Inside (0, 1).
    entropy : Entropy

    Returns
    -------
    ndarray of uint8, same shape

    Raises
    ------
    InvalidData
        If a position is outside that range.
    """
    if not 3 <= levels <= MOST_LEVELS or not 0 < keep < 1:
        raise InvalidClaim(f"expected 3 to {MOST_LEVELS} levels and keep inside (0, 1)")
    _check(positions, (levels - 1 << FRACTION_BITS) - 1)
    flat = np.ascontiguousarray(positions).reshape(-1)
    reports = np.empty(len(flat), dtype=np.uint8)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        cell = part >> FRACTION_BITS
        a = np.maximum(cell - _dropped(levels, keep, len(part), entropy), 0)
        b = np.minimum(cell + 1 + _dropped(levels, keep, len(part), entropy), levels - 1)
        up = _below_ratio(part - (a << FRACTION_BITS), b - a, entropy)
        reports[start : start + _CHUNK] = np.where(up, b, a)
    return reports.reshape(positions.shape)


def binomial_quantization(positions: NDArray[np.int64], trials: int, entropy: Entropy) -> NDArray[np.uint8]:
    """Count, for each position p · 2^32, how many of `trials` coins of probability p fall true.

    Parameters
    ----------
    positions : ndarray of int64, any shape
        0 .. 2^32.
    trials : int
        1 .. 255.
    entropy : Entropy

    Returns
    -------
    ndarray of uint8, same shape

    Raises
    ------
    InvalidData
        If a position is outside that range.
    """
    if not 1 <= trials < MOST_LEVELS:
        raise InvalidClaim(f"expected 1 to {MOST_LEVELS - 1} trials")
    _check(positions, 1 << FRACTION_BITS)
    flat = np.ascontiguousarray(positions).reshape(-1)
    reports = np.zeros(len(flat), dtype=np.uint8)
    for start in range(0, len(flat), _CHUNK):
        part = flat[start : start + _CHUNK]
        for _ in range(trials):
            reports[start : start + _CHUNK] += entropy.uint32(len(part)) < part
    return reports.reshape(positions.shape)


def _check(positions: NDArray[np.int64], last: int) -> None:
    if positions.dtype != np.int64 or (positions.size and not 0 <= positions.min() <= positions.max() <= last):
        raise InvalidData(f"positions must be int64 in 0 .. {last}")


def _dropped(levels: int, keep: Fraction, n: int, entropy: Entropy) -> NDArray[np.int64]:
    """Draw n times how many levels in a row are dropped: at least k with probability (1 - keep)^k, k <= levels - 2.

    A table of the first 16 binary digits of a uniform number decides, but where these are also those of a threshold.
    """
    table, thresholds = _table(levels, keep)
    u = entropy.uint16(n)
    runs = table[u].astype(np.int64)
    for i in np.flatnonzero(runs == _TIE):
        runs[i] = _run(thresholds, int(u[i]), entropy)
    return runs


@lru_cache(maxsize=64)
def _table(levels: int, keep: Fraction) -> tuple[NDArray[np.uint8], list[Probability]]:
    powers = [(1 - keep) ** k for k in range(1, levels - 1)]
    thresholds = [rational(power) for power in powers]
    table = np.zeros(1 << 16, dtype=np.uint8)
    for threshold in thresholds:
        table[: threshold.floor(16)] += 1
    for threshold, power in zip(thresholds, powers, strict=True):
        if power * 2**16 != threshold.floor(16):
            table[threshold.floor(16)] = _TIE
    return table, thresholds


def _run(thresholds: list[Probability], u: int, entropy: Entropy) -> int:
    """How many thresholds lie above the uniform number that starts with the 16 binary digits u."""
    bits = 16 + 64
    u = (u << 64) | entropy.integer(64)
    while any(u == threshold.floor(bits) for threshold in thresholds):
        u, bits = (u << 64) | entropy.integer(64), bits + 64
    return sum(u < threshold.floor(bits) for threshold in thresholds)


def _below_ratio(numerator: NDArray[np.int64], denominator: NDArray[np.int64], entropy: Entropy) -> NDArray[np.bool_]:
    """Draw coins of probability numerator / (denominator · 2^32), exactly.

    A uniform number whose first 32 digits are u lies below t if u + 1 <= 2^32 t, above if u >= 2^32 t; in between, what
    is left of t is a fraction over the denominator.
    """
    scaled = entropy.uint32(len(numerator)).astype(np.int64) * denominator
    below: NDArray[np.bool_] = scaled < numerator
    left = numerator - scaled
    for i in np.flatnonzero(below & (left < denominator)):
        below[i] = uniform_integers(int(denominator[i]), 1, entropy)[0] < left[i]
    return below
