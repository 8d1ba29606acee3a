"""The theory: closed forms, simulation, and the bag size that brute force finds."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import AggregateRegressor, compare_mechanisms, theory

FALSE_ALARM = 1e-6
SETTINGS = list(itertools.product((2, 4, 8), (0.0, 0.1, 0.4, 1.0, 3.0), (0.5, 2.0)))  # k, ρ, s2: thirty
N, D, RUNS = 720, 36, 40


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 50), st.integers(1, 40), st.floats(0.01, 10), st.floats(0, 10), st.floats(1.05, 30))
def test_the_ends_are_the_closed_forms(k, d, t, s2, room):
    n = k * d * room
    assert theory.risk(n, d, k, 0.0, t, s2) == pytest.approx(theory.risk_bag(n, d, k, s2), rel=1e-10, abs=1e-12)
    assert theory.risk(n, d, k, 1.0, t, s2) == pytest.approx(theory.risk_instance(n, d, k, t, s2), rel=1e-10)
    assert theory.shrinkage(n, d, k, 0.0) == pytest.approx(1, rel=1e-10)
    assert theory.shrinkage(n, d, k, 1.0) == pytest.approx(1 / k, rel=1e-10)


def test_the_figures_of_the_card():
    said = {2: (0.200, 0.179, 0.168, 0.217, 0.318), 4: (0.500, 0.340, 0.334, 0.461, 0.602)}
    for k, figures in said.items():
        assert theory.risk(1200, 100, k, [0, 0.05, 0.2, 0.5, 1], 1, 1) == pytest.approx(figures, abs=6e-4)
    ends = [(0.5, 0.97), (1.0, 0.889), (2.0, 0.677)]
    for epsilon, figure in ends:
        found = theory.optimal_bag_size(1200, 100, t=1, s2=1, response_range=6, epsilon=epsilon, max_rho=1.0)
        assert found.risk == pytest.approx(figure, abs=6e-3)
        assert found.rho == 1


def simulated(estimator, k, rho, s2, seed):
    """Risks of RUNS fits; estimators that see the same seed see the same data."""
    rng = np.random.default_rng(seed)
    bag_id = np.repeat(np.arange(N // k), k)
    risks = []
    for _ in range(RUNS):
        X, theta = rng.normal(size=(N, D)), rng.normal(size=D)
        theta /= np.linalg.norm(theta)
        means = (X @ theta + math.sqrt(s2) * rng.normal(size=N)).reshape(-1, k).mean(axis=1)
        fit = estimator(rho, fit_intercept=False).fit(X, means, bag_id=bag_id)
        risks.append(np.sum((fit.coef_ - theta) ** 2))
    return np.array(risks)


def largest_deviation(estimator, settings=SETTINGS):
    """In standard errors."""
    worst = 0.0
    for seed, (k, rho, s2) in enumerate(settings):
        risks = simulated(estimator, k, rho, s2, seed)
        expected = float(theory.risk(N, D, k, rho, 1.0, s2))
        worst = max(worst, abs(risks.mean() - expected) / (risks.std(ddof=1) / math.sqrt(RUNS)))
    return worst


def test_simulation_agrees_with_the_theory_at_thirty_settings(ignores_rho, repeated_means):
    """Student's law, shared among the settings."""
    limit = stats.t.isf(FALSE_ALARM / (2 * len(SETTINGS)), RUNS - 1)
    assert largest_deviation(AggregateRegressor) < limit
    assert largest_deviation(ignores_rho, [(4, 0.1, 0.5)]) > 2 * limit
    assert largest_deviation(repeated_means, [(4, 0.1, 0.5)]) > 2 * limit


def test_ridge_and_debias_agree_with_simulation():
    rng = np.random.default_rng(1)
    n, d, k, rho, ridge, s2 = 600, 40, 3, 0.3, 60.0, 2.0
    plain, debiased = [], []
    for _ in range(60):
        X, theta = rng.normal(size=(n, d)), rng.normal(size=d)
        theta /= np.linalg.norm(theta)
        means = (X @ theta + math.sqrt(s2) * rng.normal(size=n)).reshape(-1, k).mean(axis=1)
        between, y = k * X.reshape(-1, k, d).mean(axis=1), means
        x_bar = X.reshape(-1, k, d).mean(axis=1)
        A = k * x_bar.T @ x_bar
        found = np.linalg.solve(A + rho * (X.T @ X - A) + ridge * np.eye(d), between.T @ y)
        a = float(theory.shrinkage(n, d, k, rho, ridge=ridge))
        plain.append(np.sum((found - theta) ** 2))
        debiased.append(np.sum((found / a - theta) ** 2))
    for risks, expected in (
        (plain, theory.risk(n, d, k, rho, 1, s2, ridge=ridge)),
        (debiased, theory.risk(n, d, k, rho, 1, s2, ridge=ridge, debias=True)),
    ):
        limit = stats.t.isf(FALSE_ALARM / 4, 59)
        assert abs(np.mean(risks) - expected) < limit * np.std(risks, ddof=1) / math.sqrt(60)


def test_an_interior_rho_beats_both_ends():
    n, d, k = 1200, 100, 4
    best = theory.optimal_rho(n, d, k, 1, 1)
    assert 0 < best < 1
    risk = theory.risk(n, d, k, best, 1, 1)
    assert risk < 0.75 * min(theory.risk_bag(n, d, k, 1), theory.risk_instance(n, d, k, 1, 1))
    around = theory.risk(n, d, k, np.linspace(0, 1, 2001), 1, 1)
    assert risk == pytest.approx(around.min(), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 12), st.floats(0.2, 5), st.floats(0.1, 10))
