"""Confidence: regulariser and radius that cover the noise, and the model that follows from a noisy prefix.

For `FedLinUCB` and its protocol. Zhou and Chowdhury, ICLR 2024, with the constants of a Gaussian matrix; public numbers
only, so that neither λ nor β ever depends on the noise that was drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np

from sfumato.errors import InvalidData
from sfumato.federation.bandits.contributions import Floats, Integers, unpack
from sfumato.federation.bandits.design import Design


@dataclass(frozen=True)
class Confidence:
    """How far estimates may be off, with probability 1 - alpha over all prefixes and steps.

    Parameters
    ----------
    design : Design
    sigma_total : float
        Standard deviation of the noise of a coordinate in the noisiest prefix.
    alpha : float
        In (0, 1).
    reward_noise : float
        R: rewards are sub-Gaussian round their mean with this parameter, in units of the reward bound.
    theta_bound : float
        S ≥ ‖θ*‖, in units of the reward bound.
    exploration : float
        Factor on β; 1 is the theory.

    Raises
    ------
    InvalidData
        If a number is out of range.
    """

    design: Design
    sigma_total: float
    alpha: float = 0.01
    reward_noise: float = 1.0
    theta_bound: float = 1.0
    exploration: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidData(f"alpha must be in (0, 1), got {self.alpha}")
        for name in ("reward_noise", "theta_bound", "exploration"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidData(f"{name} must be finite and above 0, got {getattr(self, name)}")

    @classmethod
    def scaled(
        cls,
        design: Design,
        sigma_total: float,
        alpha: float,
        *,
        reward_bound: float,
        theta_bound: float,
        reward_noise: float | None,
        exploration: float,
    ) -> Self:
        """Make one from numbers in units of the rewards; by default rewards are taken as noisy as the bound allows.

        Raises
        ------
        InvalidData
            If a number is out of range.
        """
        if not 0 < reward_bound < math.inf:
            raise InvalidData(f"reward_bound must be finite and above 0, got {reward_bound}")
        noise = 1.0 if reward_noise is None else reward_noise / reward_bound
        return cls(design, sigma_total, alpha, noise, theta_bound / reward_bound, exploration)

    @property
    def _tail(self) -> float:
        return math.sqrt(2 * math.log(2 * self.design.batches / self.alpha))

    @property
    def gamma(self) -> float:
        """γ: bound on the operator norm of the Gram matrix's noise, over all prefixes.

        The norm is σ-Lipschitz in the packed noise, and its mean is at most σ·2√d.
        """
        return self.sigma_total * (2 * math.sqrt(self.design.n_features) + self._tail)

    @property
    def nu(self) -> float:
        """ν: bound on the Euclidean norm of the bias vector's noise, over all prefixes."""
        return self.sigma_total * (math.sqrt(self.design.n_features) + self._tail)

    @property
    def regulariser(self) -> float:
        """λ = max(1, 2γ): leaves V at least λ - γ ≥ λ/2 in every direction."""
        return max(1.0, 2 * self.gamma)

    @property
    def floor(self) -> float:
        """λ - γ: what no eigenvalue of λI + W is below, with probability 1 - alpha."""
        return self.regulariser - self.gamma

    def beta(self, steps: int) -> float:
        """Radius β after that many users of each silo, times `exploration`.

        R√(2 ln(2/α) + d ln(3 + tM/(dλ))) + S√(λ + γ) + ν/√(λ - γ).
        """
        d, total = self.design.n_features, steps * self.design.silos
        chance = 2 * math.log(2 / self.alpha) + d * math.log(3 + total / (d * self.regulariser))
        shift = self.theta_bound * math.sqrt(self.regulariser + self.gamma) + self.nu / math.sqrt(self.floor)
        return self.exploration * (self.reward_noise * math.sqrt(chance) + shift)


@dataclass(frozen=True, eq=False)
class Model:
    """Ridge regression from a prefix sum: what all silos share between two synchronisations.

    Attributes
    ----------
    inverse : ndarray of float, shape (d, d)
        V^-1, V = λI + W.
    bias : ndarray of float, shape (d,)
        U.
    floored : bool
        Whether the noise brought an eigenvalue of V below λ - γ, and it was raised to that.
    """

    inverse: Floats
    bias: Floats
    floored: bool

    @property
    def theta(self) -> Floats:
        """Estimate of θ*, shape (d,)."""
        estimate: Floats = self.inverse @ self.bias
        return estimate


def fit_model(prefix: Floats, confidence: Confidence) -> Model:
    """Read Gram matrix and bias vector from a (noisy) prefix sum of packed contributions."""
    gram, bias = unpack(prefix, confidence.design.n_features)
    values, vectors = np.linalg.eigh(gram)
    values += confidence.regulariser
    floored = bool(values[0] < confidence.floor * (1 - 1e-9))
    return Model((vectors / np.maximum(values, confidence.floor)) @ vectors.T, bias, floored)


def choose(features: Floats, theta: Floats, inverse: Floats, beta: float) -> Integers:
    """Return the actions with the largest upper confidence bound φ'θ + β‖φ‖_{V^-1}.

    Parameters
    ----------
    features : ndarray of float, shape (..., K, d)
        An action with a feature that is not finite is never chosen while there is another.
    theta : ndarray of float, shape (..., d)
    inverse : ndarray of float, shape (..., d, d)
    beta : float

    Returns
    -------
    ndarray of int, shape (...)
    """
    usable = np.asarray(np.isfinite(features).all(axis=-1))
    if not usable.all():
        features = np.where(usable[..., np.newaxis], features, 0.0)
    norms = np.sqrt(np.square(features).sum(axis=-1, keepdims=True))
    if norms.max(initial=0.0) > 1:
        features = features / np.maximum(norms, 1.0)
    mean = np.matmul(features, theta[..., np.newaxis])[..., 0]
    width = np.sqrt(np.maximum((np.matmul(features, inverse) * features).sum(axis=-1), 0.0))
    return np.asarray(np.argmax(np.where(usable, mean + beta * width, -np.inf), axis=-1), np.int64)
