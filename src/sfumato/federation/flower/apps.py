"""`to_client_app` and `to_server_app`: our protocols as the two halves of a Flower app.

For the app folder of a deployment, whose two modules call them once each.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sfumato.errors import InvalidData
from sfumato.federation.checkpoint import Checkpoint
from sfumato.federation.flower.exchange import JOIN, RECORD, STEP, GridExchange
from sfumato.federation.flower.installed import require_flower
from sfumato.federation.message import LIMIT
from sfumato.federation.protocol import Protocol
from sfumato.federation.rounds import Outcome, Terms, run_rounds
from sfumato.federation.silo import Silo, SiloStore
from sfumato.privacy.ledger import Ledger

_LOG = logging.getLogger("flwr")


def to_client_app(
    protocols: Sequence[Protocol],
    load_data: Callable[[str, Mapping[str, Any]], Any],
    *,
    store_folder: str | Path | None = None,
    limit: int = LIMIT,
) -> Any:
    """Return a `flwr.clientapp.ClientApp` that answers for a silo.

    The silo's operator sets, in the node's configuration (`--node-config`):

    - `partition-id`: the silo's number among the parties, from 0;
    - `silo-store`: path of the silo's own memory. Flower starts a process for each message, so without it a silo would
      forget what it answered and what it paid;
    - `ledger` and `dataset`, together, if releases are to be charged: path or URL of a ledger, and the account in it.

    Parameters
    ----------
    protocols : sequence of Protocol
        That this silo takes part in, with the parameters that it agreed to.
    load_data : callable
        ``load_data(name, node_config)`` returns what the protocol of that name works on.
    store_folder : str or Path, optional
        Where silos keep their memory if no `silo-store` is set: for simulations, whose nodes are configured by Flower.
    limit : int
        Most bytes of a message.

    Raises
    ------
    MissingExtra
        If Flower is not installed.
    """
    require_flower()
    from flwr.app import ConfigRecord, Message, RecordDict
    from flwr.clientapp import ClientApp

    app = ClientApp()

    def reply(message: Any, **entries: Any) -> Any:
        return Message(RecordDict({RECORD: ConfigRecord(entries)}), reply_to=message)

    @app.query(JOIN.partition(".")[2])
    def join(message: Any, context: Any) -> Any:
        return reply(message, party=_party(context.node_config))

    @app.query(STEP.partition(".")[2])
    def step(message: Any, context: Any) -> Any:
        silo = _silo(protocols, load_data, context.node_config, store_folder, limit)
        return reply(message, envelope=silo.answer(message.content[RECORD]["envelope"]))

    return app


def _silo(
    protocols: Sequence[Protocol],
    load_data: Callable[[str, Mapping[str, Any]], Any],
    node_config: Mapping[str, Any],
    store_folder: str | Path | None,
    limit: int,
) -> Silo:
    node = _party(node_config)
    store = node_config.get("silo-store", Path(store_folder) / f"silo-{node}.db" if store_folder else "")
    if not store:
        raise InvalidData("the node's configuration needs silo-store: the path of the silo's own memory")
    if ("ledger" in node_config) != ("dataset" in node_config):
        raise InvalidData("the node's configuration needs both ledger and dataset, or neither")
    return Silo(
        protocols,
        lambda name: load_data(name, node_config),
        node=node,
        store=SiloStore(str(store)),
        ledger=Ledger(str(node_config["ledger"])) if "ledger" in node_config else None,
        dataset=str(node_config.get("dataset", "")),
        limit=limit,
    )


def to_server_app(
    protocols: Sequence[Protocol],
    *,
    finished: Callable[[Protocol, Outcome], None] | None = None,
    limit: int = LIMIT,
) -> Any:
    """Return a `flwr.serverapp.ServerApp` that runs the protocols one after the other, over the nodes of one run.

    From the run's configuration (`[tool.flwr.app.config]`, `flwr run --run-config`) it takes:

    - `parties`: how many nodes to wait for;
    - `min-parties`: replies that each round needs; 0 for all;
    - `timeout`: seconds for each round, and for the nodes to be there;
    - `run`: the name of the run. Submitted again under the same name, a run goes on where it was;
    - `state-dir`: folder of the checkpoints; empty for none.

    Parameters
    ----------
    protocols : sequence of Protocol
    finished : callable, optional
        ``finished(protocol, outcome)`` is called after each; the last checkpoint holds the outcome too.
    limit : int
        Most bytes of a message.

    Raises
    ------
    MissingExtra
        If Flower is not installed.
    """
    require_flower()
    from flwr.serverapp import ServerApp

    app = ServerApp()

    @app.main()
    def main(grid: Any, context: Any) -> None:
        terms = terms_of(context.run_config, limit=limit)
        exchange = GridExchange(grid, int(context.run_config["parties"]), terms.timeout)
        for protocol in protocols:
            outcome = run_rounds(protocol, exchange, terms)
            _LOG.info(
                "%s: %d rounds, %d payload bytes, %d wire bytes",
                protocol.name,
                len(outcome.history),
                outcome.payload_bytes,
                outcome.wire_bytes,
            )
            if finished is not None:
                finished(protocol, outcome)

    return app


def terms_of(run_config: Mapping[str, Any], *, limit: int = LIMIT) -> Terms:
    """Return the terms that a run's configuration describes.

    Raises
    ------
    InvalidData
        If a key is missing or a value is out of range.
    """
    needed = ("parties", "min-parties", "timeout", "run", "state-dir")
    missing = [name for name in needed if name not in run_config]
    if missing:
        raise InvalidData(f"the run's configuration needs {', '.join(missing)}")
    folder = str(run_config["state-dir"])
    return Terms(
        min_parties=int(run_config["min-parties"]) or None,
        timeout=float(run_config["timeout"]),
        run=str(run_config["run"]),
        checkpoint=Checkpoint(Path(folder)) if folder else None,
        limit=limit,
    )


def _party(node_config: Mapping[str, Any]) -> int:
    party = node_config.get("partition-id")
    if isinstance(party, bool) or not isinstance(party, int) or party < 0:
        raise InvalidData("the node's configuration needs partition-id: the silo's number among the parties, from 0")
    return party