def test_ridge_on_the_bag_loss_is_never_worse_than_any_rho(k, t, s2):
    """For Gaussian features ridge is the Bayes rule of random coefficients: what the interpolation is up against."""
    n, d = 1200, 40
    ridge = float(theory.risk(n, d, k, 0.0, t, s2, ridge=theory.optimal_ridge(d, t, s2)))
    assert ridge <= float(theory.risk(n, d, k, theory.optimal_rho(n, d, k, t, s2), t, s2)) * (1 + 1e-9)


def test_bags_of_one_with_ridge_are_never_worse_than_private_bags():
    for n, d, epsilon in itertools.product((300, 5000), (5, 50), (0.2, 1.0, 5.0)):
        table = compare_mechanisms(n, d, t=1.0, s2=2.0, response_range=8.0, epsilon=epsilon)
        assert table.risk["noisy labels, ridge"] <= table.risk["bags, k and ρ chosen"] * (1 + 1e-9)


def test_sufficient_statistics_win_with_few_features():
    few = compare_mechanisms(5000, 5, t=1.0, s2=1.0, response_range=6.0, epsilon=0.5)
    many = compare_mechanisms(5000, 200, t=1.0, s2=1.0, response_range=6.0, epsilon=0.5)
    assert few.risk.idxmin() == "noisy XᵀY, shrunk"
    assert many.risk.idxmin() == "noisy labels, ridge"
    assert few.risk["the mean"] == 1


@pytest.mark.parametrize("epsilon", [1.0, 3.0])
def test_the_best_bag_size_is_that_of_brute_force(epsilon):
    """All sizes share their data, so that the risks differ by what the sizes do; one step of the grid is allowed."""
    n, d, r, grid = 480, 40, 6.0, [1, 2, 3, 4, 6, 8, 12, 16, 24, 48, 96]
    rng = np.random.default_rng(2)
    risks = np.zeros(len(grid))
    for _ in range(30):
        X, theta = rng.normal(size=(n, d)), rng.normal(size=d)
        theta /= np.linalg.norm(theta)
        y = X @ theta + rng.normal(size=n)
        for i, k in enumerate(grid):
            means = y.reshape(-1, k).mean(axis=1) + rng.laplace(scale=r / (k * epsilon), size=n // k)
            rho = theory.optimal_rho(n, d, k, 1, 1 + theory.label_noise(r, epsilon=epsilon) / k, max_rho=1.0)
            bag_id = np.repeat(np.arange(n // k), k)
            fit = AggregateRegressor(rho, fit_intercept=False).fit(X, means, bag_id=bag_id)
            risks[i] += np.sum((fit.coef_ - theta) ** 2) / 30
    found = theory.optimal_bag_size(n, d, t=1, s2=1, response_range=r, epsilon=epsilon, max_rho=1.0).k
    nearest = int(np.argmin(np.abs(np.log(np.array(grid) / found))))
    assert abs(nearest - int(np.argmin(risks))) <= 1


def test_large_grids_of_bag_sizes_are_searched_to_the_last_one():
    terms = {"t": 1.0, "s2": 1.0, "response_range": 6.0, "epsilon": 0.3, "max_rho": 1.0}
    found = theory.optimal_bag_size(20_000, 150, **terms)
    noise = theory.label_noise(6.0, epsilon=0.3)
    every = [float(theory.risk(20_000, 150, k, [0, 0.5, 1.0], 1, 1 + noise / k).min()) for k in range(1, 400)]
    assert found.risk <= min(every) * (1 + 1e-9)


def test_where_nothing_is_unique_the_risk_is_infinite():
    assert np.isinf(theory.risk(100, 60, 2, 0.0, 1, 1))
    assert np.isinf(theory.risk(100, 100, 2, 1.0, 1, 1))
    assert np.isinf(theory.risk_bag(100, 60, 2, 1))
    assert np.isinf(theory.risk_instance(100, 100, 2, 1, 1))
    assert np.isfinite(theory.risk(100, 200, 2, 1.0, 1, 1, ridge=1.0))


def test_no_budget_is_no_noise_and_no_signal_is_said():
    free = theory.optimal_bag_size(1000, 10, t=1, s2=1, response_range=6)
    assert free.k == 1
    poor = theory.optimal_bag_size(1200, 100, t=1, s2=1, response_range=6, epsilon=0.1)
    assert poor.gain < 0.01
    assert compare_mechanisms(1200, 100, t=1, s2=1, response_range=6, epsilon=0.1).gain.max() < 0.01
    gaussian = theory.optimal_bag_size(1200, 100, t=1, s2=1, response_range=6, rho_zcdp=0.25, max_rho=1.0)
    assert gaussian == theory.optimal_bag_size(1200, 100, t=1, s2=1, response_range=6, epsilon=1.0, max_rho=1.0)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: theory.risk(10, 2, 11, 0, 1, 1), "k at most n"),
        (lambda: theory.risk(10, 2, 2, -1, 1, 1), "at least 0"),
        (lambda: theory.risk(10, 2, 2, np.nan, 1, 1), "at least 0"),
        (lambda: theory.optimal_bag_size(1, 2, t=1, s2=1, response_range=1), "n must be"),
        (lambda: theory.optimal_bag_size(10, 2, t=0, s2=1, response_range=1), "above 0"),
        (lambda: theory.optimal_bag_size(10, 2, t=1, s2=1, response_range=1, epsilon=0), "above 0"),
        (lambda: theory.label_noise(1.0, epsilon=1, rho_zcdp=1), "not both"),
        (lambda: compare_mechanisms(10, 2, t=1, s2=1, response_range=1), "one of them"),
    ],
)
def test_bad_numbers_are_named(call, said):
    with pytest.raises(InvalidData, match=said):
        call()
