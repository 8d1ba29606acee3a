"""FederatedRounds: silos train from shared weights, and the server averages their updates.

For any runtime of `sfumato.federation`: HyperFL, federated averaging (McMahan et al. 2017) and private heads differ in
the work of a silo, and in nothing that is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from typing import Protocol as Structural

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sfumato.errors import ProtocolError
from sfumato.federation.hypernetwork.models import Arrays, Tensors
from sfumato.federation.hypernetwork.settings import Settings, check_silo
from sfumato.federation.in_process import Runtime, run_and_remember
from sfumato.federation.message import Message
from sfumato.federation.rounds import Outcome

_MOST_EXAMPLES = 1 << 40


class Work(Structural):
    """What a silo does in a round, and what is shared; see `HyperWork`."""

    settings: Settings

    @property
    def name(self) -> str: ...

    @property
    def weighted(self) -> bool: ...

    def config(self) -> dict[str, Any]: ...

    def start(self) -> Tensors: ...

    def round(
        self, shared: Tensors, memory: Mapping[str, Any], images: torch.Tensor, labels: torch.Tensor, place: list[int]
    ) -> tuple[Tensors, Arrays]: ...

    def release(self, update: Tensors) -> Tensors: ...

    def model(self, memory: Mapping[str, Any]) -> nn.Module: ...


class FederatedRounds:
    """Shared weights go out, and updates come back: weights after local training less weights before.

    Updates are averaged with weights n_k, or equally where n_k must not be told. What a silo keeps is in its memory.

    Parameters
    ----------
    work : Work
    """

    version = 1

    def __init__(self, work: Work) -> None:
        self.work = work
        first = {name: value.detach().numpy() for name, value in work.start().items()}
        self._first = first
        self._shapes = {name: value.shape for name, value in first.items()}

    @property
    def name(self) -> str:
        """Of the system."""
        return self.work.name

    def config(self) -> dict[str, Any]:
        """Return all parameters."""
        return {**self.work.settings.config(), **self.work.config()}

    def start(self) -> dict[str, Any]:
        """Return the first weights."""
        return {**self._first, "round": 0}

    def requests(self, state: Message, parties: tuple[int, ...]) -> dict[int, dict[str, Any]]:
        """Send all parties the weights."""
        return {party: {**state, "party": party} for party in parties}

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Refuse other names, dtypes or shapes; that nothing is NaN or infinite is a message's own business."""
        extra = ("examples",) if self.work.weighted else ()
        reply.expect(*self._shapes, *extra)
        self._arrays(reply)
        for name in extra:
            reply.integer(name, low=1, high=_MOST_EXAMPLES)

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> dict[str, Any]:
        """Move the weights by the mean update."""
        weights = np.array([reply.get("examples", 1) for reply in replies.values()], float)
        weights /= weights.sum()
        fields: dict[str, Any] = {"round": state["round"] + 1}  # type: ignore[operator]
        for name in self._shapes:
            moved = np.array(state[name], np.float64)
            for weight, reply in zip(weights, replies.values(), strict=True):
                moved += weight * np.asarray(reply[name])
            fields[name] = moved.astype(np.float32)
        return fields

    def finished(self, state: Message) -> bool:
        """Whether all rounds are over."""
        return bool(state["round"] == self.work.settings.rounds)

    def result(self, state: Message) -> Tensors:
        """Return the shared weights."""
        return {name: torch.from_numpy(array.copy()) for name, array in self._arrays(state).items()}

    def client_step(self, request: Message, memory: Message, data: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train for a round; `data` are images (n, channels, height, width) and labels (n,).

        Raises
        ------
        ProtocolError
            If the request is not of this protocol, or training diverged: the weight is named.
        """
        request.expect(*self._shapes, "round", "party")
        number = request.integer("round", low=0, high=self.work.settings.rounds - 1)
        # Once a round, or a server could have more uploads than the claim is about.
        if number <= int(memory.get("round", -1)):
            raise ProtocolError(f"round {number} or a later one was answered already")
        party = request.integer("party", low=0, high=_MOST_EXAMPLES)
        shared = {name: torch.from_numpy(array.copy()) for name, array in self._arrays(request).items()}
        images, labels = check_silo(data, self.work.settings.num_classes)
        update, kept = self.work.round(shared, memory, images, labels, [party, number])
        for name, value in {**update, **{name: torch.from_numpy(np.asarray(kept[name])) for name in kept}}.items():
            if not bool(torch.isfinite(value).all()):
                raise ProtocolError(f"{name!r} is NaN or infinite after the round: the silo's training diverged")
        sent: dict[str, Any] = {name: value.numpy() for name, value in self.work.release(update).items()}
        if self.work.weighted:
            sent["examples"] = len(images)
        return sent, {**kept, "round": number}

    def _arrays(self, message: Message) -> dict[str, NDArray[np.float32]]:
        return {name: message.array(name, dtype=np.float32, shape=shape) for name, shape in self._shapes.items()}


def run_with_models(
    protocol: FederatedRounds, silos: Sequence[Any] | None, runtime: Runtime | None
) -> tuple[Outcome, list[nn.Module] | None]:
    """Run the protocol; with all silos in this process, also return their personal models.

    Elsewhere a silo has its model from its own store: ``protocol.work.model(memory)``.
    """
    outcome, memories = run_and_remember(protocol, silos, runtime)
    return outcome, None if memories is None else [protocol.work.model(each) for each in memories.values()]
