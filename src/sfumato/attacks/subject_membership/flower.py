"""The same training as Flower apps: a client for each silo, and a strategy that keeps every global model.

For measuring on the runtime that a federation deploys. McMahan et al. 2017, by Flower's own `FedAvg`; undefended only.
Flower loads with this module's functions, not before: ``pip install 'sfumato[federation]'``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sfumato.attacks.subject_membership.federation import Federation
from sfumato.attacks.subject_membership.network import Network, initial
from sfumato.attacks.subject_membership.training import TrainingConfig, capped, local_training, network_sizes
from sfumato.errors import MissingExtra


def client_app(federation: Federation, config: TrainingConfig, *, random_state: int = 0) -> Any:
    """Return a `flwr.clientapp.ClientApp` that trains the silo of its node's `partition-id`.

    Parameters
    ----------
    federation : Federation
    config : TrainingConfig
    random_state : int, default 0
        As in `train`, so that both give the same models.

    Raises
    ------
    MissingExtra
        If Flower is not installed.
    """
    try:
        from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
        from flwr.clientapp import ClientApp
    except ImportError:
        raise MissingExtra("federation") from None
    silos = capped(federation.silos, config.record_cap, federation.config.records)
    sizes = network_sizes(federation, config)
    app = ClientApp()

    @app.train()
    def train(message: Any, context: Any) -> Any:
        k = int(context.node_config["partition-id"])
        round_ = int(message.content["config"]["server-round"]) - 1
        theta = message.content["arrays"].to_numpy_ndarrays()[0]
        theta = local_training(silos[k], sizes, theta, config, random_state, k, round_)
        reply = RecordDict({"arrays": ArrayRecord([theta]), "metrics": MetricRecord({"num-examples": len(silos[k])})})
        return Message(content=reply, reply_to=message)

    return app


def server_app(
    federation: Federation,
    config: TrainingConfig,
    *,
    random_state: int = 0,
    keep: Callable[[tuple[Network, ...]], None],
) -> Any:
    """Return a `flwr.serverapp.ServerApp` that averages all silos each round and hands all models to `keep`.

    Parameters
    ----------
    federation : Federation
    config : TrainingConfig
    random_state : int, default 0
    keep : callable
        Called at the end with the global model before training and after each round: what
        `LossAcrossRoundsAttack` reads.

    Raises
    ------
    MissingExtra
        If Flower is not installed.
    """
    try:
        from flwr.app import ArrayRecord
        from flwr.serverapp import ServerApp
        from flwr.serverapp.strategy import FedAvg
    except ImportError:
        raise MissingExtra("federation") from None
    sizes = network_sizes(federation, config)
    n = federation.config.silos
    app = ServerApp()

    class KeepingFedAvg(FedAvg):
        def __init__(self, models: list[Network]) -> None:
            super().__init__(
                fraction_train=1.0,
                fraction_evaluate=0.0,
                min_train_nodes=n,
                min_evaluate_nodes=0,
                min_available_nodes=n,
            )
            self.models = models

        def aggregate_train(self, server_round: int, replies: Any) -> Any:
            arrays, metrics = super().aggregate_train(server_round, replies)
            if arrays is not None:
                self.models.append(Network(sizes, arrays.to_numpy_ndarrays()[0]))
            return arrays, metrics

    @app.main()
    def main(grid: Any, context: Any) -> None:
        start = initial(sizes, np.random.default_rng([random_state, 0]))
        strategy = KeepingFedAvg([Network(sizes, start)])
        strategy.start(grid=grid, initial_arrays=ArrayRecord([start]), num_rounds=config.rounds)
        keep(tuple(strategy.models))

    return app
