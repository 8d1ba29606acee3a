import dataclasses
import math

import numpy as np
import pytest
from coupling import coupled_distance
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from entries_subject_membership import CONFIG, TRAINING, federation, neighbours, run
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import ApproxDP, Ledger
from sfumato.attacks.subject_membership import (
    FederationConfig,
    ItemDP,
    Network,
    SiloDP,
    SubjectDP,
    TrainingConfig,
    make_federation,
    train,
)
from sfumato.attacks.subject_membership.mitigation import epsilon_of, noise_multiplier, sampled_gaussian
from sfumato.attacks.subject_membership.network import initial, n_parameters, unit_gradients
from sfumato.attacks.subject_membership.rounds import GRANULES, _stacks, clipped_to_grid
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData

SIZES = (2, 3, 2)


def subjects_ledger(folder):
    ledger = Ledger(folder / "ledger.db", create=True)
    ledger.create("subjects", ApproxDP(5.0, 1e-3), unit="subject")
    return ledger


def sums(data, unit, silos_each, round_, clip=0.3):
    """What the silos' sums would be before noise, with every unit sampled: shape (silos, parameters)."""
    theta = initial(SIZES, np.random.default_rng(4))
    stacks = _stacks(data.silos, unit, CONFIG.records)
    return np.stack([stack.sum_of_gradients(stack.at_home(round_, silos_each), SIZES, theta, clip) for stack in stacks])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 2), st.integers(0, 5))
def test_one_subject_with_all_its_records_moves_the_sums_by_the_clipping_norm_at_most(seed, silos_each, round_):
    """Exactly, in granules; in all silos together, whether it may contribute in one of them or in two."""
    whole, less = neighbours("subject")(np.random.default_rng(seed))
    gap = sums(whole, "subject", silos_each, round_) - sums(less, "subject", silos_each, round_)
    assert (gap**2).sum() <= silos_each * GRANULES**2
    assert ((gap**2).sum(axis=1) <= GRANULES**2).all()
    assert (gap.any(axis=1)).sum() <= silos_each


def test_a_clip_of_items_fails_that_test():
    """The twin: the published trap, in which a subject's many records are clipped one by one."""
    rng, worst = np.random.default_rng(1), 0.0
    for _ in range(50):
        whole, less = neighbours("subject")(rng)
        gap = sums(whole, "record", 1, 0) - sums(less, "record", 1, 0)
        worst = max(worst, math.sqrt((gap**2).sum()) / GRANULES)
    assert worst > 1.5


def test_the_contract_catches_an_item_level_clip():
    """Trained under `ItemDP`, subjects move draws further than declared; under `SubjectDP` they do not."""
    rng = np.random.default_rng(2)
    pairs = [neighbours("subject")(rng) for _ in range(20)]

    def furthest(privacy):
        return max(coupled_distance(lambda data: run(privacy, data, TRAINING), *p, rng) for p in pairs)

    assert furthest(ItemDP(1.0, rate=0.5)) > 1.5
    assert furthest(SubjectDP(1.0, rate=0.5)) <= 1 + 1e-9


def test_homes_turn_so_that_every_silo_hears_a_subject():
    """A subject in all of five silos contributes in as many of them a round as it may, and in each in turn."""
    wide = dataclasses.replace(CONFIG, silos=5, records=5)
    record = np.arange(5)
    data = federation(np.ones((5, 2)), 0 * record, record, record, wide)
    for silos_each in (1, 2, 5):
        stacks = _stacks(data.silos, "subject", 5)
        seen = np.array([[stack.at_home(t, silos_each)[0] for stack in stacks] for t in range(5)])
        assert (seen.sum(axis=1) == silos_each).all()
        assert (seen.sum(axis=0) == silos_each).all()


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.floats(1e-3, 1e3), st.integers(-200, 300))
def test_clipped_rows_are_whole_and_never_too_long(seed, clip, power):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(4, 50)) * 2.0**power * clip
    whole = clipped_to_grid(rows, clip)
    assert np.array_equal(whole, np.trunc(whole))
    assert ((whole.astype(np.int64).astype(object) ** 2).sum(axis=1) <= GRANULES**2).all()
    near = np.linalg.norm(rows, axis=1) < 1e150  # squares of larger ones overflow: those rows are dropped
    scale = np.minimum(1, clip / np.linalg.norm(rows[near], axis=1))
    assert np.abs(whole[near] - rows[near] * scale[:, None] * GRANULES / clip).max(initial=0) <= 1 + 1e-6


