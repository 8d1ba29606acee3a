"""Mechanisms whose true ε is known, sound and broken, each vectorised over n runs.

For the tests of the auditor. StatDP (Ding et al. 2018), Lyu et al. (2017) for the sparse vectors,
Mironov (2012) for the float; broken ones are marked with what is wrong.
"""

from __future__ import annotations

import math

import numpy as np


class Laplace:
    """x + Laplace(1/ε · scale_error), snapped to a grid so that its bits tell nothing unless naive."""

    def __init__(self, epsilon, *, scale_error=1.0, naive=False):
        self.scale = scale_error / epsilon if epsilon > 0 else None
        self.naive = naive

    def __call__(self, x, n, rng):
        if self.scale is None:  # ε = 0: the output may not depend on x
            return rng.laplace(size=n)
        noise = rng.laplace(scale=self.scale, size=n)
        return x + noise if self.naive else np.round((x + noise) * 2**20) / 2**20


class RandomizedResponse:
    """The true bit with probability e^ε / (1 + e^ε)."""

    def __init__(self, epsilon):
        self.keep = 1 / (1 + math.exp(-epsilon))

    def __call__(self, x, n, rng):
        return np.where(rng.random(n) < self.keep, x, 1 - x)


class Geometric:
    """x + the difference of two geometric variables with ratio e^-ε."""

    def __init__(self, epsilon):
        self.p = 1 - math.exp(-epsilon)

    def __call__(self, x, n, rng):
        return x + rng.geometric(self.p, n) - rng.geometric(self.p, n)


class Gaussian:
    """x + N(0, (error/μ)²): μ-GDP and μ²/2-zCDP when error is 1."""

    def __init__(self, mu, *, error=1.0):
        self.sigma = error / mu

    def __call__(self, x, n, rng):
        return np.round((x + rng.normal(scale=self.sigma, size=n)) * 2**20) / 2**20


class NoisyHistogram:
    """Counts + Laplace(1/ε) in each cell; the naive one takes ε for the scale."""

    def __init__(self, epsilon, *, naive=False):
        self.scale = epsilon if naive else 1 / epsilon

    def __call__(self, x, n, rng):
        return np.round((x + rng.laplace(scale=self.scale, size=(n, len(x)))) * 2**20) / 2**20


class ReportNoisyMax:
    """Index of the largest noisy query at scale 2/ε; the broken one returns the noisy value."""

    def __init__(self, epsilon, *, value=False):
        self.scale = 2 / epsilon
        self.value = value

    def __call__(self, x, n, rng):
        noisy = x + rng.laplace(scale=self.scale, size=(n, len(x)))
        return np.round(noisy.max(axis=1) * 2**20) / 2**20 if self.value else noisy.argmax(axis=1)


class SparseVector:
    """Above-threshold at 0 for queries of sensitivity 1, one positive answer.

    ``broken``: "prints" the noisy answer (NaN before and after), "no-noise" on queries,
    "no-cut-off" after a positive answer.
    """

    def __init__(self, epsilon, *, broken=""):
        self.epsilon = epsilon
        self.broken = broken

    def __call__(self, x, n, rng):
        threshold = rng.laplace(scale=2 / self.epsilon, size=(n, 1))
        noise = rng.laplace(scale=4 / self.epsilon, size=(n, len(x)))
        noisy = x + (0 if self.broken == "no-noise" else noise)
        above = noisy >= threshold
        if self.broken in ("no-cut-off", "no-noise"):
            return above.astype(float)
        before = np.cumsum(above, axis=1) - above == 0
        answer = np.where(above, noisy if self.broken == "prints" else 1.0, 0.0)
        return np.where(before, answer, np.nan)


class LeaksByRaising:
    """A sound Laplace that raises on one input, one run in ten."""

    def __init__(self, epsilon):
        self.inner = Laplace(epsilon)

    def __call__(self, x, n, rng):
        out = self.inner(x, n, rng)
        if x == 1 and (rng.random(n) < 0.1).any():
            raise KeyError("overflow bin")
        return out


class ReusesSeed:
    """A sound Laplace but for its generator, made anew from the same seed at each call."""

    def __init__(self, epsilon):
        self.inner = Laplace(epsilon)

    def __call__(self, x, n, rng):
        return self.inner(x, n, np.random.default_rng(42))


class SharesNoise:
    """A sound Laplace, but one draw serves all runs of a call."""

    def __init__(self, epsilon):
        self.inner = Laplace(epsilon)

    def __call__(self, x, n, rng):
        return np.repeat(self.inner(x, 1, rng), n)
