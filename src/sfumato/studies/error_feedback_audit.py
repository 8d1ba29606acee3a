"""Transcripts of error feedback in one dimension, audited: does the noise of each calibration hide one record?

For the study of system 29. Everybody's gradient is 0 and one record's is G, in all its steps; the sums are released.
The published calibration: Zhang, Bu, Wu and Hong (ICLR 2024) and its code; the telescoped one is ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.bayesian_audit import Auditor, AuditReport
from sfumato.errors import InvalidData, MissingExtra
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim

Floats = NDArray[np.float64]
Variant: TypeAlias = Literal["paper", "official", "naive", "telescoped"]


@dataclass(frozen=True)
class Transcripts:
    """The sums that trainings with and without one record release, in one dimension; C1 is 1.

    Parameters
    ----------
    variant : {"paper", "official", "naive", "telescoped"}
        "paper" and "official" have the published noise, and sample by Poisson, as its accounting assumes. "naive" and
        "telescoped" have a public schedule, the worst of which is taken that an epoch allows.
    gradient : float
        G.
    ratio : float
        C2 over C1, in units of a sum.
    n, batch_size, epochs : int
    epsilon, delta : float
        What is claimed.
    residual_norm : float
        C3, for "telescoped".
    noise_share : float
        What the noise is multiplied by: below 1 in a broken twin.
    """

    variant: Variant
    gradient: float
    ratio: float = 10.0
    n: int = 50_000
    batch_size: int = 1000
    epochs: int = 3
    epsilon: float = 2.0
    delta: float = 50_000**-1.1
    residual_norm: float = 2.0
    noise_share: float = 1.0

    @property
    def claim(self) -> Claim:
        """What is said to hold for a record that is left out."""
        return Claim(ApproxDP(self.epsilon, self.delta), unit="record")

    @property
    def steps(self) -> int:
        """Of the whole training."""
        return self.epochs * -(-self.n // self.batch_size)

    @cached_property
    def deviation(self) -> float:
        """Deviation of the noise on a sum by the variant's calibration."""
        try:
            from sfumato.training.error_feedback.plan import Settings, calibrated
        except ModuleNotFoundError:
            raise MissingExtra("train") from None
        limit = self.residual_norm if self.variant == "telescoped" else float("inf")
        settings = Settings(
            self.variant,
            "torch",
            "add-remove",
            1.0,
            limit,
            self.ratio,
            1.0,
            self.n,
            self.batch_size,
            self.epochs,
            self.steps,
            1,
        )
        return calibrated(settings, self.epsilon, self.delta)

    def sums(self, taken: NDArray[np.bool_]) -> Floats:
        """Noiseless sums of trainings that take the record in some steps, shape (runs, steps); `taken` likewise."""
        found, error = np.zeros(taken.shape), np.zeros(len(taken))
        clipped = np.clip(self.gradient, -1.0, 1.0)
        limit = self.residual_norm if self.variant == "telescoped" else np.inf
        rest = np.clip(self.gradient, -limit, limit) - clipped
        for step in range(taken.shape[1]):
            if self.variant == "official":
                share = self.ratio / (np.abs(error) + 1e-6)
                paid, kept = error * np.minimum(share, 1), error * np.minimum(share, 1 - np.minimum(share, 1))
            else:
                paid = np.clip(error, -self.ratio, self.ratio)
                kept = error - paid
            found[:, step] = clipped * taken[:, step] + paid
            error = kept + rest * taken[:, step]
        return found

    def schedule(self) -> NDArray[np.bool_]:
        """A public schedule in which the record is last in one epoch, first in the next, and so on."""
        taken, each = np.zeros(self.steps, dtype=np.bool_), self.steps // self.epochs
        for epoch in range(self.epochs):
            taken[epoch * each + (each - 1 if epoch % 2 == 0 and epoch < self.epochs - 1 else 0)] = True
        return taken

    def statistics(self, present: bool, n: int, rng: np.random.Generator) -> Floats:
        """What the adversary computes from n transcripts, in 64ths.

        With a public schedule the adversary knows the shifts: the likelihood ratio is their product with the sums.
        With a secret sample it is the total of the sums, and an approximate likelihood ratio. Finer digits of
        floating-point noise give a record away by themselves (the auditor finds them): that is another flaw than the
        one in question.
        """
        return np.asarray(np.rint(64 * self._statistics(present, n, rng)) / 64)

    def _statistics(self, present: bool, n: int, rng: np.random.Generator) -> Floats:
        sigma = self.deviation * self.noise_share
        if self.variant in ("naive", "telescoped"):
            shifts = self.sums(self.schedule()[np.newaxis])[0]
            length = float(np.linalg.norm(shifts))
            # the product of noise in all steps with the shifts is normal with the shifts' length
            return np.asarray(present * length + rng.normal(scale=sigma, size=n))
        released = rng.normal(scale=sigma, size=(n, self.steps))
        if present:
            released += self.sums(rng.random((n, self.steps)) < self.batch_size / self.n)
        return np.column_stack([released.sum(axis=1), self._sampled_ratio(released, sigma)])

    def _sampled_ratio(self, released: Floats, sigma: float) -> Floats:
        """Log-likelihood ratio, as if the sums that follow each participation did not depend on the others."""
        alone = self.sums(np.eye(self.steps, dtype=np.bool_))
        each = released @ alone.T / sigma**2 - (alone**2).sum(axis=1) / (2 * sigma**2)
        rate = self.batch_size / self.n
        return np.asarray(np.logaddexp(np.log1p(-rate), np.log(rate) + each).sum(axis=1))


def audit_error_feedback(transcripts: Transcripts, *, trials: int = 40_000, random_state: int = 0) -> AuditReport:
    """Audit a calibration with so many trials a world, half of which are counted, at 95 % confidence.

    Raises
    ------
    InvalidData
        If there are fewer than 1000 trials.
    """
    if trials < 1000:
        raise InvalidData("trials must be at least 1000")
    auditor = Auditor(
        delta=transcripts.delta,
        n_train=trials // 4,
        n_select=trials // 4,
        n_test=trials // 2,
        scores=("threshold",),
        random_state=random_state,
        progress=False,
    )

    def mechanism(present: Any, n: int, rng: np.random.Generator) -> Floats:
        return transcripts.statistics(bool(present), n, rng)

    return auditor.audit(mechanism, transcripts.claim, pairs=[(True, False)])
