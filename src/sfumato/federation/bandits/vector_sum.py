"""ShuffleVectorSum: every user sends single bits through a shuffler, and only how many are 1 comes out.

For federations with a shuffler of users' messages, or a secure sum in its place. Cheu, Joseph, Mao and Peng, "Shuffle
Private Stochastic Convex Optimization" (2021), as used by Zhou and Chowdhury, ICLR 2024; the numeric calibration is
ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Literal

import numpy as np
from scipy import special

from sfumato.errors import InvalidClaim
from sfumato.federation.bandits.contributions import Floats, Integers
from sfumato.federation.bandits.design import Calibrated, Design
from sfumato.federation.bandits.mechanisms import check_budget, claim_of, rho_of
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.release import PrepaidNoise

P = Fraction(1, 4)
_VARIANCE = float(P * (1 - P))
_THEOREM = 24e4
_FINEST = 256  # grid intervals of [-1, 1]; the noise is far coarser
_WINDOW = 12.0  # standard deviations that the sums of Rényi divergences cover; beyond: e^-70, far below any delta
_SIMULATED = "the noise is simulated in aggregate by numpy: a simulation, no claim"


@dataclass(frozen=True)
class Encoding:
    """How a coordinate in [-1, 1] becomes bits.

    Attributes
    ----------
    grid : int
        g, a power of two: the coordinate becomes an integer in 0 .. g.
    noise_bits : tuple of int
        b for each level of the tree: bits of every user that are 1 with probability 1/4.
    """

    grid: int
    noise_bits: tuple[int, ...]

    @property
    def granule(self) -> float:
        """Width of a grid interval."""
        return 2.0 / self.grid


def encode(values: Floats, grid: int, noise_bits: int, rng: np.random.Generator) -> Integers:
    """Return how many of each user's g + b bits are 1, as a simulation of the users' devices.

    A coordinate x in [-1, 1] is shifted to [0, g], rounded up or down at random without bias, and b coins of
    probability 1/4 are added.

    Parameters
    ----------
    values : ndarray of float, shape (n, D)
    grid, noise_bits : int
    rng : Generator

    Returns
    -------
    ndarray of int64, shape (n, D)
    """
    shifted = (np.clip(values, -1.0, 1.0) + 1.0) * grid / 2.0
    whole = np.floor(shifted + rng.random(shifted.shape))
    return whole.astype(np.int64) + rng.binomial(noise_bits, float(P), values.shape)


def decode(ones: Integers, users: int, grid: int, noise_bits: int) -> Floats:
    """Return the sum of the users' values from the number of 1's: (2/g)(ones - n b p) - n, without bias."""
    return np.asarray((ones - users * noise_bits * float(P)) * (2.0 / grid) - users, dtype=np.float64)


def theorem_bits(grid: int, users: int, epsilon: float, delta: float, length: int) -> int:
    """b of the theorem: ⌈24·10⁴ g² ln²(4(D² + 1)/δ) / (ε² n)⌉."""
    log = math.log(4 * (length**2 + 1) / delta)
    return math.ceil(_THEOREM * grid**2 * log**2 / (epsilon**2 * users))


def log_binomial(trials: int, low: int, high: int) -> Floats:
    """Logarithms of P(Binomial(trials, 1/4) = x) for x in low .. high."""
    x = np.arange(low, high + 1, dtype=np.float64)
    counts = special.gammaln(trials + 1.0) - special.gammaln(x + 1) - special.gammaln(trials - x + 1)
    logs = counts + x * math.log(0.25) + (trials - x) * math.log(0.75)
    return np.array(logs, dtype=np.float64)


def shift_cost(trials: int, largest: int, order: float) -> float:
    """Largest Rényi divergence of Binomial(trials, 1/4) from itself shifted by k, over k², for k in 1 .. largest.

    Both directions. The divergence grows with k: the binomial is log-concave, so every hockey-stick divergence of a
    shift is a difference of tails, which grows with k, and Rényi divergences are mixtures of these. So between two k's
    that are evaluated, the larger one's divergence over the smaller one's square is a bound.

    Sums run over `_WINDOW` standard deviations round the means of both and of their tilted product; what is left out
    has probability below e^-70 under either, for which half of δ is kept aside in `numeric_trials`.
    """
    spread = math.sqrt(trials * _VARIANCE)
    reach = math.ceil(_WINDOW * spread + (order + 1) * largest)
    low, high = max(0, math.floor(trials / 4) - reach), min(trials, math.ceil(trials / 4) + reach)
    logs = log_binomial(trials, low, high)
    worst, before = 0.0, 0
    for k in _steps(largest):
        shifted, plain = logs[:-k], logs[k:]  # at the same outcome
        for p, q in ((shifted, plain), (plain, shifted)):
            divergence = _log_sum(order * p + (1 - order) * q) / (order - 1)
            worst = max(worst, divergence / (before + 1) ** 2)
        before = k
    return worst


def _log_sum(logs: Floats) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))


def _steps(largest: int) -> Iterator[int]:
    """Every k up to 40, then steps of 2.5 %."""
    k = 1
    while k < largest:
        yield k
        k = min(largest, k + max(1, k // 40))
    yield largest


@lru_cache(maxsize=64)
def numeric_trials(epsilon: float, delta: float, kappa: int, apart: float, largest: int) -> int:
    """Least number N of coins of probability 1/4 in each sum, to 1 %, for (ε, δ) over κ nodes.

    A user moves a node by an integer vector of L2 length `apart` at most and of entries `largest` at most. Whatever the
    vector, its Rényi divergence is at most c·apart² with c of `shift_cost`, as coordinates add up; κ nodes add up too.
    """
    rho = rho_of(epsilon, delta)
    order = 1 + math.sqrt(math.log(1 / delta) / rho)
    trials = max(64.0, kappa * apart**2 / (2 * rho * _VARIANCE))
    target = epsilon - math.log1p(-1 / order) + (math.log(delta / 2) + math.log(order)) / (order - 1)
    while True:
        divergence = kappa * apart**2 * shift_cost(math.ceil(trials), largest, order)
        if divergence <= target:
            return math.ceil(trials)
        trials *= max(1.002, divergence / target)


@dataclass(frozen=True)
class ShuffleVectorSum:
    """Users' bits of all silos, mixed for each coordinate: the noise is what all users' coins add up to.

    The shuffled bits of a node tell how many are 1 and nothing else: a sum of the users' integers plus
    Binomial(n b, 1/4). A user's integers differ from another's by at most g + 1 in each coordinate, and by at most
    Δg/2 + √D in L2 (rounding by the same uniform number widens a coordinate's difference by less than 1, and
    divergences are jointly convex). ``constants="theorem"`` takes b from the theorem, at ε/κ and δ/κ for each of the κ
    nodes; ``"numeric"`` the least b for which the Rényi divergences of shifted binomials give (ε, δ): hundreds of times
    fewer bits.

    A silo may add up its own users' bits, which shows less. A secure sum over the silos mixes bits as well as a
    shuffler: both show the sum.

    Parameters
    ----------
    epsilon, delta : float
    constants : {"numeric", "theorem"}
    simulate : bool
        Draw each sum of coins at once, by numpy, for studies: no claim. Otherwise every coin is tossed, which takes
        about a second for 10⁸ of them.

    Raises
    ------
    InvalidClaim
        If a parameter is out of range.
    """

    epsilon: float
    delta: float
    constants: Literal["numeric", "theorem"] = "numeric"
    simulate: bool = False

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta)
        if self.constants not in ("numeric", "theorem"):
            raise InvalidClaim(f"constants must be 'numeric' or 'theorem', got {self.constants!r}")

    def encoding(self, design: Design) -> Encoding:
        """Choose grid and noise bits for a design."""
        users = [design.silos * design.batch * 2**level for level in range(design.levels)]
        finest = max(2 * math.sqrt(users[-1]), design.n_features, 4)
        if self.constants == "theorem":
            grid = 1 << math.ceil(math.log2(finest))
            kappa = design.levels
            bits = [theorem_bits(grid, n, self.epsilon / kappa, self.delta / kappa, design.length) for n in users]
        else:
            grid = min(_FINEST, 1 << math.ceil(math.log2(finest)))
            apart = design.sensitivity * grid / 2 + math.sqrt(design.length)
            trials = numeric_trials(self.epsilon, self.delta, design.levels, apart, grid + 1)
            bits = [math.ceil(trials / n) for n in users]
        return Encoding(grid, tuple(4 * math.ceil(b / 4) for b in bits))  # so that the coins' mean is an integer

    def calibrate(self, design: Design) -> Calibrated:
        """Fit the noise to a design."""
        encoding = self.encoding(design)
        claim = replace(
            claim_of(design, 1.0, "shuffle", "an honest shuffler, or a secure sum, shows how many bits are 1 only"),
            bound=ApproxDP(self.epsilon, self.delta),
            void=_SIMULATED if self.simulate else "",
        )
        rng = np.random.default_rng() if self.simulate else None

        def perturb(noise: PrepaidNoise | None, nodes: Integers, level: int) -> Integers:
            coins = design.batch * 2**level * encoding.noise_bits[level]
            if noise is None:
                assert rng is not None  # only a simulated mechanism has no claim
                heads = rng.binomial(coins, float(P), nodes.shape)
            else:
                heads = _tossed(noise, coins, nodes.shape)
            return np.asarray(nodes + heads - coins // 4, np.int64)

        most = max(design.silos * design.batch * 2**i * b for i, b in enumerate(encoding.noise_bits))
        return Calibrated(design, claim, encoding.granule, encoding.granule * math.sqrt(most * _VARIANCE), perturb)


def _tossed(noise: PrepaidNoise, coins: int, shape: tuple[int, ...]) -> Integers:
    """Heads among so many coins of probability 1/4, for each entry; a few million at a time."""
    heads = np.zeros(math.prod(shape), np.int64)
    for place in range(len(heads)):
        for start in range(0, coins, 1 << 22):
            heads[place] += np.count_nonzero(noise.bernoulli(P, min(1 << 22, coins - start)))
    return heads.reshape(shape)
