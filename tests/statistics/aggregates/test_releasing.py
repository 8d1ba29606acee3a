"""aggregate: one response moves one mean, nothing is spent on bad input, and the broken twins are caught."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.aggregates import aggregate, make_bags

HUGE = 1e9  # noise of scale 2^16 / 10^9: a mean is off with probability below 1e-3000
Y = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
BAGS = np.array([0, 0, 0, 1, 1, 1])


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_replacing_one_response_moves_one_mean_by_at_most_its_share_of_the_range(data):
    n = data.draw(st.integers(2, 20))
    k = data.draw(st.integers(1, n))
    value = st.floats(-20, 20)
    y = np.array(data.draw(st.lists(value, min_size=n, max_size=n)))
    other = y.copy()
    who = data.draw(st.integers(0, n - 1))
    other[who] = data.draw(value)
    bag_id = make_bags(n, k, remainder="larger", random_state=data.draw(st.integers(0, 9)))
    low, high = -3.0, 4.0
    first, second = (aggregate(each, bag_id, epsilon=HUGE, bounds=(low, high)) for each in (y, other))
    moved = np.abs(first.means - second.means)
    assert (moved[np.arange(len(moved)) != bag_id[who]] == 0).all()
    assert moved.max() <= (high - low) / first.sizes[bag_id[who]] * (1 + 1e-12)


def test_exact_means_promise_nothing_and_say_so():
    found = aggregate(Y, BAGS)
    assert found.means.tolist() == [1.0, 4.0]
    assert isinstance(found.claim.bound, Heuristic)
    assert not found.claim.formal
    assert found.noise_variance.tolist() == [0, 0]
    assert len(found) == 2
    assert aggregate(Y, BAGS, bounds=(1, 4)).means.tolist() == pytest.approx([4 / 3, 11 / 3])


def test_the_claim_is_about_labels():
    claim = aggregate(Y, BAGS, epsilon=0.5, bounds=(0, 5)).claim
    assert claim.bound == PureDP(0.5)
    assert (claim.unit, claim.neighbours, claim.trust) == ("person", "replace-one", "central")
    assert any("features" in said for said in claim.assumptions)
    assert aggregate(Y, BAGS, rho_zcdp=0.1, bounds=(0, 5)).claim.bound == ZCDP(0.1)
    assert not aggregate(Y, BAGS, epsilon=0.5, bounds=(0, 5), noise_seed=1).claim.formal


@pytest.mark.parametrize("budget", [{"epsilon": 0.8}, {"rho_zcdp": 0.3}])
@pytest.mark.parametrize("granules", [1, 2**16])
def test_noise_has_the_stated_variance_and_no_bias(budget, granules):
    m, k = 20_000, 4
    found = aggregate(np.full(m * k, 2.0), np.repeat(np.arange(m), k), bounds=(2.0, 5.0), granules=granules, **budget)
    noise = found.means - 2.0
    variance = found.noise_variance[0]
    continuous = 2 * (3 / (k * 0.8)) ** 2 if "epsilon" in budget else (3 / k) ** 2 / (2 * 0.3)
    assert variance == pytest.approx(continuous, rel=0.25 if granules == 1 else 1e-6)
    # kurtosis at most 6: six standard errors, a false alarm below 1e-8
    assert abs(noise.mean()) < 6 * np.sqrt(variance / m)
    assert abs(noise.var() / variance - 1) < 6 * np.sqrt(5 / m)


def test_a_smaller_bag_has_more_noise():
    found = aggregate(Y, [0, 0, 0, 0, 1, 1], epsilon=1.0, bounds=(0, 5))
    assert found.noise_variance[1] == pytest.approx(4 * found.noise_variance[0])


def test_clipping_shows_in_nothing_but_the_means():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = aggregate([-1e9, 1e9], [0, 1], epsilon=HUGE, bounds=(0, 1))
    assert found.means.tolist() == [0.0, 1.0]


def test_people_in_no_bag_are_not_told():
    found = aggregate([1.0, 3.0, 1e6], [0, 0, -1], epsilon=HUGE, bounds=(0, 1e7))
    assert found.means == pytest.approx([2.0], abs=200)


BAD = [
    (Y, BAGS, {"epsilon": 0.0}, "epsilon"),
    (Y, BAGS, {"epsilon": -1}, "epsilon"),
    (Y, BAGS, {"epsilon": np.nan}, "epsilon"),
    (Y, BAGS, {"epsilon": "1"}, "epsilon"),
    (Y, BAGS, {"epsilon": 1e-300}, "budget is too small"),
    (Y, BAGS, {"rho_zcdp": 1e-300}, "budget is too small"),
    (Y, BAGS, {"epsilon": 1.0, "rho_zcdp": 1.0}, "one of them"),
    (Y, BAGS, {"epsilon": 1.0, "bounds": None}, "bounds"),
    (Y, BAGS, {"epsilon": 1.0, "bounds": (1, 1)}, "low below high"),
    (Y, BAGS, {"epsilon": 1.0, "bounds": (0, np.inf)}, "finite"),
    (Y, BAGS, {"epsilon": 1.0, "bounds": 3}, "two numbers"),
    (Y, BAGS, {"epsilon": 1.0, "granules": 0}, "granules"),
    (Y, BAGS, {"epsilon": 1.0, "granules": 1.5}, "granules"),
    (Y, BAGS, {"epsilon": 1.0, "noise_seed": "x"}, "noise_seed"),
    (np.where(Y == 2, np.nan, Y), BAGS, {"epsilon": 1.0}, "y must be finite"),
    (np.where(Y == 2, np.inf, Y), BAGS, {"epsilon": 1.0}, "y must be finite"),
    (Y[:3], BAGS, {"epsilon": 1.0}, "bag_id"),
    (Y, [0, 0, 0, 2, 2, 2], {"epsilon": 1.0}, "nobody in it"),
    (Y, [0, 0, 0, 1, 1, np.nan], {"epsilon": 1.0}, "missing"),
    (Y, BAGS, {"epsilon": 1.0, "person": [1, 2, 3, 4, 5, 1]}, "two bags"),
    (Y, BAGS, {"epsilon": 1.0, "person": [1, 2]}, "one entry a row"),
    (["secret"] * 6, BAGS, {"epsilon": 1.0}, "y must be numbers"),
    ([], [], {"epsilon": 1.0}, "nonempty"),
]


@pytest.mark.parametrize(("y", "bag_id", "change", "said"), BAD)
def test_bad_input_costs_nothing_and_betrays_no_value(y, bag_id, change, said, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("responses", PureDP(1.0), neighbours="replace-one")
    with ledger.charging("responses"), pytest.raises((InvalidData, InvalidClaim), match=said) as caught:
        aggregate(y, bag_id, **{"bounds": (0, 5), **change})
    assert "secret" not in str(caught.value)
    with ledger.charging("responses"):  # all of it is still there
        aggregate(Y, BAGS, epsilon=1.0, bounds=(0, 5))


def test_a_second_release_spends_again(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("responses", PureDP(1.5), neighbours="replace-one")
    with ledger.charging("responses"):
        aggregate(Y, BAGS, epsilon=1.0, bounds=(0, 5))
        with pytest.raises(BudgetExceeded):
            aggregate(Y, BAGS, epsilon=1.0, bounds=(0, 5))


def tiled(y, n, bag_of, **parameters):
    """n releases of the same people: bags of different copies are disjoint, so that one call holds them all."""
    bag_id = bag_of(y)
    m = bag_id.max() + 1
    every = (np.arange(n)[:, np.newaxis] * m + bag_id).ravel()
    return aggregate(np.tile(y, n), every, **parameters).means.reshape(n, m)


def in_order(y):
    return np.arange(len(y)) // 2


def by_label(y):
    bag_id = np.empty(len(y), int)
    bag_id[np.argsort(y, kind="stable")] = np.arange(len(y)) // 2
    return bag_id


def sorted_bags(y, n, rng):
    """The assignment is public, so it is part of what comes out. (The means alone would keep their claim: sorted sums
    all move the same way, by the range at most together.)"""
    means = tiled(y, n, by_label, epsilon=1.0, bounds=(0, 10))
    return np.column_stack((means, np.full(n, by_label(y)[0])))


MUTANTS = {
    "noise as for the mean of all": lambda y, n, rng: tiled(y, n, in_order, epsilon=4.0, bounds=(0, 10)),
    "bounds read from the data": lambda y, n, rng: tiled(y, n, in_order, epsilon=1.0, bounds=(y.min(), y.max())),
    "bags sorted by label": sorted_bags,
}
PAIR = (np.array([0.0, 1.0, 4.0, 7.0, 8.0, 9.0]), np.array([10.0, 1.0, 4.0, 7.0, 8.0, 9.0]))


def audit(mechanism, **change):
    auditor = Auditor(n_train=4000, n_select=8000, n_test=60_000, random_state=1, progress=False, **change)
    return auditor.audit(mechanism, Claim(PureDP(1.0), neighbours="replace-one"), pairs=[PAIR]).verdict


@pytest.mark.parametrize("name", MUTANTS)
def test_the_auditor_refutes_mutants(name):
    assert audit(MUTANTS[name]) == "violation"


def test_and_passes_the_release_itself():
    """False alarm 1e-6."""
    sound = audit(lambda y, n, rng: tiled(y, n, in_order, epsilon=1.0, bounds=(0, 10)), alpha=1e-6)
    assert sound == "no violation found"


def test_noisy_labels_of_bags_of_one_clipped_are_randomized_response():
    n, epsilon = 40_000, 1.0
    y = np.arange(n) % 2
    noisy = aggregate(y, np.arange(n), epsilon=epsilon, bounds=(0, 1), granules=1).means
    kept = int((np.clip(noisy, 0, 1) == y).sum())
    assert stats.binomtest(kept, n, 1 / (1 + np.exp(-epsilon))).pvalue > 1e-6
