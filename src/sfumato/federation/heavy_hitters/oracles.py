"""Frequency oracles: each user sends one randomised report, and how many hold each candidate is estimated from them.

For `HeavyHitterProtocol`, and for whoever asks about a known list. Wang, Blocki, Li and Jha 2017 ("Locally
differentially private protocols for frequency estimation"): GRR, optimized unary encoding, optimized local hashing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Structural

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.heavy_hitters import hashing
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.budget import privacy_bound
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

ONE_ITEM = "each user holds one item, and sends one report of it"

_MOST = 2**24  # bits of unary reports unpacked at once
_LARGE = 50.0  # e^50 is beyond every domain


class FrequencyOracle(Structural):
    """What all three have: values are candidates' numbers, -1 for a user who holds none of them.

    Such a user sends a report like everyone else, so that nobody's silence says anything.
    """

    @property
    def epsilon(self) -> float: ...

    @property
    def domain_size(self) -> int: ...

    @property
    def claim(self) -> Claim:
        """Of one user's report: ε-DP on the user's own device, whatever it is replaced by."""
        ...

    @property
    def p(self) -> float:
        """Probability that a report supports the user's own value."""
        ...

    @property
    def q(self) -> float:
        """Probability that a report supports a given other value."""
        ...

    @property
    def gap(self) -> float:
        """p - q, without cancellation where ε is small."""
        ...

    def perturb(self, values: Integers, release: Release, rng: np.random.Generator) -> Any:
        """Draw one report a user; `rng` is public randomness (hash functions), the noise is the release's."""
        ...

    def aggregate(self, reports: Any) -> Integers:
        """Count the reports that support each candidate, shape (domain_size,)."""
        ...

    def simulate(self, values: Integers, rng: np.random.Generator) -> Integers:
        """Draw what `aggregate` would count, from its exact law and without reports. Protects nobody: for studies."""
        ...


@dataclass(frozen=True)
class GRR:
    """Generalised randomised response: the own symbol with probability e^ε / (e^ε + d), else one of the d others.

    The d candidates and "none of them" are d + 1 symbols. *ε-DP*: each symbol's probability is one of two, whose ratio
    is e^ε. The best of the three for small domains.

    Parameters
    ----------
    epsilon : float
    domain_size : int
        Number of candidates d, at least 1.

    Examples
    --------
    >>> from sfumato import Release
    >>> oracle = GRR(2.0, domain_size=3)
    >>> with Release(oracle.claim, purpose="one report a user") as release:
    ...     reports = oracle.perturb(np.array([0, 2, 2, -1]), release, np.random.default_rng())
    >>> counts, stderr = estimate(oracle, oracle.aggregate(reports), users=4)
    """

    epsilon: float
    domain_size: int

    def __post_init__(self) -> None:
        _check(self)

    @property
    def claim(self) -> Claim:
        return local_claim(self.epsilon)

    @property
    def p(self) -> float:
        return 1 / (1 + self.domain_size * math.exp(-self.epsilon))

    @property
    def q(self) -> float:
        return math.exp(-self.epsilon) * self.p

    @property
    def gap(self) -> float:
        return -math.expm1(-self.epsilon) * self.p

    def perturb(self, values: Integers, release: Release, rng: np.random.Generator) -> Integers:
        symbols = np.where(_values(self, values) < 0, self.domain_size, values)
        return release.randomized_response(symbols, k=self.domain_size + 1, epsilon=self.epsilon)

    def aggregate(self, reports: Integers) -> Integers:
        return np.bincount(reports, minlength=self.domain_size + 1)[: self.domain_size].astype(np.int64)

    def simulate(self, values: Integers, rng: np.random.Generator) -> Integers:
        # The same law as: the own symbol with probability p - q, else one of all d + 1 alike.
        held = np.bincount(_values(self, values) + 1, minlength=self.domain_size + 1)
        kept = rng.binomial(held, self.gap)
        spread = rng.multinomial(len(values) - kept.sum(), np.full(len(held), 1 / len(held)))
        return np.asarray((kept + spread)[1:], np.int64)


