"""Contracts of `sfumato.federation.hypernetwork`, HyperFL and the baselines: a few silos, one round, a tiny network.

Each draw of one training is repeated by itself: with one step, or one upload, nothing that is hidden depends on noise.
So many trials at once are one training, and a trial by itself is a release of what one training was about to hide.
Twins that clip or noise only a part of what they should are in tests/federation/hypernetwork/test_private.py.
"""

from functools import cache

import numpy as np
import pytest
from contract import Contract
from torch import nn

from sfumato import ZCDP
from sfumato.federation import Message
from sfumato.federation.hypernetwork import FederatedAveraging, HyperFL
from sfumato.federation.hypernetwork.private import Privacy, StepNoise
from sfumato.privacy.release import PrepaidNoise, Release

ROWS = 6
TINY = {"rounds": 1, "head_epochs": 0, "local_epochs": 1, "batch_size": ROWS, "clip_norm": 0.001, "random_state": 0}
MODELS = {
    "HyperFL": (HyperFL, {"embedding_dim": 1, "hidden_dim": 1, "embedding_seed": 0}),
    "all": (FederatedAveraging, {"share": "all"}),
    "extractor": (FederatedAveraging, {"share": "extractor"}),
}


def model(name, unit):
    estimator, own = MODELS[name]
    extractor = nn.Sequential(nn.Flatten(), nn.Linear(1, 1))
    return estimator(extractor, 2, claim=ZCDP(0.5), unit=unit, **TINY, **own)


@cache
def protocol(name, unit):
    return model(name, unit).protocol()


def train(silos, name, unit):
    """A round, by the protocol alone: the engine around it costs ten times as much."""
    one = protocol(name, unit)
    for party, request in one.requests(Message(one.start()), tuple(range(len(silos)))).items():
        one.client_step(Message(request), Message({}), silos[party])


def copies(silos, n, name, unit):
    """n independent copies of each draw of one training, side by side."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        for scope in (Release, PrepaidNoise):

            def draw(self, values, original=scope.discrete_gaussian, **declared):
                many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
                found.append(many.reshape(n, -1))
                return many[0]

            patch.setattr(scope, "discrete_gaussian", draw)
        if n == 1:  # auditors call so by hundreds, for noise that is used again: training would be most of their time
            release(hidden(silos, name, unit), name, unit)
        else:
            train(silos, name, unit)
    return np.hstack(found).astype(float)


_HIDDEN = {}


def hidden(silos, name, unit):
    """What the noise of each silo was about to hide, in one training."""
    key = (name, unit, *(array.tobytes() for silo in silos for array in silo))
    if key not in _HIDDEN:
        kept = _HIDDEN[key] = []
        with pytest.MonkeyPatch.context() as patch:
            for scope, method in ((StepNoise, "__call__"), (Privacy, "noisy_upload")):

                def keep(self, tensors, original=getattr(scope, method)):
                    kept.append(tensors)
                    return original(self, tensors)

                patch.setattr(scope, method, keep)
            train(silos, name, unit)
    return _HIDDEN[key]


def release(each, name, unit):
    """Charge, and draw the noise, as a silo does."""
    privacy = protocol(name, unit).work.privacy
    for tensors in each:
        if unit == "silo":
            privacy.noisy_upload(tensors)
        else:
            with Release(privacy.round_claim, purpose="a step") as scope:
                privacy.step_noise(scope, sum(value.numel() for value in tensors.values()))(tensors)


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


def entry(name, unit, neighbours, pair, far):
    estimator, _ = MODELS[name]
    return Contract(
        estimator,
        unit if estimator is HyperFL else f"{name}-{unit}",
        model(name, unit).fit(pair[0]).claim_,
        lambda silos: train(silos, name, unit),
        neighbours,
        lambda silos, n, rng: copies(silos, n, name, unit),
        [pair],
        [far],
        trials=8_000,
    )


NOUGHTS, ONES = same(1.0, 0), same(1.0, 1)
RECORD = record_neighbours, ([NOUGHTS], [one_other(1.0, 1, NOUGHTS)]), ([NOUGHTS], [ONES])
SILO = silo_neighbours, ([NOUGHTS], [ONES]), ([NOUGHTS] * 4, [ONES] * 4)
CONTRACTS = [entry(name, unit, *of) for name in MODELS for unit, of in (("record", RECORD), ("silo", SILO))]

WITHOUT_A_FORMAL_CLAIM = {
    "HyperFLAdapters": "HyperFL on another extractor: the same work, privacy and claim",
    "HyperNetwork": "a torch module: `train` is its mode",
}
