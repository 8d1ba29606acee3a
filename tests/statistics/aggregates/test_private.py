"""The private regressors: claims, budgets, bad input before anything is spent, and what they reach."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LinearRegression

from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, PureDP
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.aggregates import NoisySufficientStatistics, PrivateAggregateRegressor, theory

HUGE = 1e9
BOTH = pytest.mark.parametrize("estimator", [PrivateAggregateRegressor, NoisySufficientStatistics])


def people(n=400, d=3, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5
    return X, np.clip(X @ np.arange(1.0, d + 1) - 25 + rng.normal(size=n), -40, 40)


@BOTH
def test_without_noise_it_is_least_squares(estimator):
    X, y = people()
    extra = {"bag_size": 1} if estimator is PrivateAggregateRegressor else {}
    fit = estimator(HUGE, bounds=(-40, 40), granules=2**24, **extra).fit(X, y)
    expected = LinearRegression().fit(X, y)
    # responses are rounded to 2^-24 of the range, features of the sufficient statistics to 2^-12 deviations
    assert fit.coef_ == pytest.approx(expected.coef_, abs=2e-3)
    assert fit.predict(X) == pytest.approx(expected.predict(X), abs=2e-2)


@BOTH
def test_the_claim_and_the_ledger(estimator, tmp_path):
    X, y = people()
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("responses", PureDP(1.5), neighbours="replace-one")
    with ledger.charging("responses"):
        fit = estimator(1.0, bounds=(-40, 40)).fit(X, y)
        assert fit.claim_.bound == PureDP(1.0)
        assert fit.claim_.neighbours == "replace-one"
        with pytest.raises(BudgetExceeded):
            clone(fit).fit(X, y)
    assert estimator(rho_zcdp=0.2, bounds=(-40, 40)).fit(X, y).claim_.bound == ZCDP(0.2)
    assert estimator(bounds=(-40, 40)).fit(X, y).claim_.bound == PureDP(1.0)
    assert not estimator(1.0, bounds=(-40, 40), noise_seed=3).fit(X, y).claim_.formal


X, Y = people(20)
BAD = [
    ({"bounds": None}, X, Y, "bounds"),
    ({"bounds": (3, 1)}, X, Y, "low below high"),
    ({"epsilon": 0.0}, X, Y, "epsilon"),
    ({"epsilon": 1.0, "rho_zcdp": 1.0}, X, Y, "one of them"),
    ({"epsilon": 1e-300}, X, Y, "budget is too small"),
    ({"granules": -1}, X, Y, "granules"),
    ({"noise_seed": 0.5}, X, Y, "noise_seed"),
    ({}, X, np.where(Y > 0, np.nan, Y), "y must be finite"),
    ({}, np.where(X > 5, np.inf, X), Y, "infinity"),
    ({}, X, Y[:-1], "one response a person"),
    ({}, X[:, 0], Y, "2D array"),
    ({}, X, ["7654321x"] * 20, "y must be numbers"),
    ({}, X[:1], Y[:1], "n_samples=1"),
    ({}, X, None, "requires y"),
]


@BOTH
@pytest.mark.parametrize(("change", "X", "y", "said"), BAD)
def test_bad_input_costs_nothing_and_betrays_no_value(estimator, change, X, y, said, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("responses", PureDP(1.0), neighbours="replace-one")
    with ledger.charging("responses"), pytest.raises((InvalidData, InvalidClaim), match=said) as caught:
        estimator(**{"bounds": (-40, 40), **change}).fit(X, y)
    assert "7654321x" not in str(caught.value)
    with ledger.charging("responses"):
        estimator(1.0, bounds=(-40, 40)).fit(*people(20))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bag_size": 0}, "bag_size"),
        ({"bag_size": 21}, "bag_size"),
        ({"bag_size": 2.5}, "bag_size"),
        ({"rho": -1}, "rho must be"),
        ({"ridge": "auto", "rho": 1.0}, "bag loss"),
        ({"prior_t": 0.0}, "prior_t"),
        ({"prior_s2": np.inf}, "prior_s2"),
    ],
)
def test_bad_choices_cost_nothing(change, said, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("responses", PureDP(1.0), neighbours="replace-one")
    with ledger.charging("responses"), pytest.raises(InvalidData, match=said):
        PrivateAggregateRegressor(bounds=(-40, 40), **change).fit(X, Y)
    if "prior_t" in change:
        with ledger.charging("responses"), pytest.raises(InvalidData, match=said):
            NoisySufficientStatistics(bounds=(-40, 40), **change).fit(X, Y)
    assert ledger.history("responses") == []


def test_constant_features_leave_the_sufficient_statistics_nothing():
    with pytest.raises(InvalidData, match="every feature is constant"):
        NoisySufficientStatistics(bounds=(0, 1)).fit(np.ones((10, 2)), np.zeros(10))
    with pytest.raises(InvalidData, match="overflow"):
        heavy = np.zeros((2**21, 1))
        heavy[0] = 1.0
        NoisySufficientStatistics(bounds=(0, 1), granules=2**24).fit(heavy, np.zeros(2**21))


def test_dependent_features_are_allowed():
    X, y = people()
    fit = NoisySufficientStatistics(HUGE, bounds=(-40, 40)).fit(np.column_stack((X, X[:, 0])), y)
    assert fit.score(np.column_stack((X, X[:, 0])), y) > 0.9


def test_the_bag_size_and_rho_follow_public_numbers():
    X, y = people(600, 20)
    fits = [
        PrivateAggregateRegressor(1.0, bounds=(-40, 40), prior_t=50.0, prior_s2=1.0, random_state=1).fit(X, labels)
        for labels in (y, -y)
    ]
    assert fits[0].bag_size_ == fits[1].bag_size_
    assert fits[0].rho_ == fits[1].rho_
    assert (fits[0].bag_id_ == fits[1].bag_id_).all()
    assert fits[0].comparison_.equals(fits[1].comparison_)
    best = theory.optimal_bag_size(600, 20, t=50.0, s2=1.0, response_range=80.0, epsilon=1.0)
    assert (fits[0].bag_size_, fits[0].rho_) == (best.k, best.rho)


def test_a_hopeless_budget_is_named_whatever_the_responses():
    X, y = people(100, 20)
    for labels in (y, np.zeros(100)):
        with pytest.warns(UserWarning, match="no signal at this budget"):
            PrivateAggregateRegressor(0.01, bounds=(-40, 40), random_state=0).fit(X, labels)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        PrivateAggregateRegressor(50.0, bounds=(-40, 40), random_state=0).fit(X, y)


def reached(estimator, n, d, runs=15, s2=1.0):
    """Mean excess risk where responses have signal 1, noise s2 and bounds of 6 about the mean."""
    risks = []
    for seed in range(runs):
        rng = np.random.default_rng(seed)
        X, theta = rng.normal(size=(n, d)), rng.normal(size=d)
        theta /= np.linalg.norm(theta)
        fit = estimator.set_params(noise_seed=seed).fit(X, X @ theta + np.sqrt(s2) * rng.normal(size=n))
        risks.append(np.sum((fit.coef_ - theta) ** 2))
    return np.mean(risks), 6 * np.std(risks) / np.sqrt(runs)


def test_it_reaches_about_the_risk_of_the_theory():
    """Six standard errors, and five parts in a hundred for the clipping of tails."""
    mean, error = reached(PrivateAggregateRegressor(2.0, bounds=(-6, 6), prior_t=1, prior_s2=1, bag_size=3), 1500, 30)
    noise = theory.label_noise(12.0, epsilon=2.0)
    rho = theory.optimal_rho(1500, 30, 3, 1, 1 + noise / 3)
    assert abs(mean - float(theory.risk(1500, 30, 3, rho, 1, 1 + noise / 3))) < error + 0.05
    ridge, error = reached(PrivateAggregateRegressor(2.0, bounds=(-6, 6), bag_size=1, ridge="auto"), 1500, 30)
    best = theory.optimal_ridge(30, 1, 1 + noise)
    assert abs(ridge - float(theory.risk(1500, 30, 1, 0, 1, 1 + noise, ridge=best))) < error + 0.1


def test_the_sufficient_statistics_reach_their_risk():
    n, d = 4000, 4
    mean, error = reached(NoisySufficientStatistics(1.0, bounds=(-6, 6), shrink=False), n, d)
    # the largest L1 norm of whitened features, a one before them, over these seeds
    norms = [np.abs(np.random.default_rng(s).normal(size=(n, d))).sum(axis=1).max() + 1 for s in range(15)]
    expected = d * theory.label_noise(12 * float(np.mean(norms)), epsilon=1.0) / n**2 + theory.risk_bag(n, d, 1, 1.0)
    assert abs(mean - expected) < error + 0.1 * expected


def test_shrinking_the_sufficient_statistics_helps_where_noise_is_large():
    plain, _ = reached(NoisySufficientStatistics(0.5, bounds=(-6, 6), shrink=False), 600, 30)
    shrunk, _ = reached(NoisySufficientStatistics(0.5, bounds=(-6, 6), prior_t=1.0), 600, 30)
    assert plain > 10
    assert shrunk < 1.1  # about what predicting the mean has, not worse by chance
