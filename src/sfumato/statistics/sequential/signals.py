"""What agents know privately about the state θ = ±1, and what they intend to do with it.

For `SequentialLearning`. Normal signals of public spread, and binary ones that are right with a public probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData
from sfumato.statistics.sequential.cascade import cascade_threshold, reported_accuracy
from sfumato.statistics.sequential.mechanisms import Mechanism, NoNoise, UniformRandomizedResponse

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class GaussianSignals:
    """Signals s ~ N(θ, σ²).

    The agent intends + iff l + 2s/σ² > 0, l being the public log-odds: iff s exceeds the threshold -σ²l/2.

    Parameters
    ----------
    sigma : float
        Above 0; public.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise InvalidData("sigma must be finite and above 0")

    def threshold(self, llr: ArrayLike) -> Floats:
        """Signal above which + is intended at public log-odds `llr`."""
        return -(self.sigma**2) * np.asarray(llr, dtype=float) / 2

    def draw(self, theta: int, size: int, rng: np.random.Generator) -> Floats:
        """Simulate signals, shape (size,)."""
        return theta + self.sigma * rng.standard_normal(size)

    def flip_probability(
        self, signals: Floats, llr: Floats, mechanism: Mechanism, epsilon: ArrayLike | None = None
    ) -> Floats:
        """Probability that the report differs from the intended action."""
        return mechanism.flip_probability(signals, self.threshold(llr), epsilon)

    def log_ratio(
        self, report: ArrayLike, llr: Floats, mechanism: Mechanism, epsilon: ArrayLike | None = None
    ) -> Floats:
        """log Pr[report | θ = 1] - log Pr[report | θ = -1] at public log-odds `llr`."""
        first = self.log_probability(report, 1, llr, mechanism, epsilon)
        return first - self.log_probability(report, -1, llr, mechanism, epsilon)

    def log_probability(
        self, report: ArrayLike, theta: int, llr: Floats, mechanism: Mechanism, epsilon: ArrayLike | None = None
    ) -> Floats:
        """log Pr[report | θ] at public log-odds `llr`."""
        # Pr[- | z] = Pr[+ | -z]: the sign goes inside, so that no small probability is taken as 1 - P.
        z = np.asarray(report, dtype=float) * (theta - self.threshold(llr))
        return mechanism.log_plus(z, self.sigma, epsilon)


@dataclass(frozen=True)
class BinarySignals:
    """Signals ±1 that equal θ with probability p.

    An undecided crowd's agent follows its own signal (ties too); once the public log-odds outweigh one signal, everyone
    follows the crowd and reports tell nothing: a cascade.

    Parameters
    ----------
    p : float
        In (½, 1); public.
    """

    p: float = 0.7

    def __post_init__(self) -> None:
        if not 0.5 < self.p < 1:
            raise InvalidData("p must lie strictly between 0.5 and 1")

    def threshold(self, llr: ArrayLike) -> Floats:
        """0 while one signal can decide, -inf or inf in a cascade."""
        weight = math.log(self.p / (1 - self.p))
        public = np.asarray(llr, dtype=float)
        return np.where(np.abs(public) <= weight * (1 + 1e-9), 0.0, np.where(public > 0, -np.inf, np.inf))

    def draw(self, theta: int, size: int, rng: np.random.Generator) -> Floats:
        """Simulate signals, shape (size,)."""
        return np.where(rng.random(size) < self.p, theta, -theta).astype(np.float64)

    def flip_probability(
        self, signals: Floats, llr: Floats, mechanism: Mechanism, epsilon: ArrayLike | None = None
    ) -> Floats:
        """Probability that the report differs from the intended action; 0 in a cascade, where no signal is used."""
        undecided = self.threshold(llr) == 0
        return np.where(undecided, mechanism.flip_probability(signals, 0.0, epsilon), 0.0)

    def log_ratio(
        self, report: ArrayLike, llr: Floats, mechanism: Mechanism, epsilon: ArrayLike | None = None
    ) -> Floats:
        """log Pr[report | θ = 1] - log Pr[report | θ = -1]; 0 in a cascade."""
        right = reported_accuracy(self.p, mechanism.flip_probability(0.0, 0.0, epsilon))
        step = np.log(right / (1 - right))
        return np.where(self.threshold(llr) == 0, np.asarray(report, dtype=float) * step, 0.0)

    def herd(self, mechanism: Mechanism) -> int:
        """Lead of one action over the other at which everyone follows."""
        if isinstance(mechanism, NoNoise):
            return cascade_threshold(self.p, math.inf)
        assert isinstance(mechanism, UniformRandomizedResponse)
        return cascade_threshold(self.p, mechanism.epsilon)
