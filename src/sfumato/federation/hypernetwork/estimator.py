"""HyperFL: personalised federated learning in which silos share a hypernetwork, and not their models' weights.

For whoever federates image models over silos whose data differ. Guo et al. (AAAI 2025, arXiv 2412.07187). The sharing
hides images from attackers who do not know of it; the variants with a claim hide them from all: `private`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from torch import nn

from sfumato.errors import InvalidData
from sfumato.federation.hypernetwork.hyper_work import HyperWork
from sfumato.federation.hypernetwork.local_steps import sgd
from sfumato.federation.hypernetwork.models import (
    accuracy,
    checked_extractor,
    features_of,
    loss_of,
    new_head,
    personal_model,
    statistics,
)
from sfumato.federation.hypernetwork.network import Init
from sfumato.federation.hypernetwork.private import Privacy, PrivacyUnit, heuristic_claim
from sfumato.federation.hypernetwork.protocol import FederatedRounds, run_with_models
from sfumato.federation.hypernetwork.settings import Settings, SiloData, check_silo, draw_embedding
from sfumato.federation.in_process import Runtime
from sfumato.privacy.bounds import ZCDP, ApproxDP

_NEW = 1 << 32  # in the place of a party's number, where a silo was none


class HyperFL(BaseEstimator):  # type: ignore[misc]
    """Federate image classifiers: a shared hypernetwork writes each silo's extractor from the silo's private vector.

    A silo's model is extractor and linear classifier. The server sees the hypernetwork's updates; the vector v, the
    classifier psi and the statistics of normalisation layers stay in the silo. Without `claim` that is a heuristic,
    and a weak one: who knows the architecture reads the extractor's gradient off the update's bias part. `unit` says
    what a `claim` protects.

    Parameters
    ----------
    extractor : Module or {"cnn-mnist", "cnn-cifar", "cnn-digits", "mlp-digits"}
        Maps images to vectors of features; its last parameter has one entry a feature.
    num_classes : int
    embedding_dim, hidden_dim : int
        Of the hypernetwork, which is hidden_dim + 1 times as large as the extractor, and so is each upload.
    rounds : int
    local_epochs : int
        Epochs of a round on hypernetwork and embedding.
    head_epochs : int
        Epochs of a round on the classifier, before the others. Not with unit "record": the classifier moves with the
        rest there, since each epoch of its own would cost as much again.
    learning_rate, head_learning_rate, momentum, weight_decay : float
        Of SGD. A step moves the extractor by (1 + ||z||²) times its gradient, and z by far more than a weight: on MNIST
        most hidden units die in the first round at the default, and then the heads' biases do the learning (study 45).
    grad_clip : float
        Largest norm of a step's gradient of phi, and of v.
    batch_size : int
    claim : ZCDP or ApproxDP, optional
        What all rounds together promise. Neighbours replace one unit by another.
    unit : {"silo", "record"}
        "silo": whole uploads are clipped and get noise; the silo's own model does not. "record": each step's gradient
        does, and all that comes of it is covered.
    clip_norm : float
        Norm that a silo's upload, or a record's gradient, is clipped to under a claim.
    init : {"hyperfan", "official"}
        Of the hypernetwork.
    share_bias : bool
        False leaves out the biases of its heads. That protects nothing.
    embedding_seed : int, optional
        For tests and studies: makes the embeddings reproducible, hence not private, and says so in the claim.
    random_state : int, optional
        Of initialisation and batches; never of noise, nor of embeddings.

    Attributes
    ----------
    models_ : list of Module
        Each silo's personal model after its last local training, where all silos are in this process.
    hypernetwork_ : HyperNetwork
        After the last averaging.
    claim_ : Claim
    history_ : tuple of Wave
        The rounds, with their bytes and seconds.
    bytes_up_ : int
        Payload of all uploads.
    outcome_ : Outcome

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> silos = [(rng.normal(size=(20, 1, 8, 8)), rng.integers(0, 2, 20)) for _ in range(2)]
    >>> fit = HyperFL("mlp-digits", 2, hidden_dim=4, rounds=1, random_state=0).fit(silos)
    >>> len(fit.models_), fit.claim_.formal
    (2, False)
    """

    def __init__(
        self,
        extractor: nn.Module | str = "cnn-mnist",
        num_classes: int = 10,
        *,
        embedding_dim: int = 64,
        hidden_dim: int = 128,
        rounds: int = 200,
        local_epochs: int = 5,
        head_epochs: int = 1,
        learning_rate: float = 0.02,
        head_learning_rate: float = 0.1,
        momentum: float = 0.5,
        weight_decay: float = 5e-4,
        grad_clip: float = 50.0,
        batch_size: int = 50,
        claim: ZCDP | ApproxDP | None = None,
        unit: PrivacyUnit = "silo",
        clip_norm: float = 1.0,
        init: Init = "hyperfan",
        share_bias: bool = True,
        embedding_seed: int | None = None,
        random_state: int | None = None,
    ) -> None:
        self.extractor = extractor
        self.num_classes = num_classes
        self.embedding_dim = embedding_dim
        self.hidden_dim = hidden_dim
        self.rounds = rounds
        self.local_epochs = local_epochs
        self.head_epochs = head_epochs
        self.learning_rate = learning_rate
        self.head_learning_rate = head_learning_rate
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.grad_clip = grad_clip
        self.batch_size = batch_size
        self.claim = claim
        self.unit = unit
        self.clip_norm = clip_norm
        self.init = init
        self.share_bias = share_bias
        self.embedding_seed = embedding_seed
        self.random_state = random_state

    def protocol(self) -> FederatedRounds:
        """Return the protocol of these parameters, for a runtime or a Flower app.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter is out of range.
        """
        return FederatedRounds(self._work())

    def _extractor(self) -> nn.Module:
        return checked_extractor(self.extractor)

    def _work(self) -> HyperWork:
        settings = Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})
        extractor = self._extractor()
        privacy = None
        if self.claim is not None:
            privacy = Privacy(self.claim, self.unit, self.clip_norm, self.rounds, self.local_epochs)
        if statistics(extractor):
            warnings.warn("statistics of normalisation layers stay in each silo and are not averaged", stacklevel=3)
        return HyperWork(
            extractor,
            settings,
            embedding_dim=self.embedding_dim,
            hidden_dim=self.hidden_dim,
            share_bias=self.share_bias,
            init=self.init,
            embedding_seed=self.embedding_seed,
            privacy=privacy,
        )

    def fit(self, silos: Sequence[SiloData] | None = None, *, runtime: Runtime | None = None) -> Self:
        """Train.

        Parameters
        ----------
        silos : sequence of (images, labels), optional
            Of each silo: numbers of shape (n, channels, height, width), integers of shape (n,) below `num_classes`.
            None if the runtime's silos have them.
        runtime : Runtime, optional
            `InProcess()` by default.

        Raises
        ------
        InvalidData
            If a silo's data are none of these.
        TooFewParties
            If a silo's training diverged, or its reply is lost or refused, and the runtime's terms do not allow for it.
        """
        protocol = self.protocol()
        for silo in silos or ():
            check_silo(silo, self.num_classes)
        outcome, models = run_with_models(protocol, silos, runtime)
        work = protocol.work
        assert isinstance(work, HyperWork)
        self.hypernetwork_ = work.network(outcome.result)
        self.claim_ = heuristic_claim(self.embedding_seed) if work.privacy is None else work.privacy.claim
        self.outcome_ = outcome
        self.history_ = outcome.history
        self.bytes_up_ = sum(wave.payload_received for wave in outcome.history)
        if models is not None:
            self.models_ = models
        return self

    def score(self, silos: Sequence[SiloData]) -> float:
        """Mean over silos of each personal model's accuracy on its silo's images."""
        return float(np.mean([accuracy(model, *silo) for model, silo in zip(self.models_, silos, strict=True)]))

    def personalize(self, X: NDArray[np.float32], y: NDArray[np.int64], *, steps: int = 100) -> nn.Module:
        """Return a model for a silo that was not there: v and psi are learnt, phi stands still, nothing is sent.

        Parameters
        ----------
        X : ndarray, shape (n, channels, height, width)
        y : ndarray of int, shape (n,)
        steps : int
            Steps of SGD on (v, psi), at `learning_rate` and `head_learning_rate`.

        Raises
        ------
        InvalidData
            If the data are none of these, or steps is below 1.
        """
        if steps < 1:
            raise InvalidData(f"steps must be at least 1, got {steps}")
        images, labels = check_silo((X, y), self.num_classes)
        settings = self._work().settings
        network, extractor = copy.deepcopy(self.hypernetwork_).requires_grad_(False), self._extractor().train()
        random = settings.random(_NEW)
        embedding = draw_embedding(self.embedding_dim, self.embedding_seed, _NEW).requires_grad_()
        head = new_head(features_of(extractor), self.num_classes, random)
        optimizers = (
            sgd([embedding], self.learning_rate, settings),
            sgd([each.requires_grad_() for each in head.values()], self.head_learning_rate, settings),
        )
        for _, rows in zip(range(steps), settings.batches(len(images), steps, random), strict=False):
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss_of(extractor, network(embedding), head, images[rows], labels[rows]).backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()
        with torch.no_grad():
            return personal_model(extractor, network(embedding), head)
