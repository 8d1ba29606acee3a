"""SignSupermask: federated training of which sign each kept weight has, with a model for all and one a silo.

For engineers who federate small networks over slow links. After Vallapuram et al., "HideNseek" (2022, arXiv
2206.04385).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.federation.in_process import InProcess, Runtime
from sfumato.federation.supermask import model_file
from sfumato.federation.supermask.evaluation import HeldOut, accuracies, predicted
from sfumato.federation.supermask.private import PrivateSteps, calibrated
from sfumato.federation.supermask.protocol import SupermaskProtocol, silo_tensors
from sfumato.federation.supermask.signs import Signs
from sfumato.federation.supermask.subnetwork import digit_network, kept_total
from sfumato.federation.supermask.training import Training, coded


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
    epsilon, delta : float, optional
        For differential privacy of each record of a silo over all rounds. Without, nothing is promised.
    max_grad_norm, sampling_rate : float
        With epsilon: see `PrivateSteps`.
    private_steps : int
        With epsilon: steps of a round, which take the place of epochs and batches.
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
        Of each silo's model.
    history_ : list of dict
        A round each: "global_accuracy" and "personal_accuracy" (NaN without `validation`), "flipped", the share of
        uploaded signs that differ from the global ones before, "bytes_up" and "bytes_down" of all silos' messages,
        "seconds". Rounds before a resumption have no accuracies and are left out.
    claim_ : Claim
        For each record of a silo.
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
        epsilon: float | None = None,
        delta: float | None = None,
        max_grad_norm: float = 1.0,
        sampling_rate: float = 0.1,
        private_steps: int = 10,
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
        self.epsilon = epsilon
        self.delta = delta
        self.max_grad_norm = max_grad_norm
        self.sampling_rate = sampling_rate
        self.private_steps = private_steps
        self.input_shape = input_shape
        self.send_mask = send_mask
        self.random_state = random_state

    def protocol(self, input_shape: tuple[int, ...] | None = None, watch: Any = None) -> SupermaskProtocol:
        """Return the protocol of these parameters, for a runtime or a Flower app; silos need the same random_state.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter is out of range.
        """
        shape = self.input_shape if input_shape is None else input_shape
        if shape is None:
            raise InvalidData("input_shape must be given where fit is given no silos")
        network = _network(self.network)
        return SupermaskProtocol(
            network,
            tuple(shape),
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
        watched = _Watched()
        shape = None if not silos else np.shape(silos[0][0])[1:]
        protocol = self.protocol(shape if self.input_shape is None else None, watched)
        for data in silos or ():
            silo_tensors(data, protocol.input_shape, self.num_classes)
        held_out = [silo_tensors(data, protocol.input_shape, self.num_classes) for data in validation or ()]
        watched.begin(protocol, held_out)
        outcome = (InProcess() if runtime is None else runtime).run(protocol, silos)
        self._protocol = protocol
        self.mask_ = dict(protocol.subnetwork.masks)
        self.signs_ = outcome.result.signs
        self.personal_signs_ = outcome.result.personal
        self.claim_ = protocol.claim
        self.outcome_ = outcome
        waves = outcome.history[len(outcome.history) - len(watched.rows) :]
        self.history_ = [
            row | {"bytes_up": w.payload_received, "bytes_down": w.payload_sent, "seconds": w.seconds}
            for row, w in zip(watched.rows, waves, strict=True)
        ]
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

    def _private(self, network: torch.nn.Module) -> PrivateSteps | None:
        if (self.epsilon is None) != (self.delta is None):
            raise InvalidData("give both epsilon and delta, or neither")
        if self.epsilon is None or self.delta is None:
            return None
        draft = PrivateSteps(1.0, self.max_grad_norm, self.sampling_rate, self.private_steps)
        kept = kept_total(network, self.keep, self.prune)  # type: ignore[arg-type]
        return calibrated(self.epsilon, self.delta, draft, kept, self.rounds)

    def _signs(self, silo: int | None) -> Signs:
        if silo is None:
            return self.signs_  # type: ignore[no-any-return]
        if silo not in self.personal_signs_:
            raise InvalidData(f"silo must be one of {sorted(self.personal_signs_)}, got {silo}")
        return self.personal_signs_[silo]  # type: ignore[no-any-return]

    def _effective(self, signs: Signs) -> torch.Tensor:
        return self._protocol.subnetwork.values * coded(torch.from_numpy(signs), self._protocol.training.code)


class _Watched:
    """Rows of the history, one a round, from what the protocol's server tells."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def begin(self, protocol: SupermaskProtocol, held_out: HeldOut) -> None:
        self.protocol, self.held_out = protocol, held_out
        self.before: Signs | None = None

    def __call__(self, number: int, signs: Signs, personal: Mapping[int, Signs]) -> None:
        sub, code = self.protocol.subnetwork, self.protocol.training.code
        before = np.ones_like(signs) if self.before is None else self.before
        own = {k: sub.values * coded(torch.from_numpy(each), code) for k, each in personal.items()}
        found = accuracies(sub, sub.values * coded(torch.from_numpy(signs), code), own, self.held_out)
        flipped = float(np.mean([each != before for each in personal.values()]))
        self.rows.append({"round": number, **found, "flipped": flipped})
        self.before = signs


def _network(given: Any) -> torch.nn.Module:
    if isinstance(given, torch.nn.Module):
        return given
    if given != "cnn":
        raise InvalidData(f'network must be a torch module or "cnn", got {given!r}')
    return digit_network()
