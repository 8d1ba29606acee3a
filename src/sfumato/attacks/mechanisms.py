"""Mechanisms whose true ε is known, sound and broken, each vectorised over n runs.

For trying the auditor, and for `sfumato audit` by name. They protect nobody: their noise is NumPy's and seeded.
StatDP (Ding et al. 2018); sparse vectors as numbered by Lyu, Su, Li (2017); the float by Mironov (2012).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_GRID = 2.0**20  # outputs are rounded to this grid, so that their low bits tell nothing


def _rounded(values: npt.ArrayLike) -> Floats:
    return np.round(np.asarray(values, np.float64) * _GRID) / _GRID


class Laplace:
    """x plus Laplace noise of scale `scale_error`/ε; `naive` leaves the low bits of the doubles as they fall."""

    def __init__(self, epsilon: float, *, scale_error: float = 1.0, naive: bool = False) -> None:
        self.scale = scale_error / epsilon if epsilon > 0 else None
        self.naive = naive

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        if self.scale is None:  # ε = 0: the output may not depend on x
            return rng.laplace(size=n)
        noise = rng.laplace(scale=self.scale, size=n)
        return np.asarray(x + noise) if self.naive else _rounded(x + noise)


class RandomizedResponse:
    """The true bit with probability e^ε / (1 + e^ε)."""

    def __init__(self, epsilon: float) -> None:
        self.keep = 1 / (1 + math.exp(-epsilon))

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Array:
        return np.asarray(np.where(rng.random(n) < self.keep, x, 1 - x))


class Geometric:
    """x plus the difference of two geometric variables with ratio e^-ε; `bounds` clips what comes out."""

    def __init__(self, epsilon: float, bounds: tuple[int, int] | None = None) -> None:
        self.p = 1 - math.exp(-epsilon)
        self.bounds = bounds

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Array:
        noisy = x + rng.geometric(self.p, n) - rng.geometric(self.p, n)
        return np.asarray(noisy if self.bounds is None else np.clip(noisy, *self.bounds))


class Gaussian:
    """x plus N(0, (error/μ)²): μ-GDP and μ²/2-zCDP when `error` is 1."""

    def __init__(self, mu: float, *, error: float = 1.0) -> None:
        self.sigma = error / mu

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        return _rounded(x + rng.normal(scale=self.sigma, size=n))


class NoisyHistogram:
    """Counts plus Laplace noise of scale 1/ε in each cell; `naive` takes ε itself for the scale."""

    def __init__(self, epsilon: float, *, naive: bool = False) -> None:
        self.scale = epsilon if naive else 1 / epsilon

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        return _rounded(x + rng.laplace(scale=self.scale, size=(n, len(x))))


class PrefixSums:
    """All prefix sums of a stream of bits, with noise of scale length/ε each: the whole stream is ε-DP."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        return _rounded(np.cumsum(x) + rng.laplace(scale=len(x) / self.epsilon, size=(n, len(x))))


class Rappor:
    """One-hot bits of a category of k, each flipped so that the report is ε-locally private (permanent RAPPOR)."""

    def __init__(self, epsilon: float, k: int) -> None:
        self.k = k
        self.flip = 1 / (1 + math.exp(epsilon / 2))  # two bits differ between any two categories

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Array:
        return np.asarray((np.arange(self.k) == x) ^ (rng.random((n, self.k)) < self.flip)).astype(np.int64)


class ReportNoisyMax:
    """Index of the largest query at Laplace scale 2/ε; `value` returns the noisy value instead of the index."""

    def __init__(self, epsilon: float, *, value: bool = False) -> None:
        self.scale = 2 / epsilon
        self.value = value

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Array:
        noisy = x + rng.laplace(scale=self.scale, size=(n, len(x)))
        return _rounded(noisy.max(axis=1)) if self.value else noisy.argmax(axis=1)


class SparseVector:
    """Above-threshold at 0 for queries of sensitivity 1, one positive answer (variant 1 of Lyu et al., sound).

    ``broken``: "prints" the noisy answer (variant 3), "small-noise" as if queries had sensitivity 1/4 of the count
    (variant 4), "no-noise" on the queries (variant 5), "no-cut-off" after a positive answer (variant 6).
    Outputs are 1 and 0, NaN after the cut-off.
    """

    def __init__(self, epsilon: float, *, broken: str = "") -> None:
        self.epsilon = epsilon
        self.broken = broken

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        small = self.broken == "small-noise"
        threshold = rng.laplace(scale=(4 if small else 2) / self.epsilon, size=(n, 1))
        noise = rng.laplace(scale=(4 / 3 if small else 4) / self.epsilon, size=(n, len(x)))
        noisy = x + (0 if self.broken == "no-noise" else noise)
        above = noisy >= threshold
        if self.broken in ("no-cut-off", "no-noise"):
            return np.asarray(above, dtype=np.float64)
        before = np.cumsum(above, axis=1) - above < (len(x) if small else 1)
        answer = np.where(above, _rounded(noisy) if self.broken == "prints" else 1.0, 0.0)
        return np.where(before, answer, np.nan)


class DataBounds:
    """A mean of values clipped to the least and greatest of them, noise scaled to that range."""

    def __init__(self, epsilon: float) -> None:
        self.epsilon = epsilon

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        values = np.asarray(x, dtype=np.float64)
        scale = np.ptp(values) / len(values) / self.epsilon
        return _rounded(values.mean() + (rng.laplace(scale=scale, size=n) if scale else np.zeros(n)))


class LeaksByRaising:
    """A sound Laplace that raises on one input, one run in ten."""

    def __init__(self, epsilon: float) -> None:
        self.inner = Laplace(epsilon)

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        out = self.inner(x, n, rng)
        if x == 1 and (rng.random(n) < 0.1).any():
            raise KeyError("overflow bin")
        return out


class ReusesSeed:
    """A sound Laplace but for its generator, made anew from the same seed at each call."""

    def __init__(self, epsilon: float) -> None:
        self.inner = Laplace(epsilon)

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        return self.inner(x, n, np.random.default_rng(42))


class SharesNoise:
    """A sound Laplace, but one draw serves all runs of a call."""

    def __init__(self, epsilon: float) -> None:
        self.inner = Laplace(epsilon)

    def __call__(self, x: Any, n: int, rng: np.random.Generator) -> Floats:
        return np.repeat(self.inner(x, 1, rng), n)
