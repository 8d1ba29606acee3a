"""SupermaskVotes: silos vote on the signs of a few kept weights a round, so that their whole data stay hidden.

For `SignSupermask(unit="silo")`, as a computation by sums: in the open, or under a secure sum. After Vallapuram et al.,
"HideNseek" (2022), which promises nothing formal; what is promised here, and why, is in `ballots`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.secure_sum import OpenlySummed, SecurelySummed
from sfumato.federation.supermask.ballots import Ballot, SummedBallot
from sfumato.federation.supermask.protocol import SupermaskProtocol, silo_tensors
from sfumato.federation.supermask.signs import Signs, pack_signs, unpack_signs
from sfumato.federation.supermask.subnetwork import kept_total
from sfumato.federation.supermask.training import start_scores, train_scores
from sfumato.privacy.claim import Claim

_ORDER, _START = 1 << 35, 1 << 33  # of the seed's streams
_WITHIN = 1 << 62  # a message inside a message is no longer than the one it came in


class SupermaskVotes:
    """A computation by sums: each round every silo trains, and votes on the signs of `ballot.bits` kept weights.

    Whose turn it is goes through a public order of the weights, round after round. The server estimates the mean vote
    from the noisy sum, shrinks it towards 0 by 1 / (1 + variance of the noise), the best linear estimate of a vote of
    which nothing is known, and sends all estimates with the next request, two bytes a weight. The global sign is the
    estimate's, and stays where it is 0.

    A silo counts its rounds itself: it refuses a round that it voted in, an earlier one, or one beyond the last,
    whatever the server says. What it remembers is its own model, which it sends to nobody.

    Parameters
    ----------
    base : SupermaskProtocol
        Subnetwork, training and rounds; without `private`, `send_mask` or "majority".
    ballot : OpenBallot or SummedBallot

    Raises
    ------
    InvalidData
        If `base` has one of these, or there are more votes than kept weights.

    Attributes
    ----------
    claim : Claim
        Of all rounds, for a silo that takes part in each.
    """

    name = "supermask-votes"
    version = 1

    def __init__(self, base: SupermaskProtocol, ballot: Ballot) -> None:
        if base.private is not None:
            raise InvalidData("private steps protect records: a silo's votes have noise of their own")
        if base.aggregate != "mean":
            raise InvalidData('aggregate must be "mean" where silos vote on a few weights a round')
        if base.send_mask:
            raise InvalidData("send_mask must be False where silos vote: they prune for themselves")
        kept = kept_total(base.network, base.keep, base.prune)
        if ballot.bits > kept:
            raise InvalidData(f"bits_per_round must be at most the {kept} kept weights, got {ballot.bits}")
        self.base = base
        self.ballot = ballot

    @property
    def claim(self) -> Claim:
        """What a silo is promised about all of its data."""
        return self.ballot.claim

    @property
    def length(self) -> int:
        """Votes of a round."""
        return self.ballot.bits

    @property
    def bound(self) -> int:
        """Largest entry of a silo's vector."""
        return self.ballot.bound

    def openly(self) -> OpenlySummed:
        """The protocol in which the server sees each silo's votes.

        Raises
        ------
        InvalidData
            If the ballot's claim is about sums.
        """
        if isinstance(self.ballot, SummedBallot):
            raise InvalidData("honest must not be given: only randomized response protects votes that are seen")
        return OpenlySummed(self)

    def securely(self, roster: Sequence[str]) -> SecurelySummed:
        """The protocol in which the server learns sums only, each over `honest` silos at least.

        Raises
        ------
        InvalidData
            If the ballot is of open votes, or the roster has too few silos.
        """
        if not isinstance(self.ballot, SummedBallot):
            raise InvalidData("honest must be given: the claim of a sum counts the silos that add noise to it")
        if self.ballot.honest > len(roster):
            raise InvalidData(f"honest must be at most the {len(roster)} silos of the roster, got {self.ballot.honest}")
        return SecurelySummed(self, roster, threshold=max(self.ballot.honest, len(roster) // 2 + 1))

    def config(self) -> dict[str, Any]:
        """Return all parameters."""
        own = dataclasses.asdict(self.ballot)
        return {"base": self.base.config(), "ballot": {"kind": type(self.ballot).__name__, **own}}

    def start(self) -> Fields:
        """All signs are +; the scores' public start."""
        kept = self.base.subnetwork.kept
        average = np.random.default_rng([self.base.seed, _START]).random(kept).astype("<f2")
        return {"round": 0, "average": average, "signs": pack_signs(np.ones(kept, np.int8))}

    def request(self, state: Message) -> Fields:
        """Send all estimates, and which subnetwork is meant."""
        return {
            "round": state["round"],
            "average": state["average"],
            "subnetwork": self.base.subnetwork.identity(),
        }

    def contribute(self, request: Message, memory: Message, data: Any) -> tuple[NDArray[np.int64], Fields]:
        """Train from the estimates, and vote; `data` is records and labels."""
        base, sub = self.base, self.base.subnetwork
        request.expect("round", "average", "subnetwork")
        number = request.integer("round", low=0, high=base.rounds - 1)
        if request.blob("subnetwork", length=32) != sub.identity():
            raise ProtocolError("field 'subnetwork' is of another subnetwork than this silo's: seed, torch or machine")
        average = request.array("average", dtype="<f2", shape=(sub.kept,))
        if np.abs(average).max() > 1:
            raise ProtocolError("field 'average' must lie in [-1, 1]")
        # Once a round, or a server could have more votes than the claim is about.
        if memory and number <= memory.integer("round", low=0, high=base.rounds - 1):
            raise ProtocolError(f"round {number} or a later one was answered already")
        x, y = silo_tensors(data, base.input_shape, base.num_classes)
        start = start_scores(torch.from_numpy(np.array(average)), sub.kept, base.seed, base.training)
        order = np.random.default_rng([base.seed, number, 1 << 34])
        scores = train_scores(sub, start, x, y, base.training, order)
        votes = np.where(scores.numpy() >= 0, 1, -1)
        return self.ballot.cast(votes[self.places(number)]), {"round": number, "own": pack_signs(votes)}

    def absorb(self, state: Message, total: NDArray[np.int64], parties: tuple[int, ...]) -> Fields:
        """Estimate the mean votes of the weights whose turn it was.

        Raises
        ------
        TooFewParties
            If fewer silos arrived than the claim counts: their sum is not used.
        """
        if isinstance(self.ballot, SummedBallot) and len(parties) < self.ballot.honest:
            raise TooFewParties(f"{len(parties)} silos arrived, and the claim counts {self.ballot.honest}")
        number = state.integer("round", low=0, high=self.base.rounds - 1)
        places, votes = self.places(number), total / (len(parties) * self.ballot.scale)
        average, signs = np.array(state["average"]), self._signs(state)
        average[places] = np.clip(votes / (1 + self.ballot.variance(len(parties))), -1, 1)
        signs[places] = np.where(votes == 0, signs[places], np.sign(votes))
        if self.base.watch is not None:
            self.base.watch(number + 1, signs, {})
        return {"round": number + 1, "average": average, "signs": pack_signs(signs)}

    def finished(self, state: Message) -> bool:
        """Whether all rounds are over."""
        return state["round"] == self.base.rounds

    def result(self, state: Message) -> Signs:
        """Return the global signs."""
        return self._signs(state)

    def places(self, number: int) -> NDArray[np.int64]:
        """Weights whose turn it is in a round: a window on a public order of them all."""
        kept = self.base.subnetwork.kept
        order = np.random.default_rng([self.base.seed, _ORDER]).permutation(kept)
        return np.asarray(order[(number * self.length + np.arange(self.length)) % kept], np.int64)

    def _signs(self, state: Mapping[str, Any]) -> Signs:
        return unpack_signs(state["signs"], self.base.subnetwork.kept)


def own_signs(memory: Message, kept: int) -> Signs | None:
    """A silo's own model, from what it remembers of a run; None if it never voted."""
    inner = memory
    if "computation" in memory:  # of a secure sum, which remembers things of its own
        inner = Message.from_bytes(memory.blob("computation"), limit=_WITHIN)
    return unpack_signs(inner.blob("own"), kept) if "own" in inner else None
