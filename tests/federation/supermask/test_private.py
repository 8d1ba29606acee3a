"""Private training: what a record contributes, what it costs, and broken twins that are caught."""

import math

import entries_supermask as contract
import numpy as np
import pytest
import torch
from coupling import coupled_distance
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from smallest.masks import network, records, supermask

from sfumato import Ledger
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import InvalidClaim, TooFewParties
from sfumato.federation import InProcess
from sfumato.federation.supermask import PrivateSteps, make_subnetwork, private
from sfumato.federation.supermask.training import coded, score_gradient
from sfumato.privacy.bounds import ZCDP, ApproxDP, RenyiDP
from sfumato.privacy.release import PrepaidNoise, Release


@pytest.fixture(scope="module")
def sub():
    return make_subnetwork(network(), (6,), keep=0.6, seed=1, steps=10)


def test_gradients_record_by_record_are_those_of_one_record_at_a_time(sub):
    x, y = (torch.from_numpy(each) for each in records(0, rows=9))
    effective = sub.values * coded(torch.randn(sub.kept), "sign")
    each = private.record_gradients(sub, effective, x, y)
    alone = [score_gradient(sub, effective, x[k : k + 1], y[k : k + 1]).numpy() for k in range(9)]
    assert each == pytest.approx(np.array(alone), abs=1e-6)


