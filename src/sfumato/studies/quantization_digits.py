"""Digits for the study of randomized quantization: clients' gradients, and ways to estimate their mean.

For `sfumato.studies.quantization`. Discrete Gaussian in a sum of clients: Kairouz, Liu and Steinke 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from sfumato.data.splits import split_evenly
from sfumato.federation.quantization import QuantizedMean, SoftmaxRegression
from sfumato.federation.quantization.rotation import rotate_back
from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Floats = NDArray[np.float64]

#: From clients' gradients, shape (n, d), to an estimate of their mean.
Summer: TypeAlias = Callable[[Floats], Floats]

CLIENTS, ASKED, TEST, RATE = 100, 40, 297, 2.0


@dataclass(frozen=True, eq=False)
class Digits:
    """The 8 × 8 digits of scikit-learn; pixels in [0, 1]."""

    x: Floats
    y: NDArray[np.int64]
    model: SoftmaxRegression

    @staticmethod
    @cache
    def load() -> Digits:
        """Load what ships with scikit-learn."""
        x, y = load_digits(return_X_y=True)
        return Digits(x / 16, y, SoftmaxRegression(64, 10))

    def accuracy(self, way: Summer, rounds: int, seed: int) -> float:
        """Test accuracy after federated SGD; the seed decides the split and who is asked."""
        rng = np.random.default_rng([seed, 19])
        order = rng.permutation(len(self.y))
        test, train = order[:TEST], order[TEST:]
        parts = [train[part] for part in split_evenly(len(train), CLIENTS, random_state=seed)]
        weights = np.zeros(self.model.size)
        for _ in range(rounds):
            asked = rng.choice(CLIENTS, ASKED, replace=False)
            gradients = [self.model.gradient(weights, self.x[parts[k]], self.y[parts[k]]) for k in asked]
            weights = weights - RATE * way(np.array(gradients))
        return float(np.mean(self.model.predict(weights, self.x[test]) == self.y[test]))


def average(clip: float) -> Summer:
    """The mean of clipped coordinates, without noise."""
    return lambda gradients: np.asarray(np.clip(gradients, -clip, clip).mean(axis=0))


def quantized(mean: QuantizedMean) -> Summer:
    """Real reports, summed in the clear: the numbers are those of a secure sum."""
    return lambda gradients: mean.decode_sum(mean.encode(gradients).sum(axis=0, dtype=np.int64), len(gradients))


def discrete_gaussian(mean: QuantizedMean, *, rho: float, clients: int, bits: int) -> Summer:
    """The same clip, rotation and clamp; each client rounds to a grid and adds its share of a discrete Gaussian.

    The sum is taken modulo 2^bits. The grid is as fine as leaves four standard deviations of the noise beyond the
    largest sum on each side. Each client's noise has a variance of the whole's over `clients`; that their sum is nearly
    a discrete Gaussian of the whole variance is Kairouz et al.'s Theorem 5, and its error is negligible here.
    """
    assert mean.l2_clip is not None
    c = mean.mechanism.clip
    sigma = 2 * mean.l2_clip / (2 * rho) ** 0.5
    step = 2 * (clients * c + 4 * sigma) / 2**bits
    # Rounding to the grid moves each of two vectors by at most half a step a coordinate.
    reach = 2 * mean.l2_clip / step + mean.size**0.5

    def estimate(gradients: Floats) -> Floats:
        cells = np.rint(np.clip(mean.prepare(gradients), -c, c) / step).astype(np.int64)
        with Release(Claim(ZCDP(rho), neighbours="replace-one"), purpose="study") as release:
            noise = release.prepaid(ZCDP(rho))
            noisy = noise.discrete_gaussian(cells, l2_sensitivity=reach, sigma2=reach**2 / (2 * rho) / clients)
        half = 2 ** (bits - 1)
        total = (noisy.sum(axis=0) + half) % (2 * half) - half
        return rotate_back(total * step / len(gradients), mean.dimension, mean.seed)

    return estimate
