"""Which noise a release draws, how it shares its budget among its parts, and how far the noise can carry an answer.

For the estimators of this package, which spend their budget here and nowhere else. Discrete Laplace noise for pure ε,
discrete Gaussian noise for ρ-zCDP and (ε, δ).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.accounting import Cost
from sfumato.privacy.bounds import ZCDP, ApproxDP, Neighbours, PureDP
from sfumato.privacy.budget import largest_rho, privacy_bound
from sfumato.privacy.claim import Claim
from sfumato.privacy.noise import LARGEST_SCALE
from sfumato.privacy.release import Release
from sfumato.statistics.similarity.rows import Floats, Integers

Noise: TypeAlias = Literal["laplace", "gaussian"]


@dataclass(frozen=True)
class Part:
    """One vector of integers in a release.

    Attributes
    ----------
    l1 : int
        How far neighbours move it in L1.
    l2 : float
        The same in L2.
    weight : float
        Mean square of the factor with which one unit of its noise enters an answer.
    """

    l1: int
    l2: float
    weight: float = 1.0


@dataclass(frozen=True)
class Terms:
    """The public half of a release: what is promised, to which neighbours, and the noise that was asked for."""

    bound: PureDP | ApproxDP | ZCDP
    neighbours: Neighbours
    asked: Noise | None
    seed: int | None

    @property
    def replaced(self) -> bool:
        """Whether the number of people is public, and one of them may be exchanged."""
        return self.neighbours == "replace-one"

    def open(self, purpose: str, assumptions: Sequence[str]) -> Release:
        """Return the release, not yet entered."""
        claim = Claim(self.bound, unit="person", neighbours=self.neighbours, assumptions=tuple(assumptions))
        return Release(claim, purpose=purpose, seed=self.seed)

    def plan(self, parts: Sequence[Part], shares: Sequence[float] | None = None) -> Plan:
        """Choose the noise and share the budget; by default so that the noise of an answer is least.

        With Laplace noise an answer's variance is Σ 2·weight·(l1/ε_i)², least for ε_i ∝ (weight·l1²)^(1/3); with
        Gaussian noise it is Σ weight·l2²/(2ρ_i), least for ρ_i ∝ (weight·l2²)^(1/2).

        Raises
        ------
        InvalidClaim
            If the bound allows no such noise, or the noise would not fit 64-bit integers.
        """
        plans = [self._plan(noise, parts, shares) for noise in self._allowed()]
        best = min(plans, key=Plan.variance)
        if max(best.width(i) for i in range(len(parts))) > LARGEST_SCALE / 4:
            raise InvalidClaim("the noise would not fit 64-bit integers: raise the budget, or release less")
        return best

    def _allowed(self) -> tuple[Noise, ...]:
        can: tuple[Noise, ...] = get_args(Noise)
        if isinstance(self.bound, PureDP):
            can = ("laplace",)
        if isinstance(self.bound, ZCDP):
            can = ("gaussian",)
        if self.asked is not None and self.asked not in can:
            raise InvalidClaim(f'noise="{self.asked}" cannot meet a claim of {self.bound}')
        return can if self.asked is None else (self.asked,)

    def _plan(self, noise: Noise, parts: Sequence[Part], shares: Sequence[float] | None) -> Plan:
        if noise == "laplace":
            assert not isinstance(self.bound, ZCDP)
            total, best = self.bound.epsilon, [(p.weight * p.l1**2) ** (1 / 3) for p in parts]
        else:
            assert not isinstance(self.bound, PureDP)
            total = self.bound.rho if isinstance(self.bound, ZCDP) else _rho_within(self.bound)
            best = [(p.weight * p.l2**2) ** (1 / 2) for p in parts]
        chosen = best if shares is None else list(shares)
        return Plan(noise, tuple(parts), tuple(total * share / sum(chosen) for share in chosen))


@dataclass(frozen=True)
class Plan:
    """The noise, and the ε (Laplace) or ρ (Gaussian) of each part; they add up to the claim."""

    noise: Noise
    parts: tuple[Part, ...]
    amounts: tuple[float, ...]

    def draw(self, release: Release, i: int, values: Integers) -> Integers:
        """Return part i with its noise."""
        if self.noise == "laplace":
            return release.discrete_laplace(values, l1_sensitivity=self.parts[i].l1, epsilon=self.amounts[i])
        return release.discrete_gaussian(values, l2_sensitivity=self.parts[i].l2, rho=self.amounts[i])

    def width(self, i: int) -> float:
        """Scale of the Laplace noise of part i, or σ of its Gaussian noise."""
        if self.noise == "laplace":
            return self.parts[i].l1 / self.amounts[i]
        return self.parts[i].l2 / math.sqrt(2 * self.amounts[i])

    def deviation(self, i: int) -> float:
        """Standard deviation of the noise of part i (of the continuous noise: an upper bound)."""
        return self.width(i) * (math.sqrt(2) if self.noise == "laplace" else 1.0)

    def variance(self) -> float:
        """Mean variance of an answer."""
        return sum(part.weight * self.deviation(i) ** 2 for i, part in enumerate(self.parts))

    def tail(self, squares: ArrayLike, largest: ArrayLike, beta: float) -> Floats:
        """Return t with P(|Σ a_i noise_i| > t) ≤ beta, for Σ (a_i width_i)² ≤ squares and max |a_i width_i| ≤ largest.

        Chernoff's bound. The discrete Gaussian's moment generating function is at most e^(σ²s²/2) (Canonne, Kamath
        and Steinke 2020, Fact 18). That of the discrete Laplace is at most 1/(1 - b²s²), since (cosh t - 1)/t² grows
        with t; as -log(1 - x²) ≤ x²/(1 - x), the sum is sub-gamma with variance 2·squares and scale `largest`
        (Boucheron, Lugosi and Massart 2013, section 2.4).
        """
        log = math.log(2 / beta)
        if self.noise == "gaussian":
            return np.sqrt(2 * log * np.asarray(squares, np.float64))
        return 2 * np.sqrt(log * np.asarray(squares, np.float64)) + log * np.asarray(largest, np.float64)


@lru_cache(maxsize=256)
def _rho_within(bound: ApproxDP) -> float:
    return largest_rho(bound, Cost.zero())


def read_terms(parameters: dict[str, Any]) -> Terms:
    """Validate an estimator's privacy parameters; raises InvalidClaim or InvalidData."""
    p = parameters
    bound = privacy_bound(p["epsilon"], p["rho"], p["delta"])
    if p["neighbours"] not in get_args(Neighbours):
        raise InvalidClaim(f"neighbours must be one of {', '.join(get_args(Neighbours))}")
    if p["noise"] not in ("auto", *get_args(Noise)):
        raise InvalidClaim(f"noise must be auto, {', '.join(get_args(Noise))}")
    seed = p["noise_seed"]
    if seed is not None:
        seed = whole("noise_seed", seed, 0)
    terms = Terms(bound, p["neighbours"], None if p["noise"] == "auto" else p["noise"], seed)
    terms.plan([Part(1, 1.0)])  # a bound that the noise cannot meet is refused before any data are read
    return terms


def whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return an integer parameter, or raise InvalidData."""
    ends = f"at least {least}" if most is None else f"from {least} to {most}"
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise InvalidData(f"{name} must be an integer {ends}")
    if value < least or (most is not None and value > most):
        raise InvalidData(f"{name} must be an integer {ends}, got {value}")
    return int(value)


def positive(name: str, value: Any) -> float:
    """Return a positive finite parameter as a float, or raise InvalidData."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidData(f"{name} must be a number, got {type(value).__name__}")
    if not 0 < value < math.inf:
        raise InvalidData(f"{name} must be finite and above 0, got {float(value):g}")
    return float(value)
