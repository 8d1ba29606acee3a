"""A silo's end of a federation: it answers each round of a run once, and repeats that answer byte for byte.

For whoever holds data. What a silo remembers between rounds lies in its own store, not with the server: if the server
crashes and asks again, noise that was paid for is sent again, and no fresh noise is drawn under the old charge.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sfumato.errors import BudgetExceeded, InvalidData, ProtocolError
from sfumato.federation.envelope import Envelope
from sfumato.federation.message import LIMIT, Message
from sfumato.federation.protocol import Protocol, config_hash
from sfumato.privacy.ledger import Ledger

_LOG = logging.getLogger(__name__)
_TABLE = """
CREATE TABLE IF NOT EXISTS answers (
    run TEXT NOT NULL, node INTEGER NOT NULL, round INTEGER NOT NULL,
    request BLOB NOT NULL, reply BLOB NOT NULL, memory BLOB NOT NULL,
    PRIMARY KEY (run, node)
)
"""


@dataclass(frozen=True)
class Answer:
    """The last answer of a silo in a run: what was asked, what was said, what is remembered."""

    round: int
    request: bytes
    reply: bytes
    memory: Message


class SiloStore:
    """The last answer of each run, in one SQLite file of the silo's own.

    An answer is durable before it leaves: SQLite syncs at each commit. Two processes that answer for the same silo wait
    for one another. Memory that a protocol has let go of is overwritten (`secure_delete`).

    Parameters
    ----------
    path : str or Path, optional
        A file; without one the store lives as long as the object, which is right for studies and wrong for a silo
        whose budget counts.
    timeout : float
        Seconds to wait for another process's answer.
    """

    def __init__(self, path: str | Path | None = None, *, timeout: float = 600.0) -> None:
        target = ":memory:" if path is None else str(path)
        self._lock = threading.Lock()  # SQLite keeps processes apart, not the threads of one connection
        self._connection = sqlite3.connect(target, timeout=timeout, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous=EXTRA")
        self._connection.execute("PRAGMA secure_delete=ON")
        self._connection.execute(_TABLE)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the store alone; commit at the end, or leave it as it was."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def last(self, run: str, node: int) -> Answer | None:
        """Return the last answer of a run, or None."""
        row = self._connection.execute(
            "SELECT round, request, reply, memory FROM answers WHERE run = ? AND node = ?", (run, node)
        ).fetchone()
        return None if row is None else Answer(row[0], row[1], row[2], Message.from_bytes(row[3], limit=1 << 62))

    def keep(self, run: str, node: int, answer: Answer) -> None:
        """Replace the last answer of a run."""
        self._connection.execute(
            "REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?)",
            (run, node, answer.round, answer.request, answer.reply, answer.memory.to_bytes()),
        )


class Silo:
    """Answers the requests of the protocols that it agreed to, over its own data.

    A refusal gives its reason only where that depends on the request and the budget. Of an error in the data it gives
    the type, and writes the rest to the silo's own log. *That* a silo refuses shows, though, and no claim covers it:
    check the data before a run begins.

    Parameters
    ----------
    protocols : sequence of Protocol
        With the parameters that this silo agreed to: a request for others is refused before the data are touched.
    data : callable
        ``data(name)`` returns what the protocol of that name works on; called once an acceptable request is there.
    node : int
        The silo's number among the parties, from 0.
    store : SiloStore, optional
    ledger : Ledger, optional
        Charged for every release in `client_step`.
    dataset : str
        The ledger's account.
    limit : int
        Most bytes of a message.
    """

    def __init__(
        self,
        protocols: Sequence[Protocol],
        data: Callable[[str], Any],
        *,
        node: int,
        store: SiloStore | None = None,
        ledger: Ledger | None = None,
        dataset: str = "",
        limit: int = LIMIT,
    ) -> None:
        self.node = node
        self._protocols = {protocol.name: protocol for protocol in protocols}
        self._data = data
        self._store = SiloStore() if store is None else store
        self._ledger = ledger
        self._dataset = dataset
        self._limit = limit

    def answer(self, request: bytes) -> bytes:
        """Return the reply's bytes, or a refusal's.

        Raises
        ------
        ProtocolError
            If the request cannot be read at all, so that there is nobody to refuse.
        """
        envelope = Envelope.from_bytes(request, limit=self._limit)
        try:
            with self._store.transaction():
                return self._answer(envelope, hashlib.sha256(request).digest())
        except (ProtocolError, BudgetExceeded) as error:
            return self._refuse(envelope, str(error))
        except Exception as error:
            # What is wrong with the data is the silo's to know; and an error nobody foresaw may hold a value of them.
            _LOG.exception("round %d of %s failed", envelope.round, envelope.protocol)
            return self._refuse(envelope, f"the silo's step failed ({type(error).__name__})")

    def _answer(self, envelope: Envelope, digest: bytes) -> bytes:
        protocol = self._accepted(envelope)
        last = self._store.last(envelope.run, self.node)
        if last is not None and envelope.round <= last.round:
            if (envelope.round, digest) == (last.round, last.request):
                return last.reply
            raise ProtocolError(f"round {envelope.round} of this run was answered already, to another request")
        memory = Message({}) if last is None else last.memory
        request = Message.from_bytes(envelope.body, limit=self._limit)
        with self._charging():
            reply, after = protocol.client_step(request, memory, self._data(protocol.name))
        body = _named(reply).to_bytes()
        if len(body) > self._limit:
            raise ProtocolError(f"the reply has {len(body)} bytes, more than the limit of {self._limit}")
        sent = replace(envelope, body=body).to_bytes()
        self._store.keep(envelope.run, self.node, Answer(envelope.round, digest, sent, _named(after)))
        return sent

    def _accepted(self, envelope: Envelope) -> Protocol:
        protocol = self._protocols.get(envelope.protocol)
        if protocol is None:
            raise ProtocolError("this silo does not take part in that protocol")
        if envelope.version != protocol.version:
            raise ProtocolError(f"this silo speaks version {protocol.version} of {protocol.name!r}")
        if envelope.config_hash != config_hash(protocol):
            raise ProtocolError(f"this silo agreed to other parameters of {protocol.name!r}")
        if envelope.node != self.node:
            raise ProtocolError("the request is for another silo")
        return protocol

    def _charging(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._ledger is None else self._ledger.charging(self._dataset)

    def _refuse(self, envelope: Envelope, reason: str) -> bytes:
        return replace(envelope, node=self.node, body=b"", refusal=reason[:1000] or "no reason").to_bytes()


def _named(fields: Any) -> Message:
    """The message, or a refusal that names the field that cannot be sent and not what is in it."""
    try:
        return Message(fields)
    except InvalidData as error:
        raise ProtocolError(str(error)) from None
