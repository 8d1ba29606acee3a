"""The loop of rounds that every runtime shares: ask, check each reply, step, save.

For runtimes, which only carry bytes. A silo that is late, drops out, refuses or sends what the protocol does not expect
is left out of the round by name; with too few left there is no result.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any
from typing import Protocol as Structural

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation.checkpoint import Checkpoint, Saved
from sfumato.federation.envelope import Envelope
from sfumato.federation.message import LIMIT, Message
from sfumato.federation.protocol import Protocol, config_hash, run_key

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Delivery:
    """What came back from one exchange.

    Attributes
    ----------
    replies : mapping of int to bytes
        Envelopes, by the party that the transport says sent them.
    lost : mapping of int to str
        Why nothing came from the others.
    sent, received : int
        Bytes as the transport serialises them.
    """

    replies: Mapping[int, bytes]
    lost: Mapping[int, str]
    sent: int
    received: int


class Exchange(Structural):
    """What a runtime must do: carry bytes to parties and theirs back, within a time."""

    @property
    def parties(self) -> tuple[int, ...]:
        """The silos' numbers, increasing."""
        ...

    def __call__(self, requests: Mapping[int, bytes], timeout: float) -> Delivery:
        """Send each party its request; return the replies that came within `timeout` seconds."""
        ...


@dataclass(frozen=True)
class Wave:
    """One round as it went.

    Attributes
    ----------
    round : int
        From 1.
    asked, answered : tuple of int
        Parties.
    lost : mapping of int to str
        Why a party that was asked did not count.
    payload_sent, payload_received : int
        Bytes of the protocol's messages. A reply that was refused counts.
    wire_sent, wire_received : int
        Bytes as the runtime serialises them: with envelope, without TLS and HTTP.
    seconds : float
    """

    round: int
    asked: tuple[int, ...]
    answered: tuple[int, ...]
    lost: Mapping[int, str]
    payload_sent: int
    payload_received: int
    wire_sent: int
    wire_received: int
    seconds: float


@dataclass(frozen=True, eq=False)
class Outcome:
    """A finished run.

    Attributes
    ----------
    result : object
        The protocol's.
    state : Message
        The server's last.
    history : tuple of Wave
        All rounds, those before a resumption included.
    resumed_after : int
        Rounds that a checkpoint had already.
    """

    result: Any
    state: Message
    history: tuple[Wave, ...]
    resumed_after: int = 0

    @property
    def payload_bytes(self) -> int:
        """Bytes of all protocol messages, both ways."""
        return sum(wave.payload_sent + wave.payload_received for wave in self.history)

    @property
    def wire_bytes(self) -> int:
        """Bytes of all messages as the runtime serialised them, both ways."""
        return sum(wave.wire_sent + wave.wire_received for wave in self.history)


