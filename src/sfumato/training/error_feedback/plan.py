"""A private training worked out before it starts: how much noise its sums get, and what that promises.

For `ErrorFeedbackEngine`. Which bound each noise gives is argued here; how far a record moves the sums, in
`sensitivity`.

From shifts to a claim
----------------------
The sums are released one after the other, and the shift of a later one depends on earlier releases; but along every
sequence of releases the squared shifts add up to at most Δ².

Gaussian noise of deviation σ is Δ/σ-Gaussian private. Add one more release of nothing but noise, shifted by what is
missing to Δ²: now the squared shifts are Δ² on every path. Under one neighbour the log-likelihood ratio is
-Δ²/2σ² + M/σ, M a sum of products of the shifts with independent normal variables, where each shift is known before
its variable. exp(iuM + u²Δ²/2) is the end of a martingale that starts at 1, hence M is normal with variance Δ²; the
same holds under the other neighbour with +Δ²/2σ². So the ratio has the very law that it has between N(0, 1) and
N(Δ/σ, 1), which decides all tests, in both directions; and the sums alone are a part of what was released. (Smith and
Thakurta, "Fully Adaptive Composition for Gaussian Differential Privacy", 2022, show it for all Gaussian mechanisms.)

Discrete Gaussian noise is Δ²/2σ²-zCDP. The Rényi divergence of order a between two such laws is at most a·|shift|²/2σ²
(Canonne, Kamath and Steinke 2020, Proposition 5). So the a-th powers of the likelihood ratios, each divided by
exp(a(a-1)|shift|²/2σ²), multiply to a supermartingale, and as the sum of squares is at most Δ² on every path, the
whole ratio has a moment of at most exp(a(a-1)Δ²/2σ²) (the Rényi filter of Feldman and Zrnic 2021, with its bound held
by a proof). Both directions are alike. It is not claimed to be Gaussian private.

Sums are rounded to a grid first: in each step that moves the difference of neighbours by at most one granule in each
of d coordinates, so the sequence by at most √(T·d) granules, which are added to Δ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from dp_accounting import dp_event
from scipy import optimize

from sfumato.errors import InvalidClaim
from sfumato.privacy.accounting import Cost, gaussian_delta
from sfumato.privacy.bounds import ZCDP, ApproxDP, GaussianDP, Heuristic, Neighbours
from sfumato.privacy.budget import largest_rho
from sfumato.privacy.claim import Claim
from sfumato.training.error_feedback.sensitivity import (
    naive_sensitivity,
    official_noise,
    positive,
    telescoped_sensitivity,
)

Privacy: TypeAlias = Literal["telescoped", "naive", "paper", "official"]
NoiseKind: TypeAlias = Literal["exact", "torch"]

_FINER = 2.0**-10  # what rounding to the grid may cost, of the sensitivity
_NOT_SOUND = (
    "the published calibration of error feedback does not hold: a transcript audit certifies an epsilon above 4 where "
    "2 is claimed (study 29, table of the audit)"
)


@dataclass(frozen=True)
class Settings:
    """What a private training is made with: everything but the model, all of it public.

    Attributes
    ----------
    privacy : {"telescoped", "naive", "paper", "official"}
    noise : {"exact", "torch"}
    neighbours : {"add-remove", "replace-one"}
    max_grad_norm, residual_norm, feedback_norm : float
        C1, C3 (inf unless telescoped) and C2, in units of a sum over the batch.
    noise_multiplier : float
        Deviation of the noise over max_grad_norm.
    records, batch_size, epochs, steps : int
    dimension : int
        Trainable parameters.
    """

    privacy: Privacy
    noise: NoiseKind
    neighbours: Neighbours
    max_grad_norm: float
    residual_norm: float
    feedback_norm: float
    noise_multiplier: float
    records: int
    batch_size: int
    epochs: int
    steps: int
    dimension: int

    @property
    def sound(self) -> bool:
        """Whether the calibration has a proof."""
        return self.privacy in ("telescoped", "naive")

    @property
    def deviation(self) -> float:
        """σ of the noise on a sum over the batch."""
        return self.noise_multiplier * self.max_grad_norm

    @property
    def sensitivity(self) -> float:
        """How far a record moves all sums together, rounding to the grid included."""
        ideal = self._ideal_sensitivity()
        if self.noise == "torch":
            return ideal
        return ideal + granularity(ideal, self.steps, self.dimension) * math.sqrt(self.steps * self.dimension)

    def _ideal_sensitivity(self) -> float:
        if self.privacy == "telescoped":
            return telescoped_sensitivity(self.max_grad_norm, self.residual_norm, self.epochs, self.neighbours)
        return naive_sensitivity(self.max_grad_norm, self.feedback_norm, self.epochs, self.steps, self.neighbours)

    @property
    def granularity(self) -> float:
        """Step of the grid that sums are rounded to."""
        return granularity(self._ideal_sensitivity(), self.steps, self.dimension)

    def event(self) -> dp_event.DpEvent:
        """All draws of the training together."""
        ratio = self.sensitivity / self.deviation
        return dp_event.ZCDpEvent(ratio**2 / 2) if self.noise == "exact" else dp_event.GaussianDpEvent(1 / ratio)

    def claim(self) -> Claim:
        """What the noisy sums, and so all parameters, promise to a record."""
        if not self.sound:
            return Claim(Heuristic(_NOT_SOUND), unit="record", neighbours=self.neighbours)
        ratio = self.sensitivity / self.deviation
        bound = ZCDP(ratio**2 / 2) if self.noise == "exact" else GaussianDP(ratio)
        return Claim(bound, unit="record", neighbours=self.neighbours, assumptions=self._assumptions())

    def _assumptions(self) -> tuple[str, ...]:
        place = "the number of records is public, and a record that is left out leaves its place in the batches empty"
        generator = "torch's pseudo-random floating-point noise, rounded, is as good as independent normal numbers"
        return (
            *((place,) if self.neighbours == "add-remove" else ()),
            "the loss of a batch is the mean of losses that depend on one record each",
            "floating-point sums and projections are as good as exact ones",
            "the error state, and checkpoints that hold it, stay secret, and checkpoints are not copied",
            *((generator,) if self.noise == "torch" else ()),
        )


def granularity(sensitivity: float, steps: int, dimension: int) -> float:
    """The largest power of two whose rounding costs at most a 1024th of the sensitivity over the whole training."""
    return 2.0 ** math.floor(math.log2(_FINER * sensitivity / math.sqrt(steps * dimension)))


def check_choice(name: str, value: Any, choices: Any) -> None:
    """Raise InvalidClaim unless `value` is one of a Literal's choices."""
    if value not in get_args(choices):
        raise InvalidClaim(f"{name} must be one of {', '.join(get_args(choices))}")


