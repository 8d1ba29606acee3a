"""The deepest point of a grid: its score, its choice, what it withstands; false alarms at most 1e-6 each."""

import math

import numpy as np
import pytest
from scipy import stats

from sfumato import ApproxDP, Claim, PureDP, Release
from sfumato.statistics.robust import DPDepthMean, DPTrimmedMean, check_sensitivity
from sfumato.statistics.robust.depth import halfspace_depth
from sfumato.statistics.robust.halfspaces import _Box
from sfumato.statistics.robust.nets import directions, projections


def grid(d, size=7, half=3.0):
    steps = np.linspace(-half, half, size)
    return np.stack(np.meshgrid(*[steps] * d, indexing="ij"), axis=-1).reshape(-1, d)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_halfspace_depth_is_the_minimum_of_counts(d):
    rng = np.random.default_rng(d)
    X, points = rng.integers(-3, 4, (25, d)).astype(float), grid(d)
    for t, found in zip(points, halfspace_depth(X, points, np.eye(d)), strict=True):
        assert found == min(min((X[:, j] >= t[j]).sum(), (X[:, j] <= t[j]).sum()) for j in range(d))
    family = np.concatenate((directions(d), -directions(d)))
    for t, found in zip(points[:20], halfspace_depth(X, points[:20], directions(d)), strict=True):
        assert found == (projections(X, family) >= projections(t[np.newaxis], family)).sum(axis=0).min()


def neighbours(rng, d):
    n = int(rng.integers(3, 14))
    first = rng.integers(-3, 4, (n, d)) * rng.choice([0.5, 1.0, 1e300])
    second = first.copy()
    second[int(rng.integers(n))] = rng.integers(-4, 5, d) * rng.choice([1.0, 1e307])
    return first, second


@pytest.mark.parametrize("d", [1, 2, 3])
def test_depths_of_points_have_sensitivity_one(d):
    score = lambda X: halfspace_depth(X, grid(d, 5), directions(d))  # noqa: E731
    assert check_sensitivity(score, lambda rng: neighbours(rng, d), 300, random_state=0) == 1


def test_a_family_of_directions_that_reads_the_records_is_caught():
    def along_records(X):
        return halfspace_depth(X, grid(2, 5), X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), 1e-9))

    small = lambda rng: tuple(np.clip(X, -5, 5) for X in neighbours(rng, 2))  # noqa: E731
    assert check_sensitivity(along_records, small, 500, random_state=0) > 1


@pytest.mark.parametrize("d", [1, 2, 3])
def test_log_ratio_of_neighbours_stays_below_epsilon_and_comes_close(d):
    """Closed form: 10^4 random pairs in one dimension, fewer in more, and one where nearly all ε is used."""
    epsilon, points, family = 1.0, grid(d, 15 if d == 1 else 7), directions(d)

    def density(X):
        weights = epsilon / 2 * halfspace_depth(X, points, family)
        return weights - np.logaddexp.reduce(weights)

    rng = np.random.default_rng(0)
    for _ in range({1: 10_000, 2: 1000, 3: 300}[d]):
        first, second = (density(X) for X in neighbours(rng, d))
        assert np.abs(first - second).max() <= epsilon + 1e-9
    # A record moves from the fullest corner of a simplex to the emptiest: the inside, nearly all of the weight, is one
    # record deeper, and that corner one less.
    corners = np.array([[-3.0, -3, -3], [3, -3, -3], [0, 3, -3], [0, 0, 3]])[: d + 1, :d] if d > 1 else [[-3.0], [3]]
    first, second = (np.repeat(corners, [a, b] + [21] * (d - 1), axis=0) for a, b in ((22, 20), (21, 21)))
    assert np.abs(density(first) - density(second)).max() > 0.8 * epsilon


@pytest.mark.parametrize(("d", "size", "draws"), [(2, 9, 1500), (3, 5, 800)])
def test_points_of_equal_depth_are_equally_likely(d, size, draws):
    """Ten records at each corner of a simplex: its inside has depth 10. A chi-square test."""
    corners = np.concatenate((-np.ones((1, d)), 2 * np.eye(d) - 1))
    X, box = np.repeat(corners, 10, axis=0), _Box(np.zeros(d), np.ones(d), size)
    with Release(Claim(PureDP(1e6), neighbours="replace-one"), "x") as release:
        drawn = np.array([box.deepest(X, release, 40.0) for _ in range(draws)])
    found, counts = np.unique(drawn, axis=0, return_counts=True)
    inside = [t for t in grid(d, size, 1.0) if t.sum() <= 2 - d]
    assert sorted(map(tuple, found)) == sorted(map(tuple, inside))
    assert stats.chisquare(counts).pvalue > 1e-6


@pytest.mark.parametrize("d", [1, 2, 3])
def test_the_centre_is_found_in_a_wide_range_among_wild_records(d):
    """ε = 2, one record in twenty at the end of the range: the answer is within the grid's half and its noise."""
    rng = np.random.default_rng(d)
    X = rng.normal(3, 1, (4000, d))
    X[:200] = 1e4
    fit = DPDepthMean(2.0, bounds=(-1e4, 1e4), scale=1.0, grid_size=21).fit(X)
    assert fit.estimate_.shape == (d,)
    assert np.abs(fit.estimate_ - 3).max() < 0.75
    assert fit.claim_.bound == PureDP(2.0)
    ranged = DPDepthMean(2.0, scale=1.0, delta=1e-6, grid_size=21).fit(X[200:] + 1e7)
    assert np.abs(ranged.estimate_ - 1e7 - 3).max() < 0.75
    assert ranged.claim_.bound == ApproxDP(2.0, 1e-6)
    spanning = DPDepthMean(2.0, bounds=(-8, 8), grid_size=17).fit(X)
    assert np.abs(spanning.estimate_ - 3).max() <= 1.0


def test_a_vector_has_a_number_and_missing_values_a_place():
    x = np.random.default_rng(4).normal(0, 1, 500)
    assert isinstance(DPDepthMean(1.0, bounds=(-9, 9)).fit(x).estimate_, float)
    holes = np.column_stack((x, np.where(x > 0, np.nan, x)))
    assert np.isfinite(DPDepthMean(1.0, bounds=(-9, 9), missing="centre").fit(holes).estimate_).all()
    nowhere = np.linspace(-1e9, 1e9, 50).reshape(-1, 1) * [1, 1]
    with pytest.warns(UserWarning, match="with 50 records"):
        found = DPDepthMean(1.0, scale=1.0, delta=1e-9).fit(nowhere).estimate_
    assert np.isnan(found).all()


def test_depth_errs_less_than_a_mean_of_each_column_where_records_lean():
    """Wild records beyond the ellipse, inside the box: 15 % of them. Each fit errs less in 30 of 40; a sign test."""
    rng = np.random.default_rng(5)
    wins = 0
    for _ in range(40):
        X = rng.normal(size=(1500, 2)) @ np.array([[1.0, 0.95], [0.0, 0.3]])
        X[:225] = [1.2, -1.2]
        depth = DPDepthMean(2.0, bounds=(-9, 9), scale=1.0).fit(X).estimate_
        columns = DPTrimmedMean(2.0, bounds=(-9, 9), scale=1.0).fit(X).estimate_
        wins += math.dist(depth, (0, 0)) < math.dist(columns, (0, 0))
    assert wins >= 36  # were they even, 36 of 40 would be less likely than 1e-6
