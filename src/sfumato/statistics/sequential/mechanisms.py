"""How an agent reports an action: flipped less often the clearer the signal, flipped at one rate, or as it is.

For `SequentialLearning`, and for a platform that must protect each person's signal. Liu and Rahimian 2025; uniform
flips: Warner 1965. That the smooth flip is the Laplace mechanism in disguise is our derivation.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from dp_accounting import dp_event
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import default_granularity, to_grid
from sfumato.privacy.release import Release
from sfumato.statistics.sequential.likelihood import log_normal_plus, log_smooth_plus, log_uniform_plus

Floats = NDArray[np.float64]
Signs = NDArray[np.int8]

_ONCE = "each person reports once, and the threshold depends on public history only"


@dataclass(frozen=True)
class SmoothRandomizedResponse:
    """Flip the intended action with probability ½·exp(-ε|s - t|): rarely where signal s is far from threshold t.

    The report is + with probability F(s - t), where F is the distribution function of Laplace noise of scale 1/ε: it
    is the sign of s + Laplace(1/ε) - t. Neighbours replace one person's signal s by s'; by the Laplace mechanism every
    report's probability changes by at most e^(ε|s - s'|). So ε is a rate **per unit of signal**: metric privacy, and
    pure ε·r differential privacy for signals that differ by at most r. It is *not* ε-local privacy: for signals ten
    units apart the factor is nearly e^(10ε).

    `report` rounds signals to a public grid of about a millionth of the noise scale and adds discrete Laplace noise
    there, whose scale pays for the rounding: two signals within r are within r/g + 1 granules g of each other.

    Parameters
    ----------
    epsilon : float
        Per unit of signal, at least 0; 0 makes every report a fair coin.
    """

    epsilon: float

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def claim(self, radius: float | None = 1.0) -> Claim:
        """What each person is promised.

        Parameters
        ----------
        radius : float or None
            Two signals within it count as neighbours. None asks about any two signals, for which nothing holds.
        """
        if radius is None:
            why = "the factor between two signals is exp(epsilon times their distance), which any two do not bound"
            return Claim(Heuristic(why), neighbours="replace-one", trust="local")
        if not 0 < radius < math.inf:
            raise InvalidClaim(f"radius must be finite and above 0, got {radius:g}")
        near = f"two signals that count as neighbours differ by at most {radius:g} (metric privacy)"
        return _local(PureDP(self.epsilon * radius), near)

    def flip_probability(self, signals: ArrayLike, threshold: ArrayLike, epsilon: ArrayLike | None = None) -> Floats:
        """Probability that a report differs from the intended action, in [0, ½]."""
        distance = np.abs(np.asarray(signals, dtype=float) - np.asarray(threshold, dtype=float))
        return np.asarray(0.5 * np.exp(-_rate(self.epsilon, epsilon) * distance), dtype=np.float64)

    def log_plus(self, z: ArrayLike, sigma: float, epsilon: ArrayLike | None = None) -> Floats:
        """log Pr[report + | θ] for normal signals, z = θ - t."""
        return log_smooth_plus(z, sigma, _rate(self.epsilon, epsilon))

    def report(
        self, signals: ArrayLike, threshold: ArrayLike, *, radius: float = 1.0, noise_seed: int | None = None
    ) -> Signs:
        """Report each person's action, in one `Release` whose claim is `claim(radius)`.

        Parameters
        ----------
        signals : array_like of float, any shape
            One person an entry.
        threshold : array_like of float
            Public; broadcast against `signals`.
        radius : float
            Two signals within it count as neighbours.
        noise_seed : int, optional
            For tests only: it voids the claim.

        Returns
        -------
        ndarray of int8, same shape
            +1 or -1.

        Raises
        ------
        InvalidData
            If a signal or threshold is not finite, or beyond 2**61 granules; nothing is spent.
        """
        claim = self.claim(radius)
        values, limits = _finite("signals", signals), _finite("threshold", threshold)
        if self.epsilon == 0:
            return _fair_coins(claim, values.shape, noise_seed)
        step = default_granularity(1 / self.epsilon)
        cells = to_grid(values, step)
        reach = Fraction(radius) / Fraction(step) + 1
        with Release(claim, purpose="report of a decision", seed=noise_seed) as release:
            noisy = release.discrete_laplace(cells, l1_sensitivity=reach, epsilon=self.epsilon * radius)
        return np.where(noisy * step > limits, 1, -1).astype(np.int8)


@dataclass(frozen=True)
class UniformRandomizedResponse:
    """Flip the intended action with probability 1/(1 + e^ε), whatever the signal.

    Neighbours replace one person's signal by any other; the report's probability changes by at most e^ε: pure local
    privacy without a bound on the signals.

    Parameters
    ----------
    epsilon : float
        At least 0; 0 makes every report a fair coin.
    """

    epsilon: float

    def __post_init__(self) -> None:
        _check_epsilon(self.epsilon)

    def claim(self) -> Claim:
        """What each person is promised."""
        return _local(PureDP(self.epsilon))

    def flip_probability(self, signals: ArrayLike, threshold: ArrayLike, epsilon: ArrayLike | None = None) -> Floats:
        """Probability that a report differs from the intended action."""
        shape = np.broadcast_shapes(np.shape(signals), np.shape(threshold))
        return np.broadcast_to(_flip(_rate(self.epsilon, epsilon)), shape).astype(np.float64)

    def log_plus(self, z: ArrayLike, sigma: float, epsilon: ArrayLike | None = None) -> Floats:
        """log Pr[report + | θ] for normal signals, z = θ - t."""
        return log_uniform_plus(z, sigma, _flip(_rate(self.epsilon, epsilon)))

    def report(self, signals: ArrayLike, threshold: ArrayLike, *, noise_seed: int | None = None) -> Signs:
        """Report each person's action, in one `Release`; see `SmoothRandomizedResponse.report`."""
        actions = _finite("signals", signals) > _finite("threshold", threshold)
        if self.epsilon == 0:
            return _fair_coins(self.claim(), actions.shape, noise_seed)
        with Release(self.claim(), purpose="report of a decision", seed=noise_seed) as release:
            reported = release.randomized_response(actions.astype(np.int64), k=2, epsilon=self.epsilon)
        return np.where(reported == 1, 1, -1).astype(np.int8)


