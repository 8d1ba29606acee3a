"""Distance sums: exact without noise, an error that does not know n, a bound that holds."""

import numpy as np
import pytest

from sfumato.statistics.similarity import PrivateDistanceSum

RUNS = range(30)


def brute(metric, X, Y):
    apart = X[np.newaxis] - Y[:, np.newaxis]
    if metric == "l1":
        return np.abs(apart).sum((1, 2))
    square = (apart**2).sum(-1)
    return (square if metric == "sqeuclidean" else np.sqrt(square)).sum(1)


def rmse(n, **parameters):
    """Of 300 queries on [0, 1], as in the card: beta(2, 5) people, mean over fixed seeds."""
    rng = np.random.default_rng(1)
    X, Y = rng.beta(2, 5, (n, 1)), rng.random((300, 1))
    truth = np.sort(X[:, 0])
    place = np.searchsorted(truth, Y[:, 0])
    total = np.concatenate([[0], np.cumsum(truth)])
    truth = Y[:, 0] * (2 * place - n) + total[-1] - 2 * total[place]
    wrong = [PrivateDistanceSum("l1", low=0, high=1, noise_seed=s, **parameters).fit(X).sum(Y) - truth for s in RUNS]
    return float(np.sqrt(np.mean(np.square(wrong))))


def test_without_noise_l1_is_exact_apart_from_the_leaf():
    rng = np.random.default_rng(0)
    X, Y = rng.random((500, 2)), rng.uniform(-1, 2, (100, 2))
    fitted = PrivateDistanceSum("l1", 1e12, low=0, high=1, levels=14, noise_seed=0).fit(X)
    gap = np.abs(fitted.sum(Y) - brute("l1", X, Y))
    own = (np.floor(X * 2**14)[np.newaxis] == np.floor(np.clip(Y, 0, 1 - 1e-12) * 2**14)[:, np.newaxis]).sum((1, 2))
    assert (gap <= own / 2**14 + 1e-9 * 500 * 2 + 1e-6).all()
    assert (gap[own == 0] < 2e-6).any()


def test_each_column_has_its_own_box():
    X, Y = np.array([[10.0, 0.1], [90.0, 0.9]]), np.array([[30.0, 0.3], [200.0, -1.0]])
    fitted = PrivateDistanceSum("l1", 1e12, low=[0, 0], high=[120, 1], noise_seed=0).fit(X)
    assert fitted.sum(Y) == pytest.approx(brute("l1", X, Y), abs=1e-3)
    assert fitted.mean(Y) == pytest.approx(brute("l1", X, Y) / 2, abs=1e-3)


def test_without_noise_squares_are_exact_and_l2_within_its_distortion():
    rng = np.random.default_rng(0)
    X, Y = rng.uniform(-0.5, 0.5, (400, 3)), rng.uniform(-2, 2, (50, 3))
    squares = PrivateDistanceSum("sqeuclidean", 1e12, norm_bound=1.0, noise_seed=0).fit(X)
    assert squares.sum(Y) == pytest.approx(brute("sqeuclidean", X, Y), rel=1e-5)
    euclid = PrivateDistanceSum("l2", 1e12, norm_bound=1.0, directions=300, random_state=0, noise_seed=0).fit(X)
    assert euclid.sum(Y) == pytest.approx(brute("l2", X, Y), rel=0.1)
    one = PrivateDistanceSum("l2", 1e12, norm_bound=1.0, noise_seed=0).fit(X[:, :1])
    assert one.sum(Y[:, :1]) == pytest.approx(brute("l1", X[:, :1], Y[:, :1]), rel=1e-3)


def test_the_error_is_what_the_shares_promise_and_less_than_half_of_equal_shares():
    """√(16/3 · (Σ 2^(-2l/3))³)/ε = 5.1 R/ε; the card's split between counts and sums has 8.8."""
    ours = rmse(1000, epsilon=1.0)
    assert ours < 1.3 * 5.1
    assert rmse(1000, epsilon=1.0, shares="equal") > 2 * ours


def test_the_error_grows_with_one_over_epsilon_and_not_with_n():
    few, many = rmse(1000, epsilon=1.0), rmse(100_000, epsilon=1.0)
    assert many == pytest.approx(few, rel=0.2)
    slope = np.polyfit(np.log([0.1, 1, 10]), np.log([rmse(1000, epsilon=e) for e in (0.1, 1, 10)]), 1)[0]
    assert slope == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize(
    "parameters",
    [
        {"metric": "l1", "epsilon": 1.0, "low": -1, "high": 1},
        {"metric": "l1", "rho": 0.1, "low": -1, "high": 1, "neighbours": "replace-one"},
        {"metric": "l2", "rho": 0.5, "norm_bound": 1.0, "levels": 9},
        {"metric": "sqeuclidean", "epsilon": 1.0, "norm_bound": 1.0},
        {"metric": "sqeuclidean", "rho": 0.1, "norm_bound": 1.0, "neighbours": "replace-one"},
    ],
)
def test_the_error_bound_holds(parameters):
    """It promises 95 % a point; the seeds are fixed."""
    rng = np.random.default_rng(0)
    X, Y = rng.uniform(-0.5, 0.5, (150, 2)), rng.uniform(-1.5, 1.5, (40, 2))
    truth = brute(parameters["metric"], X, Y)
    held = []
    for seed in range(50):
        fitted = PrivateDistanceSum(**parameters, random_state=seed, noise_seed=seed).fit(X)
        held.append(np.abs(fitted.sum(Y) - truth) <= fitted.error_bound(Y))
    assert np.mean(held, axis=0).min() >= 0.95


def test_a_question_asked_again_has_the_same_answer():
    rng = np.random.default_rng(0)
    X, Y = rng.random((100, 3)), rng.random((7, 3))
    for metric in ("l1", "l2", "sqeuclidean"):
        fitted = PrivateDistanceSum(metric, 1.0, low=0, high=1, norm_bound=2.0, levels=6).fit(X)
        again = np.array([fitted.sum(Y) for _ in range(100)])
        assert (again == again[0]).all()
        assert (fitted.sum(Y[3:4]) == again[0, 3]).all()
        assert (fitted.sum(np.tile(Y, (50, 1)))[-7:] == again[0]).all()


def test_nobody_and_points_outside_are_served():
    empty = PrivateDistanceSum("l1", 1.0, low=0, high=1, noise_seed=0).fit(np.empty((0, 1)))
    assert np.isfinite(empty.sum([[0.5], [-3.0], [1e6]])).all()
    far = PrivateDistanceSum("sqeuclidean", 1e12, norm_bound=1.0, noise_seed=0).fit([[30.0, 40.0]])
    assert far.sum([[0.0, 0.0]]) == pytest.approx([1.0], abs=1e-4)  # clipped to the ball


def test_the_number_of_people_is_noisy_unless_it_is_public():
    X = np.full((50, 1), 0.5)
    fits = [PrivateDistanceSum("l1", 1.0, low=0, high=1, noise_seed=s).fit(X).n_ for s in range(5)]
    assert len(set(fits)) == 5
    assert PrivateDistanceSum("l1", 1.0, low=0, high=1, neighbours="replace-one").fit(X).n_ == 50
