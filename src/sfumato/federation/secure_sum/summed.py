"""The two ways to sum for a `SumComputation`: under secure summation, or in the open.

For systems that learn from sums of noisy or quantised vectors in many rounds. Bonawitz et al. 2017, as `SecureSum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.secure_sum.client import LAST_STAGE, Contribution
from sfumato.federation.secure_sum.computation import SumComputation
from sfumato.federation.secure_sum.protocol import SecureSum

#: A message inside a message is no longer than the one it came in, whose length was checked.
_WITHIN = 1 << 62
_MOST_SUMS = 1 << 40
#: The stage of a secure sum in which the silos' vectors are masked, and sent.
_VECTORS = 3


@dataclass(frozen=True)
class Participant:
    """A silo's data, with what it needs to take part in a secure sum.

    Parameters
    ----------
    party : int
        Its number in the roster.
    data : object
        What the computation works on.
    signing_key : bytes
        Its secret key, 32 bytes; see `make_signing_key`.
    """

    party: int
    data: Any
    signing_key: bytes


class SecurelySummed:
    """A computation as a protocol in which the server learns each sum and no vector: five messages a silo and sum.

    Each sum is a `SecureSum` of its own, with fresh keys and masks; what that class says of drop-outs, of the server's
    honesty and of the bound holds for each. A silo that dropped out of one sum takes part in the next. A silo makes its
    vector when it masks it, once a sum: a request for the vector of a sum that is over, or of one whose vector left
    already, is refused, so noise is never drawn twice under one charge.

    Parameters
    ----------
    computation : SumComputation
    roster : sequence of str
        Public signing keys, as in `SecureSum`.
    threshold : int, optional
        Silos that must stay in each sum to its end.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    def __init__(self, computation: SumComputation, roster: Sequence[str], *, threshold: int | None = None) -> None:
        self.computation = computation
        self.summing = SecureSum(roster, length=computation.length, bound=computation.bound, threshold=threshold)

    @property
    def name(self) -> str:
        """The computation's."""
        return self.computation.name

    @property
    def version(self) -> int:
        """The computation's, and that of the sum."""
        return 1000 * self.computation.version + self.summing.version

    def config(self) -> dict[str, Any]:
        """Return the parameters of both."""
        return {"computation": dict(self.computation.config()), "secure-sum": self.summing.config()}

    def start(self) -> Fields:
        """Begin the computation and its first sum."""
        return self._state(self.computation.start(), 1, self.summing.start())

    def requests(self, state: Message, parties: tuple[int, ...]) -> Mapping[int, Fields]:
        """Ask for the next stage of the sum; the computation's request goes with the one for vectors."""
        inner = _opened(state, "sum")
        common: dict[str, Any] = {"sum-number": state["sum-number"]}
        if inner["stage"] == _VECTORS - 1:
            common["request"] = Message(self.computation.request(_opened(state, "computation"))).to_bytes()
        asked = self.summing.requests(inner, parties)
        return {party: {**common, "stage": Message(fields).to_bytes()} for party, fields in asked.items()}

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Check the reply as the sum does."""
        self.summing.check_reply(_opened(state, "sum"), party, reply)

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> Fields:
        """Go on with the sum; if it is there, let the computation have it and begin the next."""
        number = state.integer("sum-number", low=1, high=_MOST_SUMS)
        inner = Message(self.summing.server_step(_opened(state, "sum"), replies))
        if not self.summing.finished(inner):
            return {**state, "sum": inner.to_bytes()}
        parties = tuple(int(party) for party in inner.array("parties", dtype=np.int64, shape=(None,)))
        after = self.computation.absorb(_opened(state, "computation"), self.summing.result(inner), parties)
        return self._state(after, number + 1, self.summing.start())

    def finished(self, state: Message) -> bool:
        """Whether the computation needs no further sum."""
        return self.computation.finished(_opened(state, "computation"))

    def result(self, state: Message) -> Any:
        """Return the computation's result."""
        return self.computation.result(_opened(state, "computation"))

    def client_step(self, request: Message, memory: Message, data: Participant) -> tuple[Fields, Fields]:
        """Do a stage of the sum; make the vector when, and only when, it is about to be masked."""
        if not isinstance(data, Participant):
            raise InvalidData(f"data must be a Participant, got {type(data).__name__}")
        number = request.integer("sum-number", low=1, high=_MOST_SUMS)
        inner, own = self._remembered(number, memory)
        stage = _opened(request, "stage")
        values: Any = np.zeros(self.summing.length, np.int64)
        if stage.integer("stage", low=1, high=LAST_STAGE) == _VECTORS:
            request.expect("sum-number", "stage", "request")
            # The sum's own check comes first: a vector that is asked for out of order is not made.
            if inner.get("stage") != _VECTORS - 1:
                raise ProtocolError("a vector was asked for out of order")
            values, after = self.computation.contribute(_opened(request, "request"), own, data.data)
            own = Message(after)
        else:
            request.expect("sum-number", "stage")
        reply, kept = self.summing.client_step(stage, inner, Contribution(data.party, values, data.signing_key))
        return reply, {"sum-number": number, "sum": Message(kept).to_bytes(), "computation": own.to_bytes()}

    def _remembered(self, number: int, memory: Message) -> tuple[Message, Message]:
        """What the silo knows of this sum, and of the computation."""
        if not memory:
            return Message({}), Message({})
        last = memory.integer("sum-number", low=1, high=_MOST_SUMS)
        if number < last:
            raise ProtocolError(f"sum {number} is over: this silo takes part in sum {last}")
        return (_opened(memory, "sum") if number == last else Message({})), _opened(memory, "computation")

    def _state(self, computation: Fields, number: int, inner: Fields) -> Fields:
        return {
            "computation": Message(computation).to_bytes(),
            "sum-number": number,
            "sum": Message(inner).to_bytes(),
        }