def calibrated(settings: Settings, epsilon: float, delta: float) -> float:
    """Least noise multiplier with which a training is (ε, δ)-private; for the published calibration, what it takes.

    Raises
    ------
    InvalidClaim
        If ε or δ is out of range.
    """
    target = ApproxDP(positive("target_epsilon", epsilon), positive("target_delta", delta))
    if not settings.sound:
        q = min(1.0, settings.batch_size / settings.records)
        multiplier = _sampled_multiplier(q, settings.steps, target)
        return official_noise(settings.max_grad_norm, settings.feedback_norm, multiplier) / settings.max_grad_norm
    ratio = math.sqrt(2 * largest_rho(target, Cost.zero())) if settings.noise == "exact" else _largest_mu(target)
    return settings.sensitivity / ratio / settings.max_grad_norm


def multiplier_for(
    settings: Settings, noise_multiplier: float | None, epsilon: float | None, delta: float | None
) -> float:
    """The noise multiplier that is given, or the least that reaches the target; raises InvalidClaim unless one is."""
    if noise_multiplier is not None and epsilon is None and delta is None:
        return positive("noise_multiplier", noise_multiplier)
    if noise_multiplier is None and epsilon is not None and delta is not None:
        return calibrated(settings, epsilon, delta)
    raise InvalidClaim("give noise_multiplier, or target_epsilon and target_delta")


def _largest_mu(target: ApproxDP) -> float:
    high = 1.0
    while gaussian_delta(high, target.epsilon) < target.delta:
        high *= 2
    found = optimize.brentq(lambda mu: gaussian_delta(mu, target.epsilon) - target.delta, 1e-9, high, xtol=1e-12)
    return float(found) * (1 - 1e-9)


def _sampled_multiplier(rate: float, steps: int, target: ApproxDP) -> float:
    """Noise multiplier of Poisson-sampled Gaussians, as the published code takes it."""
    from dp_accounting import NeighboringRelation
    from dp_accounting.rdp import RdpAccountant

    def excess(multiplier: float) -> float:
        accountant = RdpAccountant(neighboring_relation=NeighboringRelation.ADD_OR_REMOVE_ONE)
        step = dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(multiplier))
        accountant.compose(dp_event.SelfComposedDpEvent(step, steps))
        return float(accountant.get_epsilon(target.delta)) - target.epsilon

    return float(optimize.brentq(excess, 0.2, 1e4, xtol=1e-4))
