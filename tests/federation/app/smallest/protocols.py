"""The smallest protocol of each federated system, on two silos. A new system adds a line to each of the two.

The first one runs in two rounds and without noise: the deployment test kills the server between them.
"""

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sfumato.federation.heavy_hitters import FederatedHeavyHitters
from sfumato.federation.secure_sum import Contribution, SecureSum
from sfumato.statistics.survival import DPKaplanMeier, FederatedKaplanMeier

from .counting import Counting, Exact

SIGNING_KEYS = [bytes([k + 1]) * 32 for k in range(2)]
ROSTER = [Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex() for key in SIGNING_KEYS]

PROTOCOLS = [
    Exact(rounds=2),
    Counting(rounds=1),
    FederatedKaplanMeier(DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=3)),
    SecureSum(ROSTER, length=2, bound=100),
    # Sums of reports are simulated: the silos' accounts are about people added or removed, and a report's claim is not.
    FederatedHeavyHitters(1, 2.0, bits=4, levels=2, simulate="aggregate", random_state=0).protocol(),
]


def data_of(name, silo):
    return {
        "exact": [silo + 1, 10 * silo],
        "counting": [silo + 1, 10 * silo],
        "kaplan-meier": ([1.0 + silo, 4.0, 8.0], [1, 0, 1]),
        "secure-sum": Contribution(silo, [silo + 1, -10 * silo], SIGNING_KEYS[silo]),
        "heavy-hitters": [3] * 60 + [silo + 4] * 40,
    }[name]


def load_data(name, node_config):
    return data_of(name, node_config["partition-id"])
