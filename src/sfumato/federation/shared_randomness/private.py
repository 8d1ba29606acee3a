"""DPZO: scalars that say little about any one example, because the directions never depended on the data.

For `SharedRandomnessTuner(privacy=...)`. The idea: Tang et al. 2024 ("DP-ZO") and Zhang et al. 2024 ("DPZero"); sampled
noise: Mironov, Talwar and Zhang 2019; discrete noise: Canonne, Kamath and Steinke 2020.

Neighbours and sensitivity
--------------------------
Neighbours differ in one example, which one has and the other has not. The direction z and the weights are fixed before
the examples are looked at: z follows from a public seed, weights from earlier bytes. An example's scalar is

    s_i = (L_i(w + eps z) - L_i(w - eps z)) / (2 eps),

which depends on that example alone; it is clipped to [-C, C], and 0 if it is not finite. It is then rounded to a
multiple of g = C/65536, so it is a whole number k_i of granules, |k_i| ≤ 65536 = K. Each example of the machine is
sampled with probability q, by coins of its own that stay secret. What is released is Σ k_i over the sampled ones, plus
discrete Gaussian noise of parameter σ ≥ noise_multiplier·K. Given everybody else's coins, the one example moves the sum
by k, |k| ≤ K, with probability q, and by 0 otherwise: one dimension, sensitivity C.

Cost of one scalar
------------------
Let P be the noise around the others' sum, Q = P shifted by k, M = (1 - q)P + qQ. By joint quasi-convexity the coins of
the others may be fixed. For a whole order a ≥ 2

    E_P[(M/P)^a] = Σ_j binom(a, j) (1 - q)^(a-j) q^j E_P[(Q/P)^j],

and E_P[(Q/P)^j] = exp((j - 1) D_j(Q||P)) ≤ exp(j(j - 1) k²/2σ²), since discrete Gaussian noise is k²/2σ²-zCDP for
shifts by whole numbers (Canonne et al., Proposition 5). With equality instead of ≤, and k = K, this sum is the moment
of the *continuous* sampled Gaussian; so what accountants compute for that bounds ours at whole orders. The reverse
divergence D_a(P||M) is not larger than D_a(M||P): x -> k - x + 2·(the others' sum) maps P to Q and back (Mironov et
al., Theorem 5). Between whole orders the next one bounds. Hence the claim: `RenyiDP` at whole orders, with
dp-accounting's values for Poisson-sampled Gaussians.

Scalars of one step and of later steps are composed; that later weights depend on earlier bytes is adaptive composition,
which Rényi divergences allow; so a direction of a pool may come again. Encoding to a byte, dividing by the public batch
size, cutting off and updating weights are post-processing. The bytes go to everybody: each machine adds its full noise,
so its claim holds against all other machines together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.rdp import RdpAccountant
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.accounting import ORDERS, cost_of
from sfumato.privacy.bounds import RenyiDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import from_grid, to_grid
from sfumato.privacy.release import PrepaidNoise

#: Granules of a clipped scalar: its grid is C / 65536.
GRANULES = 1 << 16
_WHOLE = ORDERS[(np.rint(ORDERS) == ORDERS) & (ORDERS >= 2) & (ORDERS <= 512)]


@dataclass(frozen=True)
class DPZO:
    """How scalars are made private.

    Parameters
    ----------
    clip : float
        C: an example's scalar is clipped to [-C, C].
    noise_multiplier : float
        Deviation of the noise on the sum of a scalar's batch, over C.
    sampling_rate : float
        q, with which each example enters the batch of each scalar. 1 takes all.
    batch_size : float
        What the noisy sum is divided by: a public number, about q times the examples; not a count of the data.

    Raises
    ------
    InvalidClaim
        If a parameter is out of range.
    """

    clip: float
    noise_multiplier: float
    sampling_rate: float
    batch_size: float

    def __post_init__(self) -> None:
        for name in ("clip", "noise_multiplier", "sampling_rate", "batch_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InvalidClaim(f"{name} must be a finite number above 0, got {value!r}")
        if self.sampling_rate > 1:
            raise InvalidClaim(f"sampling_rate must be at most 1, got {self.sampling_rate:g}")

    def event(self, scalars: int) -> dp_event.DpEvent:
        """So many scalars, as dp-accounting names them."""
        one = dp_event.GaussianDpEvent(self.noise_multiplier)
        sampled = one if self.sampling_rate == 1 else dp_event.PoissonSampledDpEvent(self.sampling_rate, one)
        return dp_event.SelfComposedDpEvent(sampled, scalars)

    def bound(self, scalars: int) -> RenyiDP:
        """What so many scalars cost; see the module's proof."""
        return RenyiDP(tuple(map(float, _WHOLE)), tuple(float(scalars) * e for e in _one_scalar(self)))

    def claim(self, scalars: int) -> Claim:
        """What so many scalars promise to each example of the machine."""
        return Claim(
            self.bound(scalars),
            unit="record",
            neighbours="add-remove",
            trust="silo",
            assumptions=(
                "an example's loss depends on no other example",
                "floating-point losses are as good as exact ones",
                "a machine keeps its batches, losses and coins to itself",
            ),
        )

    def sampled(self, prepaid: PrepaidNoise, examples: int) -> NDArray[np.int64]:
        """Draw the secret batch of one scalar: places of its examples."""
        if self.sampling_rate == 1:
            return np.arange(examples)
        return np.flatnonzero(prepaid.bernoulli(self.sampling_rate, examples))

    def noisy_mean(self, prepaid: PrepaidNoise, scalars: NDArray[np.float64]) -> float:
        """Clip each example's scalar, add up, add noise, divide by the public batch size."""
        if scalars.ndim != 1:
            raise InvalidData("privacy needs a loss for each example: loss_fn must return shape (batch,)")
        clipped = np.clip(np.where(np.isfinite(scalars), scalars / self.clip, 0.0), -1.0, 1.0)
        cells = to_grid(clipped, 1 / GRANULES)
        sigma = math.ceil(self.noise_multiplier * GRANULES)
        total = np.array([cells.sum()])
        noisy = prepaid.discrete_gaussian(total, l2_sensitivity=GRANULES, sigma2=sigma**2)
        return float(from_grid(noisy, 1 / GRANULES)[0]) * self.clip / self.batch_size