class OpenlySummed:
    """A computation as a protocol in which the server sees every vector: one message a silo and sum.

    The noise or the quantisation of each vector must protect it alone: only what is promised about a silo's own vector
    holds, and nothing that speaks of a sum.

    Parameters
    ----------
    computation : SumComputation
    """

    def __init__(self, computation: SumComputation) -> None:
        self.computation = computation

    @property
    def name(self) -> str:
        """The computation's."""
        return self.computation.name

    @property
    def version(self) -> int:
        """The computation's."""
        return self.computation.version

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the vectors on the wire: the smallest signed integers that hold the bound."""
        return np.dtype(np.min_scalar_type(-self.computation.bound)).newbyteorder("<")

    def config(self) -> dict[str, Any]:
        """Return the computation's parameters."""
        return {"computation": dict(self.computation.config()), "summed": "openly"}

    def start(self) -> Fields:
        """Begin the computation."""
        return self.computation.start()

    def requests(self, state: Message, parties: tuple[int, ...]) -> Mapping[int, Fields]:
        """Ask everyone for a vector."""
        request = self.computation.request(state)
        return dict.fromkeys(parties, request)

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Check dtype, length and bound."""
        reply.expect("vector")
        vector = reply.array("vector", dtype=self.dtype, shape=(self.computation.length,)).astype(np.int64)
        if vector.size and max(int(vector.max()), -int(vector.min())) > self.computation.bound:
            raise ProtocolError(f"entries of vector must lie within {self.computation.bound}")

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> Fields:
        """Add the vectors up."""
        if len(replies) * self.computation.bound >= 1 << 63:
            raise InvalidData("bound must leave room for the sum in 64 bits")
        total = np.zeros(self.computation.length, np.int64)
        for reply in replies.values():
            total += reply.array("vector", dtype=self.dtype, shape=(self.computation.length,))
        return self.computation.absorb(state, total, tuple(replies))

    def finished(self, state: Message) -> bool:
        """Whether the computation needs no further sum."""
        return self.computation.finished(state)

    def result(self, state: Message) -> Any:
        """Return the computation's result."""
        return self.computation.result(state)

    def client_step(self, request: Message, memory: Message, data: Any) -> tuple[Fields, Fields]:
        """Make the vector."""
        values, after = self.computation.contribute(request, memory, data)
        vector = np.asarray(values)
        if vector.dtype.kind not in "iu" or vector.shape != (self.computation.length,):
            raise InvalidData(f"contribute must return {self.computation.length} integers")
        if np.any(vector > self.computation.bound) or np.any(vector < -self.computation.bound):
            raise InvalidData("contribute must stay within the bound")
        return {"vector": vector.astype(self.dtype)}, after


def _opened(message: Message, name: str) -> Message:
    return Message.from_bytes(message.blob(name), limit=_WITHIN)
