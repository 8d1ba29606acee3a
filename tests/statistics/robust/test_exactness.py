"""The mechanism in closed form: path lengths against exhaustive search, log-probabilities of neighbours, mutants."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidClaim
from sfumato.statistics.robust import (
    check_sensitivity,
    hodges_lehmann,
    interquartile_range,
    median,
    median_absolute_deviation,
    quantile,
    trimmed_mean,
    winsorized_mean,
)
from sfumato.statistics.robust.deviation import MedianDeviation
from sfumato.statistics.robust.grids import Ladder, Line
from sfumato.statistics.robust.pairs import PairwiseMedian
from sfumato.statistics.robust.reach import InterquantileRange, LStatistic
from sfumato.statistics.robust.rings import Rings, depth, rings, withstand

STATISTICS = {
    "mean": lambda n: trimmed_mean(n, 0),
    "trimmed": lambda n: trimmed_mean(n, (n - 1) // 4),
    "median": median,
    "quantile": lambda n: quantile(n, 0.3),
    "winsorized": lambda n: winsorized_mean(n, (n - 1) // 3),
    "hodges-lehmann": hodges_lehmann,
    "interquartile": interquartile_range,
    "mad": median_absolute_deviation,
}
EACH = pytest.mark.parametrize("name", STATISTICS)
LINE = Line.between(-1.0, 1.0, 0.25, 10)
LADDER = Ladder(0.05, 2.0, 0.2, 1 / 1.349)


def grid_for(name):
    return LADDER if name in ("interquartile", "mad") else LINE


@EACH
@pytest.mark.parametrize("n", [4, 5, 6])
def test_reach_is_that_of_an_exhaustive_search(name, n):
    """All data sets of n values on five points, each with all of its replacements: least and largest value."""
    statistic = STATISTICS[name](n)
    values = np.arange(-2, 3)
    everything = np.array(list(itertools.combinations_with_replacement(values, n)))
    found = np.array([statistic.value(x) * statistic.divisor for x in everything], float)
    rng = np.random.default_rng(n)
    for x in everything[rng.permutation(len(everything))[:40]]:
        counts = np.array([[(row == v).sum() for v in values] for row in everything])
        own = np.array([(x == v).sum() for v in values])
        replaced = n - np.minimum(counts, own).sum(axis=1)
        low, high = statistic.reach(x, 2, n)
        for k in range(n + 1):
            within = found[replaced <= k]
            assert (low[k], high[k]) == (within.min(), within.max())


@pytest.mark.parametrize("seed", range(20))
def test_reach_of_any_ranks_is_that_of_an_exhaustive_search(seed):
    """Interquantile ranges and weighted means with ranks of no special kind."""
    rng = np.random.default_rng(seed)
    n, values = 5, np.arange(-2, 3)
    first, last = np.sort(rng.choice(n, 2, replace=False)).tolist()
    a, b = np.sort(rng.choice(n + 1, 2, replace=False)).tolist()
    x = np.sort(rng.choice(values, n))
    everything = np.array(list(itertools.combinations_with_replacement(values, n)))
    replaced = n - sum(np.minimum((everything == v).sum(1), (x == v).sum()) for v in values)
    for statistic in (InterquantileRange(n, first, last), LStatistic(n, ((a, b, 2), (first, last, 3)))):
        found = np.array([statistic.value(row) * statistic.divisor for row in everything], float)
        low, high = statistic.reach(x, 2, n)
        for k in range(n + 1):
            assert (low[k], high[k]) == (found[replaced <= k].min(), found[replaced <= k].max())


@pytest.mark.parametrize("kind", [PairwiseMedian, MedianDeviation])
@pytest.mark.parametrize("seed", range(12))
def test_reach_of_searched_statistics_is_that_of_an_exhaustive_search(kind, seed):
    """Wider values than above and an odd or even number of records, ties and all."""
    rng = np.random.default_rng(seed)
    n, radius = 3 + seed % 4, 3
    values = np.arange(-radius, radius + 1)
    everything = np.array(list(itertools.combinations_with_replacement(values, n)))
    counts = (everything[:, :, np.newaxis] == values).sum(axis=1)
    found = np.array([kind(n).value(row) * kind(n).divisor for row in everything], float)
    for chosen in rng.permutation(len(everything))[:30]:
        replaced = n - np.minimum(counts, counts[chosen]).sum(axis=1)
        low, high = kind(n).reach(everything[chosen], radius, n)
        for k in range(n + 1):
            assert (low[k], high[k]) == (found[replaced <= k].min(), found[replaced <= k].max())


def test_searched_statistics_break_down_where_they_say():
    """With one more record replaced there are data whose reach is the range, with those many there are none."""
    for n in (3, 4, 9, 10, 31):
        radius, x = 1000, np.zeros(n, np.int64)
        low, high = hodges_lehmann(n).reach(x, radius, n)
        k = hodges_lehmann(n).breakdown
        assert (low[k], high[k]) == (0, 0)
        assert high[k + 1] >= radius or -low[k + 1] >= radius  # half-way to the bound, in halves
        spread = np.arange(n) * 10
        k = median_absolute_deviation(n).breakdown
        low, high = median_absolute_deviation(n).reach(spread, radius, n)
        assert low[k] > 0
        assert low[k + 1] == 0


def score(name, x, **change):
    """Score of every point of the grid."""
    scored = rings(change.pop("statistic", STATISTICS[name](len(x))), grid_for(name), np.asarray(x, float), 50)
    return scored.by_point(scored.scores).astype(int)


def neighbours(rng, most=12):
    n = int(rng.integers(4, most))
    x = np.where(rng.random(n) < 0.5, rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], n), rng.normal(0, 0.6, n))
    y = x.copy()
    y[int(rng.integers(n))] = rng.choice([-5.0, -1.0, 0.1, 1.0, 5.0])
    return x, y


@EACH
def test_a_replaced_record_moves_every_score_by_at_most_one(name):
    assert check_sensitivity(lambda x: score(name, x), neighbours, 1500, random_state=0) == 1


def log_density(name, x, epsilon, exponent=1.0):
    scored = rings(STATISTICS[name](len(x)), grid_for(name), x, 50)
    return scored.by_point(scored.log_probabilities(epsilon * exponent))


def worst_ratio(name, epsilon, exponent=1.0, pairs=10_000, rng=None):
    rng = np.random.default_rng(1) if rng is None else rng
    worst = 0.0
    for _ in range(pairs):
        first, second = neighbours(rng)
        gap = log_density(name, first, epsilon, exponent) - log_density(name, second, epsilon, exponent)
        worst = max(worst, float(np.abs(gap).max()))
    return worst


@EACH
def test_log_ratio_of_neighbours_stays_below_epsilon(name):
    """Closed form, 10^4 random pairs; fewer where each takes a search, and 10^4 of those in the study."""
    assert worst_ratio(name, 2.0, pairs=2000 if name in ("hodges-lehmann", "mad") else 10_000) <= 2.0 + 1e-9


@pytest.mark.parametrize(
    ("statistic", "first", "moved"),
    [
        (median(9), [-1] * 4 + [-0.9] + [1] * 4, -1),
        (trimmed_mean(9, 4), [-1] * 4 + [-0.9] + [1] * 4, -1),
        (winsorized_mean(9, 4), [-1] * 4 + [-0.9] + [1] * 4, -1),
        (quantile(9, 0.3), [-1] * 2 + [-0.9] + [1] * 6, -1),
        (hodges_lehmann(8), [-1] * 4 + [-0.9, -0.5, 0, 1], -0.9),
        (interquartile_range(11), [-0.01] + [0] * 5 + [0.01, 0.9, 0.9, 1, -1], 1),
        (median_absolute_deviation(12), [-1] * 3 + [-0.9] + [0] * 4 + [0.9, 0.9, 1, 1], 0),
    ],
)
def test_log_ratio_of_neighbours_comes_close_to_epsilon(statistic, first, moved):
    """The point at -1 is one replacement nearer for the second and the wide gap one further: most of ε is used."""
    epsilon, fine = 1.0, Line.between(-1.0, 1.0, 0.004, 9)
    if isinstance(statistic, (InterquantileRange, MedianDeviation)):  # here the wide range is that of small scales
        fine = Ladder(1e-3, 2.0, 0.002, 1.0)
    second = np.append(first[:-1], moved)
    densities = []
    for x in (np.array(first, float), second):
        scored = rings(statistic, fine, x, 12)
        densities.append(scored.by_point(scored.log_probabilities(epsilon)))
    worst = np.abs(densities[0] - densities[1]).max()
    assert 0.8 * epsilon < worst <= epsilon + 1e-9


def test_a_mutant_with_epsilon_for_half_of_it_exceeds_the_claim():
    assert worst_ratio("median", 4.0, exponent=2.0, pairs=300) > 4.0


def test_a_mutant_that_reads_its_trimming_from_the_data_is_caught():
    def by_sample(x):
        spread = np.quantile(x, 0.75) - np.quantile(x, 0.25)
        outliers = int((np.abs(x - np.median(x)) > 2 * spread).sum())
        return score("trimmed", x, statistic=trimmed_mean(len(x), min(outliers, (len(x) - 1) // 2)))

    assert check_sensitivity(by_sample, neighbours, 1500, random_state=0) > 1


def test_a_mutant_whose_path_length_is_a_local_search_is_caught():
    """It replaces the records that are furthest from the target, one by one, by the target: an upper bound of len."""

    def greedy(x):
        found = []
        for target in np.linspace(-1, 1, 9):
            replaced = x.copy()
            steps = 0
            while abs(np.mean(replaced) - target) > 0.25 and steps < len(x):
                replaced[np.argmax(np.abs(replaced - target))] = target
                steps += 1
            found.append(-steps)
        return np.array(found)

    assert check_sensitivity(greedy, neighbours, 1500, random_state=0) > 1


def test_reach_that_is_not_nested_is_refused():
    class Heuristic:
        divisor, breakdown = 1, 3

        def reach(self, x, radius, levels):
            low, high = median(len(x)).reach(x, radius, levels)
            return low, np.where(np.arange(levels + 1) == 2, high - 60, high)

    with pytest.raises(InvalidClaim, match="inside"):
        rings(Heuristic(), LINE, np.linspace(-1, 1, 9), 9)


@EACH
def test_every_point_of_the_grid_has_one_score(name):
    rng = np.random.default_rng(3)
    for _ in range(200):
        x, _ = neighbours(rng)
        for levels in (0, 1, 3, 50):
            scored = rings(STATISTICS[name](len(x)), grid_for(name), x, levels)
            assert scored.copies.sum() == grid_for(name).points
            assert scored.copies.min() >= 0
            assert scored.scores.min() == -min(levels, len(x)) - 1
    zero_width = rings(median(7), LINE, np.zeros(7), 7)  # ties: rings without a point
    assert (zero_width.copies == 0).any()
    assert np.isfinite(zero_width.log_probabilities(1.0)).all()


def test_a_path_length_of_zero_reaches_as_far_as_the_resolution():
    scored = rings(trimmed_mean(3, 0), LINE, np.array([-0.5, 0.0, 0.5]), 3)
    at_best = np.flatnonzero(scored.by_point(scored.scores) == 0)
    assert LINE.value(int(at_best[0])) == -0.25
    assert LINE.value(int(at_best[-1])) == 0.25


@pytest.mark.parametrize("name", ["trimmed", "interquartile"])
def test_draws_follow_the_closed_form(name):
    """Kolmogorov-Smirnov on 10^5 draws, made continuous by a uniform within each point; false alarms 1e-6."""
    from sfumato.privacy import noise
    from sfumato.privacy.entropy import Entropy

    x = np.random.default_rng(5).normal(0, 0.3, 40)
    scored = rings(STATISTICS[name](40), grid_for(name), x, 40)
    epsilon, source = 0.7, Entropy()
    p = scored.by_point(np.exp(scored.log_probabilities(epsilon)))
    assert math.isclose(p.sum(), 1, rel_tol=1e-9)
    before = np.concatenate(([0], np.cumsum(p)))[:-1]
    points = np.array(
        [noise.exponential_choice(scored.scores, epsilon, 1, source, scored.copies) for _ in range(10**5)]
    )
    uniform = before[points] + p[points] * np.random.default_rng(6).random(len(points))
    assert stats.kstest(uniform, "uniform").pvalue > 1e-6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300, allow_nan=False), min_size=1, max_size=8),
    st.floats(-1e6, 1e6),
    st.floats(1e-3, 1e6),
)
def test_cells_are_within_half_a_pitch_or_at_the_bounds(x, lower, width):
    upper = lower + width
    line = Line.between(lower, upper, width / 100, len(x))
    cells = line.cells(np.array(x))
    assert np.abs(cells).max() <= line.radius
    moved = np.abs(line.centre + cells * line.pitch - np.clip(x, lower, upper))
    assert np.all(moved <= line.pitch * (1 + 1e-6))
    assert math.frexp(line.pitch)[0] == 0.5


def test_joining_deep_levels_keeps_the_answers():
    x = np.random.default_rng(0).normal(0, 0.2, 400)
    levels = depth(LINE.points, 2.0)
    assert levels < 400
    short, full = (rings(median(400), LINE, x, k) for k in (levels, 400))
    gap = np.exp(short.by_point(short.log_probabilities(2.0))) - np.exp(full.by_point(full.log_probabilities(2.0)))
    assert np.abs(gap).sum() < 1e-12


def test_what_a_statistic_must_withstand():
    assert withstand(1.0, math.e - 1, beta=math.exp(-1)) == 4
    assert withstand(0.1, 1e6) > 10 * withstand(1.0, 1e6) - 10
    assert withstand(1.0, 1e6, dimension=3) > 2.5 * withstand(1.0, 1e6)


def test_rings_are_what_a_release_is_handed():
    from sfumato import Claim, PureDP, Release

    scored = Rings(np.array([-1, 0, -1]), np.array([2, 1, 4]))
    with Release(Claim(PureDP(900.0), neighbours="replace-one"), "x") as release:
        assert replace(scored).choose(release, 900.0) == 2