@dataclass(frozen=True)
class OUE:
    """Optimized unary encoding: a bit a candidate, the own one 1 with probability 1/2, others with 1/(e^ε + 1).

    *ε-DP*: see `Release.unary_encoding`. A report is d bits long.

    Parameters
    ----------
    epsilon : float
    domain_size : int
    """

    epsilon: float
    domain_size: int

    def __post_init__(self) -> None:
        _check(self)

    @property
    def claim(self) -> Claim:
        return local_claim(self.epsilon)

    @property
    def p(self) -> float:
        return 0.5

    @property
    def q(self) -> float:
        return math.exp(-self.epsilon) / (1 + math.exp(-self.epsilon))

    @property
    def gap(self) -> float:
        return 0.5 * math.tanh(self.epsilon / 2)

    def perturb(self, values: Integers, release: Release, rng: np.random.Generator) -> NDArray[np.uint8]:
        return release.unary_encoding(_values(self, values), k=self.domain_size, epsilon=self.epsilon)

    def aggregate(self, reports: NDArray[np.uint8]) -> Integers:
        counts = np.zeros(self.domain_size, dtype=np.int64)
        rows = max(1, _MOST // self.domain_size)
        for start in range(0, len(reports), rows):
            bits = np.unpackbits(reports[start : start + rows], axis=1, count=self.domain_size)
            counts += bits.sum(axis=0, dtype=np.int64)
        return counts

    def simulate(self, values: Integers, rng: np.random.Generator) -> Integers:
        return _independent_bits(self, values, rng)


@dataclass(frozen=True)
class OLH:
    """Optimized local hashing: randomised response on a hash of the value into round(e^ε) + 1 buckets.

    Each user has a hash function of their own, which is public; it does not depend on the value, and given it the
    report is randomised response over the buckets. *ε-DP* for every hash function, good or bad. A report is a seed and
    a bucket, whatever the domain. That users' functions are pairwise independent is what the estimate needs.

    Parameters
    ----------
    epsilon : float
        At most 11: beyond, there are too many buckets and GRR is better anyway.
    domain_size : int
    """

    epsilon: float
    domain_size: int

    def __post_init__(self) -> None:
        _check(self)
        if self.epsilon > math.log(hashing.MOST_BUCKETS - 2):
            raise InvalidClaim(f'epsilon must be at most 11 for OLH, got {self.epsilon:g}: use "grr"')

    @property
    def claim(self) -> Claim:
        return local_claim(self.epsilon)

    @property
    def buckets(self) -> int:
        """Number of buckets."""
        return round(math.exp(self.epsilon)) + 1

    @property
    def p(self) -> float:
        return 1 / (1 + (self.buckets - 1) * math.exp(-self.epsilon))

    @property
    def q(self) -> float:
        return 1 / self.buckets

    @property
    def gap(self) -> float:
        return -math.expm1(-self.epsilon) * self.p * (1 - self.q)

    def perturb(
        self, values: Integers, release: Release, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint64], Integers]:
        symbols = np.where(_values(self, values) < 0, self.domain_size, values)
        seeds = rng.integers(0, 2**64, len(values), dtype=np.uint64)
        hashed = hashing.buckets(seeds, symbols, self.buckets)
        return seeds, release.randomized_response(hashed, k=self.buckets, epsilon=self.epsilon)

    def aggregate(self, reports: tuple[NDArray[np.uint64], Integers]) -> Integers:
        return hashing.count_support(*reports, self.domain_size, self.buckets)

    def simulate(self, values: Integers, rng: np.random.Generator) -> Integers:
        """As `FrequencyOracle.simulate`, for hash functions whose values are all independent (not only in pairs)."""
        return _independent_bits(self, values, rng)


ORACLES: dict[str, type[GRR] | type[OUE] | type[OLH]] = {"grr": GRR, "oue": OUE, "olh": OLH}


def choose_oracle(name: str, epsilon: float, domain_size: int) -> FrequencyOracle:
    """Return an oracle by name; "auto" is GRR where that has less variance, else OLH (Wang et al. 2017, section 4.4).

    OUE has the variance of OLH and longer reports, so it is taken by name only.
    """
    if name == "auto":
        small = domain_size - 1 < 3 * math.exp(min(epsilon, _LARGE))
        name = "grr" if small else "olh"
    return ORACLES[name](epsilon, domain_size)


def estimate(oracle: FrequencyOracle, support: Integers, users: int) -> tuple[Floats, Floats]:
    """Return unbiased estimates of how many users hold each candidate, and their standard errors.

    Parameters
    ----------
    oracle : FrequencyOracle
    support : ndarray of int64, shape (d,)
        From `aggregate`.
    users : int
        How many reports there were.

    Returns
    -------
    counts, stderr : ndarray of float64, shape (d,)
        (support - users · q) / (p - q), which may be negative; and the root of `variance` at the estimate.
    """
    counts = (support.astype(np.float64) - users * oracle.q) / oracle.gap
    return counts, np.sqrt(variance(oracle, users, np.clip(counts, 0, users)))


def variance(oracle: FrequencyOracle, users: int, held: float | Floats = 0.0) -> Any:
    """Return the variance of an estimated count, where so many of the users hold the candidate.

    users · q(1-q)/(p-q)² + held · (1-p-q)/(p-q), exactly. At held = 0 it depends on no data.
    """
    rare = oracle.q * (1 - oracle.q) / oracle.gap**2
    return users * rare + held * ((1 - oracle.p - oracle.q) / oracle.gap)


def local_claim(epsilon: float) -> Claim:
    """The claim of one report: pure ε-DP, for a user whose item is replaced by any other, against everyone else."""
    return Claim(PureDP(epsilon), unit="user", neighbours="replace-one", trust="local", assumptions=(ONE_ITEM,))


def _independent_bits(oracle: FrequencyOracle, values: Integers, rng: np.random.Generator) -> Integers:
    """Given the users' values, a report supports each candidate independently of all others."""
    held = np.bincount(_values(oracle, values) + 1, minlength=oracle.domain_size + 1)[1:]
    return np.asarray(rng.binomial(held, oracle.p) + rng.binomial(len(values) - held, oracle.q), np.int64)


def _values(oracle: FrequencyOracle, values: Integers) -> Integers:
    if values.ndim != 1 or values.dtype != np.int64 or np.any((values < -1) | (values >= oracle.domain_size)):
        raise InvalidData(f"values must be a vector of int64 in -1 .. {oracle.domain_size - 1}")
    return values


def _check(oracle: FrequencyOracle) -> None:
    privacy_bound(oracle.epsilon)
    size: Any = oracle.domain_size
    if isinstance(size, bool) or not isinstance(size, (int, np.integer)) or not 1 <= size <= 2**31:
        raise InvalidData(f"domain_size must be an integer in 1 .. 2^31, got {size}")
