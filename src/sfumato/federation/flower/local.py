"""Flower apps in this process, without Ray: a grid that calls the client app itself.

For tests and small runs of any Flower app, ours or not. Messages are written to protobuf and read back both ways, and
an error in a client becomes the error reply that Flower's own runtime makes of it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sfumato.federation.flower.installed import require_flower

#: Flower's ids are 64 bits wide; ours must only differ from the party numbers, so that mixing them up shows.
_FIRST_NODE = 1001
_RUN = 1


def run_locally(
    server_app: Any,
    client_app: Any,
    node_configs: Sequence[Mapping[str, Any]],
    run_config: Mapping[str, Any] | None = None,
) -> None:
    """Run a Flower app in this process.

    Parameters
    ----------
    server_app : flwr.serverapp.ServerApp
    client_app : flwr.clientapp.ClientApp
    node_configs : sequence of mapping
        One for each node, such as ``{"partition-id": 0}``.
    run_config : mapping, optional

    Raises
    ------
    MissingExtra
        If Flower is not installed.
    """
    require_flower()
    from flwr.app import Context, RecordDict

    with _identity():
        context = Context(_RUN, 1, {}, RecordDict(), dict(run_config or {}))
        server_app(LocalGrid(client_app, node_configs, run_config or {}), context)


class LocalGrid:
    """What a `flwr.serverapp.Grid` does, for nodes in this process. Each keeps a context of its own."""

    def __init__(self, client_app: Any, node_configs: Sequence[Mapping[str, Any]], run_config: Mapping[str, Any]):
        from flwr.app import Context, RecordDict

        self._app = client_app
        self._ids = map(str, itertools.count(1))
        self._replies: dict[str, Any] = {}
        self._contexts = {
            _FIRST_NODE + k: Context(_RUN, _FIRST_NODE + k, dict(config), RecordDict(), dict(run_config))
            for k, config in enumerate(node_configs)
        }

    def get_node_ids(self) -> list[int]:
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        numbers = []
        for message in messages:
            number = next(self._ids)
            message.metadata.__dict__["_message_id"] = number
            self._replies[number] = _travelled(self._reply(_travelled(message)))
            numbers.append(number)
        return numbers

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        return [self._replies.pop(number) for number in message_ids if number in self._replies]

    def send_and_receive(self, messages: Iterable[Any], *, timeout: float | None = None) -> list[Any]:
        return self.pull_messages(self.push_messages(messages))

    def _reply(self, message: Any) -> Any:
        from flwr.app import Error, Message

        try:
            return self._app(message, self._contexts[message.metadata.dst_node_id])
        except Exception as error:
            return Message(Error(2, f"{type(error).__name__}: {error}"), reply_to=message)


def _travelled(message: Any) -> Any:
    from flwr.common.serde import message_from_proto, message_to_proto

    return message_from_proto(message_to_proto(message))


@contextlib.contextmanager
def _identity() -> Iterator[None]:
    """What `Message` reads from the process; internal to Flower, so a test fails loudly when that changes."""
    from flwr.supercore.task_identity import TaskIdentity

    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, _RUN, 1
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before
