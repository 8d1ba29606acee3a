"""Private training of scores: clipped gradients, record by record, exact noise on their sums, and signs afterwards.

For `SupermaskProtocol`. Abadi et al. 2016 (DP-SGD); Mironov, Talwar and Zhang 2019 (the Rényi cost of Poisson samples);
Canonne, Kamath and Steinke 2020 (discrete Gaussian noise).

What is promised, and why
-------------------------
*Neighbours*: one silo's data with and without one record. Everything else is public: the subnetwork, all parameters,
the number of steps, the sampling rate q, and what came before.

*One step.* Each record is in the sample with probability q on its own, by secret coins. A sampled record adds its
gradient with respect to the scores, ∂L/∂W · w, scaled down to length C if it is longer, and rounded to a grid: an
integer vector of length at most D = C/g + √d/2 granules, d being the number of kept weights, which depends on this
record and the current scores alone. Integers add up exactly, so the sums of neighbours with equal coins differ by a
vector v of length at most D if the record is sampled, and not at all otherwise. Discrete Gaussian noise of variance σ²
is added to each coordinate of the sum.

Given the other records' coins, let Q be the law of the noisy sum without the record and P with it: two lattice
Gaussians whose centres differ by v. The question is how far the mixture (1-q)Q + qP is from Q. For a whole order a,

    E_Q[((1-q) + q·P/Q)^a] = Σ_k C(a,k) (1-q)^(a-k) q^k E_Q[(P/Q)^k],    E_Q[(P/Q)^k] ≤ exp(k(k-1)|v|²/2σ²)

(Canonne, Kamath and Steinke, Proposition 5, for each coordinate), and with equality for continuous noise and |v| = D
the right-hand side is the sampled Gaussian mechanism at noise multiplier σ/D. The other direction is no worse: the
reflection at v/2 is a bijection of the lattice that swaps P and Q (Mironov, Talwar and Zhang, Theorem 5). Averaging
over the others' coins does not help an adversary (quasi-convexity). So at *whole* orders the cost is what dp-accounting
computes for a Poisson-sampled Gaussian; between them we claim nothing, and take that of the next whole order. With
q = 1 there is no mixture, and the step is D²/2σ²-zCDP.

*Steps and rounds.* A step's scores are computed from earlier noisy sums and from the broadcast average, which is a
function of what silos uploaded: adaptive composition, costs add up over all steps and rounds. What a silo uploads, and
its own model, are signs of such scores: post-processing. The sign is taken after the noise and never before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from dp_accounting import dp_event
from numpy.typing import NDArray
from torch.func import grad, vmap

from sfumato.errors import InvalidClaim
from sfumato.federation.supermask.subnetwork import Subnetwork
from sfumato.federation.supermask.training import Gradient, Training, descend
from sfumato.privacy.accounting import ORDERS
from sfumato.privacy.bounds import ZCDP, ApproxDP, FormalBound, Heuristic, RenyiDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import from_grid, to_grid
from sfumato.privacy.release import PrepaidNoise, Release

NOTHING_PROMISED = Claim(
    Heuristic(
        "sign masks of locally trained scores; no differential privacy: a sign mask is not harmless, since from a "
        "known start it shows which way the silo's gradients pulled every kept weight"
    ),
    unit="record",
    trust="silo",
)

# Orders at which the proof speaks: the whole ones of the accountant's, so that nothing is lost between the two.
_WHOLE = tuple(int(order) for order in ORDERS if order == int(order) and 2 <= order <= 512)
_CHUNK = 64  # records whose gradients are held at once
_FINER = 2.0**-10  # what rounding a record's gradient may cost, of the clipping norm


@dataclass(frozen=True)
class PrivateSteps:
    """How scores are trained under differential privacy of each record.

    Parameters
    ----------
    noise_multiplier : float
        Deviation of the noise on a step's sum, over max_grad_norm.
    max_grad_norm : float
        To which a record's gradient with respect to the scores is clipped.
    sampling_rate : float
        With which a record is in a step, in (0, 1]; public, as is the number of steps, which do not depend on how
        many records a silo has.
    steps : int
        Of a round.

    Raises
    ------
    InvalidClaim
        If a parameter is out of range.
    """

    noise_multiplier: float
    max_grad_norm: float = 1.0
    sampling_rate: float = 0.1
    steps: int = 10

    def __post_init__(self) -> None:
        for name in ("noise_multiplier", "max_grad_norm", "sampling_rate"):
            value: Any = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise InvalidClaim(f"{name} must be a finite number above 0, got {value}")
        if self.sampling_rate > 1:
            raise InvalidClaim(f"sampling_rate must be in (0, 1], got {self.sampling_rate}")
        if isinstance(self.steps, bool) or not isinstance(self.steps, int) or self.steps < 1:
            raise InvalidClaim(f"steps must be a whole number above 0, got {self.steps}")

    def granularity(self, size: int) -> float:
        """Step of the grid for gradients of that many coordinates: a power of two."""
        return 2.0 ** math.floor(math.log2(2 * _FINER * self.max_grad_norm / math.sqrt(size)))

    def sensitivity(self, size: int) -> float:
        """Granules by which a record moves a step's sum at most: D of the module's proof."""
        return self.max_grad_norm / self.granularity(size) + math.nextafter(math.sqrt(size), math.inf) / 2

    def deviation(self, size: int) -> int:
        """σ of the noise in whole granules, rounded up."""
        return math.ceil(self.noise_multiplier * self.max_grad_norm / self.granularity(size))

    def bound(self, size: int, rounds: int = 1) -> FormalBound:
        """What rounds of a silo cost, for a subnetwork of `size` kept weights."""
        ratio = self.deviation(size) / self.sensitivity(size)
        steps = self.steps * rounds
        if self.sampling_rate == 1:
            return ZCDP(steps / (2 * ratio**2))
        return RenyiDP(_WHOLE, tuple((steps * _sampled_rdp(self.sampling_rate, ratio)).tolist()))

    def claim(self, size: int, rounds: int = 1) -> Claim:
        """What a silo's uploads of that many rounds promise each of its records."""
        return Claim(
            self.bound(size, rounds),
            unit="record",
            neighbours="add-remove",
            trust="silo",
            assumptions=(
                "the gradient of a record, as computed, does not depend on the records computed beside it",
                "nobody sees how long a step takes, which grows with the sample",
            ),
        )


