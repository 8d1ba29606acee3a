import numpy as np
import pytest

from sfumato.attacks.subject_membership import FederationConfig, TrainingConfig, make_federation, train
from sfumato.attacks.subject_membership.network import initial, unit_gradients
from sfumato.attacks.subject_membership.training import UNDEFENDED, capped
from sfumato.errors import InvalidData

SMALL = FederationConfig(subjects=30, records=8, dimension=6, classes=3, silos=3)


def test_a_single_party_with_whole_batches_descends_the_gradient():
    federation = make_federation(FederationConfig(subjects=10, records=4, dimension=5, classes=3, silos=1))
    config = TrainingConfig(hidden=(4,), rounds=3, local_epochs=1, batch=1000, learning_rate=0.2, weight_decay=0.1)
    run = train(federation, config, random_state=6)
    silo, sizes = federation.silos[0], (5, 4, 3)
    theta = initial(sizes, np.random.default_rng([6, 0]))
    weights = np.full((1, len(silo)), 1 / len(silo))
    for checkpoint in run.checkpoints:
        np.testing.assert_allclose(checkpoint.theta, theta, atol=1e-12)
        gradient = unit_gradients(sizes, theta, silo.x[None], silo.y[None], weights)[0]
        theta = theta - 0.2 * (gradient + 0.1 * theta)


def test_the_global_model_is_the_mean_by_records():
    """With one step a silo, it is that of a single party which holds all records."""
    federation = make_federation(SMALL, random_state=1)
    config = TrainingConfig(hidden=(4,), rounds=2, local_epochs=1, batch=1000)
    apart = train(federation, config)
    parts = [np.concatenate([getattr(s, name) for s in federation.silos]) for name in ("x", "y")]
    weights = np.full((1, len(parts[1])), 1 / len(parts[1]))
    theta = initial((6, 4, 3), np.random.default_rng([0, 0]))
    for _ in range(2):
        theta = theta - 0.1 * unit_gradients((6, 4, 3), theta, parts[0][None], parts[1][None], weights)[0]
    np.testing.assert_allclose(apart.model.theta, theta, atol=1e-12)


def test_it_learns_and_repeats_by_its_seed():
    federation = make_federation(FederationConfig(memorable=0.3, classes=4), random_state=2)
    first, second, other = (train(federation, random_state=s) for s in (1, 1, 2))
    assert np.array_equal(first.model.theta, second.model.theta)
    assert not np.array_equal(first.model.theta, other.model.theta)
    x, y = federation.holdout()
    assert (first.model(x).argmax(axis=1) == y).mean() > 0.45  # a quarter by chance
    assert first.claim == UNDEFENDED


def test_checkpoints_may_be_left_out():
    federation = make_federation(SMALL)
    config = TrainingConfig(hidden=(), rounds=5)
    all_, ends = (train(federation, config, keep_checkpoints=keep) for keep in (True, False))
    assert (len(all_.checkpoints), len(ends.checkpoints)) == (6, 2)
    for i in (0, -1):
        assert np.array_equal(all_.checkpoints[i].theta, ends.checkpoints[i].theta)


def test_a_cap_keeps_that_many_records_of_each_subject_and_none_depends_on_another():
    federation = make_federation(SMALL, random_state=1)
    silos = capped(federation.silos, 3, 8)
    subject = np.concatenate([silo.subject for silo in silos])
    assert set(np.bincount(subject)) == {0, 3}
    first, *rest = federation.silos
    gone = np.arange(len(first)) > 0
    less = capped((first.take(gone), *rest), 3, 8)
    before, after = (np.concatenate([s.record for s in each]) for each in (silos, less))
    assert set(before) - set(after) <= {first.record[0]}
    assert set(after) <= set(before)


def test_a_silo_without_records_changes_nothing():
    federation = make_federation(FederationConfig(subjects=6, records=1, dimension=3, silos=20), random_state=1)
    assert any(len(silo) == 0 for silo in federation.silos)
    assert np.isfinite(train(federation, TrainingConfig(hidden=(), rounds=2)).model.theta).all()


def test_dropout_trains_another_model():
    federation = make_federation(SMALL)
    with_, without = (train(federation, TrainingConfig(hidden=(8,), rounds=2, dropout=p)) for p in (0.5, 0.0))
    assert not np.allclose(with_.model.theta, without.model.theta)


@pytest.mark.parametrize(
    "bad",
    [
        {"hidden": (0,)},
        {"rounds": 0},
        {"local_epochs": 1.5},
        {"batch": True},
        {"learning_rate": 0.0},
        {"learning_rate": np.inf},
        {"weight_decay": -1.0},
        {"dropout": 1.0},
        {"record_cap": 0},
    ],
    ids=str,
)
def test_bad_configurations_are_refused(bad):
    with pytest.raises(InvalidData, match=next(iter(bad))):
        TrainingConfig(**bad)
