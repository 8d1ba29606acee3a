"""Envelope: which run, round and silo a message belongs to.

For the engine's two ends, which check it before they look at what is inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from sfumato.errors import ProtocolError
from sfumato.federation.message import LIMIT, Message, Value

#: Room for the envelope around a message that is just within the limit.
_MARGIN = 4096
_TOP = (1 << 63) - 1


@dataclass(frozen=True)
class Envelope:
    """What surrounds a message on its way.

    Parameters
    ----------
    protocol : str
    version : int
    config_hash : bytes
        Of the sender's configuration.
    run : str
        Key of the run.
    round : int
        From 1.
    node : int
        The silo's number: whom a request is for, whom a reply is from.
    body : bytes
        The encoded message; empty in a refusal.
    refusal : str
        Why the silo does not answer; empty in a request and in an answer.
    """

    protocol: str
    version: int
    config_hash: bytes
    run: str
    round: int
    node: int
    body: bytes = b""
    refusal: str = ""

    def to_bytes(self) -> bytes:
        """Return the encoding: that of a message with these fields."""
        fields: dict[str, Value] = {
            "protocol": self.protocol,
            "version": self.version,
            "config-hash": self.config_hash,
            "run": self.run,
            "round": self.round,
            "node": self.node,
            "body": self.body,
            "refusal": self.refusal,
        }
        return Message(fields).to_bytes()

    @classmethod
    def from_bytes(cls, data: bytes, *, limit: int = LIMIT) -> Envelope:
        """Decode an envelope; raises ProtocolError if it is none."""
        fields = Message.from_bytes(data, limit=limit + _MARGIN)
        fields.expect("protocol", "version", "config-hash", "run", "round", "node", "body", "refusal")
        return cls(
            protocol=fields.text("protocol", most=200),
            version=fields.integer("version", low=0, high=_TOP),
            config_hash=fields.blob("config-hash", length=32),
            run=fields.text("run", most=200),
            round=fields.integer("round", low=1, high=_TOP),
            node=fields.integer("node", low=0, high=_TOP),
            body=fields.blob("body"),
            refusal=fields.text("refusal", most=1000),
        )

    def check_answers(self, request: Envelope) -> None:
        """Raise ProtocolError unless this is a reply to that request."""
        for name in ("protocol", "version", "config_hash", "run", "round", "node"):
            if getattr(self, name) != getattr(request, name):
                raise ProtocolError(f"the reply has another {name.replace('_', '-')} than the request")