@given(st.integers(1, 2000), st.floats(1e-3, 1e6), st.floats(1e-3, 1e3), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_record_adds_at_most_the_declared_sensitivity(size, scale, clip, seed):
    rows = np.random.default_rng(seed).normal(size=(3, size)) * scale
    how = PrivateSteps(1.0, max_grad_norm=clip)
    cells = private.clipped_cells(rows, how)
    lengths = np.linalg.norm(cells.astype(float), axis=1)
    assert (lengths <= how.sensitivity(size)).all()
    assert how.sensitivity(size) * how.granularity(size) <= clip * 1.001
    long = np.linalg.norm(rows, axis=1) > clip
    assert (lengths[long] > 0.998 * how.sensitivity(size)).all()  # and clipping cuts no more than it must


def test_a_gradient_that_is_not_finite_counts_as_nothing():
    rows = np.array([[1.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    cells = private.clipped_cells(rows, PrivateSteps(1.0))
    assert cells[0].any()
    assert not cells[1:].any()


def test_the_sampled_cost_is_that_of_dp_accounting_at_whole_orders_and_no_other():
    from dp_accounting import dp_event
    from dp_accounting.rdp import RdpAccountant

    how = PrivateSteps(1.5, sampling_rate=0.1, steps=7)
    bound = how.bound(500, rounds=3)
    assert isinstance(bound, RenyiDP)
    assert all(order == int(order) for order in bound.orders)
    ratio = how.deviation(500) / how.sensitivity(500)
    assert 0.99 * 1.5 < ratio < 1.5 * 1.001
    reference = RdpAccountant(list(bound.orders)).compose(
        dp_event.PoissonSampledDpEvent(0.1, dp_event.GaussianDpEvent(ratio)), 21
    )
    claim = how.claim(500, rounds=3)
    assert claim.epsilon_at(1e-5) == pytest.approx(reference.get_epsilon(1e-5), rel=1e-6)


@pytest.mark.parametrize("ratio", [0.7, 1.5])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_the_cost_holds_for_the_discrete_mixture_itself(rate, ratio):
    """Both directions, summed over the lattice, for shifts of whole granules up to D."""
    shift = 6
    sigma2 = (shift * ratio) ** 2
    z = np.arange(-400, 401)
    q = np.exp(-(z**2) / (2 * sigma2))
    p = np.exp(-((z - shift) ** 2) / (2 * sigma2))
    q, p = q / q.sum(), p / p.sum()
    mixed = (1 - rate) * q + rate * p
    inside = (q > 1e-250) & (mixed > 1e-250)
    q, mixed = q[inside], mixed[inside]
    bound = private._sampled_rdp(rate, ratio)
    for order in (2, 3, 5, 8):
        claimed = bound[private._WHOLE.index(order)]
        for a, b in ((mixed, q), (q, mixed)):
            moments = special.logsumexp(order * np.log(a) + (1 - order) * np.log(b))
            assert moments / (order - 1) <= claimed * (1 + 1e-6)


def test_without_sampling_the_cost_is_that_of_the_gaussian():
    how = PrivateSteps(2.0, sampling_rate=1.0, steps=4)
    bound = how.bound(100)
    assert isinstance(bound, ZCDP)
    assert bound.rho == pytest.approx(4 / (2 * 2.0**2), rel=0.01)


def test_noise_is_calibrated_to_all_rounds():
    how = private.calibrated(2.0, 1e-5, PrivateSteps(1.0, sampling_rate=0.1, steps=5), 800, 10)
    assert 1.9 < how.claim(800, 10).epsilon_at(1e-5) <= 2.0
    assert isinstance(how.claim(800, 10).to(ApproxDP, delta=1e-5).bound, ApproxDP)


def test_each_round_is_charged_before_its_noise_and_an_empty_budget_stops_the_silo(tmp_path):
    steps = PrivateSteps(2.0, sampling_rate=0.5, steps=2)
    protocol = supermask(rounds=3, private=steps)
    kept = protocol.subnetwork.kept
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    for rounds in (3, 2):
        ledger.create(f"for {rounds}", steps.claim(kept, rounds).to(ApproxDP, delta=1e-5).bound, unit="record")
    InProcess(ledgers=[(ledger, "for 3")]).run(protocol, [records(0)])
    assert len(ledger.history("for 3")) == 3
    with pytest.raises(TooFewParties, match=r"round 3 .* it refused"):
        InProcess(ledgers=[(ledger, "for 2")]).run(protocol, [records(0)])
    assert len(ledger.history("for 2")) == 2


def test_the_upload_is_a_function_of_noisy_sums(sub, monkeypatch):
    """With the noisy sums fixed, other data give the same signs: the sign comes after the noise, and nothing else."""
    fixed = np.random.default_rng(0).integers(-9, 9, sub.kept)
    monkeypatch.setattr(PrepaidNoise, "discrete_gaussian", lambda self, values, **_: fixed)
    protocol = supermask(private=PrivateSteps(1.0, sampling_rate=0.5, steps=2))
    outcomes = [InProcess().run(protocol, [records(k, rows=20 + k)]).state for k in range(2)]
    assert outcomes[0] == outcomes[1]


def test_noise_never_comes_from_the_protocols_seed():
    protocol = supermask(private=PrivateSteps(5.0, sampling_rate=0.5, steps=2))
    states = [InProcess().run(protocol, [records(0)]).state for _ in range(2)]
    assert states[0] != states[1]


@pytest.mark.parametrize(
    "change",
    [{"noise_multiplier": 0.0}, {"max_grad_norm": math.inf}, {"sampling_rate": 1.1}, {"steps": 0}, {"steps": True}],
    ids=str,
)
def test_bad_parameters_are_named(change):
    with pytest.raises(InvalidClaim, match=next(iter(change))):
        PrivateSteps(**{"noise_multiplier": 1.0, **change})


def test_the_release_is_opened_for_the_round(sub):
    how = PrivateSteps(1.0, sampling_rate=0.5, steps=3)
    with Release(how.claim(sub.kept), purpose="test") as release:
        release.prepaid(how.bound(sub.kept))
        with pytest.raises(ValueError, match="more than the claim promises"):
            release.prepaid(how.bound(sub.kept))


def audited(data_pair):
    """Of noisy sums of a one-step round, against its claim; a sound mechanism is accused with probability 1e-6."""
    sizes = {"n_train": 200, "n_select": 400, "n_test": 2000, "random_state": 3, "progress": False}
    claim = contract.protocol(contract.WHOLE).claim
    auditor = Auditor(**sizes, alpha=1e-6, scores=("threshold", "linear"))
    return auditor.audit(contract.whole_sums, claim, pairs=[data_pair]).verdict


@pytest.mark.slow
def test_a_twin_that_does_not_clip_each_record_is_caught(monkeypatch):
    pair = (contract.people(1), contract.NOBODY)
    assert audited(pair) == "no violation found"
    unclipped = lambda rows, how: private.to_grid(rows, how.granularity(rows.shape[1]))  # noqa: E731
    monkeypatch.setattr(private, "clipped_cells", unclipped)
    assert audited(pair) == "violation"


@pytest.mark.slow
def test_a_twin_that_takes_signs_before_the_noise_is_caught(monkeypatch):
    """A vector of signs is as long as the root of its dimension, whatever the record was clipped to."""
    x, y = records(0, rows=20)
    without = x.copy()
    without[3] = 0  # a record of zeros has a gradient of zeros here: the place of one that is left out
    protocol = supermask(private=PrivateSteps(1.0, sampling_rate=0.9, steps=1))
    rng = np.random.default_rng(0)

    def distance():
        run = lambda each: InProcess().run(protocol, [(each, y)])  # noqa: E731
        return max(coupled_distance(run, x, without, rng) for _ in range(6))

    assert distance() <= 1
    signs = lambda rows, how: np.sign(rows).astype(np.int64) * int(1 / how.granularity(rows.shape[1]))  # noqa: E731
    monkeypatch.setattr(private, "clipped_cells", signs)
    assert distance() > 2