def test_a_row_that_is_not_finite_counts_as_nothing():
    rows = np.ones((4, 3))
    rows[0, 0], rows[1, 1], rows[2] = np.nan, np.inf, 1e200
    assert np.array_equal(clipped_to_grid(rows, 1.0).any(axis=1), [False, False, False, True])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 9))
def test_no_bit_of_a_units_gradient_depends_on_the_others(seed, records):
    """Sensitivity is counted in whole granules: a last bit that depends on the company would be counted as well."""
    rng = np.random.default_rng(seed)
    sizes = (7, int(rng.integers(1, 40)), 5)
    units = int(rng.integers(2, 30))
    x, y = rng.normal(size=(units, records, 7)), rng.integers(5, size=(units, records))
    weights, theta = np.full((units, records), 1 / records), initial(sizes, rng)
    together = unit_gradients(sizes, theta, x, y, weights)
    whole = clipped_to_grid(together, 0.1)
    some = rng.permutation(units)[: int(rng.integers(1, units))]
    company = unit_gradients(sizes, theta, x[some], y[some], weights[some])
    assert np.array_equal(company, together[some])
    assert np.array_equal(clipped_to_grid(company, 0.1), whole[some])


def test_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    sizes = (4, 6, 5, 3)
    theta = initial(sizes, rng) + 0.1
    x, y, weights = rng.normal(size=(2, 3, 4)), rng.integers(3, size=(2, 3)), rng.random((2, 3))

    def losses(theta):
        p = Network(sizes, theta)(x.reshape(6, 4)).reshape(2, 3, 3)
        return -(np.log(np.take_along_axis(p, y[..., None], 2)[..., 0]) * weights).sum(axis=1)

    step = 1e-6 * np.eye(n_parameters(sizes))
    numeric = np.array([(losses(theta + d) - losses(theta - d)) / 2e-6 for d in step]).T
    np.testing.assert_allclose(unit_gradients(sizes, theta, x, y, weights), numeric, atol=1e-8)


@pytest.mark.parametrize(("rate", "sigma", "count", "delta"), [(0.2, 1.2, 300, 1e-5), (1.0, 5.0, 40, 1e-6)])
def test_epsilon_is_that_of_dp_accounting(rate, sigma, count, delta):
    """Whole Rényi orders cost a little over the loss distribution, and never claim less than it."""
    exact = PLDAccountant(NeighboringRelation.ADD_OR_REMOVE_ONE).compose(sampled_gaussian(rate, sigma, count))
    assert exact.get_epsilon(delta) <= epsilon_of(rate, sigma, count, delta) * (1 + 1e-4)
    assert epsilon_of(rate, sigma, count, delta) <= 1.15 * exact.get_epsilon(delta)


def test_epsilon_of_items_is_that_of_opacus():
    accountants = pytest.importorskip("opacus.accountants")
    theirs = accountants.RDPAccountant()
    theirs.history = [(1.3, 0.1, 500)]
    expected = theirs.get_epsilon(1e-5, alphas=list(range(2, 257)))
    assert epsilon_of(0.1, 1.3, 500, 1e-5) == pytest.approx(expected, rel=1e-3)


def test_the_noise_is_the_least_that_keeps_the_claim():
    sigma = noise_multiplier(0.25, 80, 2.0, 1e-5)
    assert epsilon_of(0.25, sigma, 80, 1e-5) <= 2.0 < epsilon_of(0.25, sigma - 1 / 1024, 80, 1e-5)


def test_a_subject_in_more_silos_costs_so_many_times_the_steps():
    config = FederationConfig(silos=5)
    one, three, all_ = (SubjectDP(4.0, max_silos=k).plan(config, 10, 2) for k in (1, 3, 9))
    assert [plan.event.count for plan in (one, three, all_)] == [100, 300, 500]
    assert one.sigma < three.sigma < all_.sigma < 5 * one.sigma  # the group bound would take five times as much


