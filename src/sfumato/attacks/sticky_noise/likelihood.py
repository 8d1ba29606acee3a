"""How likely differences of two rounded, noisy counts are, with the victim among those counted and without.

For both attacks. Gadotti et al. (USENIX Security 2019), sections 3 and 4; the exact treatment of rounding is ours.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats: TypeAlias = NDArray[np.float64]
Rounding: TypeAlias = Literal["exact", "ignore"]

_LEAST = -700.0  # where doubles end


def log_difference(d: Any, mean: float, variance: float, *, round_to: int = 1, rounding: Rounding = "exact") -> Floats:
    """Log-probability of a difference of two rounded counts whose noisy difference is N(mean, variance).

    The difference of two roundings of numbers with unknown fractions is the normal number plus a triangle of width
    two: P(d) = G(d + 1) - 2 G(d) + G(d - 1), with G the integral of the normal distribution function. The sum of it
    over all d telescopes to one. "ignore" is the paper's: the normal density at d.

    Parameters
    ----------
    d : array_like of int
        Multiples of `round_to`.
    mean, variance : float
        Variance above 0.
    round_to : int
    rounding : {"exact", "ignore"}

    Returns
    -------
    ndarray of float64, the shape of d
    """
    deviation = math.sqrt(variance)
    if rounding == "ignore":
        return _log_normal(np.asarray(d, dtype=np.float64) - mean, deviation) + math.log(round_to)
    # The distribution is symmetric: on the lower side of its mean nothing cancels.
    x = -np.abs(np.asarray(d, dtype=np.float64) - mean) / round_to
    s = deviation / round_to
    mass = _twice_integrated(x + 1, s) - 2 * _twice_integrated(x, s) + _twice_integrated(x - 1, s)
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.maximum(mass, 0.0)), _LEAST)


def differential_log_odds(
    d: Any, k: int, noise_sd: float = 1.0, *, round_to: int = 1, rounding: Rounding = "exact"
) -> float:
    """Log odds that the victim was counted, from its differences with k attributes and one condition more.

    Equal sets share all noise of the k common conditions, so d ~ N(0, 2) comes from the two layers of the further
    condition. Sets that differ by the victim share the static layers only: d ~ N(1, 2k + 2).
    """
    unit = noise_sd**2
    apart = log_difference(d, 1.0, (2 * k + 2) * unit, round_to=round_to, rounding=rounding)
    same = log_difference(d, 0.0, 2 * unit, round_to=round_to, rounding=rounding)
    return float((apart - same).sum())


def cloning_log_odds(d: Any, k: int, noise_sd: float = 1.0, round_to: int = 1) -> float:
    """Log odds that the victim was counted, from differences that share all noise but that of a dummy condition each.

    Equal sets: one number x ~ N(0, 2), rounded with a different fraction each time, P(d | x) = 1 - |d - x| within 1.
    Sets that differ by the victim: y ~ N(1, 2k + 2), for k conditions in common beside the dummy, plus N(0, 2) anew
    for each dummy. Both are integrated over what the differences share. Fractions are taken as even: true while a
    dummy's noise, of deviation √2, is not small beside the step of rounding; beyond, the odds are too extreme.
    """
    values = np.asarray(d, dtype=np.float64)[:, np.newaxis] / round_to
    sd = noise_sd / round_to
    center, step = float(values.mean()), 0.005
    grid = center + np.arange(-3, 3 + step, step)
    with np.errstate(divide="ignore"):
        triangle = np.log(np.maximum(1 - np.abs(values - grid), 0.0)).sum(axis=0)
    log_same = triangle + _log_normal(grid, math.sqrt(2) * sd)
    wide = center + np.linspace(-8, 8, 641) * (1 + sd)
    each = log_difference(values - wide, 0.0, 2 * sd**2).sum(axis=0)
    log_apart = each + _log_normal(wide - 1 / round_to, math.sqrt(2 * k + 2) * sd)
    same = np.logaddexp.reduce(log_same) + math.log(step)
    apart = np.logaddexp.reduce(log_apart) + math.log(wide[1] - wide[0])
    return float(np.clip(apart - same, _LEAST, -_LEAST))


def variance_log_odds(d: Any, noise_sd: float = 1.0, round_to: int = 1) -> float:
    """Log odds that the victim was counted, from the sample variance of the differences alone: the paper's test.

    Zero at the best cutoff; beyond, the slope of the log ratio of two scaled chi-squares.
    """
    m = len(d)
    same, apart = round_to**2 / 6, 2 * noise_sd**2 + round_to**2 / 6
    slope = (m - 1) / 2 * (1 / same - 1 / apart)
    return float(slope * (np.var(d, ddof=1) - variance_cutoff(m, noise_sd, round_to)))


@lru_cache(maxsize=256)
def variance_cutoff(m: int, noise_sd: float = 1.0, round_to: int = 1, draws: int = 20_000) -> float:
    """Sample variance of m differences that best tells sets that are equal from sets that are not, by simulation."""
    rng = np.random.default_rng([m, round_to, draws])
    same = np.var(_simulated(rng, draws, m, 0.0, noise_sd, round_to), axis=1, ddof=1)
    apart = np.var(_simulated(rng, draws, m, noise_sd, noise_sd, round_to), axis=1, ddof=1)
    cutoffs = np.unique(np.concatenate([same, apart]))
    below_same, below_apart = (np.searchsorted(np.sort(x), cutoffs, side="right") for x in (same, apart))
    best = int(np.argmax(below_same - below_apart))
    following = cutoffs[best + 1] if best + 1 < len(cutoffs) else cutoffs[best]
    return float((cutoffs[best] + following) / 2)  # between the values that a variance of integers can take


def _simulated(
    rng: np.random.Generator, draws: int, m: int, apart: float, noise_sd: float, round_to: int
) -> NDArray[np.float64]:
    """Differences of rounded counts: the noise of the dummy is shared (apart = 0) or drawn for both."""
    common = rng.normal(0, noise_sd, (draws, m)) * math.sqrt(2)
    first = 50 * round_to * rng.random((draws, 1)) + common + apart * rng.normal(0, 1, (draws, m))
    second = 50 * round_to * rng.random((draws, 1)) + common + apart * rng.normal(0, 1, (draws, m))
    return np.asarray(round_to * (np.round(first / round_to) - np.round(second / round_to)))


def _twice_integrated(x: Floats, deviation: float) -> Floats:
    """∫ (x - t)⁺ of the centred normal density, accurate for negative x."""
    z = x / deviation
    return np.asarray(x * ndtr(z) + deviation * np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi))


def _log_normal(x: Floats, deviation: float) -> Floats:
    """Log-density of the centred normal distribution."""
    return np.asarray(-((x / deviation) ** 2) / 2 - math.log(deviation * math.sqrt(2 * math.pi)))
