"""FederatedAveraging: one model for all silos, a shared extractor with private classifiers, or no sharing at all.

The baselines of `HyperFL`, in its shape. McMahan et al. 2017 (federated averaging); Collins et al. 2021 (FedRep: heads
stay private); with a claim those of Bietti et al. 2022 (PPSGD) and Shen et al. 2023 (CENTAUR), made sound: `private`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from sklearn.base import BaseEstimator
from torch import nn
from torch.nn.utils import clip_grad_norm_

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.hypernetwork.local_steps import noisy_gradients, sgd, train_head
from sfumato.federation.hypernetwork.models import (
    Arrays,
    Tensors,
    accuracy,
    checked_extractor,
    described,
    features_of,
    loss_of,
    new_head,
    packed,
    personal_model,
    statistics,
    unpacked,
    with_statistics,
)
from sfumato.federation.hypernetwork.private import Privacy, PrivacyUnit, refuse_mixed_records
from sfumato.federation.hypernetwork.protocol import FederatedRounds, run_with_models
from sfumato.federation.hypernetwork.settings import Settings, SiloData, check_silo
from sfumato.federation.in_process import Runtime
from sfumato.privacy.bounds import ZCDP, ApproxDP, Heuristic
from sfumato.privacy.claim import Claim

Share = Literal["all", "extractor", "nothing"]

_PLAIN = {
    "all": "updates are gradients of the whole model in the clear: inversion attacks apply as they stand",
    "extractor": "updates are gradients of the extractor in the clear; the classifier stays private",
    "nothing": "nothing leaves a silo but the number of its records",
}


class PlainWork:
    """A silo's round of local training of the model's own weights.

    Parameters
    ----------
    extractor : Module
    settings : Settings
    share : {"all", "extractor", "nothing"}
    privacy : Privacy, optional

    Raises
    ------
    InvalidData
        If `share` is none of these, or each record is to be protected and the extractor mixes records.
    InvalidClaim
        If there is a claim and nothing is shared.
    """

    def __init__(self, extractor: nn.Module, settings: Settings, share: Share, privacy: Privacy | None = None) -> None:
        if share not in get_args(Share):
            raise InvalidData(f"share must be one of {', '.join(get_args(Share))}; got {share!r}")
        if share == "nothing" and privacy is not None:
            raise InvalidClaim('share="nothing" lets nothing out that a claim could be about: leave it out')
        if privacy is not None and privacy.unit == "record":
            refuse_mixed_records(extractor)
        self.extractor = extractor
        self.settings = settings
        self.share = share
        self.privacy = privacy
        with torch.random.fork_rng():
            torch.manual_seed(int(settings.random().integers(1 << 62)))
            for module in extractor.modules():
                getattr(module, "reset_parameters", lambda: None)()
        self._first = {name: value.detach() for name, value in extractor.named_parameters()}
        self._first_head = new_head(features_of(extractor), settings.num_classes, settings.random())

    @property
    def name(self) -> str:
        """Of the system."""
        return {"all": "federated-averaging", "extractor": "private-heads", "nothing": "local-training"}[self.share]

    @property
    def weighted(self) -> bool:
        """Whether silos tell how many records they have."""
        return self.privacy is None or self._by_record

    @property
    def _by_record(self) -> bool:
        return self.privacy is not None and self.privacy.unit == "record"

    def config(self) -> dict[str, Any]:
        """Return what server and silos must agree on."""
        privacy = {} if self.privacy is None else self.privacy.config()
        return {"extractor": described(self.extractor), "share": self.share, "privacy": privacy}

    def start(self) -> Tensors:
        """Return what is shared, before the first round."""
        return self._shared(self._first, self._first_head)

    def round(
        self, shared: Tensors, memory: Mapping[str, Any], images: torch.Tensor, labels: torch.Tensor, place: list[int]
    ) -> tuple[Tensors, Arrays]:
        """Train for a round; see `HyperWork.round`. A classifier that is not shared has epochs of its own, first."""
        random = self.settings.random(*place)
        extractor = with_statistics(self.extractor, memory).train()
        own = {"theta": dict(self._first), "head": dict(self._first_head)}
        for part in own:
            own[part] |= unpacked(part, memory) | unpacked(part, shared)
        theta, head = ({name: value.clone() for name, value in each.items()} for each in own.values())
        train = self._train_privately if self._by_record else self._train
        train(extractor, theta, head, images, labels, random)
        after = self._shared(theta, head)
        update = {name: after[name].detach() - shared[name] for name in after}
        kept = {**packed("theta", theta), **packed("head", head), **packed("statistics", statistics(extractor))}
        return update, kept

    def release(self, update: Tensors) -> Tensors:
        """Return the update as it may leave the silo."""
        if self.privacy is None or self._by_record:
            return update
        return self.privacy.noisy_upload(update)

    def model(self, memory: Mapping[str, Any]) -> nn.Module:
        """Return a silo's personal model, from what it remembers."""
        extractor = with_statistics(self.extractor, memory)
        return personal_model(extractor, unpacked("theta", memory), unpacked("head", memory))

    def _train(
        self,
        extractor: nn.Module,
        theta: Tensors,
        head: Tensors,
        images: torch.Tensor,
        labels: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Move what is shared; a classifier that is not has moved by itself before."""
        settings = self.settings
        if self.share != "all":
            train_head(extractor, theta, head, images, labels, settings, random)
        trained = [*theta.values(), *(head.values() if self.share == "all" else ())]
        optimizer = sgd([each.requires_grad_() for each in trained], settings.learning_rate, settings)
        for rows in settings.batches(len(images), settings.local_epochs, random):
            optimizer.zero_grad()
            loss_of(extractor, theta, head, images[rows], labels[rows]).backward()  # type: ignore[no-untyped-call]
            clip_grad_norm_(trained, settings.grad_clip)
            optimizer.step()

    def _train_privately(
        self,
        extractor: nn.Module,
        theta: Tensors,
        head: Tensors,
        images: torch.Tensor,
        labels: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Move extractor and classifier by noisy gradients of both, shared or not; see `private`."""
        assert self.privacy is not None
        settings, trained = self.settings, [*theta.values(), *head.values()]
        head_rate = settings.learning_rate if self.share == "all" else settings.head_learning_rate
        optimizers = (sgd(theta.values(), settings.learning_rate, settings), sgd(head.values(), head_rate, settings))
        parts = {
            f"{part}/{name}": value for part, each in (("theta", theta), ("head", head)) for name, value in each.items()
        }
        for _, noisy in noisy_gradients(self.privacy, extractor, lambda: theta, head, images, labels, settings, random):
            for name, parameter in parts.items():
                parameter.grad = noisy[name]
            clip_grad_norm_(trained, settings.grad_clip)
            for optimizer in optimizers:
                optimizer.step()

    def _shared(self, theta: Tensors, head: Tensors) -> Tensors:
        parts = {"all": {"theta": theta, "head": head}, "extractor": {"theta": theta}, "nothing": {}}[self.share]
        return {f"{part}/{name}": value for part, each in parts.items() for name, value in each.items()}


class FederatedAveraging(BaseEstimator):  # type: ignore[misc]
    """Federate image classifiers by averaging the model's own weights.

    Parameters
    ----------
    extractor : Module or {"cnn-mnist", "cnn-cifar", "cnn-digits", "mlp-digits"}
        As for `HyperFL`; its weights are drawn anew, from `random_state`.
    num_classes : int
    share : {"all", "extractor", "nothing"}
        "all": federated averaging. "extractor": classifiers stay private, the honest comparator of `HyperFL`.
        "nothing": each silo trains alone.
    rounds, local_epochs, head_epochs, learning_rate, head_learning_rate, momentum, weight_decay, grad_clip, batch_size
        As for `HyperFL`. `head_epochs` and `head_learning_rate` are those of a private classifier.
    claim, unit, clip_norm
        As for `HyperFL`. With share "all" that is DP-FedAvg; with "extractor" the classifier stays in the silo and, for
        unit "record", moves by noisy gradients all the same: one that moves without is the gap of `private`.
    random_state : int, optional

    Attributes
    ----------
    models_ : list of Module
        Each silo's model after its last local training, where all silos are in this process.
    shared_ : dict of str to Tensor
        What the silos share, after the last averaging: "theta/..." and "head/...".
    claim_ : Claim
    history_ : tuple of Wave
    bytes_up_ : int
    outcome_ : Outcome

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> silos = [(rng.normal(size=(20, 1, 8, 8)), rng.integers(0, 2, 20)) for _ in range(2)]
    >>> len(FederatedAveraging("mlp-digits", 2, rounds=1, random_state=0).fit(silos).shared_)
    4
    """

    def __init__(
        self,
        extractor: nn.Module | str = "cnn-mnist",
        num_classes: int = 10,
        *,
        share: Share = "all",
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
        random_state: int | None = None,
    ) -> None:
        self.extractor = extractor
        self.num_classes = num_classes
        self.share = share
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
        self.random_state = random_state

    def protocol(self) -> FederatedRounds:
        """Return the protocol of these parameters, for a runtime or a Flower app.

        Raises
        ------
        InvalidData, InvalidClaim
            If a parameter is out of range.
        """
        settings = Settings(**{name: getattr(self, name) for name in Settings.__dataclass_fields__})
        privacy = None
        if self.claim is not None:
            privacy = Privacy(self.claim, self.unit, self.clip_norm, self.rounds, self.local_epochs)
        return FederatedRounds(PlainWork(checked_extractor(self.extractor), settings, self.share, privacy))

    def fit(self, silos: Sequence[SiloData] | None = None, *, runtime: Runtime | None = None) -> Self:
        """Train; parameters and errors as `HyperFL.fit`."""
        protocol = self.protocol()
        for silo in silos or ():
            check_silo(silo, self.num_classes)
        outcome, models = run_with_models(protocol, silos, runtime)
        self.shared_ = outcome.result
        work = protocol.work
        assert isinstance(work, PlainWork)
        plain = Claim(Heuristic(_PLAIN[self.share]), unit="record", trust="silo")
        self.claim_ = plain if work.privacy is None else work.privacy.claim
        self.outcome_ = outcome
        self.history_ = outcome.history
        self.bytes_up_ = sum(wave.payload_received for wave in outcome.history)
        if models is not None:
            self.models_ = models
        return self

    def score(self, silos: Sequence[SiloData]) -> float:
        """Mean over silos of each model's accuracy on its silo's images."""
        return float(np.mean([accuracy(model, *silo) for model, silo in zip(self.models_, silos, strict=True)]))
