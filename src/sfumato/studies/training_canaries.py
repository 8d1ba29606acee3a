"""Private training that is cheap enough to be run hundreds of times, for canary games.

For the study of system 31: logistic regression on scikit-learn's digits by DP-SGD, in NumPy. The noise is simulated
and seeded: the digits are public, and what is measured is the attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from dp_accounting import dp_event
from numpy.typing import NDArray
from scipy import special
from sklearn.datasets import load_digits

from sfumato.privacy.accounting import cost_of
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim

Floats = NDArray[np.float64]

_CLASSES, _RECORDS = 10, 1000


@dataclass(frozen=True)
class DigitsTraining:
    """DP-SGD on 1000 digits and the canaries that are included.

    Parameters
    ----------
    m : int
        Canaries.
    canary : {"label", "gradient"}
        Digits with a wrong label, or records with a feature of their own, on which nothing else trains: their
        gradient is read off the model (the strongest attack that a clipped record allows).
    sigma : float
        Noise multiplier: the noise's deviation over the clipping norm, which is 1.
    rate : float
        Probability with which each record is in a step, independently.
    steps : int
    """

    m: int
    canary: Literal["label", "gradient"] = "label"
    sigma: float = 1.0
    rate: float = 0.2
    steps: int = 60
    step_size: float = 4.0

    def claim(self, delta: float) -> Claim:
        """What the training promises to one record (added or removed): Poisson-sampled Gaussians, composed."""
        sampled = dp_event.PoissonSampledDpEvent(self.rate, dp_event.GaussianDpEvent(self.sigma))
        total = cost_of(dp_event.SelfComposedDpEvent(sampled, self.steps), "add-remove")
        return Claim(ApproxDP(total.epsilon_at(delta), delta), unit="record")

    def train(self, included: NDArray[np.bool_], seed: int) -> Floats:
        """Return the weights, shape (features, classes)."""
        rng = np.random.default_rng(seed)
        x, y = self._records
        keep = np.concatenate([np.ones(_RECORDS, np.bool_), included])
        x, y = x[keep], y[keep]
        weights = np.zeros((x.shape[1], _CLASSES))
        for _ in range(self.steps):
            drawn = rng.random(len(x)) < self.rate
            errors = special.softmax(x[drawn] @ weights, axis=1) - y[drawn]
            # the gradient of one record is an outer product, whose norm is the product of two
            norms = np.linalg.norm(x[drawn], axis=1) * np.linalg.norm(errors, axis=1)
            clipped = x[drawn].T @ (errors / np.maximum(norms, 1.0)[:, np.newaxis])
            noisy = clipped + rng.normal(scale=self.sigma, size=weights.shape)
            weights = weights - self.step_size / (self.rate * _RECORDS) * noisy
        return weights

    def score(self, weights: Floats) -> Floats:
        """Log-odds of each canary's label, shape (m,)."""
        x, y = self._records
        logits = x[_RECORDS:] @ weights
        return np.asarray((logits * y[_RECORDS:]).sum(1) - special.logsumexp(logits, axis=1))

    def accuracy(self, weights: Floats) -> float:
        """Share of held-out digits named rightly."""
        images, labels = load_digits(return_X_y=True)
        x = np.zeros((len(images), len(weights)))
        x[:, :64] = _normed(images)
        return float((np.argmax(x[-400:] @ weights, axis=1) == labels[-400:]).mean())

    @cached_property
    def _records(self) -> tuple[Floats, Floats]:
        """Features of norm 1 and one-hot labels of the digits, then of the canaries."""
        images, labels = load_digits(return_X_y=True)
        extra = self.m if self.canary == "gradient" else 0
        x = np.zeros((_RECORDS + self.m, 64 + extra))
        x[:_RECORDS, :64] = _normed(images[:_RECORDS])
        wanted = np.concatenate([labels[:_RECORDS], np.zeros(self.m, np.int64)])
        if self.canary == "gradient":
            x[_RECORDS:, 64:] = np.eye(self.m)
        else:
            others = np.arange(_RECORDS, _RECORDS + self.m) % (len(images) - 400)
            x[_RECORDS:, :64] = _normed(images[others])
            wanted[_RECORDS:] = (labels[others] + 5) % _CLASSES
        return x, np.eye(_CLASSES)[wanted]


def _normed(images: Floats) -> Floats:
    return np.asarray(images / np.linalg.norm(images, axis=1, keepdims=True))