def calibrated(epsilon: float, delta: float, settings: PrivateSteps, size: int, rounds: int) -> PrivateSteps:
    """The settings with the least noise (to 1 %) for which all rounds of a silo are (ε, δ)-private.

    Raises
    ------
    InvalidClaim
        If ε or δ is out of range.
    """
    target = ApproxDP(epsilon, delta)
    if not (target.epsilon > 0 and target.delta > 0):
        raise InvalidClaim("epsilon and delta must be above 0")

    def fits(multiplier: float) -> bool:
        return replace(settings, noise_multiplier=multiplier).claim(size, rounds).epsilon_at(delta) <= epsilon

    low, high = 0.05, 1.0
    while not fits(high):
        low, high = high, 2 * high
    while high > 1.01 * low:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if fits(middle) else (middle, high)
    return replace(settings, noise_multiplier=high)


def train_privately(
    subnetwork: Subnetwork, start: torch.Tensor, x: torch.Tensor, y: torch.Tensor, how: Training, private: PrivateSteps
) -> torch.Tensor:
    """Return the scores after a silo's private round; the active ledger is charged for it first.

    The sum of clipped gradients goes to the optimizer as it is, not divided by anything: Adam does not see its scale.
    """
    with Release(private.claim(subnetwork.kept), purpose="supermask, one round of a silo") as release:
        noise = release.prepaid(private.bound(subnetwork.kept))

        def gradients() -> Iterator[Gradient]:
            for _ in range(private.steps):
                yield lambda effective: noisy_gradient(subnetwork, effective, x, y, private, noise)

        return descend(subnetwork, start, gradients(), how)


def noisy_gradient(
    subnetwork: Subnetwork,
    effective: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    private: PrivateSteps,
    noise: PrepaidNoise,
) -> torch.Tensor:
    """A noisy sum of clipped gradients of a secret sample of records."""
    size = subnetwork.kept
    sampled = torch.from_numpy(noise.bernoulli(Fraction(private.sampling_rate), len(x)))
    cells = np.zeros(size, np.int64)
    for rows in torch.split(torch.nonzero(sampled).reshape(-1), _CHUNK):
        if len(rows):  # split of nothing is one empty piece
            cells += clipped_cells(record_gradients(subnetwork, effective, x[rows], y[rows]), private).sum(axis=0)
    noisy = noise.discrete_gaussian(
        cells, l2_sensitivity=private.sensitivity(size), sigma2=private.deviation(size) ** 2
    )
    return torch.from_numpy(from_grid(noisy, private.granularity(size))).float()


def record_gradients(
    subnetwork: Subnetwork, effective: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> NDArray[np.float64]:
    """Gradient of each record's loss with respect to the scores, shape (records, kept)."""

    def loss(weights: torch.Tensor, one: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(subnetwork.logits(weights, one[None]), label[None])

    each: Any = vmap(grad(loss), in_dims=(None, 0, 0))(effective.detach(), x, y)
    return (each * subnetwork.values).double().numpy()  # type: ignore[no-any-return]


def clipped_cells(gradients: NDArray[np.float64], private: PrivateSteps) -> NDArray[np.int64]:
    """Each row scaled down to max_grad_norm if it is longer, in granules; a row that is not finite counts as 0."""
    finite = np.where(np.isfinite(gradients).all(axis=1, keepdims=True), gradients, 0.0)
    norms = np.linalg.norm(finite, axis=1, keepdims=True)
    # A hair below the norm, so that no rounding of this division lets a row out of the ball.
    factors = np.minimum(1.0, private.max_grad_norm * (1 - 1e-12) / np.maximum(norms, np.finfo(float).tiny))
    return to_grid(finite * factors, private.granularity(gradients.shape[1]))


@lru_cache(maxsize=64)  # each round of a silo asks again
def _sampled_rdp(rate: float, multiplier: float) -> NDArray[np.float64]:
    from dp_accounting import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    accountant = RdpAccountant(list(_WHOLE), NeighboringRelation.ADD_OR_REMOVE_ONE)
    accountant.compose(dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(multiplier)))
    found = np.maximum(np.asarray(accountant._rdp, np.float64), 0.0)
    found.setflags(write=False)
    return found
