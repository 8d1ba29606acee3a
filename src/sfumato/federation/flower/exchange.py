"""The server's exchange over a Flower grid: who the parties are, and how bytes get there and back.

For `to_server_app`. An envelope travels as one bytes entry of a `ConfigRecord`: Flower's records carry it, and nothing
of it is read before our own checks.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sfumato.errors import ProtocolError, TooFewParties
from sfumato.federation.rounds import Delivery

#: Message types: one asks a node who it is, the other carries an envelope.
JOIN, STEP = "query.sfumato_join", "query.sfumato_step"
RECORD = "sfumato"
#: Seconds between two looks for replies. Flower's own `send_and_receive` waits for 3.
_POLL = 0.25


class GridExchange:
    """Carries envelopes to the nodes of a grid.

    Each node says once, in a wave of its own, which party it is. Node ids are Flower's and, with node authentication,
    bound to the node's key; a party keeps the node that it joined from.

    Parameters
    ----------
    grid : flwr.serverapp.Grid
    expected : int
        How many nodes to wait for.
    timeout : float
        Seconds to wait for them, and then for their answers.

    Raises
    ------
    TooFewParties
        If fewer are there in time.
    ProtocolError
        If two nodes say that they are the same party.
    """

    def __init__(self, grid: Any, expected: int, timeout: float) -> None:
        self._grid = grid
        self._nodes: dict[int, int] = {}
        nodes = self._wait_for(expected, timeout)
        # Not empty: the size mods of Flower 1.42 fail on a record with an empty value.
        answers, _, _, _ = self._send(dict.fromkeys(nodes, b"join"), JOIN, timeout)
        for node, content in answers.items():
            party = content.get("party")
            if isinstance(party, bool) or not isinstance(party, int) or party < 0:
                continue
            if party in self._nodes:
                raise ProtocolError(f"nodes {self._nodes[party]} and {node} both say that they are party {party}")
            self._nodes[party] = node
        if len(self._nodes) < expected:
            raise TooFewParties(f"{len(self._nodes)} of {expected} nodes said which party they are")

    @property
    def parties(self) -> tuple[int, ...]:
        return tuple(sorted(self._nodes))

    def __call__(self, requests: Mapping[int, bytes], timeout: float) -> Delivery:
        there = {self._nodes[party]: party for party in requests if party in self._nodes}
        lost = {party: "it is not there" for party in requests if party not in self._nodes}
        sending = {node: requests[party] for node, party in there.items()}
        answers, errors, sent, received = self._send(sending, STEP, timeout)
        replies = {}
        for node, content in answers.items():
            envelope = content.get("envelope")
            if isinstance(envelope, bytes):
                replies[there[node]] = envelope
            else:
                lost[there[node]] = "its Flower message has no envelope"
        lost.update({there[node]: reason for node, reason in errors.items()})
        return Delivery(replies, lost, sent, received)

    def _wait_for(self, expected: int, timeout: float) -> list[int]:
        until = time.monotonic() + timeout
        while len(nodes := sorted(self._grid.get_node_ids())) < expected:
            if time.monotonic() > until:
                raise TooFewParties(f"{len(nodes)} of {expected} nodes were there after {timeout:g} seconds")
            time.sleep(_POLL)
        return nodes

    def _send(
        self, bodies: Mapping[int, bytes], kind: str, timeout: float
    ) -> tuple[dict[int, Mapping[str, Any]], dict[int, str], int, int]:
        """Send each node its bytes; return the records that came back, the errors, and the bytes both ways."""
        from flwr.app import ConfigRecord, Message, RecordDict

        messages = [
            # A message that is not picked up within the round's time is not worth answering any more.
            Message(RecordDict({RECORD: ConfigRecord({"envelope": body})}), node, kind, ttl=timeout)
            for node, body in bodies.items()
        ]
        sent = sum(map(wire_size, messages))
        waiting = dict(zip(self._grid.push_messages(messages), bodies, strict=True))
        answers: dict[int, Mapping[str, Any]] = {}
        errors: dict[int, str] = {}
        received = 0
        for reply in self._replies(waiting, timeout):
            node = waiting.pop(reply.metadata.reply_to_message_id, None)
            if node is None or reply.metadata.src_node_id not in (node, reply.metadata.dst_node_id):
                continue
            received += wire_size(reply)
            if reply.has_error():
                errors[node] = f"Flower reports error {reply.error.code}"
            elif isinstance(reply.content.get(RECORD), ConfigRecord):
                answers[node] = reply.content[RECORD]
            else:
                errors[node] = "its Flower message has no record of ours"
        return answers, errors, sent, received

    def _replies(self, waiting: Mapping[str, int], timeout: float) -> Iterable[Any]:
        until = time.monotonic() + timeout
        while waiting and time.monotonic() < until:
            yield from self._grid.pull_messages(list(waiting))
            if waiting:
                time.sleep(_POLL)


def wire_size(message: Any) -> int:
    """Bytes of a Flower message as its protobuf: metadata and records, without TLS and HTTP."""
    from flwr.common.serde import message_to_proto

    return int(message_to_proto(message).ByteSize())
