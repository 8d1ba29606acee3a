"""The smallest protocol of each federated system, on two silos. A new system adds a line to each of the two.

The first one runs in two rounds and without noise: the deployment test kills the server between them.
"""

from sfumato.statistics.survival import DPKaplanMeier, FederatedKaplanMeier

from .counting import Counting, Exact

PROTOCOLS = [
    Exact(rounds=2),
    Counting(rounds=1),
    FederatedKaplanMeier(DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=3)),
]


def data_of(name, silo):
    return {
        "exact": [silo + 1, 10 * silo],
        "counting": [silo + 1, 10 * silo],
        "kaplan-meier": ([1.0 + silo, 4.0, 8.0], [1, 0, 1]),
    }[name]


def load_data(name, node_config):
    return data_of(name, node_config["partition-id"])
