"""SupermaskProtocol: silos train scores and upload a bit a kept weight; the server sends back how they voted.

For any runtime of `sfumato.federation`. After Vallapuram et al., "HideNseek" (2022), of which only abstract and
introduction could be read; what is ours is said in the how-to page.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message
from sfumato.federation.supermask.private import NOTHING_PROMISED, PrivateSteps, train_privately
from sfumato.federation.supermask.signs import (
    Signs,
    pack_counts,
    pack_signs,
    unpack_bits,
    unpack_counts,
    unpack_signs,
)
from sfumato.federation.supermask.subnetwork import (
    Magnitudes,
    Prune,
    Subnetwork,
    kept_total,
    make_subnetwork,
    subnetwork_from_masks,
    weight_count,
)
from sfumato.federation.supermask.training import Training, check_whole, start_scores, train_scores
from sfumato.privacy.claim import Claim

Aggregate: TypeAlias = Literal["mean", "majority"]

#: ``watch(round, signs, personal)`` after each round: the global signs, and each silo's.
Watch: TypeAlias = Callable[[int, Signs, Mapping[int, Signs]], None]

_MOST_PARTIES = (1 << 16) - 1
_PERSONAL = "personal/"


@dataclass(frozen=True, eq=False)
class Trained:
    """What a run learned.

    Attributes
    ----------
    signs : ndarray of int8, shape (kept,)
        Of the global model.
    personal : dict of int to ndarray of int8
        Of each silo's own model: what it uploaded last.
    """

    signs: Signs
    personal: dict[int, Signs]


@dataclass(frozen=True)
class SupermaskProtocol:
    """Federated training of the signs of a subnetwork.

    A silo uploads exactly ⌈kept / 8⌉ bytes a round, besides the message's frame. It is sent, for "mean", how many of n
    silos voted + for each weight, ⌈log2(n + 1)⌉ bits each; for "majority", a bit. No weight and no score travels.

    *What is promised*: without `private` nothing (`NOTHING_PROMISED` says why). With it, each record of a silo is
    protected from everybody but its silo, by the proof in `private`.

    Parameters
    ----------
    network : torch.nn.Module
        Its architecture counts; its weights come from `seed`.
    input_shape : tuple of int
    num_classes : int
    keep : float
    seed : int
        Public: of first weights, of first scores and of the order in which records are taken without `private`.
    rounds : int
    training : Training
    saliency_steps : int
    weights : {"constant", "normal"}
    prune : {"saliency", "random"}
    aggregate : {"mean", "majority"}
    private : PrivateSteps, optional
    send_mask : bool
        Send a silo which weights are kept, once, a bit each, instead of letting it prune for itself.
    watch : callable, optional
        Told of each round on the server's side, ``watch(round, signs, personal)``; no part of the configuration.
    """

    network: torch.nn.Module
    input_shape: tuple[int, ...]
    num_classes: int
    keep: float = 0.2
    seed: int = 0
    rounds: int = 50
    training: Training = dataclasses.field(default_factory=Training)
    saliency_steps: int = 100
    weights: Magnitudes = "constant"
    prune: Prune = "saliency"
    aggregate: Aggregate = "mean"
    private: PrivateSteps | None = None
    send_mask: bool = False
    watch: Watch | None = None

    def __post_init__(self) -> None:
        check_whole("rounds", self.rounds)
        if self.aggregate not in get_args(Aggregate):
            raise InvalidData(f"aggregate must be one of {', '.join(get_args(Aggregate))}")
        if isinstance(self.num_classes, bool) or not isinstance(self.num_classes, int) or self.num_classes < 2:
            raise InvalidData(f"num_classes must be a whole number above 1, got {self.num_classes}")

    @property
    def name(self) -> str:
        return "supermask"

    @property
    def version(self) -> int:
        return 1

    @cached_property
    def subnetwork(self) -> Subnetwork:
        """What the seed gives: pruned when it is first asked for."""
        made = make_subnetwork(
            self.network,
            self.input_shape,
            keep=self.keep,
            seed=self.seed,
            steps=self.saliency_steps,
            weights=self.weights,
            prune=self.prune,
        )
        check_outputs(made, self.input_shape, self.num_classes)
        return made

    @property
    def claim(self) -> Claim:
        """What a silo's uploads of all rounds promise each of its records."""
        if self.private is None:
            return NOTHING_PROMISED
        return self.private.claim(kept_total(self.network, self.keep, self.prune), self.rounds)

    def config(self) -> dict[str, Any]:
        """Return all parameters, and the architecture as torch describes it."""
        own = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        for name in ("network", "watch"):
            del own[name]
        shapes = [[name, *each.shape] for name, each in self.network.named_parameters()]
        return own | {
            "architecture": [repr(self.network), shapes],
            "input_shape": list(self.input_shape),
            "training": dataclasses.asdict(self.training),
            "private": None if self.private is None else dataclasses.asdict(self.private),
        }

    def start(self) -> dict[str, Any]:
        """All signs are +: those of the first weights."""
        kept = self.subnetwork.kept
        return {"round": 0, "replies": 0, "counts": np.zeros(0, np.uint16), "signs": pack_signs(np.ones(kept, np.int8))}

    def requests(self, state: Mapping[str, Any], parties: tuple[int, ...]) -> dict[int, dict[str, Any]]:
        """Tell every silo how the last round went; in the first there is nothing to tell."""
        if len(parties) > _MOST_PARTIES:
            raise InvalidData(f"there may be at most {_MOST_PARTIES} silos, got {len(parties)}")
        told = b""
        if state["replies"]:
            told = state["signs"] if self.aggregate == "majority" else pack_counts(state["counts"], state["replies"])
        common = {
            "round": state["round"],
            "replies": state["replies"],
            "votes": told,
            "subnetwork": self.subnetwork.identity(),
        }
        new = {party for party in parties if self.send_mask and _PERSONAL + str(party) not in state}
        masks = self.subnetwork.packed_masks() if new else b""
        return {party: common | {"party": party, "mask": masks if party in new else b""} for party in parties}

    def check_reply(self, state: Mapping[str, Any], party: int, reply: Message) -> None:
        """Refuse anything but ⌈kept / 8⌉ bytes, padded with zeros."""
        reply.expect("signs")
        unpack_signs(reply.blob("signs"), self.subnetwork.kept)

    def server_step(self, state: Mapping[str, Any], replies: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """Count the votes; where they tie, the sign stays."""
        kept = self.subnetwork.kept
        personal = {party: unpack_signs(reply["signs"], kept) for party, reply in replies.items()}
        counts = np.sum([signs > 0 for signs in personal.values()], axis=0)
        lead = 2 * counts - len(replies)
        signs = np.where(lead == 0, unpack_signs(state["signs"], kept), np.sign(lead)).astype(np.int8)
        if self.watch is not None:
            self.watch(state["round"] + 1, signs, personal)
        return {
            **state,
            **{_PERSONAL + str(party): reply["signs"] for party, reply in replies.items()},
            "round": state["round"] + 1,
            "replies": len(replies),
            "counts": counts.astype(np.uint16),
            "signs": pack_signs(signs),
        }

    def finished(self, state: Mapping[str, Any]) -> bool:
        """Whether all rounds are over."""
        return bool(state["round"] >= self.rounds)

    def result(self, state: Mapping[str, Any]) -> Trained:
        """The global signs and each silo's."""
        kept = self.subnetwork.kept
        names = [name for name in state if name.startswith(_PERSONAL)]
        personal = {int(name[len(_PERSONAL) :]): unpack_signs(state[name], kept) for name in names}
        return Trained(unpack_signs(state["signs"], kept), dict(sorted(personal.items())))

    def client_step(
        self, request: Message, memory: Mapping[str, Any], data: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Train from what the server told, and upload signs. `data` is records and labels."""
        subnetwork, remembered = self._agreed(request, memory)
        average = self._average(request, subnetwork.kept)
        number = request.integer("round", low=0, high=self.rounds - 1)
        # Once a round, or a server could have more uploads than the claim is about.
        if number <= int(memory.get("round", -1)):
            raise ProtocolError(f"round {number} or a later one was answered already")
        party = request.integer("party", low=0, high=(1 << 63) - 1)
        x, y = silo_tensors(data, self.input_shape, self.num_classes)
        start = start_scores(average, subnetwork.kept, self.seed, self.training)
        if self.private is None:
            order = np.random.default_rng([self.seed, number, party, 1 << 34])
            scores = train_scores(subnetwork, start, x, y, self.training, order)
        else:
            scores = train_privately(subnetwork, start, x, y, self.training, self.private)
        return {"signs": pack_signs(np.where(scores.numpy() >= 0, 1, -1))}, {**remembered, "round": number}

    def _agreed(self, request: Message, memory: Mapping[str, Any]) -> tuple[Subnetwork, dict[str, Any]]:
        """The subnetwork that both sides mean, and what is to be remembered of it."""
        request.expect("round", "party", "replies", "votes", "subnetwork", "mask")
        identity = request.blob("subnetwork", length=32)
        sent = request.blob("mask")
        if not self.send_mask:
            if sent:
                raise ProtocolError("field 'mask' must be empty: silos prune for themselves")
            subnetwork, remembered = self.subnetwork, {}
        else:
            packed = sent or memory.get("mask", b"")
            kept = unpack_bits(packed, weight_count(self.network))
            try:
                subnetwork = subnetwork_from_masks(self.network, kept, seed=self.seed, weights=self.weights)
            except InvalidData as error:
                raise ProtocolError(f"field 'mask': {error}") from None
            remembered = {"mask": packed}
        if subnetwork.identity() != identity:
            raise ProtocolError("field 'subnetwork' is of another subnetwork than this silo's: seed, torch or machine")
        return subnetwork, remembered

    def _average(self, request: Message, kept: int) -> torch.Tensor | None:
        """How the silos voted, in [-1, 1]; None in the first round."""
        replies = request.integer("replies", low=0, high=_MOST_PARTIES)
        votes = request.blob("votes")
        if not replies:
            if votes:
                raise ProtocolError("field 'votes' must be empty: nobody has voted")
            return None
        if self.aggregate == "majority":
            return torch.from_numpy(unpack_signs(votes, kept))
        counts: NDArray[np.int64] = unpack_counts(votes, kept, replies)
        return torch.from_numpy(2 * counts / replies - 1)


def silo_tensors(data: Any, input_shape: Sequence[int], num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A silo's records and labels as tensors.

    Raises
    ------
    InvalidData
        If they are not (X, y) of one length above 0, X finite of shape (n, *input_shape), y whole numbers below
        num_classes.
    """
    try:
        records, labels = data
    except (TypeError, ValueError):
        raise InvalidData("a silo's data must be (X, y)") from None
    x, y = np.asarray(records, np.float32), np.asarray(labels)
    if x.shape[1:] != tuple(input_shape) or not len(x):
        raise InvalidData(f"X must have shape (n, {', '.join(map(str, input_shape))}) with n above 0, got {x.shape}")
    if not np.isfinite(x).all():
        raise InvalidData("X must be finite")
    if y.shape != (len(x),) or y.dtype.kind not in "iu":
        raise InvalidData(f"y must be a whole number for each of the {len(x)} records, got {y.dtype} of {y.shape}")
    if y.min() < 0 or y.max() >= num_classes:
        raise InvalidData(f"y must lie in 0 .. {num_classes - 1}")
    return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))


def check_outputs(subnetwork: Subnetwork, input_shape: Sequence[int], num_classes: int) -> None:
    """Raise InvalidData unless the network gives an output a class."""
    with torch.no_grad():
        outputs = subnetwork.logits(subnetwork.values, torch.ones((2, *input_shape)))
    if tuple(outputs.shape) != (2, num_classes):
        raise InvalidData(f"network must give {num_classes} outputs a record, got {tuple(outputs.shape[1:])}")
