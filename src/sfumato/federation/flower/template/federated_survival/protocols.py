"""What the federation computes, and how a registry finds its data. Both sides read this file: agree on it first."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sfumato.statistics.survival import DPKaplanMeier, FederatedKaplanMeier

PROTOCOLS = [FederatedKaplanMeier(DPKaplanMeier(epsilon=1.0, horizon=1095, n_bins=12))]


def load_data(protocol: str, node_config: Mapping[str, Any]) -> tuple[Any, Any]:
    """Read the registry's own file, which its operator names in the node's configuration."""
    frame = pd.read_csv(node_config["data"])
    return frame["time"], frame["status"]
