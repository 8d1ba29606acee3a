"""What the sound variants promise, and their noise: on a silo's whole upload, or on each step's sum of gradients.

For `HyperFL` and `FederatedAveraging` with a `claim`. Neighbours replace one unit by another; the noise is discrete
Gaussian (Canonne, Kamath and Steinke 2020), drawn by each silo itself before anything leaves it.

Unit "silo"
-----------
A silo's upload of a round is clipped to norm C as one vector. Whatever data the silo has instead, two uploads differ by
at most 2C, given the rounds before; so the noisy upload is ρ/T-zCDP, and T rounds are ρ-zCDP (adaptive composition).
The embedding v and the classifier psi are trained without noise: they are functions of the silo's own data and of what
was shared, and never leave. So everything that others see, the final phi included, is ρ-zCDP in the whole data of the
silo, the number of its records included; what the silo keeps for itself (its personal model) is not covered. That is
the billboard model: joint differential privacy (Kearns et al. 2014). All silos weigh the same: weights by n_k would
tell n_k.

Unit "record"
-------------
A step takes the gradient of each record with respect to theta and psi *together*, clips that joint vector to norm C,
and adds up over its batch. Noise goes on the sum. All else is computed from noisy sums: psi moves by its part; phi and
v move by the vector-Jacobian product of the hypernetwork with theta's part, which is post-processing, since (phi, v)
are functions of earlier noisy sums and of draws that do not depend on data. So are later thetas. Replacing record i by
another moves the sum of the one batch of an epoch that holds place i by at most 2C, and no other sum, given the same
earlier noisy sums: batches are drawn without looking at the data, and n is public. An epoch of steps is thus as private
as one release with sensitivity 2C, (2C)²/2σ²-zCDP (parallel composition; adaptive, since the divergence of the one step
is bounded for every past), and T rounds of E epochs are T·E times that. Everything is covered: uploads, v, psi.

If psi moved without noise, as where only the upload is noised, the neighbours' psi would differ after one step, and
with it the gradients of *all* records: a later sum could move by 2C for each record of its batch. So a claim for
records does not hold of private heads trained without noise, as HyperFL's code has its private baselines. The tests
hold both kinds of twin to that: HyperFL's, and theirs.

Federated averaging
-------------------
Both proofs are word for word those of a network that writes its own parameters: theta is phi, and there is no v. With
share "all" psi is part of the upload (silo) or moves by the average of all silos' (record): both are functions of noisy
releases. With share "extractor" psi stays; under "silo" it is among what the silo keeps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from dp_accounting import dp_event
from torch import nn

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.hypernetwork.models import statistics
from sfumato.privacy.accounting import Cost
from sfumato.privacy.bounds import ZCDP, ApproxDP, Heuristic
from sfumato.privacy.budget import largest_rho
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import default_granularity, from_grid, grid_sensitivity, to_grid
from sfumato.privacy.release import PrepaidNoise, Release

Tensors = Mapping[str, torch.Tensor]
PrivacyUnit = Literal["silo", "record"]

#: The claim of HyperFL without noise.
INVERSION = (
    "inversion needs the private embedding, which follows from one upload by algebra, as do the extractor's weights: "
    "exactly after one step, to some thousandths after sixty; after one step the extractor's gradient is in the clear"
)
_EXACT = "floating-point sums and norms are as good as exact ones"
_ASSUMPTIONS = {
    "silo": (
        "who takes part, whose round fails, and how long it takes is public",
        "a silo keeps to itself what it does not upload: embedding, classifier, personal model",
        _EXACT,
    ),
    "record": ("the number of a silo's records, and how long its rounds take, is public", _EXACT),
}


def heuristic_claim(embedding_seed: int | None) -> Claim:
    """What HyperFL promises without noise: nothing formal."""
    void = "" if embedding_seed is None else "the embeddings come from a seed, so they are not private"
    return Claim(Heuristic(INVERSION), unit="record", trust="silo", void=void)


@dataclass(frozen=True)
class Privacy:
    """A formal promise for all rounds together.

    Parameters
    ----------
    bound : ZCDP or ApproxDP
    unit : {"silo", "record"}
    clip_norm : float
        C: of a silo's whole upload, or of a record's gradient over (theta, psi).
    rounds, epochs : int
        T, and epochs of a round.

    Raises
    ------
    InvalidClaim
        If the bound is of another kind or implies no ρ, or a parameter is out of range.
    """

    bound: ZCDP | ApproxDP
    unit: PrivacyUnit
    clip_norm: float
    rounds: int
    epochs: int

    def __post_init__(self) -> None:
        if not isinstance(self.bound, (ZCDP, ApproxDP)):
            raise InvalidClaim(f"claim must be ZCDP(rho) or ApproxDP(epsilon, delta), got {self.bound!r}")
        if self.unit not in get_args(PrivacyUnit):
            raise InvalidClaim(f'unit must be "silo" or "record", got {self.unit!r}')
        if not 0 < self.clip_norm < math.inf:
            raise InvalidClaim(f"clip_norm must be finite and above 0, got {self.clip_norm}")
        if not self.rho > 0:
            raise InvalidClaim(f"claim must leave a rho above 0 for Gaussian noise, got {self.bound}")

    @property
    def rho(self) -> float:
        """Of all rounds."""
        return self.bound.rho if isinstance(self.bound, ZCDP) else largest_rho(self.bound, Cost.zero())

    @property
    def claim(self) -> Claim:
        """For all rounds."""
        return self._claim(self.bound)

    @property
    def round_claim(self) -> Claim:
        """For one round of one silo."""
        return self._claim(ZCDP(self.rho / self.rounds))

    def _claim(self, bound: ZCDP | ApproxDP) -> Claim:
        return Claim(bound, unit=self.unit, neighbours="replace-one", trust="silo", assumptions=_ASSUMPTIONS[self.unit])

    def config(self) -> dict[str, Any]:
        """Return the promise as JSON values."""
        return {"rho": self.rho, "unit": self.unit, "clip_norm": self.clip_norm}

    def noisy_upload(self, update: Tensors) -> dict[str, torch.Tensor]:
        """Clip a silo's upload as one vector, and add noise: unit "silo"; see the module."""
        values = clipped(_flat(update), self.clip_norm)
        rho = self.rho / self.rounds
        with Release(self.round_claim, purpose="upload of a silo") as release:
            noisy = release.gaussian(values, l2_sensitivity=2 * self.clip_norm, rho=rho)
        return _shaped(noisy, update)

    def step_noise(self, release: Release, dimension: int) -> StepNoise:
        """Charge the steps of a round: unit "record"; see the module."""
        rho = self.rho / self.rounds
        noise = release.prepaid(dp_event.ZCDpEvent(rho))
        return StepNoise(noise, 2 * self.clip_norm, rho / self.epochs, dimension)