@dataclass(frozen=True)
class NoNoise:
    """Report the intended action: the baseline, which protects nobody."""

    def claim(self) -> Claim:
        """No promise."""
        return Claim(Heuristic("the action that the signal led to is published as it is"), trust="local")

    def flip_probability(self, signals: ArrayLike, threshold: ArrayLike, epsilon: ArrayLike | None = None) -> Floats:
        """Zero."""
        return np.zeros(np.broadcast_shapes(np.shape(signals), np.shape(threshold)))

    def log_plus(self, z: ArrayLike, sigma: float, epsilon: ArrayLike | None = None) -> Floats:
        """log Pr[report + | θ] for normal signals, z = θ - t."""
        return log_normal_plus(z, sigma)

    def report(self, signals: ArrayLike, threshold: ArrayLike) -> Signs:
        """The intended actions."""
        return np.where(_finite("signals", signals) > _finite("threshold", threshold), 1, -1).astype(np.int8)


Mechanism: TypeAlias = SmoothRandomizedResponse | UniformRandomizedResponse | NoNoise


def _local(bound: PureDP, *assumptions: str) -> Claim:
    return Claim(bound, neighbours="replace-one", trust="local", assumptions=(*assumptions, _ONCE))


def _check_epsilon(epsilon: float) -> None:
    PureDP(epsilon)  # the bound's own check: finite, at least 0
    if epsilon == 0:
        warnings.warn("epsilon = 0: every report is a fair coin, and nobody learns anything", stacklevel=4)


def _rate(own: float, given: ArrayLike | None) -> Floats:
    return np.asarray(own if given is None else given, dtype=np.float64)


def _flip(epsilon: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(epsilon)), dtype=np.float64)


def _finite(name: str, values: ArrayLike) -> Floats:
    try:
        numbers = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidData(f"{name} must be numbers") from None
    if not np.isfinite(numbers).all():
        raise InvalidData(f"{name} must be finite")
    return numbers


def _fair_coins(claim: Claim, shape: tuple[int, ...], noise_seed: int | None) -> Signs:
    with Release(claim, purpose="coins that depend on nobody", seed=noise_seed) as release:
        heads = release.prepaid(dp_event.NoOpDpEvent()).bernoulli(Fraction(1, 2), shape)
    return np.where(heads, 1, -1).astype(np.int8)
