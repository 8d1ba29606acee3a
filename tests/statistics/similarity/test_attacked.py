"""Attacks on released similarities: averaging, membership by query answers, and twins that must be caught."""

import numpy as np
import pytest
from entries_similarity import copies

from sfumato import ApproxDP, Claim, PureDP, Release
from sfumato.attacks.averaging import averaging_attack
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, features
from sfumato.statistics.similarity.spending import Part, Plan, Terms

CROWD = np.random.default_rng(0).normal(size=(30, 1))
PAIR = (CROWD, np.vstack([CROWD, [[0.3]]]))
PURE = {"bandwidth": 1.0, "epsilon": 1.0, "n_features": 16}


def publish_once(data):
    fitted = PrivateKDE(**PURE).fit(data)
    return lambda: float(fitted.density_sum([[0.3]])[0])


def publish_anew(data):
    total = int(np.exp(-((data - 0.3) ** 2) / 2).sum() * 1000)

    def ask():
        with Release(Claim(PureDP(1.0)), purpose="one answer") as release:
            return float(release.discrete_laplace([total], l1_sensitivity=1000, epsilon=1.0)[0])

    return ask


def test_averaging_gains_nothing_against_one_release():
    """Falsified by chance with probability 1e-6."""
    evidence = averaging_attack(
        publish_once, PAIR, Claim(PureDP(1.0)), repeats=20, games=200, alpha=1e-6, random_state=0
    )
    assert evidence.verdict == "consistent"


def test_averaging_breaks_a_service_that_draws_anew():
    evidence = averaging_attack(
        publish_anew, PAIR, Claim(PureDP(1.0)), repeats=60, games=60, alpha=1e-3, random_state=0
    )
    assert evidence.verdict == "falsified"


def auditor(**change):
    sizes = {"n_train": 2000, "n_select": 2000, "n_test": 20_000, "random_state": 0, "progress": False}
    return Auditor(**{**sizes, "scores": ("threshold", "linear"), **change})


def released(run):
    return lambda data, n, rng: copies(run, data, n)


def test_levels_all_at_the_full_budget_are_caught_by_the_audit(monkeypatch):
    """Declared ε = 1, spent L·ε: a release refuses it, so its books are closed first."""
    real = Terms.plan

    def greedy(self, parts, shares=None):
        plan = real(self, parts, shares)
        return Plan(plan.noise, plan.parts, tuple(self.bound.epsilon for _ in plan.parts))

    def run(data):
        return PrivateDistanceSum("l1", 1.0, low=0, high=1, levels=3).fit(data)

    pair = [(np.array([[0.0]]), np.empty((0, 1)))]
    sound = auditor(alpha=1e-6).audit(released(run), Claim(PureDP(1.0)), pairs=pair)
    assert sound.verdict == "no violation found"
    monkeypatch.setattr(Terms, "plan", greedy)
    monkeypatch.setattr(Release, "charge", lambda self, event: None)
    assert auditor().audit(released(run), Claim(PureDP(1.0)), pairs=pair).verdict == "violation"


def test_an_l2_sensitivity_with_laplace_noise_is_caught_by_the_audit(monkeypatch):
    """√D where it must be √2·D: with D = 64 the noise is 11 times too small, and at ε = 4 the audit can see it."""
    real = features.part

    def confused(count, replaced):
        honest = real(count, replaced)
        return Part(int(honest.l2), honest.l2, honest.weight)

    def run(data):
        return PrivateKDE(epsilon=4.0, n_features=64, random_state=0).fit(data)

    pair = [(PAIR[1], PAIR[0])]
    sound = auditor(alpha=1e-6).audit(released(run), Claim(PureDP(4.0)), pairs=pair)
    assert sound.verdict == "no violation found"
    monkeypatch.setattr(features, "part", confused)
    assert auditor().audit(released(run), Claim(PureDP(4.0)), pairs=pair).verdict == "violation"


@pytest.mark.parametrize("bound", [{"epsilon": 1.0}, {"epsilon": 1.0, "delta": 1e-5}])
def test_a_membership_test_on_answers_finds_no_more_than_is_claimed(bound):
    """False alarm 1e-6. The answers are those of a query at the person and at two other places."""
    points = np.array([[0.3], [0.0], [2.0]])
    claim = Claim(ApproxDP(1.0, 1e-5) if "delta" in bound else PureDP(1.0))

    def outputs(data, n, rng):
        fits = (PrivateKDE(bandwidth=1.0, n_features=16, random_state=0, **bound).fit(data) for _ in range(n))
        return np.array([fitted.density_sum(points) for fitted in fits])

    report = auditor(n_train=100, n_select=200, n_test=500, alpha=1e-6).audit(outputs, claim, pairs=[PAIR])
    assert report.verdict == "no violation found"
