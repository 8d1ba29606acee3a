"""Contracts of `sfumato.federation.supermask`: one round of a silo whose network is one layer of two weights.

Unit "record": a record's gradient is as long as its features are, beyond any clipping norm if they are large, and the
score moves too little for the noisy sum of a step to depend on earlier ones. Records are rows; a row of zeros has a
gradient of zeros: a record left out. Unit "silo": a silo of one class pulls both weights one way, one of the other
class the other way, so that both votes flip.
"""

from functools import cache

import numpy as np
import pytest
import torch
from contract import Contract

from sfumato import ZCDP, PureDP
from sfumato.federation import Message
from sfumato.federation.supermask import (
    PrivateSteps,
    SignSupermask,
    SupermaskProtocol,
    SupermaskVotes,
    make_ballot,
    private,
    votes,
)
from sfumato.federation.supermask.training import Training
from sfumato.privacy.release import PrepaidNoise

PLACES, COLUMNS = 5, 1
STILL = Training(learning_rate=1e-12, optimizer="sgd")
MOVING = Training(learning_rate=1.0)  # one step decides every sign


@cache
def protocol(steps=None, training=STILL):
    network = torch.nn.Linear(COLUMNS, 2, bias=False)
    given = {"keep": 1.0, "rounds": 1, "saliency_steps": 1, "training": training}
    return SupermaskProtocol(network, (COLUMNS,), 2, private=steps, **given)


def round_of(data, steps):
    """A silo's round, by the protocol alone; the silo's data are features, all of class 0."""
    one = protocol(steps)
    rows = np.asarray(data, np.float32)
    request = Message(one.requests(one.start(), (0,))[0])
    return one.client_step(request, Message({}), (rows, np.zeros(len(rows), np.int64)))


def drawn(kind, run, copies=None):
    """What each draw of a run gave, side by side; with `copies`, so many independent ones of each."""
    found = []
    with pytest.MonkeyPatch.context() as patch:

        def draw(self, values, original=getattr(PrepaidNoise, kind), **declared):
            shape = np.shape(values) if copies is None else (copies, *np.shape(values))
            many = original(self, np.broadcast_to(values, shape), **declared)
            found.append(many)
            return many if copies is None else many[0]

        patch.setattr(PrepaidNoise, kind, draw)
        patch.setattr(private, "record_gradients", known(private.record_gradients))
        patch.setattr(votes, "train_scores", known(votes.train_scores))
        run()
    return found


_KNOWN = {}


def known(function):
    """Deterministic work on tensors, done once for the same ones: an audit repeats a round thousands of times."""

    def once(*given):
        key = function, *(each.numpy().tobytes() for each in given if isinstance(each, torch.Tensor))
        if key not in _KNOWN:
            _KNOWN[key] = function(*given)
        return _KNOWN[key]

    return once


def whole_sums(data, n, rng):
    """n independent copies of the noisy sum of a step that takes all records."""
    return drawn("discrete_gaussian", lambda: round_of(data, WHOLE), n)[0].astype(float)


def sampled_sums(data, n, rng):
    """The noisy sums of a round of n steps, each with coins of its own."""
    steps = PrivateSteps(SAMPLED.noise_multiplier, sampling_rate=SAMPLED.sampling_rate, steps=n)
    return np.array(drawn("discrete_gaussian", lambda: round_of(data, steps)), float)


def neighbours(rng):
    """Features whose gradients are far below and far above the clipping norm; one is left out."""
    rows = rng.normal(size=(PLACES, COLUMNS)) * 10 ** rng.uniform(-1, 3, (PLACES, 1))
    other = rows.copy()
    other[rng.integers(PLACES)] = 0
    return rows, other


NOBODY = np.zeros((PLACES, COLUMNS))


def people(*places):
    rows = NOBODY.copy()
    rows[list(places)] = 1000.0 * first_layer_says_no()
    return rows


def first_layer_says_no():
    """Features that the first weights take for class 1, so that the loss of class 0 has a large gradient."""
    first = protocol().subnetwork
    weights = first.weights(first.values)["weight"].numpy()
    return weights[1] - weights[0]


# Where the audit has most power: half the noise goes beyond the claim by a factor of e or more.
WHOLE = PrivateSteps(0.7, sampling_rate=1.0, steps=1)
SAMPLED = PrivateSteps(0.7, sampling_rate=0.8, steps=1)


def record(name, steps, outputs, trials):
    return Contract(
        SignSupermask,
        name,
        protocol(steps).claim,
        lambda data: round_of(data, steps),
        neighbours,
        outputs,
        [(people(1), NOBODY)],
        [(people(0, 1, 2, 3), NOBODY)],
        trials=trials,
    )


def votes_of(silos, computation):
    """The votes of a round, as each silo sends them."""
    request = Message(computation.request(Message(computation.start())))
    return [computation.contribute(request, Message({}), silo)[0] for silo in silos]


def of_class(label, rows=1, size=1.0):
    return np.full((rows, COLUMNS), size, np.float32), np.full(rows, label, np.int64)


def silo_neighbours(rng):
    """Another silo altogether, of another size too."""
    label = int(rng.integers(2))
    first, other = (of_class(each, int(rng.integers(1, 9)), rng.uniform(0.5, 2)) for each in (label, 1 - label))
    return [of_class(0), first], [of_class(0), other]


def silo(name, bound, honest):
    computation = SupermaskVotes(protocol(training=MOVING), make_ballot(bound, 2, 1, honest))
    kind = "randomized_response" if honest is None else "discrete_gaussian"

    def outputs(silos, n, rng):
        each = drawn(kind, lambda: votes_of(silos, computation), n)
        seen = np.hstack(each) if honest is None else np.sum(each, axis=0)
        return seen.astype(float)

    up, down = of_class(0), of_class(1)
    return Contract(
        SignSupermask,
        name,
        computation.claim,
        lambda silos: votes_of(silos, computation),
        silo_neighbours,
        outputs,
        [([up, up], [up, down])],
        [([up, up], [down, down])],
        trials=4_000,
    )


CONTRACTS = [
    record("record", WHOLE, whole_sums, trials=4_000),
    record("record-sampled", SAMPLED, sampled_sums, trials=1_500),
    silo("open", PureDP(1.5), None),
    silo("summed", ZCDP(1.0), 2),
]

WITHOUT_A_FORMAL_CLAIM = {
    "OpenBallot": "noise of a silo's votes, which the votes are cast by; the entries of SignSupermask try it",
    "PrivateSteps": "parameters of a private round, which the protocol runs; the entries of SignSupermask try it",
    "SummedBallot": "noise of a silo's votes, which the votes are cast by; the entries of SignSupermask try it",
    "SupermaskProtocol": "what SignSupermask runs; its entries run the protocol's step of a silo",
    "SupermaskVotes": "what SignSupermask runs for whole silos; its entries run a silo's contribution",
}
