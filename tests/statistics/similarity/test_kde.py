"""Kernel densities: right without noise, a bound that holds, answers that do not change, features that suffice."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.neighbors import KernelDensity

from sfumato import InvalidData
from sfumato.statistics.similarity import PrivateKDE, choose_features, exponential_sum
from sfumato.statistics.similarity.features import draw_features
from sfumato.statistics.similarity.kernels import kernel, uniform_points
from sfumato.statistics.similarity.projection import draw_rotation

KERNELS = ("gaussian", "laplacian", "exponential", "inverse", "inverse_quadratic")


def brute(name, X, Y, bandwidth):
    return kernel(name).value((X[np.newaxis] - Y[:, np.newaxis]) / bandwidth).sum(1)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("columns", [1, 2, 7])
def test_without_noise_the_sum_is_the_kernels_within_what_features_allow(name, columns):
    """Hoeffding: off by 4/√D with probability 2e-3·10^-0.5 a point; the frequencies' seed is fixed."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(300, columns)), rng.normal(size=(60, columns)) * 2
    fitted = PrivateKDE(name, 1.5, rho=1e12, n_features=4096, random_state=0, noise_seed=0).fit(X)
    assert np.abs(fitted.mean_similarity(Y) - brute(name, X, Y, 1.5) / 300).max() < 4 / np.sqrt(4096)


def test_even_frequencies_make_low_dimensions_nearly_exact():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(300, 1)), rng.normal(size=(60, 1))
    fitted = PrivateKDE("gaussian", 0.5, rho=1e12, n_features=1024, random_state=0, noise_seed=0).fit(X)
    assert np.abs(fitted.mean_similarity(Y) - brute("gaussian", X, Y, 0.5) / 300).max() < 1e-3


def test_uniform_points_are_uniform_one_by_one_and_even_together():
    points = np.stack([uniform_points(9, 2, np.random.RandomState(s)) for s in range(2000)])
    assert points.mean(axis=(0, 1)) == pytest.approx([0.5, 0.5], abs=0.01)
    assert np.bincount((points[0] * 3).astype(int) @ [3, 1], minlength=9).tolist() == [1] * 9
    assert uniform_points(7, 5, np.random.RandomState(0)).shape == (7, 5)


@pytest.mark.parametrize("name", ["gaussian", "laplacian", "exponential", "inverse_quadratic"])
def test_a_density_integrates_to_one(name):
    fitted = PrivateKDE(name, 0.3, rho=1e12, n_features=2000, random_state=0, noise_seed=0).fit([[0.0]] * 1000)
    places = np.linspace(-2, 2, 4001)
    mass = np.trapezoid(np.exp(fitted.score_samples(places[:, np.newaxis])), places)
    tail = {"inverse_quadratic": 1 - 2 / np.pi * np.arctan(2 / 0.3)}.get(name, 0.0)
    assert mass == pytest.approx(1 - tail, abs=0.03)


