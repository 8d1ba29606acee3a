"""The linear fit: the identity of the losses, the closed form, bags of any size, and the fakes that must fail."""

import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import (
    AggregateClassifier,
    AggregateRegressor,
    NoisySufficientStatistics,
    PrivateAggregateRegressor,
    aggregate,
    bag_loss,
    instance_loss,
    make_bags,
    within_bag_variance,
)
from sfumato.statistics.aggregates.bags import read_bags

# The private estimators need public bounds, and a budget at which their predictions follow the data.
WIDE = {"epsilon": 1e6, "bounds": (-500.0, 500.0), "noise_seed": 0}


@parametrize_with_checks(
    [
        AggregateRegressor(),
        AggregateRegressor(rho=0.3, ridge=1.0),
        AggregateClassifier(),
        PrivateAggregateRegressor(bag_size=1, random_state=0, **WIDE),
        NoisySufficientStatistics(**WIDE),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on purpose: rho has no effect, no signal, least norm
        check(estimator)


def bagged(rng, n=120, d=5, k=4, noise=0.5, scale=1.0):
    X = rng.normal(size=(n, d)) * scale + rng.normal(size=d)
    theta = rng.normal(size=d)
    y = X @ theta + 2 + noise * rng.normal(size=n)
    bag_id = make_bags(n, k, remainder="larger", random_state=rng)
    return X, y, bag_id, theta


@settings(max_examples=100, deadline=None)
@given(arrays(float, 12, elements=st.floats(-100, 100)), arrays(float, 12, elements=st.floats(-100, 100)), st.data())
def test_the_instance_loss_is_the_bag_loss_plus_the_variance_within_bags(y, predictions, data):
    k = data.draw(st.integers(1, 12))
    bag_id = make_bags(12, k, remainder="larger", random_state=data.draw(st.integers(0, 9)))
    means = read_bags(bag_id).means(y)
    parts = bag_loss(predictions, bag_id, means) + within_bag_variance(predictions, bag_id)
    assert instance_loss(predictions, bag_id, means) == pytest.approx(parts, rel=1e-12, abs=1e-12)


def test_the_identity_holds_for_random_networks():
    rng = np.random.default_rng(0)
    X, y, bag_id, _ = bagged(rng)
    means = read_bags(bag_id).means(y)
    for _ in range(20):
        f = np.tanh(X @ rng.normal(size=(5, 16))) @ rng.normal(size=16)
        gap = instance_loss(f, bag_id, means) - bag_loss(f, bag_id, means) - within_bag_variance(f, bag_id)
        assert abs(gap) < 1e-12


def descended(X, bag_id, means, rho, ridge):
    """Minimise the interpolated loss itself, by gradients of its definition."""
    bags = read_bags(bag_id)
    covariance = np.cov(X, rowvar=False, bias=True) * len(X)
    centre = X.mean(axis=0)  # for the optimiser's sake

    def loss(parameters):
        f = (X - centre) @ parameters[1:] + parameters[0]
        f_bar = bags.means(f)
        theta = parameters[1:]
        value = (bags.sizes @ (means - f_bar) ** 2 + rho * np.sum((f - f_bar[bags.of]) ** 2)) / len(X)
        value += ridge / len(X) ** 2 * theta @ covariance @ theta
        slope = 2 * ((f_bar - means)[bags.of] + rho * (f - f_bar[bags.of])) / len(X)
        gradient = np.concatenate(
            ([slope.sum()], (X - centre).T @ slope + 2 * ridge / len(X) ** 2 * covariance @ theta)
        )
        return value, gradient

    found = optimize.minimize(loss, np.zeros(X.shape[1] + 1), jac=True, method="BFGS", options={"gtol": 1e-12})
    return found.x[1:], found.x[0] - centre @ found.x[1:]


def gap_to_descent(estimator, rho, ridge=0.0):
    """Largest difference between a fit and the minimiser of the loss that it is said to minimise."""
    X, y, bag_id, _ = bagged(np.random.default_rng(3))
    means = read_bags(bag_id).means(y)
    fit = estimator.fit(X, means, bag_id=bag_id)
    coef, intercept = descended(X, bag_id, means, rho, ridge)
    return max(np.abs(fit.coef_ - coef).max(), abs(fit.intercept_ - intercept))


@pytest.mark.parametrize("rho", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("ridge", [0.0, 7.0])
def test_the_closed_form_is_what_gradient_descent_finds(rho, ridge):
    assert gap_to_descent(AggregateRegressor(rho, ridge=ridge), rho, ridge) < 1e-8


def test_fakes_do_not_minimise_the_loss(ignores_rho, repeated_means):
    for fake in (ignores_rho, repeated_means):
        assert max(gap_to_descent(fake(rho), rho) for rho in (0.0, 0.2, 1.0)) > 1e-3
    assert gap_to_descent(repeated_means(1.0), 1.0) < 1e-8  # that is what the instance loss is


def test_bags_of_one_are_ordinary_least_squares():
    X, y, _, _ = bagged(np.random.default_rng(1))
    fit, ordinary = AggregateRegressor().fit(X, y), LinearRegression().fit(X, y)
    assert fit.coef_ == pytest.approx(ordinary.coef_, rel=1e-10)
    assert fit.intercept_ == pytest.approx(ordinary.intercept_, rel=1e-10)
    assert fit.rho_ == 0
    with pytest.warns(UserWarning, match="rho has no effect"):
        AggregateRegressor(rho=0.5).fit(X, y)


def test_ridge_is_that_of_whitened_features():
    X, y, _, _ = bagged(np.random.default_rng(1), n=200)
    centred = X - X.mean(axis=0)
    root = np.linalg.cholesky(centred.T @ centred / 200)
    white = centred @ np.linalg.inv(root).T
    expected = np.linalg.solve(root.T, Ridge(alpha=30.0).fit(white, y).coef_)
    assert AggregateRegressor(ridge=30.0).fit(X, y).coef_ == pytest.approx(expected, rel=1e-9)


def test_it_does_not_depend_on_the_order_of_rows_or_on_the_scale_of_features():
    rng = np.random.default_rng(2)
    X, y, bag_id, _ = bagged(rng)
    responses = aggregate(y, bag_id)
    fit = AggregateRegressor().fit(X, responses, bag_id=bag_id)
    order = rng.permutation(len(X))
    shuffled = AggregateRegressor().fit(X[order], responses, bag_id=bag_id[order])
    assert shuffled.coef_ == pytest.approx(fit.coef_, rel=1e-8)
    scaled = AggregateRegressor().fit(X * [1, 10, 100, 1e3, 1e-3], responses, bag_id=bag_id)
    assert scaled.coef_ * [1, 10, 100, 1e3, 1e-3] == pytest.approx(fit.coef_, rel=1e-5)
    assert scaled.predict(X * [1, 10, 100, 1e3, 1e-3]) == pytest.approx(fit.predict(X), rel=1e-5)


def test_unequal_bags_are_unbiased_at_rho_0():
    """Each coefficient's mean error lies within 6 standard errors: a false alarm below 1e-7 in all."""
    rng = np.random.default_rng(4)
    bag_id = np.repeat(np.arange(60), rng.integers(1, 9, 60))
    errors = []
    for _ in range(400):
        X = rng.normal(size=(len(bag_id), 3)) + 1
        theta = np.array([1.0, -1.0, 2.0])
        y = X @ theta + 1 + rng.normal(size=len(X))
        fit = AggregateRegressor(rho=0).fit(X, aggregate(y, bag_id), bag_id=bag_id)
        errors.append(np.append(fit.coef_ - theta, fit.intercept_ - 1))
    z = np.mean(errors, axis=0) / (np.std(errors, axis=0) / np.sqrt(400))
    assert (np.abs(z) < 6).all()


def test_noisy_means_of_unequal_bags_weigh_by_their_variance():
    """Bags of one among bags of twenty: with the noise of ε = 1 it pays to know which is which."""
    rng = np.random.default_rng(5)
    bag_id = np.repeat(np.arange(90), [1] * 45 + [20] * 45)
    ours, naive = [], []
    for i in range(40):
        X = rng.normal(size=(len(bag_id), 3))
        y = np.clip(X @ [1.0, -1.0, 0.5] + rng.normal(size=len(X)), -5, 5)
        noisy = aggregate(y, bag_id, epsilon=1.0, bounds=(-5, 5), noise_seed=i)
        for errors, responses in ((ours, noisy), (naive, noisy.means)):
            fit = AggregateRegressor(rho=0).fit(X, responses, bag_id=bag_id)
            errors.append(np.sum((fit.coef_ - [1.0, -1.0, 0.5]) ** 2))
    assert np.mean(ours) < 0.8 * np.mean(naive)


def test_people_in_no_bag_do_not_count():
    X, y, bag_id, _ = bagged(np.random.default_rng(6))
    outside = np.append(bag_id, [-1, -1])
    X_more, y_more = np.vstack((X, [[1e6] * 5, [-1e6] * 5])), np.append(y, [0.0, 0.0])
    fit = AggregateRegressor().fit(X_more, aggregate(y_more, outside), bag_id=outside)
    assert fit.coef_ == pytest.approx(AggregateRegressor().fit(X, aggregate(y, bag_id), bag_id=bag_id).coef_)


def test_fewer_bags_than_features_give_the_least_norm_and_a_warning():
    X, y, bag_id, _ = bagged(np.random.default_rng(7), n=24, d=10, k=4)
    with pytest.warns(UserWarning, match="not unique"):
        fit = AggregateRegressor(rho=0, fit_intercept=False).fit(X, aggregate(y, bag_id), bag_id=bag_id)
    bags = read_bags(bag_id)
    scale = np.sqrt((X**2).mean(axis=0))
    assert fit.coef_ * scale == pytest.approx(np.linalg.lstsq(bags.means(X) / scale, bags.means(y))[0], rel=1e-6)
    assert fit.rank_ == 6
    assert np.isinf(fit.expected_risk_)


def test_debias_divides_by_the_shrinkage():
    X, y, bag_id, _ = bagged(np.random.default_rng(8))
    responses = aggregate(y, bag_id)
    plain = AggregateRegressor(rho=0.5).fit(X, responses, bag_id=bag_id)
    debiased = AggregateRegressor(rho=0.5, debias=True).fit(X, responses, bag_id=bag_id)
    assert 0 < plain.shrinkage_ < 1
    assert debiased.coef_ == pytest.approx(plain.coef_ / plain.shrinkage_)


@pytest.mark.parametrize("k", [1, 3, 10])
def test_signal_and_noise_are_estimated_from_bag_means(k):
    rng = np.random.default_rng(9)
    found = []
    for _ in range(20):
        X = rng.normal(size=(3000, 20))
        theta = rng.normal(size=20)
        y = X @ (theta / np.linalg.norm(theta)) * 2 + rng.normal(size=3000) * 1.5
        bag_id = make_bags(3000, k, random_state=rng)
        signal = AggregateRegressor().fit(X, aggregate(y, bag_id), bag_id=bag_id).signal_
        found.append((signal.t, signal.s2))
    t, s2 = np.mean(found, axis=0)
    assert t == pytest.approx(4, rel=0.15)
    assert s2 == pytest.approx(2.25, rel=0.1)


def test_a_fit_can_be_copied_stored_and_searched():
    X, y, bag_id, _ = bagged(np.random.default_rng(10))
    fit = clone(AggregateRegressor(rho=0.2, ridge=1.0)).fit(X, aggregate(y, bag_id), bag_id=bag_id)
    assert (pickle.loads(pickle.dumps(fit)).predict(X) == fit.predict(X)).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rho": -0.1}, "rho must be"),
        ({"rho": np.inf}, "rho must be"),
        ({"rho": "best"}, "rho must be"),
        ({"rho": True}, "rho must be"),
        ({"ridge": -1}, "ridge must be"),
        ({"ridge": "auto", "rho": 0.5}, "bag loss"),
    ],
)
def test_bad_parameters_are_named(change, said):
    X, y, bag_id, _ = bagged(np.random.default_rng(0))
    with pytest.raises(InvalidData, match=said):
        AggregateRegressor(**change).fit(X, aggregate(y, bag_id), bag_id=bag_id)


def test_bad_data_are_named():
    X, y, bag_id, _ = bagged(np.random.default_rng(0))
    responses = aggregate(y, bag_id)
    fit = AggregateRegressor().fit
    with pytest.raises(InvalidData, match="NaN"):
        fit(np.where(X > 2, np.nan, X), responses, bag_id=bag_id)
    with pytest.raises(InvalidData, match="one entry a bag"):
        fit(X, y, bag_id=bag_id)
    with pytest.raises(InvalidData, match="over other bags"):
        fit(X, responses, bag_id=make_bags(120, 3))
    with pytest.raises(InvalidData, match="over other bags"):
        fit(X, responses)
    with pytest.raises(InvalidData, match="as many as there are rows"):
        fit(X[:-1], responses, bag_id=bag_id)