def test_claims_name_their_unit_and_say_what_they_do_not_cover():
    config = FederationConfig()
    item, silo, subject = (kind(2.0).claim(config) for kind in (ItemDP, SiloDP, SubjectDP))
    assert (item.unit, silo.unit, subject.unit) == ("record", "silo", "subject")
    assert "group privacy" in str(item)
    assert "not covered" in str(silo)
    assert "same pseudonym" in str(subject)
    assert "same pseudonym" not in str(SubjectDP(2.0, max_silos=5).claim(config))
    assert (item.trust, silo.trust, subject.trust) == ("silo", "central", "silo")
    assert all(claim.bound == ApproxDP(2.0, 1e-5) for claim in (item, silo, subject))


def test_without_shared_pseudonyms_no_subject_is_promised_a_home():
    data = make_federation(FederationConfig(subjects=10, records=2, dimension=3, silos=3))
    with pytest.raises(InvalidClaim, match="pseudonyms"):
        train(data, TRAINING, privacy=SubjectDP(1.0, shared_pseudonyms=False))
    everywhere = train(data, TRAINING, privacy=SubjectDP(1.0, max_silos=3, shared_pseudonyms=False))
    assert everywhere.claim.formal


@pytest.mark.parametrize(
    "bad",
    [
        {"epsilon": 0.0},
        {"epsilon": math.nan},
        {"epsilon": 1.0, "delta": 0.0},
        {"epsilon": 1.0, "clip": math.inf},
        {"epsilon": 1.0, "rate": 0.0},
        {"epsilon": 1.0, "rate": 1.5},
        {"epsilon": 1e-12, "delta": 1e-12},
        {"epsilon": 1.0, "max_silos": 0},
        {"epsilon": 1.0, "max_silos": True},
    ],
    ids=str,
)
def test_bad_protections_are_refused_before_anything_is_spent(bad, tmp_path):
    data = make_federation(FederationConfig(subjects=10, records=2, dimension=3))
    ledger = subjects_ledger(tmp_path)
    with ledger.charging("subjects"), pytest.raises(InvalidClaim):
        train(data, TRAINING, privacy=SubjectDP(**bad))
    assert not ledger.history("subjects")


def test_dropout_does_not_go_with_gradients_of_units():
    data = make_federation(FederationConfig(subjects=10, records=2, dimension=3))
    config = TrainingConfig(hidden=(4,), rounds=1, dropout=0.5)
    for privacy in (ItemDP(1.0), SubjectDP(1.0)):
        with pytest.raises(InvalidClaim, match="dropout"):
            train(data, config, privacy=privacy)
    assert train(data, config, privacy=SiloDP(1.0)).claim.formal


@pytest.mark.parametrize("privacy", [ItemDP(2.0), SiloDP(2.0), SubjectDP(2.0)], ids=lambda p: type(p).__name__)
def test_a_private_run_carries_its_claim_and_differs_every_time(privacy):
    data = make_federation(FederationConfig(subjects=10, records=2, dimension=3, silos=2))
    first, second = (train(data, TRAINING, privacy=privacy) for _ in range(2))
    assert first.claim == privacy.claim(data.config)
    assert first.noise_multiplier > 0
    assert len(first.checkpoints) == TRAINING.rounds + 1
    assert np.array_equal(first.checkpoints[0].theta, second.checkpoints[0].theta)
    assert not np.array_equal(first.model.theta, second.model.theta)
    seeded = [train(data, TRAINING, privacy=privacy, noise_seed=1) for _ in range(2)]
    assert np.array_equal(seeded[0].model.theta, seeded[1].model.theta)
    assert not seeded[0].claim.formal


@pytest.mark.parametrize("privacy", [ItemDP(2.0), SiloDP(2.0), SubjectDP(2.0)], ids=lambda p: type(p).__name__)
def test_an_empty_federation_trains_on_noise_alone(privacy):
    """That nobody is there must not show; without a protection there is nothing to train on."""
    empty = federation(np.zeros((0, 2)), *(np.zeros(0, np.int64),) * 3)
    assert np.isfinite(train(empty, TRAINING, privacy=privacy).model.theta).all()
    with pytest.raises(InvalidData, match="no silo"):
        train(empty, TRAINING)


def test_a_ledger_pays_once_and_refuses_the_training_that_would_overspend(tmp_path):
    data = make_federation(FederationConfig(subjects=10, records=2, dimension=3))
    ledger = subjects_ledger(tmp_path)
    with ledger.charging("subjects"):
        train(data, TRAINING, privacy=SubjectDP(3.0))
        with pytest.raises(BudgetExceeded):
            train(data, TRAINING, privacy=SubjectDP(3.0))
    assert len(ledger.history("subjects")) == 1