def noise_multiplier_for(epsilon: float, delta: float, *, scalars: int, sampling_rate: float) -> float:
    """Least noise multiplier, to a thousandth, with which so many scalars are (ε, δ)-private.

    Raises
    ------
    InvalidClaim
        If a parameter is out of range, or no multiplier below a million does it.
    """
    if not (0 < epsilon < math.inf and 0 < delta < 1) or scalars < 1:
        raise InvalidClaim("epsilon and scalars must be above 0, and delta in (0, 1)")

    def spent(multiplier: float) -> float:
        return cost_of(DPZO(1.0, multiplier, sampling_rate, 1.0).bound(scalars)).epsilon_at(delta)

    low, high = 0.0, 1.0
    while spent(high) > epsilon:
        low, high = high, 2 * high
        if high > 1e6:
            raise InvalidClaim("no noise below a million times the clipping bound reaches that epsilon")
    while high - low > 1e-3 * high:
        middle = (low + high) / 2
        low, high = (low, middle) if spent(middle) <= epsilon else (middle, high)
    return high


@lru_cache(maxsize=64)
def _one_scalar(privacy: DPZO) -> tuple[float, ...]:
    """Rényi curve of one scalar at the whole orders, and no others: those take most of an accountant's time."""
    accountant = RdpAccountant(_WHOLE, NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(privacy.event(1))
    return tuple(float(max(e, 0.0)) for e in accountant._rdp)
