"""SignSupermask: federated training of which sign each kept weight has, with a model for all and one a silo.

For engineers who federate small networks over slow links. After Vallapuram et al., "HideNseek" (2022, arXiv
2206.04385).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.in_process import InProcess, Runtime, run_and_remember
from sfumato.federation.secure_sum import OpenlySummed, Participant, SecurelySummed, make_signing_key
from sfumato.federation.secure_sum.client import LAST_STAGE
from sfumato.federation.supermask import model_file
from sfumato.federation.supermask.ballots import SummedBallot, make_ballot
from sfumato.federation.supermask.evaluation import predicted
from sfumato.federation.supermask.history import Watched
from sfumato.federation.supermask.private import PrivateSteps, calibrated
from sfumato.federation.supermask.protocol import SupermaskProtocol, silo_tensors
from sfumato.federation.supermask.signs import Signs
from sfumato.federation.supermask.subnetwork import digit_network, kept_total
from sfumato.federation.supermask.training import Training, check_whole, coded
from sfumato.federation.supermask.votes import SupermaskVotes, own_signs
from sfumato.privacy.bounds import ZCDP, ApproxDP, PureDP

PrivacyUnit: TypeAlias = Literal["record", "silo"]


class SignSupermask(BaseEstimator):  # type: ignore[misc]
    """Learn the signs of a pruned random network with others, at one bit a kept weight and round.

    Server and silos draw the same network from a public seed and prune it without data. A silo trains a score a kept
    weight, whose sign the weight takes, and uploads the signs; the server sends back how silos voted.

    Parameters
    ----------
    network : torch.nn.Module or "cnn"
        An architecture; "cnn" is `digit_network`, for vectors of 784. It runs in evaluation mode: without dropout,
        batch normalisation at identity, biases 0.
    num_classes : int
    keep : float
        Share of the weights that exist.
    saliency_steps : int
        Of pruning; 1 is one-shot.
    weights : {"constant", "normal"}
        Magnitudes: alike within a layer, or as drawn.
    prune : {"saliency", "random"}
    code : {"sign", "binary"}
        "binary" learns which kept weights are there, with their first signs: a {0, 1} supermask, the usual rival.
    scores : float
        Size of the scores that a round starts from.
    rounds, local_epochs, batch_size : int
    learning_rate : float
        Of scores. In proportion to `scores`: it says how many steps a sign takes to flip.
    optimizer : {"adam", "sgd"}
    aggregate : {"mean", "majority"}
        Whether silos are sent how many voted, or only the outcome.
    claim : PureDP, ApproxDP or ZCDP, optional
        For differential privacy over all rounds. Without, nothing is promised. Records take ApproxDP, open votes
        PureDP or ApproxDP, summed votes ZCDP or ApproxDP.
    unit : {"record", "silo"}
        Whom the claim protects: each record of a silo, everything that comes out included, its own model too; or the
        whole data of a silo, from everybody else, its own model not included. See `private` and `ballots`.
    max_grad_norm, sampling_rate : float
        Of unit "record": see `PrivateSteps`.
    private_steps : int
        Of unit "record": steps of a round, which take the place of epochs and batches.
    bits_per_round : int, optional
        Of unit "silo": how many weights a silo votes on in a round; all by default.
    honest : int, optional
        Of unit "silo": votes reach the server in a secure sum only, with noise of which at least so many silos add
        their share and keep it to themselves. Without, votes are seen, and each is randomized.
    input_shape : tuple of int, optional
        Of a record; that of the silos' data if they are given to `fit`.
    send_mask : bool
        The server prunes for the silos and sends which weights are kept.
    random_state : int, optional
        The public seed. Never of noise.

    Attributes
    ----------
    mask_ : dict of str to BoolTensor
        Which weights are kept.
    signs_ : ndarray of int8, shape (kept,)
        Of the global model.
    personal_signs_ : dict of int to ndarray of int8
        Of each silo's model: what it uploaded last. With unit "silo" it is what the silo keeps to itself, and is here
        only where all silos are in this process: the claim does not cover it.
    history_ : list of dict
        A round each: "global_accuracy" and "personal_accuracy" (NaN without `validation`), "flipped", the share of
        uploaded signs that differ from the global ones before, "bytes_up" and "bytes_down" of all silos' messages,
        "seconds". Rounds before a resumption have no accuracies and are left out. With unit "silo" the server knows no
        silo's model: "flipped" is NaN, and "personal_accuracy" but in the last round.
    claim_ : Claim
    outcome_ : Outcome

    Examples
    --------
    >>> model = SignSupermask("cnn", 10, keep=0.2, rounds=10)
    >>> model.fit(silos).predict(images, silo=3)  # doctest: +SKIP
    """

    def __init__(
        self,
        network: torch.nn.Module | str = "cnn",
        num_classes: int = 10,
        *,
        keep: float = 0.2,
        saliency_steps: int = 100,
        weights: str = "constant",
        prune: str = "saliency",
        code: str = "sign",
        scores: float = 0.01,
        rounds: int = 50,
        local_epochs: int = 1,
        batch_size: int = 32,
        learning_rate: float = 1e-3,
        optimizer: str = "adam",
        aggregate: str = "mean",
        claim: PureDP | ApproxDP | ZCDP | None = None,
        unit: str = "record",
        max_grad_norm: float = 1.0,
        sampling_rate: float = 0.1,
        private_steps: int = 10,
        bits_per_round: int | None = None,
        honest: int | None = None,
        input_shape: tuple[int, ...] | None = None,
        send_mask: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.network = network
        self.num_classes = num_classes
        self.keep = keep
        self.saliency_steps = saliency_steps
        self.weights = weights
        self.prune = prune
        self.code = code
        self.scores = scores
        self.rounds = rounds
        self.local_epochs = local_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.aggregate = aggregate
        self.claim = claim
        self.unit = unit
        self.max_grad_norm = max_grad_norm
        self.sampling_rate = sampling_rate
        self.private_steps = private_steps
        self.bits_per_round = bits_per_round
        self.honest = honest
        self.input_shape = input_shape
        self.send_mask = send_mask
        self.random_state = random_state

    def protocol(
        self, input_shape: tuple[int, ...] | None = None, *, roster: Sequence[str] | None = None, watch: Any = None
    ) -> SupermaskProtocol | OpenlySummed | SecurelySummed:
        """Return the protocol of these parameters, for a runtime or a Flower app; silos need the same random_state.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Of a record, if the estimator was given none.
        roster : sequence of str, optional
            With `honest`: the silos' public signing keys, see `SecureSum`.
        watch : callable, optional
            See `SupermaskProtocol`.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter is out of range, or does not go with another.
        """
        base, votes = self._parts(self.input_shape if input_shape is None else input_shape, watch)
        if votes is None:
            return base
        if self.honest is None:
            return votes.openly()
        if roster is None:
            raise InvalidData("roster must hold the silos' public signing keys: with honest, votes are summed securely")
        return votes.securely(roster)

    def fit(
        self,
        silos: Sequence[Any] | None = None,
        *,
        validation: Sequence[Any] | None = None,
        runtime: Runtime | None = None,
    ) -> Self:
        """Train.

        Parameters
        ----------
        silos : sequence of (X, y), optional
            Records, shape (n, *input_shape), and labels in 0 .. num_classes - 1. None if the runtime's silos have them.
        validation : sequence of (X, y), optional
            Held-out records of each silo, for `history_`. The claim is not about them.
        runtime : Runtime, optional
            `InProcess()` by default.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter or a silo's data are out of range; nothing was spent.
        TooFewParties
            If a silo's reply is lost or refused and the runtime's terms do not allow for it.
        """
        watched = Watched()
        shape = self.input_shape or (np.shape(silos[0][0])[1:] if silos else None)
        base, votes = self._parts(shape, watched)
        for data in silos or ():
            silo_tensors(data, base.input_shape, self.num_classes)
        held_out = [silo_tensors(data, base.input_shape, self.num_classes) for data in validation or ()]
        watched.begin(base, held_out)
        self._protocol = base
        self.mask_ = dict(base.subnetwork.masks)
        if votes is None:
            self.outcome_ = (InProcess() if runtime is None else runtime).run(base, silos)
            self.signs_, self.personal_signs_ = self.outcome_.result.signs, self.outcome_.result.personal
        else:
            protocol, given = _summed(votes, silos)
            self.outcome_, memories = run_and_remember(protocol, given, runtime)
            own = {silo: own_signs(memory, base.subnetwork.kept) for silo, memory in (memories or {}).items()}
            self.signs_ = self.outcome_.result
            self.personal_signs_ = {silo: signs for silo, signs in own.items() if signs is not None}
            watched.end(self.personal_signs_)
        self.claim_ = base.claim if votes is None else votes.claim
        self.history_ = watched.history(self.outcome_, 1 if self.honest is None else LAST_STAGE)
        return self

    def predict(self, X: ArrayLike, silo: int | None = None) -> NDArray[np.int64]:
        """Return the class of each record, by the global model or by a silo's own.

        Raises
        ------
        InvalidData
            If X has another shape or is not finite, or there is no such silo.
        """
        nothing = np.zeros(len(np.asarray(X)), np.int64)
        x, _ = silo_tensors((X, nothing), self._protocol.input_shape, self.num_classes)
        return predicted(self._protocol.subnetwork, self._effective(self._signs(silo)), x)

    def export(self, silo: int | None = None) -> bytes:
        """Return the global model, or a silo's own, as ⌈kept/8⌉ bytes of signs and about 200 bytes that name the rest.

        Raises
        ------
        InvalidData
            If there is no such silo.
        """
        return model_file.exported(self._protocol, self._signs(silo))

    @staticmethod
    def load(
        data: bytes, network: torch.nn.Module | str = "cnn", input_shape: tuple[int, ...] = (784,)
    ) -> torch.nn.Module:
        """Return an exported model as a torch module of the given architecture, in evaluation mode.

        Raises
        ------
        InvalidData
            If `data` is no export, or of another network.
        """
        return model_file.loaded(data, _network(network), input_shape)

    def _parts(
        self, input_shape: tuple[int, ...] | None, watch: Any
    ) -> tuple[SupermaskProtocol, SupermaskVotes | None]:
        """Subnetwork, training and rounds; and for unit "silo" the votes on them."""
        if input_shape is None:
            raise InvalidData("input_shape must be given where fit is given no silos")
        self._check_together()
        network = _network(self.network)
        base = SupermaskProtocol(
            network,
            tuple(input_shape),
            self.num_classes,
            keep=self.keep,
            seed=secrets.randbits(62) if self.random_state is None else self.random_state,
            rounds=self.rounds,
            training=Training(
                code=self.code,  # type: ignore[arg-type]
                scores=self.scores,
                epochs=self.local_epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                optimizer=self.optimizer,  # type: ignore[arg-type]
            ),
            saliency_steps=self.saliency_steps,
            weights=self.weights,  # type: ignore[arg-type]
            prune=self.prune,  # type: ignore[arg-type]
            aggregate=self.aggregate,  # type: ignore[arg-type]
            private=self._private(network),
            send_mask=self.send_mask,
            watch=watch,
        )
        if self.unit == "record":
            return base, None
        kept = kept_total(network, self.keep, self.prune)  # type: ignore[arg-type]
        bits = kept if self.bits_per_round is None else self.bits_per_round
        return base, SupermaskVotes(base, make_ballot(self.claim, bits, self.rounds, self.honest))

    def _check_together(self) -> None:
        if self.unit not in get_args(PrivacyUnit):
            raise InvalidClaim(f'unit must be "record" or "silo", got {self.unit!r}')
        if self.unit == "silo" and self.claim is None:
            raise InvalidClaim('unit="silo" needs a claim: without, nothing is promised to anybody')
        check_whole("rounds", self.rounds)  # the budget is divided by it
        for name in ("bits_per_round", "honest"):
            value = getattr(self, name)
            if value is None:
                continue
            if self.unit == "record":
                raise InvalidData(f'{name} is for unit="silo"')
            check_whole(name, value)

    def _private(self, network: torch.nn.Module) -> PrivateSteps | None:
        if self.claim is None or self.unit == "silo":
            return None
        if not isinstance(self.claim, ApproxDP):
            raise InvalidClaim(f'claim must be ApproxDP(epsilon, delta) for unit="record", got {self.claim!r}')
        draft = PrivateSteps(1.0, self.max_grad_norm, self.sampling_rate, self.private_steps)
        kept = kept_total(network, self.keep, self.prune)  # type: ignore[arg-type]
        return calibrated(self.claim.epsilon, self.claim.delta, draft, kept, self.rounds)

    def _signs(self, silo: int | None) -> Signs:
        if silo is None:
            return self.signs_  # type: ignore[no-any-return]
        if silo not in self.personal_signs_:
            raise InvalidData(f"silo must be one of {sorted(self.personal_signs_)}, got {silo}")
        return self.personal_signs_[silo]  # type: ignore[no-any-return]

    def _effective(self, signs: Signs) -> torch.Tensor:
        return self._protocol.subnetwork.values * coded(torch.from_numpy(signs), self._protocol.training.code)


def _summed(
    votes: SupermaskVotes, silos: Sequence[Any] | None
) -> tuple[OpenlySummed | SecurelySummed, Sequence[Any] | None]:
    """The protocol of the votes, and what its silos work on: with signing keys where they are summed securely."""
    if not isinstance(votes.ballot, SummedBallot):
        return votes.openly(), silos
    if not silos:
        raise InvalidData("silos must be given with honest; elsewhere, run protocol(roster=...) with the silos' keys")
    keys = [make_signing_key() for _ in silos]
    protocol = votes.securely([public for _, public in keys])
    return protocol, [Participant(k, data, keys[k][0]) for k, data in enumerate(silos)]


def _network(given: Any) -> torch.nn.Module:
    if isinstance(given, torch.nn.Module):
        return given
    if given != "cnn":
        raise InvalidData(f'network must be a torch module or "cnn", got {given!r}')
    return digit_network()
