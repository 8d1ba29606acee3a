"""Contracts of `sfumato.federation.hypernetwork`: a few silos, one round, a tiny network.

Each draw of one training is repeated by itself: with one step, or one upload, nothing that is hidden depends on noise.
Twins that clip or noise only a part of what they should are in tests/federation/hypernetwork/test_private.py.
"""

from functools import cache

import numpy as np
import pytest
from contract import Contract
from torch import nn

from sfumato import ZCDP
from sfumato.federation import Message
from sfumato.federation.hypernetwork import HyperFL
from sfumato.privacy.release import PrepaidNoise, Release

ROWS = 6
TINY = {"embedding_dim": 1, "hidden_dim": 1, "rounds": 1, "head_epochs": 0, "batch_size": ROWS, "random_state": 0}


def model(unit):
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    given = {"claim": ZCDP(0.5), "unit": unit, "local_epochs": 1, "clip_norm": 0.001, "embedding_seed": 0}
    return HyperFL(extractor, 2, **TINY, **given)


@cache
def protocol(unit):
    return model(unit).protocol()


def train(silos, unit):
    """A round, by the protocol alone: the engine around it costs ten times as much."""
    one = protocol(unit)
    for party, request in one.requests(Message(one.start()), tuple(range(len(silos)))).items():
        one.client_step(Message(request), Message({}), silos[party])


def copies(silos, n, unit):
    """n independent copies of each draw of one training, side by side."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for scope in (Release, PrepaidNoise):

            def draw(self, values, original=scope.discrete_gaussian, **declared):
                many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
                found.append(many.reshape(n, -1))
                return many[0]

            patch.setattr(scope, "discrete_gaussian", draw)
        train(silos, unit)
    return np.hstack(found).astype(float)


def same(value, label):
    """A silo of equal records."""
    return np.full((ROWS, 1, 1, 1), value, np.float32), np.full(ROWS, label, np.int64)


def one_other(value, label, of):
    """The same silo with one record replaced."""
    images, labels = (each.copy() for each in of)
    images[2], labels[2] = value, label
    return images, labels


def record_neighbours(rng):
    """Gradients far below and far above the clipping norm."""
    images = (rng.normal(size=(ROWS, 1, 1, 1)) * 10 ** rng.uniform(-1, 2)).astype(np.float32)
    silo = images, rng.integers(0, 2, ROWS)
    return [silo], [one_other(images[2], 1 - silo[1][2], silo)]


def silo_neighbours(rng):
    """Another silo altogether, of another size too."""
    label = int(rng.integers(2))
    images = rng.normal(size=(int(rng.integers(1, 9)), 1, 1, 1)).astype(np.float32)
    return [NOUGHTS, same(float(rng.normal()), label)], [NOUGHTS, (images, np.full(len(images), 1 - label))]


def entry(unit, neighbours, pair, far):
    return Contract(
        HyperFL,
        unit,
        model(unit).fit(pair[0]).claim_,
        lambda silos: train(silos, unit),
        neighbours,
        lambda silos, n, rng: copies(silos, n, unit),
        [pair],
        [far],
        trials=8_000,
        bug=3,
    )


NOUGHTS, ONES = same(1.0, 0), same(1.0, 1)
CONTRACTS = [
    entry("record", record_neighbours, ([NOUGHTS], [one_other(1.0, 1, NOUGHTS)]), ([NOUGHTS], [ONES])),
    entry("silo", silo_neighbours, ([NOUGHTS], [ONES]), ([NOUGHTS] * 4, [ONES] * 4)),
]

WITHOUT_A_FORMAL_CLAIM = {
    "FederatedAveraging": "it promises nothing: the baseline whose updates are attacked",
    "HyperFLAdapters": "HyperFL on another extractor: the same work, privacy and claim",
    "HyperNetwork": "a torch module: `train` is its mode",
}
