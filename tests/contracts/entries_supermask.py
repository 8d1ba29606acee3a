"""Contracts of `sfumato.federation.supermask`: one private round of a silo whose network is one layer.

So a record's gradient is as long as its features are, beyond any clipping norm if they are large, and the noisy sum of
a step does not depend on earlier ones. What sampling saves is held to the lattice itself in
`tests/federation/supermask/test_private.py`. Records are rows; a row of zeros has a gradient of zeros: a record left
out.
"""

import numpy as np
import pytest
import torch
from contract import Contract

from sfumato.federation import InProcess
from sfumato.federation.supermask import PrivateSteps, SignSupermask, SupermaskProtocol
from sfumato.privacy.release import PrepaidNoise

PLACES, COLUMNS = 5, 1


def protocol(private):
    network = torch.nn.Linear(COLUMNS, 2, bias=False)
    return SupermaskProtocol(network, (COLUMNS,), 2, keep=1.0, rounds=1, saliency_steps=1, private=private)


def round_of(data, private):
    """A whole round on the engine; the silo's data are features, all of class 0."""
    rows = np.asarray(data, np.float32)
    return InProcess().run(protocol(private), [(rows, np.zeros(len(rows), np.int64))])


def copies(data, n, private):
    """n independent copies of the noisy sum of a round's first step."""
    found = []
    with pytest.MonkeyPatch.context() as patch:

        def draw(self, values, original=PrepaidNoise.discrete_gaussian, **declared):
            many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
            found.append(many)
            return many[0]

        patch.setattr(PrepaidNoise, "discrete_gaussian", draw)
        round_of(data, private)
    return np.hstack(found).astype(float)


def neighbours(rng):
    """Features whose gradients are far below and far above the clipping norm; one is left out."""
    rows = rng.normal(size=(PLACES, COLUMNS)) * 10 ** rng.uniform(-1, 3, (PLACES, 1))
    other = rows.copy()
    other[rng.integers(PLACES)] = 0
    return rows, other


NOBODY = np.zeros((PLACES, COLUMNS))


def people(n):
    rows = NOBODY.copy()
    rows[:n] = 1000.0 * first_layer_says_no()
    return rows


def first_layer_says_no():
    """Features that the first weights take for class 1, so that the loss of class 0 has a large gradient."""
    first = protocol(None).subnetwork
    weights = first.weights(first.values)["weight"].numpy()
    return weights[1] - weights[0]


WHOLE = PrivateSteps(1.0, sampling_rate=1.0, steps=1)


def entry(name, private, outputs, far):
    return Contract(
        SignSupermask,
        name,
        protocol(private).claim,
        lambda data: round_of(data, private),
        neighbours,
        outputs,
        [(people(1), NOBODY)],
        [(people(far), NOBODY)],
        trials=4_000,
        bug=3,
    )


CONTRACTS = [
    entry("private", WHOLE, lambda data, n, rng: copies(data, n, WHOLE), far=4),
]

WITHOUT_A_FORMAL_CLAIM = {
    "PrivateSteps": "parameters of a private round, which the protocol runs; the entries of SignSupermask try it",
    "SupermaskProtocol": "what SignSupermask runs; its entries run the protocol on the engine",
}
