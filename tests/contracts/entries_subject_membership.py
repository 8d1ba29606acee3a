"""Contracts of `sfumato.attacks.subject_membership`: its three protections, on steps whose outputs are coupled."""

import contextlib
import functools

import numpy as np
import pytest
from contract import Contract
from coupling import captured

from sfumato.attacks.subject_membership import (
    Federation,
    FederationConfig,
    ItemDP,
    Silo,
    SiloDP,
    SubjectDP,
    TrainingConfig,
    train,
)
from sfumato.privacy import release
from sfumato.privacy.accounting import cost_of

SUBJECTS, RECORDS, SILOS = 4, 4, 2
FAR = 10  # units by which a pair differs that the claim does not speak of
CONFIG = FederationConfig(subjects=SUBJECTS, records=RECORDS, dimension=2, classes=2, silos=SILOS)
TRAINING = TrainingConfig(hidden=(3,), rounds=2, local_epochs=1, learning_rate=0.5)
ONE_STEP = TrainingConfig(hidden=(), rounds=1, local_epochs=1, learning_rate=0.5)


def federation(x, y, record, place, config=CONFIG):
    """The records of some subjects, each in the silo that `place` says."""
    silos = []
    for k in range(config.silos):
        here = place == k
        silos.append(Silo(x[here], y[here], record[here] // config.records, record[here]))
    return Federation(config, tuple(silos), np.ones(config.subjects, bool), 0)


def neighbours(unit):
    """Random silos, and the same without one record, all of one subject's in all silos, or one silo's."""

    def draw(rng):
        n = SUBJECTS * RECORDS
        record = np.flatnonzero(rng.random(n) < 0.8)
        x = rng.normal(scale=rng.choice([0.1, 3.0, 100.0]), size=(len(record), 2))
        y, place = rng.integers(2, size=len(record)), rng.integers(SILOS, size=len(record))
        key = {"record": record, "subject": record // RECORDS, "silo": place}[unit]
        keep = key != rng.choice(key) if len(key) else np.zeros(0, bool)
        whole = federation(x, y, record, place)
        return whole, federation(x[keep], y[keep], record[keep], place[keep])

    return draw


@contextlib.contextmanager
def costs_looked_up():
    """Compute what an event costs once: it takes longer than a small training."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(release, "cost_of", _cost)
        yield


@functools.lru_cache
def _cost(*arguments):
    return cost_of(*arguments)


def run(privacy, data, training):
    with costs_looked_up():
        train(data, training, privacy=privacy)


def noisy(privacy, data, n):
    """What n trainings of one step let out."""
    found = []
    for _ in range(n):
        drawn = []
        with captured(drawn):
            run(privacy, data, ONE_STEP)
        found.append(np.concatenate(drawn))
    return np.array(found)


def protection(privacy, records):
    """`records`: how many make up one unit in the audited pairs, which differ by one unit, or by `FAR` of them."""
    unit = privacy.plan(CONFIG, 1, 1).claim.unit
    silos = FAR if unit == "silo" else 1
    tiny = FederationConfig(subjects=FAR, records=records, dimension=2, classes=2, silos=silos)
    whole = type(privacy)(privacy.epsilon, delta=privacy.delta, clip=0.01, rate=1.0)

    def alike(units):
        record = np.arange(units * records)
        place = record // records if unit == "silo" else 0 * record
        return federation(np.ones((len(record), 2)), 0 * record, record, place, tiny)

    return Contract(
        type(privacy),
        "sampled",
        whole.plan(tiny, 1, 1).claim,
        lambda data: run(privacy, data, TRAINING),
        neighbours(unit),
        lambda data, n, rng: noisy(whole, data, n),
        [(alike(1), alike(0))],
        [(alike(FAR), alike(0))],
        trials=1000,
        bug=6,
    )


CONTRACTS = [
    protection(ItemDP(1.0, delta=1e-3, rate=0.5), 1),
    protection(SubjectDP(1.0, delta=1e-3, rate=0.5), 4),
    protection(SiloDP(1.0, delta=1e-3, clip=0.05, rate=0.5), 4),
]

WITHOUT_A_FORMAL_CLAIM = {
    "LossThresholdAttack": "an attack",
    "LossAcrossRoundsAttack": "an attack",
    "FederatedRun": "the result of a training: it carries the claim of its protection",
}
