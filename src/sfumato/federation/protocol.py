"""Protocol: what a federated system is, apart from where it runs; and the names that bind its messages to one run.

For authors of systems: write the six server methods and the one silo method, and every runtime here can run them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, TypeAlias
from typing import Protocol as Structural

from sfumato.errors import InvalidData
from sfumato.federation.message import Message, Value

#: What a protocol hands over: a mapping of names to values (or a `Message`, which is one).
Fields: TypeAlias = Mapping[str, Value]


class Protocol(Structural):
    """A federated computation in rounds. Any object with these members is one; there is nothing to inherit.

    The server's state, a silo's memory, requests and replies are all mappings of names to arrays, numbers, text and
    bytes. A method receives them as a `Message`, whose arrays are read-only, and may return any mapping.

    Three rules make a run survive a crash:

    - `requests`, `finished` and `result` are functions of their arguments alone. Whatever is drawn at random on the
      server is drawn in `start` or `server_step` and kept in the state.
    - All that a silo must know in its next round is in the memory that `client_step` returns.
    - Noise is drawn inside a `Release`, which charges the ledger first. A silo's noise belongs into `client_step`.

    Attributes
    ----------
    name : str
        Of the system: "heavy-hitters".
    version : int
        Raised whenever a message changes its meaning.
    """

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    def config(self) -> Mapping[str, Any]:
        """Return all parameters as plain JSON values. Server and silos must agree on them, to the last digit."""
        ...

    def start(self) -> Fields:
        """Return the server's state before the first round."""
        ...

    def requests(self, state: Message, parties: tuple[int, ...]) -> Mapping[int, Fields]:
        """Return what each party is asked in the next round. Parties that are left out are not asked."""
        ...

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Raise ProtocolError unless the reply may enter `server_step`: names, dtypes, shapes, ranges.

        A party whose reply is refused counts as a drop-out of this round.
        """
        ...

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> Fields:
        """Return the state after a round, from the replies that passed `check_reply`, in the parties' order."""
        ...

    def finished(self, state: Message) -> bool:
        """Return whether no further round is needed."""
        ...

    def result(self, state: Message) -> Any:
        """Return what the caller wants, from the last state."""
        ...

    def client_step(self, request: Message, memory: Message, data: Any) -> tuple[Fields, Fields]:
        """Return a silo's reply and its memory for the next round. `memory` is empty in the first.

        The request comes from a server that need not be trusted: check it as `check_reply` checks a reply.
        """
        ...


def config_hash(protocol: Protocol) -> bytes:
    """SHA-256 of the protocol's name, version and configuration.

    Raises
    ------
    InvalidData
        If the configuration holds anything but JSON values, or NaN or an infinity.
    """
    document = [protocol.name, protocol.version, dict(protocol.config())]
    try:
        text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidData(f"config of {protocol.name!r} must hold finite numbers, text, lists and mappings") from None
    return hashlib.sha256(text.encode()).digest()


def run_key(protocol: Protocol, run: str) -> str:
    """Name of one run of one configuration, under which checkpoints and silos' stores know it."""
    return hashlib.sha256(config_hash(protocol) + run.encode()).hexdigest()[:32]
