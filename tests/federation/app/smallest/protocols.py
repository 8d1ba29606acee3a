"""The smallest protocol of each federated system, on two silos. A new system adds a line to each of the two.

The first one runs in two rounds and without noise: the deployment test kills the server between them.
"""

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from torch.utils.data import TensorDataset

from sfumato.federation.bandits import BanditComputation, NoPrivacy, RecordedUsers, bandit_protocol
from sfumato.federation.heavy_hitters import FederatedHeavyHitters
from sfumato.federation.hypernetwork import HyperFL
from sfumato.federation.quantization import RQM, QuantizedMean, QuantizedTraining, SoftmaxRegression
from sfumato.federation.secure_sum import Contribution, SecureSum
from sfumato.federation.shared_randomness import Settings, SharedRandomnessProtocol
from sfumato.statistics.survival import DPKaplanMeier, FederatedKaplanMeier

from .counting import Counting, Exact
from .masks import records, supermask

SIGNING_KEYS = [bytes([k + 1]) * 32 for k in range(2)]
ROSTER = [Ed25519PrivateKey.from_private_bytes(key).public_key().public_bytes_raw().hex() for key in SIGNING_KEYS]


class Rounded(QuantizedTraining):
    """To the nearest level, without noise: the silos' accounts are about people added or removed."""

    def contribute(self, request, memory, data):
        gradient = self.gradient(request["weights"], data)[np.newaxis]
        positions = self.mean.mechanism.positions(self.mean.prepare(gradient)[0])
        return (positions + (1 << 31)) >> 32, {"round": request["round"]}


def losses(model, batch):
    return torch.nn.functional.cross_entropy(model(batch[0]), batch[1], reduction="none")


torch.manual_seed(0)
LINEAR = torch.nn.Linear(2, 2).eval()

PROTOCOLS = [
    Exact(rounds=2),
    Counting(rounds=1),
    FederatedKaplanMeier(DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=3)),
    SecureSum(ROSTER, length=2, bound=100),
    # Sums of reports are simulated: the silos' accounts are about people added or removed, and a report's claim is not.
    FederatedHeavyHitters(1, 2.0, bits=4, levels=2, simulate="aggregate", random_state=0).protocol(),
    bandit_protocol(BanditComputation(2, silos=2, horizon=2, batch=2, mechanism=NoPrivacy())),
    Rounded(
        SoftmaxRegression(1, 2), QuantizedMean(RQM(1.0, 1.0, levels=4), 4, "linf"), rounds=1, learning_rate=1.0
    ).openly(),
    SharedRandomnessProtocol(LINEAR, losses, settings=Settings("42" * 32), steps=1),
    HyperFL("mlp-digits", 2, embedding_dim=2, hidden_dim=2, rounds=1, embedding_seed=0, random_state=0).protocol(),
    supermask(),
]


def data_of(name, silo):
    return {
        "exact": [silo + 1, 10 * silo],
        "counting": [silo + 1, 10 * silo],
        "kaplan-meier": ([1.0 + silo, 4.0, 8.0], [1, 0, 1]),
        "secure-sum": Contribution(silo, [silo + 1, -10 * silo], SIGNING_KEYS[silo]),
        "heavy-hitters": [3] * 60 + [silo + 4] * 40,
        "bandit": RecordedUsers(np.tile(np.eye(2), (2, 1, 1)), np.array([[1.0, 0.0], [0.5, silo]])),
        "quantized-training": ([[1.0 + silo], [-1.0]], [0, 1]),
        "hyperfl": (np.random.default_rng(silo).normal(size=(20, 1, 8, 8)), np.arange(20) % 2),
        "supermask": records(silo),
        "shared-randomness": TensorDataset(torch.eye(2) * (silo + 1), torch.arange(2)),
    }[name]


def load_data(name, node_config):
    return data_of(name, node_config["partition-id"])
