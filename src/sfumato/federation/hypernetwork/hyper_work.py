"""HyperWork: a silo's round of HyperFL, plain or private for each record.

For `HyperFL`. The plain round is that of the official code: the classifier for an epoch, then hypernetwork and
embedding for five. What the private ones promise: `private`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from sfumato.federation.hypernetwork.local_steps import noisy_gradients, sgd, train_head
from sfumato.federation.hypernetwork.models import (
    Arrays,
    Tensors,
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
from sfumato.federation.hypernetwork.network import HyperNetwork, Init
from sfumato.federation.hypernetwork.private import Privacy, refuse_mixed_records
from sfumato.federation.hypernetwork.settings import Settings, draw_embedding


class HyperWork:
    """What server and silos of HyperFL do, apart from the averaging.

    Parameters
    ----------
    extractor : Module
    settings : Settings
    embedding_dim, hidden_dim, share_bias, init
        See `HyperNetwork`.
    embedding_seed : int, optional
    privacy : Privacy, optional

    Raises
    ------
    InvalidData
        If each record is to be protected and the extractor mixes records.
    """

    name = "hyperfl"

    def __init__(
        self,
        extractor: nn.Module,
        settings: Settings,
        *,
        embedding_dim: int,
        hidden_dim: int,
        share_bias: bool,
        init: Init,
        embedding_seed: int | None = None,
        privacy: Privacy | None = None,
    ) -> None:
        self.extractor = extractor
        self.settings = settings
        self.embedding_dim = embedding_dim
        self.embedding_seed = embedding_seed
        self.privacy = privacy
        self._choices: dict[str, Any] = {"hidden_dim": hidden_dim, "share_bias": share_bias, "init": init}
        if self._by_record:
            refuse_mixed_records(extractor)
        self._first = HyperNetwork(extractor, embedding_dim, **self._choices, random_state=settings.random_state)

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
        return {
            "extractor": described(self.extractor),
            "embedding_dim": self.embedding_dim,
            "embedding_seed": self.embedding_seed,
            **self._choices,
            "privacy": privacy,
        }

    def network(self, weights: Mapping[str, torch.Tensor]) -> HyperNetwork:
        """Return a hypernetwork for the extractor, with these weights."""
        network = copy.deepcopy(self._first)
        network.load_state_dict(dict(weights), strict=True)
        return network

    def start(self) -> Tensors:
        """Return phi before the first round."""
        return dict(self._first.state_dict())

    def round(
        self, shared: Tensors, memory: Mapping[str, Any], images: torch.Tensor, labels: torch.Tensor, place: list[int]
    ) -> tuple[Tensors, Arrays]:
        """Train from phi for a round.

        Parameters
        ----------
        shared : dict of str to Tensor
            phi.
        memory : mapping
            What the last round returned; empty at first.
        images, labels : Tensor
        place : list of int
            Party and round.

        Returns
        -------
        update : dict of str to Tensor
            phi after the round less phi before; under silo privacy clipped and noisy.
        memory : dict of str to ndarray
            Embedding, classifier, statistics of the extractor, and its weights: all that stays here.
        """
        random = self.settings.random(*place)
        network = self.network(shared)
        extractor = with_statistics(self.extractor, memory).train()
        if memory:
            embedding, head = torch.from_numpy(np.array(memory["embedding"])), unpacked("head", memory)
        else:
            embedding = draw_embedding(self.embedding_dim, self.embedding_seed, place[0])
            head = new_head(features_of(extractor), self.settings.num_classes, random)
        embedding.requires_grad_()
        if self._by_record:
            self._train_privately(network, embedding, extractor, head, images, labels, random)
        else:
            with torch.no_grad():
                theta = network(embedding)
            train_head(extractor, theta, head, images, labels, self.settings, random)
            self._train(network, embedding, extractor, head, images, labels, random)
        update = {name: value - shared[name] for name, value in network.state_dict().items()}
        with torch.no_grad():
            theta = network(embedding)
        kept = {
            "embedding": embedding.detach().numpy(),
            **packed("head", head),
            **packed("theta", theta),
            **packed("statistics", statistics(extractor)),
        }
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
        network: HyperNetwork,
        embedding: torch.Tensor,
        extractor: nn.Module,
        head: Tensors,
        images: torch.Tensor,
        labels: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Move phi and v; the classifier stands still. One backward goes through the generated weights."""
        optimizer = sgd([*network.parameters(), embedding], self.settings.learning_rate, self.settings)
        for rows in self.settings.batches(len(images), self.settings.local_epochs, random):
            optimizer.zero_grad()
            loss_of(extractor, network(embedding), head, images[rows], labels[rows]).backward()  # type: ignore[no-untyped-call]
            self._clip(network, embedding)
            optimizer.step()

    def _train_privately(
        self,
        network: HyperNetwork,
        embedding: torch.Tensor,
        extractor: nn.Module,
        head: Tensors,
        images: torch.Tensor,
        labels: torch.Tensor,
        random: np.random.Generator,
    ) -> None:
        """Move phi, v and the classifier by noisy gradients of (theta, psi); see `private`."""
        assert self.privacy is not None
        settings = self.settings
        for parameter in head.values():
            parameter.requires_grad_()
        body = [*network.parameters(), embedding]
        optimizers = (
            sgd(body, settings.learning_rate, settings),
            sgd(head.values(), settings.head_learning_rate, settings),
        )
        for theta, noisy in noisy_gradients(
            self.privacy, extractor, lambda: network(embedding), head, images, labels, settings, random
        ):
            through = [noisy[f"theta/{name}"] for name in theta]
            for leaf, move in zip(body, torch.autograd.grad(list(theta.values()), body, through), strict=True):
                leaf.grad = move
            for name, parameter in head.items():
                parameter.grad = noisy[f"head/{name}"]
            self._clip(network, embedding)
            for optimizer in optimizers:
                optimizer.step()

    def _clip(self, network: HyperNetwork, embedding: torch.Tensor) -> None:
        clip_grad_norm_(network.parameters(), self.settings.grad_clip)
        clip_grad_norm_([embedding], self.settings.grad_clip)
