"""DeterminantFedLinUCB: the older algorithm, whose silos speak when their raw data say so. It has no valid claim.

For studies and attacks only. After Dubey and Pentland, "Differentially-Private Federated Linear Bandits" (NeurIPS
2020), with the three flaws that Zhou and Chowdhury (ICLR 2024) found in it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from sfumato.federation.bandits.confidence import Confidence, choose, fit_model
from sfumato.federation.bandits.contributions import Floats, Integers, clip, pack
from sfumato.federation.bandits.design import Design
from sfumato.federation.bandits.learner import Mechanism
from sfumato.federation.bandits.tree import TreePrefixSum
from sfumato.privacy.claim import Claim

VOID = "when silos synchronise follows from their raw statistics: the times of messages show what was to be hidden"


class DeterminantFedLinUCB:
    """All silos synchronise when, at some silo, the raw statistics since the last time have grown enough.

    Flaw (i), privacy: the moment of a message is a function of raw data. Flaw (ii), regret: the regulariser and radius
    count the noise of one silo, where that of all M adds up. Flaw (iii), communication: the bound on the number of
    rounds is for statistics without noise.

    Parameters
    ----------
    n_features : int
    silos, horizon : int
    mechanism : Mechanism
        Calibrated to a tree over all steps, since each could be a synchronisation.
    threshold : float
        Synchronise when log det(V + W_i) - log det(V) exceeds this over the steps since the last time, at a silo i.
    delta_conf, reward_noise, exploration : float
    noise_seed : int, optional

    Attributes
    ----------
    claim_ : Claim
        Void.
    times_ : list of int
        Steps after which the silos synchronised: public.
    floored_ : int
        Models whose smallest eigenvalue was below what the published regulariser allows for.
    """

    def __init__(
        self,
        n_features: int,
        *,
        silos: int,
        horizon: int,
        mechanism: Mechanism,
        threshold: float = 1.0,
        delta_conf: float = 0.01,
        reward_noise: float = 1.0,
        exploration: float = 1.0,
        noise_seed: int | None = None,
    ) -> None:
        design = Design(n_features, silos, horizon, 1)
        calibrated = mechanism.calibrate(design)
        counted = calibrated.sigma_total / np.sqrt(silos)  # flaw (ii)
        self.confidence = Confidence(design, float(counted), delta_conf, reward_noise, 1.0, exploration)
        self.threshold = threshold
        self._tree = TreePrefixSum(calibrated, noise_seed=noise_seed)
        self._gram: Floats = np.zeros((silos, n_features, n_features))
        self._bias: Floats = np.zeros((silos, n_features))
        self.times_: list[int] = []
        self.floored_ = 0
        self._step = 0
        self._take_model(np.zeros(design.length))

    @property
    def claim_(self) -> Claim:
        """What is not promised."""
        return replace(self._tree.claim_, void=VOID)

    def act_all(self, features: Floats) -> Integers:
        """Choose for the next user of every silo, by shared and local statistics."""
        theta = np.matmul(self._inverse, (self._model.bias + self._bias)[..., np.newaxis])[..., 0]
        return choose(features, theta, self._inverse, self.confidence.beta(self._step))

    def observe_all(self, features: Floats, rewards: Floats) -> None:
        """Take in one user of every silo."""
        phi, y, _ = clip(features, rewards, 1.0)
        self._gram += phi[:, :, np.newaxis] * phi[:, np.newaxis, :]
        self._bias += phi * y[:, np.newaxis]
        self._step += 1
        self._inverse = np.asarray(np.linalg.inv(self._shared + self._gram), np.float64)

    def sync_due(self, silo: int) -> bool:
        """Whether some silo's raw data ask for it. That is flaw (i)."""
        grown = np.linalg.slogdet(self._shared + self._gram)[1] - np.linalg.slogdet(self._shared)[1]
        since = self._step - (self.times_[-1] if self.times_ else 0)
        return bool(np.any(grown * since > self.threshold))

    def sync(self) -> None:
        """Release the statistics since the last time, and take the new model."""
        self.times_.append(self._step)
        prefix = self._tree.push(pack(self._gram, self._bias))
        self._gram[:] = 0
        self._bias[:] = 0
        self._take_model(prefix)

    def _take_model(self, prefix: Floats) -> None:
        self._model = fit_model(prefix, self.confidence)
        self.floored_ += self._model.floored
        self._shared = np.linalg.inv(self._model.inverse)
        self._inverse = np.repeat(self._model.inverse[np.newaxis], len(self._gram), axis=0)
