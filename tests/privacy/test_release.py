"""Release: charged before, stopped at the claim, mixed with nobody."""

import asyncio
import contextvars
import copy
import math
import os
import pickle
import threading

import numpy as np
import pytest
from dp_accounting import dp_event

from sfumato.errors import BudgetExceeded, ClaimViolated, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP, GaussianDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.release import Release

ONE = Claim(PureDP(1.0))


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("lung", PureDP(3.0))
    return ledger


def test_a_draw_beyond_the_claim_never_exists():
    escaped = "nothing"
    with pytest.raises(ClaimViolated, match="more than the claim promises"), Release(ONE, "x") as release:
        release.discrete_laplace([1, 2], l1_sensitivity=1, epsilon=0.75)
        escaped = release.discrete_laplace([1, 2], l1_sensitivity=1, epsilon=0.5)
    assert escaped == "nothing"
    assert len(release.events) == 1


def test_a_wrong_split_of_the_budget_fails_and_an_exact_one_does_not():
    with Release(ONE, "x") as release:
        for _ in range(10):
            release.discrete_laplace([5], l1_sensitivity=1, epsilon=0.1)
    with pytest.raises(ClaimViolated), Release(ONE, "x") as release:
        for _ in range(11):
            release.discrete_laplace([5], l1_sensitivity=1, epsilon=0.1)


@pytest.mark.parametrize(
    ("bound", "event"),
    [
        (ZCDP(0.5), dp_event.ZCDpEvent(0.51)),
        (GaussianDP(1.0), dp_event.GaussianDpEvent(0.99)),
        (PureDP(1.0), dp_event.GaussianDpEvent(100)),
        (ApproxDP(1.0, 1e-6), dp_event.GaussianDpEvent(1.0)),
        (PureDP(1.0), dp_event.NonPrivateDpEvent()),
    ],
)
def test_a_mechanism_with_its_own_proof_charges_its_own_event(bound, event):
    with pytest.raises(ClaimViolated), Release(Claim(bound), "x") as release:
        release.charge(event)
    with Release(Claim(bound), "x") as release:
        release.charge(dp_event.NoOpDpEvent())


def test_a_bound_is_charged_like_an_event():
    with Release(Claim(ApproxDP(1.0, 1e-6)), "x") as release:
        release.charge(ApproxDP(0.4, 1e-6))
        release.choose([0, 1], sensitivity=1, epsilon=0.6)
        with pytest.raises(ClaimViolated):
            release.charge(ApproxDP(0.01, 0.0))
    with pytest.raises(ClaimViolated), Release(Claim(ApproxDP(1.0, 1e-6)), "x") as release:
        release.prepaid(ApproxDP(0.5, 2e-6))


def test_sampled_events_are_charged_under_the_claims_neighbours():
    event = dp_event.PoissonSampledDpEvent(0.01, dp_event.GaussianDpEvent(4.0))
    with Release(Claim(ApproxDP(1.0, 1e-6)), "x") as release:
        release.charge(event)
    wrong = Claim(ApproxDP(1.0, 1e-6), neighbours="replace-one")
    with pytest.raises(InvalidClaim, match="replace-one"), Release(wrong, "x") as release:
        release.charge(event)


def test_no_noise_outside_the_scope():
    release = Release(ONE, "x")
    with pytest.raises(ClaimViolated, match="inside"):
        release.discrete_laplace([1], l1_sensitivity=1, epsilon=0.5)
    with release:
        pass
    with pytest.raises(ClaimViolated, match="inside"):
        release.discrete_laplace([1], l1_sensitivity=1, epsilon=0.5)
    with pytest.raises(ClaimViolated, match="once"), release:
        pass


def test_only_formal_claims_open_a_release():
    for claim in (Claim(Heuristic("none")), Claim(PureDP(1), void="broken")):
        with pytest.raises(InvalidClaim):
            Release(claim, "x")


def test_a_seed_reproduces_the_noise_and_voids_the_claim(ledger):
    def draw(seed):
        with Release(ONE, "x", seed=seed) as release:
            return release.discrete_laplace(np.zeros(50, int), l1_sensitivity=1, epsilon=1.0), release.claim

    (a, claim), (b, _), (c, _) = draw(7), draw(7), draw(8)
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)
    assert not claim.formal
    assert str(claim).startswith("No guarantee")
    with ledger.charging("lung"), pytest.raises(InvalidClaim):
        draw(7)
    assert ledger.account("lung").charges == 0


def test_the_ledger_is_charged_before_and_an_exception_leaves_the_charge(ledger):
    with ledger.charging("lung"), pytest.raises(ZeroDivisionError), Release(ONE, "x") as release:
        assert ledger.account("lung").charges == 1
        assert release.receipt.position == 1
        1 / 0  # noqa: B018
    assert ledger.account("lung").charges == 1


def test_an_exhausted_budget_draws_nothing(ledger):
    with ledger.charging("lung"):
        for _ in range(3):
            with Release(ONE, "x"):
                pass
        release = Release(ONE, "x")
        with pytest.raises(BudgetExceeded), release:
            pytest.fail("opened without a budget")
        with pytest.raises(ClaimViolated):
            release.discrete_laplace([1], l1_sensitivity=1, epsilon=0.1)
    assert ledger.account("lung").charges == 3


def test_nested_releases_charge_each_its_own(ledger):
    with ledger.charging("lung"), Release(ONE, "outer") as outer, Release(ONE, "inner") as inner:
        inner.discrete_laplace([1], l1_sensitivity=1, epsilon=1.0)
        outer.discrete_laplace([1], l1_sensitivity=1, epsilon=1.0)
        assert len(inner.events) == len(outer.events) == 1
    assert [row.purpose for row in ledger.history("lung")] == ["outer", "inner"]