class StepNoise:
    """Noise on the sums of one round's steps, of which each epoch is one release.

    Parameters
    ----------
    prepaid : PrepaidNoise
    sensitivity : float
        How far a record moves the sum of the batch that it is in.
    rho : float
        Of an epoch.
    dimension : int
        Entries of a sum.
    """

    def __init__(self, prepaid: PrepaidNoise, sensitivity: float, rho: float, dimension: int) -> None:
        self._prepaid = prepaid
        self.granularity = default_granularity(sensitivity / math.sqrt(2 * rho))
        self._sensitivity = grid_sensitivity(sensitivity, self.granularity, dimension, "l2")
        self._sigma2 = math.ceil(self._sensitivity**2 / (2 * float(rho)))

    @property
    def deviation(self) -> float:
        """σ of each entry."""
        return math.sqrt(self._sigma2) * self.granularity

    def __call__(self, sums: Tensors) -> dict[str, torch.Tensor]:
        """Return the sums with noise, in single precision."""
        cells = to_grid(_flat(sums), self.granularity)
        noisy = self._prepaid.discrete_gaussian(cells, l2_sensitivity=float(self._sensitivity), sigma2=self._sigma2)
        return _shaped(from_grid(noisy, self.granularity), sums)


def refuse_mixed_records(extractor: nn.Module) -> None:
    """Raise InvalidData if the extractor has statistics over records: a record would be in the gradients of others."""
    if statistics(extractor):
        raise InvalidData('unit="record" needs an extractor without batch normalisation, which mixes records')


def clipped(values: np.ndarray[Any, np.dtype[np.float64]], norm: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Shrink a vector to at most that norm."""
    length = float(np.linalg.norm(values))
    return values if length <= norm else values * (norm / length)


def clipped_sum(gradients: Tensors, norm: float) -> dict[str, torch.Tensor]:
    """Clip each record's gradient over all tensors together, and add up over the records, in double precision.

    Parameters
    ----------
    gradients : mapping of str to Tensor, shape (records, ...)
        A record whose gradient is not finite counts as zero: an error would tell that it is there.
    norm : float

    Returns
    -------
    dict of str to Tensor
    """
    squares = [torch.linalg.vector_norm(each.flatten(1), dim=1, dtype=torch.double) ** 2 for each in gradients.values()]
    norms = torch.stack(squares).sum(0).sqrt()
    factors = torch.where(norms.isfinite(), (norm / norms).clamp(max=1.0), 0.0).tolist()
    total = {name: torch.zeros(each.shape[1:], dtype=torch.double) for name, each in gradients.items()}
    for name, each in gradients.items():
        for row, factor in zip(each, factors, strict=True):
            if factor:
                total[name].add_(row, alpha=factor)
    return total


def _flat(tensors: Tensors) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.asarray(torch.cat([each.detach().flatten() for each in tensors.values()]).double().numpy())


def _shaped(values: np.ndarray[Any, np.dtype[np.float64]], like: Tensors) -> dict[str, torch.Tensor]:
    pieces = torch.split(torch.from_numpy(values).float(), [each.numel() for each in like.values()])
    return {name: piece.view(each.shape) for piece, (name, each) in zip(pieces, like.items(), strict=True)}
