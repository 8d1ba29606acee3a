"""BanditComputation: FedLinUCB where silos are machines of their own; one sum of one vector a silo for each batch.

For any runtime of `sfumato.federation`, in the open (`SiloLDP`) or under a secure sum (`SecureSumDP`, and
`ShuffleVectorSum`, whose one-bit messages a secure sum mixes as well as a shuffler).
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias
from typing import Protocol as Structural

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import HorizonExceeded, InvalidData, ProtocolError
from sfumato.federation.bandits.confidence import Confidence, Model, choose, fit_model
from sfumato.federation.bandits.contributions import Floats, Integers, clip, pack
from sfumato.federation.bandits.design import Calibrated, Design
from sfumato.federation.bandits.learner import Mechanism
from sfumato.federation.bandits.mechanisms import CentralJDP, NoPrivacy, SecureSumDP, SiloLDP
from sfumato.federation.bandits.tree import add_node, close_node, level_of
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.secure_sum import OpenlySummed, SecurelySummed
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

#: Chooses a row of features, shape (K, d), for the user of that number.
Act: TypeAlias = Callable[[Floats, int], int]

_NOISE_BOUND = 40  # standard deviations; beyond, a noisy entry is clamped, with a probability of e^-800


class Users(Structural):
    """A silo's users, one after the other."""

    def serve(self, first: int, count: int, act: Act) -> tuple[Floats, Floats]:
        """Serve `count` users from number `first`; return the features of the actions they got, and the rewards."""
        ...


@dataclass(frozen=True, eq=False)
class RecordedUsers:
    """Users whose reward for every action is known beforehand, for studies and tests.

    Attributes
    ----------
    features : ndarray of float, shape (T, K, d)
    rewards : ndarray of float, shape (T, K)
    """

    features: Floats
    rewards: Floats

    def __post_init__(self) -> None:
        if np.ndim(self.features) != 3 or np.shape(self.rewards) != np.shape(self.features)[:2]:
            raise InvalidData("features must have shape (T, K, d) and rewards (T, K)")

    def serve(self, first: int, count: int, act: Act) -> tuple[Floats, Floats]:
        """Let `act` choose for each user in turn."""
        if first + count > len(self.features):
            raise HorizonExceeded(f"there are {len(self.features)} users, asked for {first + count}")
        steps = np.arange(first, first + count)
        actions = [act(self.features[step], step) for step in steps.tolist()]
        return self.features[steps, actions], self.rewards[steps, actions]


@dataclass(frozen=True, eq=False)
class Learned:
    """What a run ends with.

    Attributes
    ----------
    theta : ndarray of float, shape (d,)
        Estimate of θ*.
    prefix : ndarray of float, shape (d(d+3)/2,)
        The last released prefix sum, packed.
    synchronised : int
    claim : Claim
    """

    theta: Floats
    prefix: Floats
    synchronised: int
    claim: Claim