def test_threads_and_tasks_do_not_mix(ledger):
    """Each thread and task opens its own ledger scope; none sees another's, and all charges arrive."""
    ledger.create("rossi", PureDP(3.0))
    seen = {}

    def work(dataset):
        with ledger.charging(dataset), Release(ONE, dataset) as release:
            seen[dataset] = release.receipt.dataset

    threads = [threading.Thread(target=work, args=(d,)) for d in ("lung", "rossi")]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert seen == {"lung": "lung", "rossi": "rossi"}

    async def task(dataset):
        with ledger.charging(dataset):
            await asyncio.sleep(0.01)
            with Release(ONE, dataset) as release:
                return release.receipt.dataset

    async def both():
        return await asyncio.gather(task("lung"), task("rossi"))

    assert asyncio.run(both()) == ["lung", "rossi"]
    assert ledger.account("lung").charges == ledger.account("rossi").charges == 2


def test_a_thread_inherits_the_ledger_through_copy_context(ledger):
    def work():
        with Release(ONE, "x"):
            pass

    with ledger.charging("lung"):
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(work,))
        thread.start()
        thread.join()
    assert ledger.account("lung").charges == 1


def test_threads_that_share_a_release_cannot_overspend():
    refused = []

    def draw(release):
        try:
            release.discrete_laplace(np.zeros(10, int), l1_sensitivity=1, epsilon=0.1)
        except ClaimViolated:
            refused.append(1)

    with Release(ONE, "x") as release:
        threads = [threading.Thread(target=draw, args=(release,)) for _ in range(25)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    assert len(release.events) == 10
    assert len(refused) == 15


def test_real_values_come_back_on_the_grid_near_the_truth():
    """False-alarm rate below 1e-9: noise of scale 1e-3, tolerance 30 scales, 200 draws."""
    with Release(Claim(PureDP(1e3)), "x") as release:
        noisy = release.laplace(np.full(100, math.pi), l1_sensitivity=1.0, epsilon=1e3, granularity=2.0**-20)
    assert np.all(np.abs(noisy - math.pi) < 0.03)
    assert np.all(noisy * 2**20 == np.round(noisy * 2**20))
    with Release(Claim(ZCDP(1e6)), "x") as release:
        assert np.all(np.abs(release.gaussian(np.zeros(100), l2_sensitivity=1.0, rho=1e6)) < 0.03)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_real_values_must_be_finite_and_integers_whole(value):
    with Release(ONE, "x") as release:
        with pytest.raises(InvalidData):
            release.laplace([value], l1_sensitivity=1, epsilon=1.0)
        with pytest.raises(InvalidData, match="integers"):
            release.discrete_laplace([1.5], l1_sensitivity=1, epsilon=1.0)
        assert not release.events


@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf])
def test_noise_parameters_must_be_positive_and_finite(epsilon):
    with Release(ONE, "x") as release:
        with pytest.raises(InvalidClaim, match="epsilon"):
            release.discrete_laplace([1], l1_sensitivity=1, epsilon=epsilon)
        with pytest.raises(InvalidClaim, match="sensitivity"):
            release.discrete_laplace([1], l1_sensitivity=epsilon, epsilon=1.0)
        assert not release.events


def test_randomized_response_and_choice():
    local = Claim(PureDP(1.0), neighbours="replace-one", trust="local")
    with Release(local, "x") as release:
        reports = release.randomized_response(np.zeros(1000, int), k=4, epsilon=1.0)
    assert set(reports.tolist()) == {0, 1, 2, 3}
    with Release(ONE, "x") as release, pytest.raises(InvalidClaim, match="replace-one"):
        release.randomized_response([0], k=4, epsilon=1.0)
    with Release(ONE, "x") as release:
        # The best score is ahead by 200 at epsilon 1, sensitivity 1: another wins with probability 2e^-100.
        assert release.choose([0, 200, 0], sensitivity=1, epsilon=1.0) == 1
    with Release(ONE, "x") as release:
        assert 2 <= release.choose([0, 200, 0], copies=[2, 5, 1], sensitivity=1, epsilon=1.0) < 7


def test_a_mechanism_with_its_own_proof_draws_what_it_prepaid_and_only_while_the_release_is_open():
    event = dp_event.DiscreteLaplaceDpEvent(1.0, 1)
    with Release(ONE, "sparse vector") as release:
        prepaid = release.prepaid(event)
        drawn = [prepaid.discrete_laplace([0] * 1000, l1_sensitivity=1, scale=2) for _ in range(3)]
        assert prepaid.discrete_gaussian([0, 0], l2_sensitivity=1, sigma2=4).shape == (2,)
        assert 0 < prepaid.bernoulli(0.5, 1000).sum() < 1000  # wrong with probability 2**-999
        told = prepaid.randomized_response([1] * 1000, k=2, epsilon=40.0, entries=1000)
        assert (told == 1).all()  # another with probability e^-33
        assert release.events == [event]
        with pytest.raises(ClaimViolated):
            release.prepaid(event)
    # P(x = 0) = tanh(1/4) = 0.245: outside of these bounds with probability below 1e-20
    assert all(100 < (each == 0).sum() < 400 for each in drawn)
    with pytest.raises(ClaimViolated, match="inside"):
        prepaid.discrete_laplace([0], l1_sensitivity=1, scale=2)


@pytest.mark.parametrize("double", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_open_release_has_no_copy_to_draw_from_for_free(double):
    with Release(ONE, "x") as release, pytest.raises(ClaimViolated, match="copied"):
        double(release)


@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process_cannot_go_on_with_a_release():
    with Release(ONE, "x") as release:
        child = os.fork()
        if child == 0:
            try:
                release.discrete_laplace([0], l1_sensitivity=1, epsilon=0.1)
            except ClaimViolated:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
