"""Exact, secure, vectorised noise: Bernoulli, discrete Laplace, discrete Gaussian, randomized response, choice.

For `Release`, which is where noise is drawn. Geometric digits: see `geometric`; discrete Gaussian: Canonne, Kamath
and Steinke 2020; exponential mechanism: McSherry and Talwar 2007. No floating-point number decides an outcome.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache
from itertools import accumulate

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


def exponential_choice(scores: ArrayLike, epsilon: float, sensitivity: Number, entropy: Entropy) -> int:
    """Choose index i with probability proportional to exp(ε · score_i / (2 · sensitivity)), exactly.

    Inversion: a uniform number's first digits fall between two cumulative weights that are known by enclosures; if they
    do not decide, both get more digits.

    Parameters
    ----------
    scores : array_like of int, shape (k,)
    epsilon : float
        Above 0.
    sensitivity : int, float or Fraction
        How far neighbours can move a score; above 0.
    entropy : Entropy

    Raises
    ------
    InvalidData
        If there is no score, or they are not integers in one dimension.
    """
    values = np.asarray(scores)
    if values.ndim != 1 or not values.size or values.dtype.kind not in "iu":
        raise InvalidData("scores must be a nonempty sequence of integers")
    rate = Fraction(epsilon) / (2 * Fraction(sensitivity))
    distinct, place = np.unique(values, return_inverse=True)
    deficits = [(int(distinct[-1]) - int(score)) * rate for score in distinct]
    bits, u = 128, entropy.integer(128)
    while True:
        digits = 20 + bits // 3
        ends = [(Fraction(1), Fraction(1)) if d == 0 else enclose_exp(-d, digits) for d in deficits]
        # Weights as whole multiples of 2^-bits: floors below, ceilings above.
        low = list(accumulate(int(ends[i][0] * 2**bits // 1) for i in place))
        high = list(accumulate(int(-(-ends[i][1] * 2**bits // 1)) for i in place))
        chosen = _invert(low, high, u, bits)
        if chosen is not None:
            return chosen
        u, bits = (u << bits) | entropy.integer(bits), 2 * bits


def _invert(low: list[int], high: list[int], u: int, bits: int) -> int | None:
    """Find the index whose share of the cumulative weights holds [u, u+1) / 2^bits, if these digits decide."""
    # Surely below share i: (u+1) · total_high <= low_i · 2^bits. Surely not: u · total_low >= high_i · 2^bits.
    sure = next((i for i, weight in enumerate(low) if (u + 1) * high[-1] <= weight << bits), None)
    possible = next((i for i, weight in enumerate(high) if u * low[-1] < weight << bits), None)
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
