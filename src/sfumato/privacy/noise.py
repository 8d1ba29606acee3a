"""Exact, secure, vectorised noise: Bernoulli, discrete Laplace, discrete Gaussian, randomized response, choice.

For `Release`, which is where noise is drawn. Geometric digits: see `geometric`; discrete Gaussian: Canonne, Kamath
and Steinke 2020; exponential mechanism: McSherry and Talwar 2007. No floating-point number decides an outcome.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.probability import Probability, enclose_exp, exp_minus, odds, rational

Shape = int | tuple[int, ...]
Number = int | float | Fraction

#: Largest scale: noise of this size overflows int64 with probability exp(-2**12).
LARGEST_SCALE = 2**50

_CHUNK = 2**14  # values worked on at once: their random bits stay in the processor's cache
_LARGEST_LOG = 700.0  # of a run's length: what exp takes
_TAIL = 6  # the part of a geometric above its binary digits is nonzero with probability at most exp(-6)


def bernoulli(p: Number | Probability, size: Shape, entropy: Entropy) -> NDArray[np.bool_]:
    """Draw booleans that are true with probability exactly p.

    Parameters
    ----------
    p : int, float, Fraction or Probability
        In [0, 1]; a float is taken as the rational number that it is.
    size : int or tuple of int
    entropy : Entropy

    Returns
    -------
    ndarray of bool, shape `size`
    """
    if not isinstance(p, Probability):
        if not 0 <= p <= 1:  # also for NaN
            raise InvalidClaim(f"p must be in [0, 1], got {float(p):g}")
        p = rational(Fraction(p))
    n = math.prod(size) if isinstance(size, tuple) else size
    threshold = p.floor(16)
    u = entropy.uint16(n)
    hits: NDArray[np.bool_] = np.less(u, threshold)
    ties = np.flatnonzero(u == threshold)
    if ties.size:
        hits[ties] = _refine(p, ties.size, entropy)
    return hits.reshape(size)


def _refine(p: Probability, n: int, entropy: Entropy) -> NDArray[np.bool_]:
    """Compare, digit group by digit group, uniforms whose first 16 binary digits are those of p."""
    below = np.zeros(n, dtype=np.bool_)
    undecided = np.arange(n)
    bits = 16
    while undecided.size:
        bits += 64
        digits = np.uint64(p.floor(bits) & (2**64 - 1))
        u = entropy.uint64(undecided.size)
        below[undecided[u < digits]] = True
        undecided = undecided[u == digits]
    return below


def geometric(scale: Number, n: int, entropy: Entropy) -> NDArray[np.int64]:
    """Draw n geometric numbers: P(g) = (1 - q) q^g for g = 0, 1, …, with q = exp(-1/scale).

    Since q^g is a product over the binary digits of g, the digits are independent: digit k is 1 with probability
    q^(2^k) / (1 + q^(2^k)). What lies above the first K digits, floor(g / 2^K), is again geometric, with ratio
    q^(2^K), and independent of them; K makes that ratio at most exp(-6), and the tail is drawn as a run of successes.
    """
    exact = _scale(scale)
    thresholds, probabilities, tail = _digits(exact)
    result = np.empty(n, dtype=np.int64)
    for start in range(0, n, _CHUNK):
        part = result[start : start + _CHUNK]
        part[:] = _runs(tail, len(part), entropy)
        for digit in range(len(probabilities) - 1, -1, -1):
            u = entropy.uint16(len(part))
            bit = u < thresholds[digit]
            ties = np.flatnonzero(u == thresholds[digit])
            if ties.size:
                bit[ties] = _refine(probabilities[digit], ties.size, entropy)
            part <<= 1
            part |= bit
    return result


@lru_cache(maxsize=256)
def _digits(scale: Fraction) -> tuple[list[np.uint16], list[Probability], Probability]:
    """Thresholds and probabilities of the low digits, and of one more step of the tail."""
    k = max(0, math.ceil(_TAIL * scale) - 1).bit_length()
    probabilities = [odds(1, 2**digit / scale) for digit in range(k)]
    return [np.uint16(p.floor(16)) for p in probabilities], probabilities, exp_minus(2**k / scale)


def _runs(p: Probability, n: int, entropy: Entropy) -> NDArray[np.int64]:
    """How many successes of probability p come before the first failure, n times."""
    runs = np.zeros(n, dtype=np.int64)
    alive = np.flatnonzero(bernoulli(p, n, entropy))
    while alive.size:
        runs[alive] += 1
        alive = alive[bernoulli(p, alive.size, entropy)]
    return runs


def discrete_laplace(scale: Number, size: Shape, entropy: Entropy) -> NDArray[np.int64]:
    """Draw integers with P(x) = tanh(1 / (2·scale)) · exp(-|x| / scale), exactly.

    The difference of two independent geometric numbers with ratio exp(-1/scale).

    Parameters
    ----------
    scale : int, float or Fraction
        Above 0, at most 2**50; a float is taken as the rational number that it is.
    size : int or tuple of int
    entropy : Entropy

    Returns
    -------
    ndarray of int64, shape `size`

    Raises
    ------
    InvalidClaim
        If the scale is not in that range.
    """
    n = math.prod(size) if isinstance(size, tuple) else size
    difference = geometric(scale, n, entropy)
    difference -= geometric(scale, n, entropy)
    return difference.reshape(size)


def discrete_gaussian(sigma2: Number, size: Shape, entropy: Entropy) -> NDArray[np.int64]:
    """Draw integers with P(x) ∝ exp(-x² / (2·sigma2)), exactly.

    Canonne, Kamath and Steinke 2020, Algorithm 3: a discrete Laplace y of scale t = floor(σ) + 1 is accepted with
    probability exp(-(|y| - σ²/t)² / (2σ²)).

    Parameters
    ----------
    sigma2 : int, float or Fraction
        Above 0, at most 2**100.
    size : int or tuple of int
    entropy : Entropy

    Returns
    -------
    ndarray of int64, shape `size`
    """
    if not 0 < sigma2 <= LARGEST_SCALE**2 // 4:
        raise InvalidClaim(f"sigma2 must be above 0 and at most 2**98, got {float(sigma2):g}")
    exact = Fraction(sigma2)
    t = math.isqrt(math.floor(exact)) + 1
    n = math.prod(size) if isinstance(size, tuple) else size
    accepted: list[NDArray[np.int64]] = []
    missing = n
    while missing > 0:
        proposals = discrete_laplace(t, missing + missing // 2 + 16, entropy)
        accepted.append(proposals[_accept(np.abs(proposals), exact, t, entropy)][:missing])
        missing -= len(accepted[-1])
    return np.concatenate(accepted or [np.empty(0, dtype=np.int64)]).reshape(size)


def _accept(y: NDArray[np.int64], sigma2: Fraction, t: int, entropy: Entropy) -> NDArray[np.bool_]:
    """Accept each y with probability exp(-(y - σ²/t)² / (2σ²)): doubles decide the clear cases, exact digits the rest.

    Where the probability is above 2^-60 its exponent is below 42 and the double's relative error below 2^-42, so a
    uniform outside the margin of 2^-38 (2^-60 where the probability is smaller) is on the side that it seems.
    """
    distance = y - float(sigma2 / t)
    p = np.exp(-(distance**2) / (2 * float(sigma2)))
    u = entropy.uint64(y.size)
    unit = u * 2.0**-64
    accepted = np.asarray(unit < p * (1 - 2.0**-38) - 2.0**-60)
    for i in np.flatnonzero(~accepted & (unit <= p * (1 + 2.0**-38) + 2.0**-60)):
        accepted[i] = _below_exp((int(y[i]) - sigma2 / t) ** 2 / (2 * sigma2), int(u[i]), entropy)
    return accepted


def _below_exp(x: Fraction, u: int, entropy: Entropy) -> bool:
    """Whether the uniform number that starts with the 64 binary digits u lies below exp(-x)."""
    p = exp_minus(x)
    bits = 64
    while u == p.floor(bits):
        u = (u << 64) | entropy.integer(64)
        bits += 64
    return u < p.floor(bits)


def discrete_laplace_variance(scale: float) -> float:
    """Variance of `discrete_laplace`: 2q/(1-q)² with q = exp(-1/scale)."""
    q = math.exp(-1 / scale)
    return 2 * q / math.expm1(-1 / scale) ** 2


def discrete_gaussian_variance(sigma2: float) -> float:
    """Variance of `discrete_gaussian`; a little below sigma2."""
    if sigma2 > 4:
        return sigma2  # the relative difference is below 1e-30
    k = np.arange(-64, 65)
    weights = np.exp(-(k**2) / (2 * sigma2))
    return float((k**2 * weights).sum() / weights.sum())


def uniform_integers(bound: int, size: Shape, entropy: Entropy) -> NDArray[np.int64]:
    """Draw integers uniform on 0 .. bound-1, exactly, by rejection of the incomplete last block."""
    n = math.prod(size) if isinstance(size, tuple) else size
    limit = 2**64 - 2**64 % bound
    drawn = entropy.uint64(n).copy()
    if limit < 2**64:
        while (again := np.flatnonzero(drawn >= np.uint64(limit))).size:
            drawn[again] = entropy.uint64(again.size)
    return (drawn % np.uint64(bound)).astype(np.int64).reshape(size)


def randomized_response(categories: ArrayLike, k: int, epsilon: float, entropy: Entropy) -> NDArray[np.int64]:
    """Keep each category with probability e^ε / (e^ε + k - 1), else report one of the others uniformly.

    Parameters
    ----------
    categories : array_like of int, any shape
        In 0 .. k-1.
    k : int
        At least 2.
    epsilon : float
        Above 0.
    entropy : Entropy

    Returns
    -------
    ndarray of int64, same shape

    Raises
    ------
    InvalidData
        If a category is outside 0 .. k-1.
    """
    values = np.asarray(categories, dtype=np.int64)
    if k < 2:
        raise InvalidClaim(f"k must be at least 2, got {k}")
    if np.any((values < 0) | (values >= k)):
        raise InvalidData(f"categories must lie in 0 .. {k - 1}")
    kept = bernoulli(odds(k - 1, -Fraction(epsilon)), values.shape, entropy)
    # Both are drawn for everyone: what is kept shows in nothing but the report.
    others = (values + 1 + uniform_integers(k - 1, values.shape, entropy)) % k
    return np.where(kept, values, others)


def uniform_integer(bound: int, entropy: Entropy) -> int:
    """Draw one integer uniform on 0 .. bound-1, exactly, for a bound of any size.

    64 bits beyond those of the bound: a second draw is needed with probability below 2^-64.
    """
    bits = bound.bit_length() + 64
    limit = 2**bits - 2**bits % bound
    while (drawn := entropy.integer(bits)) >= limit:
        pass
    return drawn % bound


def exponential_choice(
    scores: ArrayLike, epsilon: float, sensitivity: Number, entropy: Entropy, copies: ArrayLike | None = None
) -> int:
    """Choose a candidate with probability proportional to exp(ε · score / (2 · sensitivity)), exactly.

    Inversion: the first digits of a uniform number fall into the share of one run of candidates. Doubles with a margin
    decide nearly always; close to an end, cumulative weights that are known by enclosures do, with as many digits as it
    takes.

    Parameters
    ----------
    scores : array_like of int, shape (k,)
    epsilon : float
        Above 0.
    sensitivity : int, float or Fraction
        How far neighbours can move a score; above 0.
    entropy : Entropy
    copies : array_like of int, shape (k,), optional
        Run lengths: score i belongs to copies[i] candidates in a row. Integers of any size, at least 0, not all 0. By
        default each is 1.

    Returns
    -------
    int
        The candidate's number, counted from 0 through all runs.

    Raises
    ------
    InvalidData
        If there is no candidate, or scores and copies are not integers of one length.
    """
    values = np.asarray(scores)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iu":
        raise InvalidData("scores must be a nonempty sequence of integers")
    rate = Fraction(epsilon) / (2 * Fraction(sensitivity))
    if copies is None:
        return _choose_run(_deficits(values), None, rate, entropy)
    lengths = _run_lengths(copies, values.size)
    kept = np.flatnonzero(lengths > 0)
    run = int(kept[_choose_run(_deficits(values[kept]), lengths[kept], rate, entropy)])
    before: int = sum(lengths[:run].tolist())
    return before + uniform_integer(int(lengths[run]), entropy)


def _run_lengths(copies: ArrayLike, k: int) -> NDArray[Any]:
    lengths = np.asarray(copies)
    whole = lengths.dtype.kind in "iu" or all(isinstance(c, int) for c in lengths.ravel().tolist())
    if lengths.shape != (k,) or not whole or np.any(lengths < 0) or not np.any(lengths > 0):
        raise InvalidData("copies must be as many integers as scores, none negative and not all 0")
    return lengths


def _deficits(values: NDArray[Any]) -> NDArray[np.uint64]:
    """How far each score is below the best; the difference of any two int64 fits uint64, wrapped around or not."""
    return np.asarray(values.max().astype(np.uint64) - values.astype(np.uint64))


def _choose_run(deficits: NDArray[np.uint64], lengths: NDArray[Any] | None, rate: Fraction, entropy: Entropy) -> int:
    """Choose i with probability proportional to lengths_i · exp(-rate · deficits_i); all lengths are positive."""
    u = entropy.integer(64)
    log_lengths = _log(lengths)
    if lengths is None or np.max(log_lengths) < _LARGEST_LOG:
        chosen = _invert_doubles(log_lengths - float(rate) * deficits, u)
        if chosen is not None:
            return chosen
    distinct, place = np.unique(deficits, return_inverse=True)
    weights = [1] * len(deficits) if lengths is None else lengths.tolist()
    bits, more = 64, 64 + sum(weights).bit_length()
    while True:
        u, bits = (u << more) | entropy.integer(more), bits + more
        low, high = _powers(distinct.tolist(), rate, bits)
        ends = [list(accumulate(side[i] * w for i, w in zip(place, weights, strict=True))) for side in (low, high)]
        exact = _invert(ends[0], ends[1], u, bits)
        if exact is not None:
            return exact
        more = bits


def _log(lengths: NDArray[Any] | None) -> Any:
    if lengths is None:
        return 0.0
    if lengths.dtype.kind in "iu":
        return np.log(lengths)
    return np.array([math.log(c) for c in lengths.tolist()])


def _invert_doubles(log_weights: NDArray[np.float64], u: int) -> int | None:
    """Find the index whose share of the weights holds a uniform number that starts with the 64 digits u, if clear.

    Weights within e^-60 of the largest have an argument below 760 with an absolute error below 2^-40; all others
    together weigh less than k · 2^-86. So cumulative weights are right to within the margin.
    """
    ends = np.cumsum(np.exp(log_weights - log_weights.max()))
    at = u * 2.0**-64 * ends[-1]
    place = int(np.searchsorted(ends[:-1], at, side="right"))
    nearest = ends[max(place - 1, 0) : min(place + 1, len(ends) - 1)]
    margin = ends[-1] * (2.0**-36 + len(ends) * 2.0**-50)
    return place if np.all(np.abs(nearest - at) > margin) else None


def _powers(deficits: list[int], rate: Fraction, bits: int) -> tuple[list[int], list[int]]:
    """Floors and ceilings of exp(-rate · d) · 2^bits, up to a common factor, for increasing d.

    Each is the one before times that of the gap, rounded outward; equal gaps share one exponential. What has become
    smaller than 2^-bits stays in [0, 1].
    """
    low, high = [2**bits], [2**bits]
    steps: dict[int, tuple[int, int]] = {}
    for gap in (b - a for a, b in pairwise(deficits)):
        if low[-1] == 0:
            low.append(0)
            high.append(high[-1])
            continue
        if gap not in steps:
            ends = enclose_exp(-gap * rate, 20 + bits // 3)
            steps[gap] = int(ends[0] * 2**bits // 1), int(-(-ends[1] * 2**bits // 1))
        low.append(low[-1] * steps[gap][0] >> bits)
        high.append(-(-high[-1] * steps[gap][1] >> bits))
    return low, high


def _invert(low: list[int], high: list[int], u: int, bits: int) -> int | None:
    """Find the index whose share of the cumulative weights holds [u, u+1) / 2^bits, if these digits decide."""
    # Surely below share i: (u+1) · total_high <= low_i · 2^bits. Surely not: u · total_low >= high_i · 2^bits.
    # Below the last share is everything.
    last = len(low) - 1
    sure = bisect_left(low, -(-(u + 1) * high[-1] >> bits), hi=last)
    possible = bisect_right(high, u * low[-1] >> bits, hi=last)
    return sure if sure == possible else None


def permutation(n: int, entropy: Entropy) -> NDArray[np.int64]:
    """Draw a uniform permutation of 0 .. n-1: the order of random keys, drawn anew if two are equal."""
    while True:
        keys = entropy.uint64(n)
        order = np.argsort(keys, kind="stable")
        if not np.any(keys[order][1:] == keys[order][:-1]):
            return order.astype(np.int64)


def _scale(scale: Number) -> Fraction:
    if not 0 < scale <= LARGEST_SCALE:  # also for NaN
        raise InvalidClaim(f"scale must be above 0 and at most 2**50, got {float(scale):g}")
    return Fraction(scale)