@dataclass(frozen=True)
class Terms:
    """On what terms a run goes on.

    Parameters
    ----------
    min_parties : int, optional
        Replies that each round needs. By default all that were asked: no drop-out goes by unnoticed.
    timeout : float
        Seconds for each round. What comes later is discarded; the silo's charge for it stands.
    run : str
        Names the run to checkpoints and silos. A run of the same name and configuration is the same run: it goes on
        from its checkpoint, and silos repeat what they answered. Without a name each run is a new one.
    checkpoint : Checkpoint, optional
        Needs `run`.
    limit : int
        Most bytes of a message.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    min_parties: int | None = None
    timeout: float = 600.0
    run: str = ""
    checkpoint: Checkpoint | None = None
    limit: int = LIMIT

    def __post_init__(self) -> None:
        if self.min_parties is not None and self.min_parties < 1:
            raise InvalidData(f"min_parties must be at least 1, got {self.min_parties}")
        if not 0 < self.timeout < math.inf:
            raise InvalidData(f"timeout must be a number of seconds above 0, got {self.timeout}")
        if self.limit < 1:
            raise InvalidData(f"limit must be at least 1, got {self.limit}")
        if self.checkpoint is not None and not self.run:
            raise InvalidData("a checkpoint needs a name of the run: pass run=")


def run_rounds(protocol: Protocol, exchange: Exchange, terms: Terms) -> Outcome:
    """Run a protocol to its end, from its checkpoint if it has one.

    Raises
    ------
    TooFewParties
        If a round has fewer good replies than it needs; the message says why each of the others was lost.
    InvalidData
        If the federation is empty, or the protocol hands over what is no message.
    """
    return _Run(protocol, exchange, terms).finish()


def saved_outcome(protocol: Protocol, terms: Terms) -> Outcome | None:
    """Return the outcome of a run that its checkpoint shows as finished, or None.

    Raises
    ------
    InvalidData
        If the terms have no checkpoint.
    """
    if terms.checkpoint is None:
        raise InvalidData("terms must have a run and a checkpoint: the outcome is read from it")
    saved = terms.checkpoint.latest(run_key(protocol, terms.run))
    if saved is None or not protocol.finished(saved.state):
        return None
    return Outcome(protocol.result(saved.state), saved.state, _read_history(saved.history), saved.round)


class _Run:
    def __init__(self, protocol: Protocol, exchange: Exchange, terms: Terms) -> None:
        self.protocol, self.exchange, self.terms = protocol, exchange, terms
        self.key = run_key(protocol, terms.run or secrets.token_hex(16))
        self.hash = config_hash(protocol)
        saved = None if terms.checkpoint is None else terms.checkpoint.latest(self.key)
        self.round = self.resumed_after = 0 if saved is None else saved.round
        self.history = () if saved is None else _read_history(saved.history)
        # The parties of a resumed run are those it began with: requests may depend on them, and silos compare.
        self.parties = exchange.parties if saved is None else saved.parties
        if not self.parties:
            raise InvalidData("the federation is empty: there is no party to ask")
        self.state = _encoded(protocol.start()) if saved is None else saved.state
        if saved is None:
            self._save()

    def finish(self) -> Outcome:
        while not self.protocol.finished(self.state):
            replies = self._wave(self.protocol.requests(self.state, self.parties))
            self.state = _encoded(self.protocol.server_step(self.state, replies))
            self._save()
        return Outcome(self.protocol.result(self.state), self.state, self.history, self.resumed_after)

    def _wave(self, asked: Mapping[int, Any]) -> dict[int, Message]:
        self.round += 1
        began = time.monotonic()
        bodies = {party: _encoded(asked[party]).to_bytes() for party in sorted(asked)}
        self._check_asked(bodies)
        envelopes = {party: self._envelope(party, body) for party, body in bodies.items()}
        delivery = self.exchange({p: e.to_bytes() for p, e in envelopes.items()}, self.terms.timeout)
        lost = {party: delivery.lost.get(party, "no reply in time") for party in envelopes}
        replies, received = {}, 0
        for party in sorted(set(delivery.replies) & set(envelopes)):
            try:
                answer = Envelope.from_bytes(delivery.replies[party], limit=self.terms.limit)
                received += len(answer.body)
                replies[party] = self._opened(answer, envelopes[party])
                del lost[party]
            except ProtocolError as error:
                lost[party] = str(error)
        wave = Wave(
            round=self.round,
            asked=tuple(envelopes),
            answered=tuple(replies),
            lost=lost,
            payload_sent=sum(map(len, bodies.values())),
            payload_received=received,
            wire_sent=delivery.sent,
            wire_received=delivery.received,
            seconds=time.monotonic() - began,
        )
        self.history = (*self.history, wave)
        _LOG.info("%s round %d: %d of %d answered", self.protocol.name, self.round, len(replies), len(bodies))
        needed = len(bodies) if self.terms.min_parties is None else self.terms.min_parties
        if len(replies) < needed:
            reasons = "; ".join(f"silo {party}: {reason}" for party, reason in lost.items())
            raise TooFewParties(
                f"round {self.round} of {self.protocol.name!r} has {len(replies)} good replies and needs {needed}"
                f" ({reasons or 'no others were asked'})"
            )
        return replies

    def _check_asked(self, bodies: Mapping[int, bytes]) -> None:
        if not bodies or not set(bodies) <= set(self.parties):
            raise InvalidData(f"{self.protocol.name!r} must ask at least one of its parties, and nobody else")
        longest = max(map(len, bodies.values()))
        if longest > self.terms.limit:
            raise InvalidData(f"a request has {longest} bytes, more than the limit of {self.terms.limit}")

    def _envelope(self, party: int, body: bytes) -> Envelope:
        return Envelope(self.protocol.name, self.protocol.version, self.hash, self.key, self.round, party, body)

    def _opened(self, answer: Envelope, request: Envelope) -> Message:
        answer.check_answers(request)
        if answer.refusal:
            raise ProtocolError(f"it refused: {answer.refusal}")
        reply = Message.from_bytes(answer.body, limit=self.terms.limit)
        try:
            self.protocol.check_reply(self.state, request.node, reply)
        except ProtocolError:
            raise
        except Exception as error:  # a reply that a check stumbles over is as bad as one that it refuses
            raise ProtocolError(f"its reply could not be checked ({type(error).__name__})") from error
        return reply

    def _save(self) -> None:
        if self.terms.checkpoint is not None:
            history = json.dumps([asdict(wave) for wave in self.history])
            self.terms.checkpoint.save(self.key, Saved(self.round, self.parties, self.state, history))


def _encoded(fields: Any) -> Message:
    """The message as it looks after a journey, so that a resumed run sees what an uninterrupted one sees."""
    return Message.from_bytes(Message(fields).to_bytes(), limit=1 << 62)


def _read_history(text: str) -> tuple[Wave, ...]:
    waves = []
    for row in json.loads(text):
        lost = {int(party): reason for party, reason in row["lost"].items()}
        waves.append(Wave(**{**row, "asked": tuple(row["asked"]), "answered": tuple(row["answered"]), "lost": lost}))
    return tuple(waves)
