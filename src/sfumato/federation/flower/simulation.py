"""Simulation: a protocol on Flower's own simulation, whose silos are Ray actors.

For runs with more silos than one process should hold; ``pip install 'sfumato[federation-ray]'``.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from sfumato.errors import InvalidData, MissingExtra, TooFewParties
from sfumato.federation.flower.apps import to_client_app
from sfumato.federation.flower.exchange import GridExchange
from sfumato.federation.flower.installed import require_flower
from sfumato.federation.protocol import Protocol
from sfumato.federation.rounds import Outcome, Terms, run_rounds


class Simulation:
    """Run a protocol on Flower's simulation (Ray), with a node for each silo.

    Parameters
    ----------
    terms : Terms
    cpus : int
        That Ray may use.
    """

    def __init__(self, terms: Terms = Terms(), *, cpus: int = 2) -> None:
        self.terms = terms
        self.cpus = cpus

    def run(self, protocol: Protocol, silos: Sequence[Any] | None = None) -> Outcome:
        """Run the protocol to its end; see `run_rounds`. The silos' memory lasts as long as the run.

        Raises
        ------
        MissingExtra
            If Flower or Ray is not installed.
        InvalidData
            If `silos` is empty.
        TooFewParties
            If a round has too few good replies.
        """
        require_flower()
        if find_spec("ray") is None:  # Flower would end this process
            raise MissingExtra("federation-ray")
        if not silos:
            raise InvalidData("silos must be a non-empty sequence: the data of each silo")
        return _simulated(protocol, list(silos), self.terms, self.cpus)


def _simulated(protocol: Protocol, silos: list[Any], terms: Terms, cpus: int) -> Outcome:
    from flwr.serverapp import ServerApp
    from flwr.simulation import run_simulation

    ended: list[Outcome | Exception] = []
    server = ServerApp()

    @server.main()
    def main(grid: Any, context: Any) -> None:
        try:
            ended.append(run_rounds(protocol, GridExchange(grid, len(silos), terms.timeout), terms))
        except Exception as error:  # Flower would only log it
            ended.append(error)

    def load_data(_: str, node_config: Mapping[str, Any]) -> Any:
        return silos[int(node_config["partition-id"])]

    with tempfile.TemporaryDirectory() as folder:
        client = to_client_app([protocol], load_data, store_folder=folder, limit=terms.limit)
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        run_simulation(
            server,
            client,
            num_supernodes=len(silos),
            backend_config={
                "client_resources": {"num_cpus": 1, "num_gpus": 0.0},
                "init_args": {"num_cpus": cpus, "include_dashboard": False, "logging_level": "error"},
            },
        )
    if not ended:
        raise TooFewParties("Flower's simulation ended before its server did")
    if isinstance(ended[0], Exception):
        raise ended[0]
    return ended[0]