class BanditComputation:
    """One sum for each batch: the silos' noisy nodes go in, the prefix that all act on comes back.

    *Privacy* is that of `FedLinUCB` with synced steering. A silo acts on what the server sends, which need not be an
    honest prefix: whatever it is, a user moves their own contribution only. The silo counts its batches itself and
    answers each once, in order, so no server can have a node twice, or more nodes of a user than were paid for. The
    ledger is charged with the first message, for the whole run.

    A silo that misses a sum keeps its statistics: they are in the next node of a higher level. Its users of that batch
    were served by the last model that it had.

    Parameters
    ----------
    n_features, silos, horizon, batch, mechanism, delta_conf, reward_bound, theta_bound, reward_noise, exploration
        As in `FedLinUCB`.
    adjacency : {"replace-one", "add-remove"}

    Raises
    ------
    InvalidData, InvalidClaim
        If a parameter is out of range, or the mechanism trusts a server with raw sums.
    """

    name = "bandit"
    version = 1

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
        adjacency: Any = "replace-one",
    ) -> None:
        if isinstance(mechanism, CentralJDP):
            raise InvalidData("mechanism must add its noise at the silos: CentralJDP trusts a server with raw sums")
        self.design = Design(n_features, silos, horizon, batch, adjacency)
        self.mechanism = mechanism
        self.calibrated: Calibrated = mechanism.calibrate(self.design)
        self.confidence = Confidence.scaled(
            self.design,
            self.calibrated.sigma_total,
            delta_conf,
            reward_bound=reward_bound,
            theta_bound=theta_bound,
            reward_noise=reward_noise,
            exploration=exploration,
        )
        self.reward_bound = reward_bound

    @property
    def claim(self) -> Claim:
        """What is promised to a user."""
        return self.calibrated.claim

    @property
    def length(self) -> int:
        """Numbers a message."""
        return self.design.length

    @property
    def bound(self) -> int:
        """Largest entry: all users of a silo, and the noise."""
        return int((self.design.horizon + _NOISE_BOUND * self.calibrated.sigma) / self.calibrated.granule) + 1

    def config(self) -> dict[str, Any]:
        """Return the design, the mechanism and what the radius depends on."""
        return {
            "design": asdict(self.design),
            "mechanism": [type(self.mechanism).__name__, asdict(self.mechanism)],  # type: ignore[call-overload]
            "confidence": {name: value for name, value in asdict(self.confidence).items() if name != "design"},
            "reward-bound": self.reward_bound,
        }

    def start(self) -> Fields:
        """Nothing is known: all actions look alike."""
        return {
            "batch": 0,
            "kept": np.zeros((self.design.levels, self.length), np.int64),
            "prefix": np.zeros(self.length, np.int64),
        }

    def request(self, state: Message) -> Fields:
        """Ask for the node that the next batch completes, and send the prefix to act on meanwhile."""
        return {"batch": int(state["batch"]) + 1, "prefix": state["prefix"]}

    def contribute(self, request: Message, memory: Message, data: Users) -> tuple[NDArray[np.int64], Fields]:
        """Serve the batch's users, and release the node that it completes."""
        done = int(memory.get("batch", 0))
        request.expect("batch", "prefix")
        number = request.integer("batch", low=1, high=self.design.batches)
        if number <= done:
            raise ProtocolError(f"batch {number} was asked for already: each node is released once")
        prefix = request.array("prefix", dtype=np.int64, shape=(self.length,))
        partial: Any = memory.get("partial", np.zeros((self.design.levels, self.length), np.int64))
        for missed in range(done + 1, number):
            _, partial = close_node(partial, missed, self._served(missed, memory["prefix"], data))
        node, partial = close_node(partial, number, self._served(number, prefix, data))
        vector = self._released(node, level_of(number), paid=done > 0)
        return vector, {"batch": number, "partial": partial, "prefix": prefix}

    def absorb(self, state: Message, total: NDArray[np.int64], parties: tuple[int, ...]) -> Fields:
        """Put the node into the tree."""
        number = int(state["batch"]) + 1
        kept: Any = state["kept"]
        prefix, after = add_node(kept, number, total)
        return {"batch": number, "kept": after, "prefix": prefix}

    def finished(self, state: Message) -> bool:
        """Whether every batch was released."""
        return state["batch"] == self.design.batches

    def result(self, state: Message) -> Learned:
        """Return the last model."""
        prefix = self.calibrated.to_real(np.asarray(state["prefix"]))
        theta = fit_model(prefix, self.confidence).theta * self.reward_bound
        return Learned(theta, prefix, int(state["batch"]), self.claim)

    def _served(self, number: int, prefix: Any, data: Users) -> Integers:
        """Serve a batch under the model of a prefix; the sum of its contributions, in cells."""
        model = fit_model(self.calibrated.to_real(np.asarray(prefix)), self.confidence)
        first = (number - 1) * self.design.batch
        features, rewards = data.serve(first, self.design.batch, self._policy(model))
        if np.shape(features) != (self.design.batch, self.design.n_features):
            raise InvalidData(f"users must have {self.design.n_features} features, {self.design.batch} users a batch")
        phi, y, _ = clip(np.asarray(features, np.float64), np.asarray(rewards, np.float64), self.reward_bound)
        return self.calibrated.to_cells(pack(phi.T @ phi, phi.T @ y))

    def _policy(self, model: Model) -> Act:
        theta = model.theta

        def act(features: Floats, step: int) -> int:
            return int(choose(features, theta, model.inverse, self.confidence.beta(step)))

        return act

    def _released(self, node: Integers, level: int, *, paid: bool) -> NDArray[np.int64]:
        def once() -> Integers:
            if not self.claim.formal:
                return self.calibrated.perturb(None, node[np.newaxis], level)
            with Release(self.claim, "bandit, all batches of a run") as release:
                return self.calibrated.perturb(release.prepaid(self.claim.bound), node[np.newaxis], level)

        # The first message pays for all nodes of the run; a new context has no active ledger.
        noisy = contextvars.Context().run(once) if paid else once()
        return np.asarray(np.clip(noisy[0], -self.bound, self.bound), np.int64)


def bandit_protocol(
    computation: BanditComputation, roster: Sequence[str] | None = None, *, threshold: int | None = None
) -> OpenlySummed | SecurelySummed:
    """Return the protocol that fits the mechanism.

    Parameters
    ----------
    computation : BanditComputation
    roster : sequence of str, optional
        Public signing keys of the silos, for mechanisms whose claim is about a sum.
    threshold : int, optional
        Silos that must stay in each sum. By default M - h/2 of `SecureSumDP`: half of the tolerated silos may drop out,
        half may collude. M - h plus those that may collude is the least.

    Raises
    ------
    InvalidData
        If there is no roster for a claim about a sum, or the roster or threshold do not fit it.
    """
    if isinstance(computation.mechanism, (SiloLDP, NoPrivacy)):
        return OpenlySummed(computation)
    if roster is None or len(roster) != computation.design.silos:
        raise InvalidData(
            f"roster must hold the keys of {computation.design.silos} silos: the claim is about their sum"
        )
    tolerated = computation.mechanism.tolerated if isinstance(computation.mechanism, SecureSumDP) else 0
    least = computation.design.silos - tolerated
    chosen = computation.design.silos - tolerated // 2 if threshold is None else threshold
    if chosen < least:
        raise InvalidData(f"threshold must be at least {least}: fewer silos do not add enough noise, got {chosen}")
    return SecurelySummed(computation, roster, threshold=chosen)
