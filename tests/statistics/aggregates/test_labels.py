"""Labels told in bags of several classes, and told by each person at random: sensitivity, bias, refusals, twins."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.aggregates import aggregate_labels, make_bags, randomize_labels
from sfumato.statistics.aggregates.proportions import on_simplex

HUGE = 1e9  # noise of scale 2 / 10^9: a count is off with probability below 1e-3000
Y = np.array(["a", "b", "c", "a", "b", "a"])
BAGS = np.array([0, 0, 0, 1, 1, 1])
ABC = ["c", "b", "a"]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_replacing_one_label_moves_two_counts_of_one_bag_by_one(data):
    n, count = data.draw(st.integers(2, 20)), data.draw(st.integers(2, 5))
    label = st.integers(0, count - 1)
    y = np.array(data.draw(st.lists(label, min_size=n, max_size=n)))
    other, who = y.copy(), data.draw(st.integers(0, n - 1))
    other[who] = data.draw(label)
    bag_id = make_bags(n, data.draw(st.integers(1, n)), remainder="larger", random_state=data.draw(st.integers(0, 9)))
    told = [aggregate_labels(each, bag_id, classes=range(count), epsilon=HUGE) for each in (y, other)]
    moved = np.abs(told[0].proportions - told[1].proportions) * told[0].sizes[:, np.newaxis]
    assert moved[np.arange(len(moved)) != bag_id[who]].sum() == 0
    assert moved.sum() == pytest.approx(2 * (y[who] != other[who]))


def test_exact_proportions_promise_nothing_and_say_so():
    told = aggregate_labels(Y, BAGS)
    assert told.classes.tolist() == ["a", "b", "c"]
    assert told.proportions == pytest.approx(np.array([[1, 1, 1], [2, 1, 0]]) / 3)
    assert isinstance(told.claim.bound, Heuristic)
    assert len(told) == 2


@pytest.mark.parametrize("budget", [{"epsilon": 0.8}, {"rho_zcdp": 0.3}])
def test_noise_of_proportions_has_the_stated_variance_and_no_bias(budget):
    m, k = 10_000, 4
    y, bag_id = np.zeros(m * k, int), np.repeat(np.arange(m), k)
    told = aggregate_labels(y, bag_id, classes=range(3), **budget)
    noise = (told.proportions - [1, 0, 0]).ravel()
    continuous = 2 * (2 / 0.8) ** 2 / k**2 if "epsilon" in budget else 2 / (2 * 0.3) / k**2
    assert told.noise_variance[0] == pytest.approx(continuous, rel=0.1)
    # kurtosis at most 6, six standard errors: a false alarm below 1e-8
    assert abs(noise.mean()) < 6 * np.sqrt(told.noise_variance[0] / (3 * m))
    assert abs(noise.var() / told.noise_variance[0] - 1) < 6 * np.sqrt(5 / (3 * m))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6), st.integers(0, 99))
def test_nearest_proportions_are_proportions_and_nearest(row, seed):
    row = np.array(row)
    found = on_simplex(row[np.newaxis])[0]
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    others = np.random.default_rng(seed).dirichlet(np.ones(len(row)), 50)
    assert (np.linalg.norm(found - row) <= np.linalg.norm(others - row, axis=1) + 1e-9).all()


@pytest.mark.parametrize("count", [2, 5])
def test_corrected_labels_are_right_on_average_and_each_report_has_its_probability(count):
    n, epsilon = 60_000, 1.0
    told = randomize_labels(np.full(n, 1), classes=range(count), epsilon=epsilon)
    assert told.corrected.sum(axis=1) == pytest.approx(np.ones(n))
    p = np.exp(epsilon) / (np.exp(epsilon) + count - 1)
    spread = told.corrected.std(axis=0)
    # bounded and of 60,000: six standard errors, a false alarm below 1e-8
    assert (np.abs(told.corrected.mean(axis=0) - np.eye(count)[1]) < 6 * spread / np.sqrt(n)).all()
    assert abs(np.mean(told.reported == 1) - p) < 6 * np.sqrt(p * (1 - p) / n)
    loss = np.random.default_rng(0).normal(size=count)  # of any prediction, class by class
    assert (told.corrected @ loss).mean() == pytest.approx(loss[1], abs=6 * (told.corrected @ loss).std() / np.sqrt(n))


def test_the_claims_are_about_labels():
    claim = randomize_labels(Y, classes=ABC, epsilon=0.5).claim
    assert (claim.bound, claim.trust, claim.neighbours, claim.unit) == (PureDP(0.5), "local", "replace-one", "person")
    claim = aggregate_labels(Y, BAGS, classes=ABC, rho_zcdp=0.5).claim
    assert (claim.bound, claim.trust, claim.neighbours) == (ZCDP(0.5), "central", "replace-one")
    assert not randomize_labels(Y, classes=ABC, epsilon=0.5, noise_seed=1).claim.formal


def in_bags(y, **change):
    return aggregate_labels(y, BAGS, **{"classes": ABC, "epsilon": 1.0, **change})


def at_home(y, **change):
    return randomize_labels(y, **{"classes": ABC, "epsilon": 1.0, **change})


BAD = [
    (Y, {"epsilon": 0}, "epsilon"),
    (Y, {"epsilon": np.nan}, "epsilon"),
    (Y, {"classes": None}, "classes must be given"),
    (Y, {"classes": ["a"]}, "two labels"),
    (Y, {"classes": ["a", "a", "b"]}, "differ"),
    (Y, {"classes": ["b", "c"]}, "among the classes"),
    (Y, {"classes": [1, 2]}, "type"),
    (np.array([1.0, np.nan, 2, 1, 1, 1]), {"classes": [1, 2]}, "finite"),
    (np.array([]), {}, "nonempty"),
    (Y, {"noise_seed": "x"}, "noise_seed"),
]


@pytest.mark.parametrize(("y", "change", "said"), BAD)
@pytest.mark.parametrize("release", [in_bags, at_home])
def test_bad_input_costs_nothing_and_betrays_no_label(release, y, change, said, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("labels", PureDP(1.0), neighbours="replace-one")
    with ledger.charging("labels"), pytest.raises((InvalidData, InvalidClaim), match=said):
        release(y, **change)
    with ledger.charging("labels"):  # all of it is still there
        release(Y)
        with pytest.raises(BudgetExceeded):
            release(Y)


def test_bags_are_checked():
    with pytest.raises(InvalidData, match="two bags"):
        in_bags(Y, person=[1, 2, 3, 4, 5, 1])
    with pytest.raises(InvalidClaim, match="at most 30"):
        at_home(Y, epsilon=31)


def test_the_auditor_refutes_reports_without_classes_that_nobody_has():
    """A twin that randomizes among the classes it sees; false alarm of the sound one 1e-6."""
    claim = Claim(PureDP(1.0), neighbours="replace-one")
    pair = (np.array([0, 0]), np.array([0, 1]))

    def reports(y, n, rng, seen):
        classes = np.append(np.unique(y), 9) if seen else [0, 1, 9]
        return randomize_labels(np.tile(y, n), classes=classes, epsilon=1.0).reported.reshape(n, 2)

    auditor = Auditor(n_train=2000, n_select=4000, n_test=20_000, alpha=1e-6, random_state=1, progress=False)
    sound = auditor.audit(lambda y, n, rng: reports(y, n, rng, False), claim, pairs=[pair])
    twin = auditor.audit(lambda y, n, rng: reports(y, n, rng, True), claim, pairs=[pair])
    assert (sound.verdict, twin.verdict) == ("no violation found", "violation")
