"""FedLinUCB: silos that serve users from one linear reward model, and share no user with anybody.

For hospitals or shops that learn together which action suits which context. Zhou and Chowdhury, "On Differentially
Private Federated Linear Contextual Bandits" (ICLR 2024), with every constant calibrated, and one repair; see the class.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, TypeAlias
from typing import Protocol as Structural

import numpy as np
from numpy.typing import ArrayLike

from sfumato.errors import HorizonExceeded, InvalidData, NotSynchronised
from sfumato.federation.bandits.confidence import Confidence, choose, fit_model
from sfumato.federation.bandits.contributions import Adjacency, Floats, Integers, clip, pack
from sfumato.federation.bandits.design import Calibrated, Design
from sfumato.federation.bandits.tree import TreePrefixSum
from sfumato.privacy.claim import Claim

#: What a silo's actions follow between two synchronisations.
Steering: TypeAlias = Literal["synced", "local"]

_STEERED_LOCALLY = (
    "between two synchronisations actions follow raw local statistics, so one user moves the actions of the batch's "
    "later users, and with them more of what the silo sends than one contribution"
)


class Mechanism(Structural):
    """What can be calibrated to a design: `SiloLDP`, `SecureSumDP`, `ShuffleVectorSum` and the others."""

    def calibrate(self, design: Design) -> Calibrated:
        """Fit the noise to a design."""
        ...


class FedLinUCB:
    """Optimistic linear bandit of M silos, synchronised after every `batch` users of each.

    Sums of φφ' and φy of each silo's batch go through a tree of noisy nodes (`TreePrefixSum`); the schedule and the
    size of messages are fixed beforehand.

    *Privacy.* A user is a step: features of all actions and the reward that each would bring. With
    ``steering="synced"`` a silo's actions within a batch follow the last released sums and the user's own features, so
    exchanging one user changes one contribution and no other, by `sensitivity`; later actions follow released sums.
    What leaves a silo, and what any other user sees, is then covered by the mechanism's claim: adaptive composition
    over the nodes (`TreePrefixSum`).

    The published algorithm steers by un-noised local statistics too, ``steering="local"``. Then one user can change the
    actions of every later user of the same batch, and the batch's sum by up to `batch` contributions: the published
    proof counts one. The claim is void; study 18 shows an attack.

    Parameters
    ----------
    n_features : int
        d.
    silos, horizon, batch : int
        M silos, users of each, users of each between synchronisations. Users after the last full batch stay local.
    mechanism : Mechanism
    delta_conf : float
        Probability with which the confidence bounds may fail, in (0, 1).
    reward_bound : float
        Rewards are clipped to [-reward_bound, reward_bound].
    theta_bound : float
        Bound on ‖θ*‖.
    reward_noise : float, optional
        Sub-Gaussian parameter of rewards round their mean; by default the reward bound, which always holds.
    exploration : float
        Factor on the radius: 1 is the theory, less explores less.
    adjacency : {"replace-one", "add-remove"}
    steering : {"synced", "local"}
    noise_seed : int, optional
        For tests and studies: reproducible noise, and no guarantee.

    Raises
    ------
    InvalidData, InvalidClaim
        If a parameter is out of range; nothing was charged.
    BudgetExceeded
        If the active ledger has too little left for the whole run, which is charged here.

    Attributes
    ----------
    claim_ : Claim
    synchronised_ : int
        Synchronisations so far.
    floored_ : int
        After how many of them an eigenvalue had to be raised: each has a probability below `delta_conf`.
    clipped_, rejected_ : int
        Users whose features or reward were beyond the bounds, or not finite. For the silos, not for anybody else: no
        claim covers them.
    theta_ : ndarray of float, shape (d,)
        The shared estimate of θ*, from released sums alone.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.federation.bandits import FedLinUCB, SiloLDP
    >>> learner = FedLinUCB(2, silos=1, horizon=4, batch=2, mechanism=SiloLDP(1.0, 1e-5))
    >>> for t in range(4):
    ...     action = learner.act(0, np.eye(2))
    ...     learner.observe(0, np.eye(2)[action], reward=0.5)
    ...     if learner.sync_due(0):
    ...         learner.sync()
    >>> learner.synchronised_
    2
    """

    def __init__(
        self,
        n_features: int,
        *,
        silos: int,
        horizon: int,
        mechanism: Mechanism,
        batch: int = 25,
        delta_conf: float = 0.01,
        reward_bound: float = 1.0,
        theta_bound: float = 1.0,
        reward_noise: float | None = None,
        exploration: float = 1.0,
        adjacency: Adjacency = "replace-one",
        steering: Steering = "synced",
        noise_seed: int | None = None,
    ) -> None:
        if steering not in ("synced", "local"):
            raise InvalidData(f"steering must be 'synced' or 'local', got {steering!r}")
        self.design = Design(n_features, silos, horizon, batch, adjacency)
        calibrated = mechanism.calibrate(self.design)
        self.confidence = Confidence.scaled(
            self.design,
            calibrated.sigma_total,
            delta_conf,
            reward_bound=reward_bound,
            theta_bound=theta_bound,
            reward_noise=reward_noise,
            exploration=exploration,
        )
        self.reward_bound = reward_bound
        self.steering = steering
        self._tree = TreePrefixSum(calibrated, noise_seed=noise_seed)
        self._steps: Integers = np.zeros(silos, np.int64)
        self._gram: Floats = np.zeros((silos, n_features, n_features))
        self._bias: Floats = np.zeros((silos, n_features))
        self._changed: Integers = np.zeros(2, np.int64)
        self.floored_ = 0
        self._take_model(np.zeros(self.design.length))

    @property
    def claim_(self) -> Claim:
        """What is promised to a user."""
        claim = self._tree.claim_
        return replace(claim, void=_STEERED_LOCALLY) if self.steering == "local" and claim.formal else claim

    @property
    def synchronised_(self) -> int:
        """Synchronisations so far."""
        return self._tree.released_

    @property
    def clipped_(self) -> int:
        """Users beyond the bounds."""
        return int(self._changed[0])

    @property
    def rejected_(self) -> int:
        """Users with values that are not finite."""
        return int(self._changed[1])

    @property
    def theta_(self) -> Floats:
        """The shared estimate of θ*, shape (d,)."""
        return self._model.theta * self.reward_bound

    def act(self, silo: int, features: ArrayLike) -> int:
        """Choose an action for the next user of a silo: a row of `features`, of shape (K, d)."""
        return int(self._choose(np.array([silo]), self._features(features, 2))[0])

    def act_all(self, features: ArrayLike) -> Integers:
        """Choose for the next user of every silo.

        Parameters
        ----------
        features : array_like of float, shape (silos, K, d) or (K, d)
            The second: all silos have the same.

        Returns
        -------
        ndarray of int, shape (silos,)
        """
        phi = np.asarray(features, dtype=np.float64)
        return self._choose(np.arange(self.design.silos), self._features(phi, 3 if phi.ndim == 3 else 2))

    def observe(self, silo: int, features: ArrayLike, reward: float) -> None:
        """Take in the features, shape (d,), of the action that a silo's user got, and the reward.

        Raises
        ------
        NotSynchronised
            If a synchronisation is due: going on would change the public schedule.
        HorizonExceeded
            After `horizon` users of the silo.
        """
        self._observe(np.array([silo]), self._features(features, 1)[np.newaxis], np.array([reward], dtype=np.float64))

    def observe_all(self, features: ArrayLike, rewards: ArrayLike) -> None:
        """Take in one user of every silo: features of shape (silos, d), rewards of shape (silos,)."""
        phi, y = self._features(features, 2), np.asarray(rewards, dtype=np.float64)
        if phi.shape != self._bias.shape or y.shape != (self.design.silos,):
            raise InvalidData(f"features must have shape {self._bias.shape} and rewards {(self.design.silos,)}")
        self._observe(np.arange(self.design.silos), phi, y)

    def sync_due(self, silo: int) -> bool:
        """Whether the silo has served a full batch: a function of the number of its users alone."""
        return self._is_due(int(self._steps[silo]))

    def sync(self) -> None:
        """Release the batch of all silos, and take the new model.

        Raises
        ------
        NotSynchronised
            If some silo's batch is not full.
        """
        early = [silo for silo in range(self.design.silos) if not self.sync_due(silo)]
        if early:
            raise NotSynchronised(f"silos {early[:5]} have not served their batch of {self.design.batch} users")
        prefix = self._tree.push(pack(self._gram, self._bias))
        self._gram[:] = 0
        self._bias[:] = 0
        self._take_model(prefix)

    def _take_model(self, prefix: Floats) -> None:
        self._model = fit_model(prefix, self.confidence)
        self.floored_ += self._model.floored
        if self.steering == "local":
            self._inverse = np.repeat(self._model.inverse[np.newaxis], self.design.silos, axis=0)

    def _is_due(self, steps: int) -> bool:
        return steps == self.design.batch * (self.synchronised_ + 1) and self.synchronised_ < self.design.batches

    def _choose(self, silos: Integers, features: Floats) -> Integers:
        beta = self.confidence.beta(int(self._steps[silos].max()))
        if self.steering == "local":
            inverse = self._inverse[silos]
            theta = np.matmul(inverse, (self._model.bias + self._bias[silos])[..., np.newaxis])[..., 0]
        else:
            inverse, theta = self._model.inverse, self._model.theta
        return np.broadcast_to(choose(features, theta, inverse, beta), silos.shape).copy()

    def _observe(self, silos: Integers, features: Floats, rewards: Floats) -> None:
        self._check_schedule(silos)
        phi, y, changed = clip(features, rewards, self.reward_bound)
        self._changed += changed
        self._steps[silos] += 1
        self._gram[silos] += phi[:, :, np.newaxis] * phi[:, np.newaxis, :]
        self._bias[silos] += phi * y[:, np.newaxis]
        if self.steering == "local":
            moved = np.matmul(self._inverse[silos], phi[..., np.newaxis])[..., 0]
            shrink = 1 + (moved * phi).sum(axis=-1)
            outer = moved[:, :, np.newaxis] * moved[:, np.newaxis, :]
            self._inverse[silos] -= outer / shrink[:, np.newaxis, np.newaxis]

    def _check_schedule(self, silos: Integers) -> None:
        for silo, steps in zip(silos.tolist(), self._steps[silos].tolist(), strict=True):
            if self._is_due(steps):
                raise NotSynchronised(f"silo {silo} has served its batch: call sync() before its next user")
            if steps == self.design.horizon:
                raise HorizonExceeded(f"silo {silo} has served the {steps} users that the run was planned for")

    def _features(self, features: ArrayLike, dimensions: int) -> Floats:
        phi = np.asarray(features, dtype=np.float64)
        d = self.design.n_features
        if phi.ndim != dimensions or phi.shape[-1] != d or not phi.size:
            raise InvalidData(f"features must be an array of {dimensions} dimensions, the last {d}, got {phi.shape}")
        if dimensions == 3 and len(phi) != self.design.silos:
            raise InvalidData(f"features must be those of {self.design.silos} silos, got {len(phi)}")
        return phi