def test_scores_are_those_of_scikit_learns_kernel_density():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(500, 2)), rng.normal(size=(40, 2)) * 0.7
    fitted = PrivateKDE("gaussian", 0.6, rho=1e12, n_features=20_000, random_state=0, noise_seed=0).fit(X)
    theirs = KernelDensity(bandwidth=0.6).fit(X)
    assert fitted.score_samples(Y) == pytest.approx(theirs.score_samples(Y), abs=0.1)
    assert fitted.score(Y) == pytest.approx(fitted.score_samples(Y).sum())
    exponential = PrivateKDE("exponential", 0.6, rho=1e12, n_features=20_000, random_state=0, noise_seed=0).fit(X)
    theirs = KernelDensity(bandwidth=0.6, kernel="exponential").fit(X)
    assert exponential.score_samples(Y) == pytest.approx(theirs.score_samples(Y), abs=0.1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"epsilon": 1.0, "delta": 1e-5, "n_features": 300},
        {"epsilon": 2.0, "n_features": 40},
        {"rho": 0.5, "neighbours": "replace-one", "n_features": 300, "kernel": "inverse"},
        {"epsilon": 1.0, "kernel": "laplacian"},
    ],
)
def test_the_error_bound_holds(parameters):
    """It promises 95 % a point, here over 200 runs with fixed seeds."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 2)), rng.normal(size=(10, 2))
    truth = brute(parameters.get("kernel", "gaussian"), X, Y, 1.0)
    held = []
    for seed in range(200):
        fitted = PrivateKDE(bandwidth=1.0, random_state=seed, noise_seed=seed, **parameters).fit(X)
        held.append(np.abs(fitted.density_sum(Y) - truth) <= fitted.error_bound(Y))
    assert np.mean(held, axis=0).min() >= 0.95


def test_the_noise_has_the_stated_deviation():
    """400 runs with fixed seeds: a standard deviation within 15 %, four of its standard errors."""
    for parameters in ({"epsilon": 1.0, "n_features": 20}, {"rho": 0.5, "n_features": 20}):
        runs = [PrivateKDE(noise_seed=s, random_state=0, **parameters).fit(np.empty((0, 1))) for s in range(400)]
        measured = np.std([fitted.density_sum([[0.3]])[0] for fitted in runs])
        assert measured == pytest.approx(runs[0].noise_deviation_, rel=0.15)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 4.0, 20.0])
def test_a_delta_buys_gaussian_noise_and_less_of_it(epsilon):
    pure, approximate = (PrivateKDE(epsilon=epsilon, delta=d, n_features=16).fit([[0.0]]) for d in (None, 1e-6))
    assert approximate.noise_deviation_ < pure.noise_deviation_
    assert PrivateKDE(epsilon=epsilon, delta=1e-6).fit([[0.0]]).features_.count == 1250


def test_a_question_asked_again_has_the_same_answer_to_the_last_bit():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(100, 5)), rng.normal(size=(7, 5))
    fitted = PrivateKDE(epsilon=1.0, delta=1e-5).fit(X)
    again = np.array([fitted.density_sum(Y) for _ in range(1000)])
    assert (again == again[0]).all()
    assert (fitted.density_sum(Y[3:4]) == again[0, 3]).all()
    assert (fitted.density_sum(np.tile(Y, (400, 1)))[-7:] == again[0]).all()


def test_a_projection_keeps_euclidean_kernels():
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(200, 600)) / 25, rng.normal(size=(50, 600)) / 25
    fitted = PrivateKDE(rho=1e12, n_features=4000, project=400, random_state=0, noise_seed=0).fit(X)
    assert fitted.features_.frequencies.shape == (400, 4000)
    assert np.abs(fitted.mean_similarity(Y) - brute("gaussian", X, Y, 1.0) / 200).max() < 0.05
    wide = PrivateKDE(rho=1.0, n_features=16).fit(np.zeros((3, 1500)))
    assert wide.features_.frequencies.shape == (128, 16)
    assert wide.features_.rotation.columns == 2048
    with pytest.raises(InvalidData, match="laplacian"):
        PrivateKDE("laplacian", project=2).fit(X)


def test_blocks_of_columns_average_a_projection_out_and_one_block_for_all_does_not():
    """Ten clouds in 1024 columns; a fake gives every block the same 100 columns, as a single projection would."""
    wrong = {"all columns": [], "blocks": [], "one block": []}
    for seed in range(6):
        rng = np.random.default_rng(seed)
        centres = rng.normal(size=(10, 1024)) / 32
        X, Y = (centres[rng.integers(10, size=m)] + rng.normal(size=(m, 1024)) / 64 for m in (300, 40))
        truth = brute("gaussian", X, Y, 1.0) / 300
        for name, project in (("all columns", None), ("blocks", 100), ("one block", 100)):
            drawn = draw_features(kernel("gaussian"), 1024, 1024, project, np.random.RandomState(seed))
            if name == "one block":
                same = np.resize(drawn.rotation.order[:100], 1024)
                drawn = replace(drawn, rotation=replace(drawn.rotation, order=same))
            sums = drawn.total(drawn.steps(X, 1.0))[np.newaxis]
            found = drawn.similarity(drawn.steps(Y, 1.0), sums)[:, 0] / 300
            wrong[name].append(np.abs(found - truth).mean())
    exact, blocks, one = (np.mean(each) for each in wrong.values())
    assert blocks < exact + 0.004
    assert one > exact + 0.008


def test_a_rotation_is_exact_and_a_rotation():
    random = np.random.RandomState(0)
    for d in (1, 2, 3, 90, 128):
        rotation = draw_rotation(d, random)
        rows = random.randint(-1000, 1000, size=(20, d)).astype(float)
        found = rotation.rotate(rows)
        assert rotation.columns == 2 ** int(np.ceil(np.log2(d)))
        assert ((found**2).sum(axis=1) == rotation.columns * (rows**2).sum(axis=1)).all()
        assert found @ found.T == pytest.approx(rotation.columns * rows @ rows.T)


def test_far_away_points_are_clipped_and_nobody_is_served():
    fitted = PrivateKDE(epsilon=1.0).fit(np.empty((0, 2)))
    assert np.isfinite(fitted.score_samples([[0, 0], [1e300, -1e300]])).all()
    crowd = PrivateKDE(rho=1e12, noise_seed=0, random_state=0).fit([[1e300]] * 5)
    assert crowd.density_sum([[2.0**14]]) == pytest.approx([5], abs=1e-2)


def test_laplace_noise_takes_as_many_features_as_are_best_and_gaussian_noise_as_many_as_wanted():
    assert choose_features(1000, 1.0) == 354  # n / √8
    assert choose_features(1000, 1.0, neighbours="replace-one") == 177
    assert choose_features(1000, 1.0, 1e-5) == choose_features(1000, rho=0.1) == 1250
    assert choose_features(10**9, 1.0, alpha=0.1) == 50
    assert choose_features(0, 1.0) == 16
    chosen = PrivateKDE(epsilon=1.0, noise_seed=1, random_state=0).fit(np.zeros((1000, 1)))
    assert chosen.features_.count == choose_features(chosen.n_, 0.9, columns=1) == 24
    with pytest.raises(InvalidData):
        choose_features(10, 1.0, alpha=0)


def test_features_at_the_advised_number_are_better_than_half_or_twice_as_many():
    """RMSE over fixed seeds, n = 1000, ε = 1, far apart points (where features err most)."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 6)) * 0.2
    Y = rng.normal(size=(50, 6)) * 0.2 + 1.0
    truth = brute("gaussian", X, Y, 0.3)

    def rmse(count):
        wrong = [
            PrivateKDE("gaussian", 0.3, epsilon=1.0, n_features=count, random_state=s, noise_seed=s)
            .fit(X)
            .density_sum(Y)
            - truth
            for s in range(20)
        ]
        return np.sqrt(np.mean(np.square(wrong)))

    assert rmse(354) < rmse(354 * 16)
    assert rmse(354) < rmse(354 // 16)


def test_an_exponential_sum_is_positive_short_and_as_good_as_it_says():
    z = np.concatenate([[0], np.geomspace(1e-9, 1e3, 100_001)])
    for alpha, terms in ((1e-2, 8), (1e-4, 16), (1e-6, 34)):
        weights, rates = exponential_sum(alpha)
        assert len(weights) == len(rates) <= terms
        assert (weights > 0).all()
        assert (rates > 0).all()
        assert np.abs(np.exp(-np.outer(z, rates)) @ weights - 1 / (1 + z)).max() <= alpha * (1 + 1e-6)
    for bad in (0, 1, float("nan"), True):
        with pytest.raises(InvalidData):
            exponential_sum(bad)
    with pytest.raises(InvalidData):
        exponential_sum(0.1, 0)
