"""RQM and PBM: quantisers whose randomness is the noise, with laws that are computed exactly.

For clients that send a few bits a coordinate. Youn, Hu, Ziani and Abernethy, "Randomized Quantization is All You Need
for Differential Privacy in Federated Learning" (2023, arXiv 2306.11913); Chen, Özgür and Kairouz, "The Poisson Binomial
Mechanism for Unbiased Federated Learning with Secure Aggregation" (ICML 2022, arXiv 2207.09916).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData, ProtocolError
from sfumato.federation.quantization import aggregate
from sfumato.federation.quantization.aggregate import Others
from sfumato.federation.quantization.divergence import Floats
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.quantized import FRACTION_BITS, MOST_LEVELS
from sfumato.privacy.release import PrepaidNoise, Release

Norm: TypeAlias = Literal["linf", "l2"]

_ONE = 1 << FRACTION_BITS
_BLOCK = 1 << 22  # numbers in the largest array that `RQM.pmf` builds


@dataclass(frozen=True)
class RQM:
    """Randomized quantization: the levels between which a number is rounded are themselves kept at random.

    m levels lie evenly on [-c - extension, c + extension]. The outermost are always kept, each other with probability
    `keep_probability`, afresh for every number; the number, clipped to [-c, c], is rounded at random to one of the two
    kept levels around it, without bias.

    *Who is protected, and why.* Neighbours replace one number by any other. Between two levels the law of a report is
    affine in the number, and it is continuous across levels. So P(i | x) has its largest and its smallest value over
    [-c, c] at a level or at an end; and exp((α - 1) D_α), jointly convex in the two laws, its largest at a pair of such
    points. `epsilon_local` and `renyi` compare all pairs of these points: a maximum over all inputs, and not over a
    grid. Every level has positive probability, because Δ > 0 and an interior level may be dropped: ε is finite.
    That is one number in one report. For a vector see `QuantizedMean`; for several reports the ε add up.

    *Floats.* A number is rounded to a 2^-32nd of a level before anything is drawn. That only chooses another number in
    [-c, c]; given it, integers decide the report, exactly (`privacy.quantized`).

    Parameters
    ----------
    clip : float
        c, above 0. A public number: one that is read off the data is not covered.
    extension : float
        Δ, above 0. Without it the outermost levels would be reached from one side only.
    levels : int
        m, 3 to 256; a report takes ceil(log2 m) bits.
    keep_probability : float
        q, inside (0, 1).

    Raises
    ------
    InvalidClaim
        If a parameter is out of range: with extension 0, or q = 1, there is no privacy.
    """

    clip: float
    extension: float
    levels: int = 16
    keep_probability: float = 0.42

    def __post_init__(self) -> None:
        _positive("clip", self.clip)
        _positive("extension", self.extension)
        if not _is_whole(self.levels) or not 3 <= self.levels <= MOST_LEVELS:
            raise InvalidClaim(f"levels must be an integer in 3 .. {MOST_LEVELS}, got {self.levels!r}")
        if not 0 < self.keep_probability < 1:
            raise InvalidClaim(f"keep_probability must be inside (0, 1), got {self.keep_probability!r}")

    #: Whether the law of a report is affine in the number between `corners`.
    affine = True

    @property
    def outcomes(self) -> int:
        """How many values a report can have: 0 .. outcomes - 1."""
        return self.levels

    @property
    def unit(self) -> float:
        """What a position of 1 stands for: a level's step."""
        return self.step

    @property
    def half_width(self) -> float:
        """X = c + Δ: the outermost levels are -X and X."""
        return self.clip + self.extension

    @property
    def step(self) -> float:
        """Distance of neighbouring levels."""
        return 2 * self.half_width / (self.levels - 1)

    @property
    def values(self) -> Floats:
        """The levels, shape (m,)."""
        return np.linspace(-self.half_width, self.half_width, self.levels)

    @property
    def corners(self) -> Floats:
        """The points among which every worst case is: the ends of [-c, c] and the levels inside."""
        inside = self.values[np.abs(self.values) < self.clip]
        return np.concatenate(([-self.clip], inside, [self.clip]))

    @property
    def claim(self) -> Claim:
        """What one report of one number promises to the client that sends it."""
        return _local_claim(self.epsilon_local())

    def pmf(self, x: ArrayLike) -> Floats:
        """Probabilities of the m reports, shape (..., m): the O(m²) sum over pairs of kept neighbours.

        For u among the levels, j = floor(u): left neighbour a <= j with weight q (1-q)^(j-a), or (1-q)^j for a = 0;
        right neighbour b > j alike; the two are independent, and the pair's mass is split without bias.
        """
        x = np.clip(_finite(x), -self.clip, self.clip)
        u = (x.reshape(-1) + self.half_width) / self.step
        rows = max(1, _BLOCK // self.levels**2)
        parts = [self._pmf(u[start : start + rows]) for start in range(0, max(1, len(u)), rows)]
        return np.concatenate(parts).reshape(*x.shape, self.levels)

    def _pmf(self, u: Floats) -> Floats:
        m, q = self.levels, self.keep_probability
        place = np.arange(m)
        j = np.minimum(np.floor(u).astype(np.int64), m - 2)[:, np.newaxis]
        kept = np.where((place == 0) | (place == m - 1), 1.0, q)
        left = np.where(place <= j, kept * (1 - q) ** np.abs(j - place), 0.0)
        right = np.where(place > j, kept * (1 - q) ** np.abs(place - j - 1), 0.0)
        gap = np.maximum(place - place[:, np.newaxis], 1)  # [a, b]; only a < b has weight
        share = (u[:, np.newaxis] - place)[:, :, np.newaxis] / gap
        weight = left[:, :, np.newaxis] * right[:, np.newaxis, :]
        return np.asarray((weight * share).sum(axis=1) + (weight * (1 - share)).sum(axis=2))

    def positions(self, x: ArrayLike) -> NDArray[np.int64]:
        """Clip, and place among the levels in units of 2^-32, never outside [-c, c]."""
        clip, extension = Fraction(self.clip), Fraction(self.extension)
        low = math.ceil(_ONE * extension * (self.levels - 1) / (2 * (clip + extension)))
        u = (np.clip(_finite(x), -self.clip, self.clip) + self.half_width) / self.step
        return np.clip(np.rint(u * _ONE).astype(np.int64), low, ((self.levels - 1) << FRACTION_BITS) - low)

    def perturb(self, x: ArrayLike, noise: PrepaidNoise, *, sensitivity: float, norm: Norm) -> NDArray[np.uint8]:
        """Report each number, with noise that was paid for; neighbours move `x` by at most `sensitivity`."""
        places = self.positions(x)
        return noise.randomized_quantization(
            places,
            levels=self.levels,
            keep=self.keep_probability,
            sensitivity=_in_positions(sensitivity, _ONE / self.unit, places.size, norm),
            norm=norm,
        )

    def encode(self, x: ArrayLike) -> NDArray[np.uint8]:
        """Report numbers of as many clients, one each, in a release under `claim`.

        Parameters
        ----------
        x : array_like of float, any shape
            Clipped to [-c, c].

        Returns
        -------
        ndarray of uint8, same shape

        Raises
        ------
        InvalidData
            If a number is NaN or infinite.
        """
        return _encode(self, x)

    def decode_sum(self, total: ArrayLike, n: int) -> Floats:
        """Mean of n clients' numbers, estimated without bias from the sum of their reports.

        Raises
        ------
        ProtocolError
            If no n reports have such a sum.
        """
        return self.step * (_checked_sum(self, total, n) / n) - self.half_width

    def variance(self, x: ArrayLike) -> Floats:
        """Variance of a decoded report of x, clipped."""
        x = np.clip(_finite(x), -self.clip, self.clip)
        return np.asarray(np.sum(self.pmf(x) * (self.values - x[..., np.newaxis]) ** 2, axis=-1))

    def worst_variance(self) -> float:
        """Largest variance over all inputs: between levels it is concave in x, so a fine grid finds it to 1e-4."""
        return float(self.variance(np.linspace(0, self.clip, 257)).max())

    def epsilon_local(self) -> float:
        """The pure ε of one report of one number."""
        return aggregate.local_epsilon(self)

    def epsilon_bound(self) -> float:
        """An upper bound of `epsilon_local` in closed form.

        P(m-1 | -c) >= (1-q)^(m-2) Δ / (2 (c + Δ)): all interior levels dropped; no probability is above 1.
        """
        reach = math.log(2 * self.half_width / self.extension)
        return reach - (self.levels - 2) * math.log1p(-self.keep_probability)

    def renyi(self, alpha: float, n: int = 1, others: Others = "worst") -> float:
        """Rényi divergence of one coordinate, of one report or of the sum of n; see `aggregate.renyi`."""
        return aggregate.renyi(self, alpha, n, others)

    @classmethod
    def calibrate(cls, target: float, alpha: float = 2, n: int = 1, *, clip: float = 1.0, levels: int = 16) -> RQM:
        """Return the RQM with the least worst variance whose `renyi(alpha, n)` is at most target."""
        from sfumato.federation.quantization.calibration import calibrate_rqm

        return calibrate_rqm(target, alpha, n, clip=clip, levels=levels)


@dataclass(frozen=True)
class PBM:
    """The Poisson binomial mechanism: `trials` coins of probability 1/2 + theta x / c.

    *Who is protected, and why.* Neighbours replace one number by any other. The number of heads tells as much as the
    coins, which are independent, so one report's divergence is `trials` times that of two coins, which is largest for
    the ends of [-c, c]: Rényi divergence of two coins is quasi-convex in their probabilities. One number in one report.

    Parameters
    ----------
    clip : float
        c, above 0. Public.
    theta : float
        In (0, 1/2), at most 1/4 in the paper's theorem.
    trials : int
        1 to 255; a report has trials + 1 values, so that 15 trials take the bits of 16 levels.

    Raises
    ------
    InvalidClaim
        If a parameter is out of range.
    """

    clip: float
    theta: float
    trials: int = 15

    def __post_init__(self) -> None:
        _positive("clip", self.clip)
        if not 0 < self.theta < 0.5:
            raise InvalidClaim(f"theta must be inside (0, 1/2), got {self.theta!r}")
        if not _is_whole(self.trials) or not 1 <= self.trials < MOST_LEVELS:
            raise InvalidClaim(f"trials must be an integer in 1 .. {MOST_LEVELS - 1}, got {self.trials!r}")

    #: Whether the law of a report is affine in the number between `corners`.
    affine = False

    @property
    def outcomes(self) -> int:
        """How many values a report can have: 0 .. outcomes - 1."""
        return self.trials + 1

    @property
    def unit(self) -> float:
        """What a position of 1 stands for: a probability of 1."""
        return self.clip / self.theta

    @property
    def corners(self) -> Floats:
        """The ends of [-c, c]."""
        return np.array([-self.clip, self.clip])

    @property
    def claim(self) -> Claim:
        """What one report of one number promises to the client that sends it."""
        return _local_claim(self.epsilon_local())

    def pmf(self, x: ArrayLike) -> Floats:
        """Probabilities of the reports, shape (..., trials + 1)."""
        from scipy import stats

        x = np.clip(_finite(x), -self.clip, self.clip)
        p = 0.5 + self.theta * x / self.clip
        return np.asarray(stats.binom.pmf(np.arange(self.outcomes), self.trials, p[..., np.newaxis]))

    def positions(self, x: ArrayLike) -> NDArray[np.int64]:
        """Probabilities of heads in units of 2^-32, never outside those of [-c, c]."""
        low = math.ceil(_ONE * (Fraction(1, 2) - Fraction(self.theta)))
        p = 0.5 + self.theta * np.clip(_finite(x), -self.clip, self.clip) / self.clip
        return np.clip(np.rint(p * _ONE).astype(np.int64), low, _ONE - low)

    def perturb(self, x: ArrayLike, noise: PrepaidNoise, *, sensitivity: float, norm: Norm) -> NDArray[np.uint8]:
        """Report each number, with noise that was paid for; neighbours move `x` by at most `sensitivity`."""
        places = self.positions(x)
        declared = _in_positions(sensitivity, _ONE / self.unit, places.size, norm)
        return noise.binomial_quantization(places, trials=self.trials, sensitivity=declared, norm=norm)

    def encode(self, x: ArrayLike) -> NDArray[np.uint8]:
        """Report numbers of as many clients, one each, in a release under `claim`; see `RQM.encode`."""
        return _encode(self, x)

    def decode_sum(self, total: ArrayLike, n: int) -> Floats:
        """Mean of n clients' numbers, estimated without bias from the sum of their reports; see `RQM.decode_sum`."""
        scale = self.clip / (self.trials * self.theta)
        return scale * (_checked_sum(self, total, n) / n - self.trials / 2)

    def variance(self, x: ArrayLike) -> Floats:
        """Variance of a decoded report of x, clipped."""
        p = 0.5 + self.theta * np.clip(_finite(x), -self.clip, self.clip) / self.clip
        return np.asarray((self.clip / self.theta) ** 2 * p * (1 - p) / self.trials)

    def worst_variance(self) -> float:
        """Largest variance over all inputs: that of 0."""
        return float(self.variance(0.0))

    def epsilon_local(self) -> float:
        """The pure ε of one report of one number."""
        return aggregate.local_epsilon(self)

    def renyi(self, alpha: float, n: int = 1, others: Others = "worst") -> float:
        """Rényi divergence of one coordinate, of one report or of the sum of n; see `aggregate.renyi`."""
        return aggregate.renyi(self, alpha, n, others)


Mechanism: TypeAlias = RQM | PBM


def _encode(mechanism: Mechanism, x: ArrayLike) -> NDArray[np.uint8]:
    values, claim = _finite(x), mechanism.claim
    with Release(claim, purpose=f"{type(mechanism).__name__}, a number a client") as release:
        noise = release.prepaid(claim.bound)
        return mechanism.perturb(values, noise, sensitivity=2 * mechanism.clip, norm="linf")


def _local_claim(epsilon: float) -> Claim:
    return Claim(
        PureDP(epsilon),
        unit="record",
        neighbours="replace-one",
        trust="local",
        assumptions=("a client reports one number, once", "the clip is public"),
    )


def _in_positions(sensitivity: float, scale: float, size: int, norm: Norm) -> float:
    """The distance in positions, of which each end is rounded by at most half."""
    return sensitivity * scale + (1 if norm == "linf" else math.sqrt(size))


def _checked_sum(mechanism: Mechanism, total: ArrayLike, n: int) -> NDArray[np.int64]:
    if not _is_whole(n) or n < 1:
        raise InvalidData(f"n must be the number of reports in the sum, at least 1, got {n!r}")
    sums = np.asarray(total)
    if sums.dtype.kind not in "iu":
        raise InvalidData(f"total must hold integers, got {sums.dtype}")
    most = n * (mechanism.outcomes - 1)
    if sums.size and not 0 <= sums.min() <= sums.max() <= most:
        raise ProtocolError(f"a sum of {n} reports lies in 0 .. {most}: this one is of others, or was damaged")
    return sums.astype(np.int64)


def _finite(x: ArrayLike) -> Floats:
    values = np.asarray(x, dtype=np.float64)
    if not np.all(np.isfinite(values)):
        raise InvalidData("x must be finite")
    return values


def _positive(name: str, value: Any) -> None:
    if not 0 < value < math.inf:
        raise InvalidClaim(f"{name} must be finite and above 0, got {value!r}")


def _is_whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
