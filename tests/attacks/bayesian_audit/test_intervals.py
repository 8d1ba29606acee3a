"""Intervals for ε: the golden table, exact coverage, symmetries, and a second way to integrate."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.attacks.bayesian_audit import (
    AttackCounts,
    EpsilonPosterior,
    epsilon_interval,
    epsilon_intervals,
)
from sfumato.attacks.bayesian_audit.regions import false_positive_range, point_epsilon
from sfumato.errors import InvalidData

# Card 31, section B: counts tp, fn, fp, tn; 5 % and 95 % quantiles at δ = 1e-5, checked there by
# adaptive quadrature. The last-but-one row was printed with five decimals.
GOLDEN = [
    ((487, 0, 512, 1), 0.143894958, 6.415595673, 1e-8),
    ((100, 0, 0, 100), 4.896376982, 12.196063369, 1e-8),
    ((80, 20, 10, 90), 1.619856169, 2.606833186, 1e-8),
    ((100, 400, 100, 400), 0.007867702, 0.248037134, 1e-8),
    ((997, 3, 500, 500), 4.263888353, 6.134228332, 1e-8),
    ((500000, 0, 500, 499500), 12.46865, 19.35307, 1e-5),
    ((500000, 500000, 497000, 503000), 0.003664871, 0.008331287, 1e-8),
]
# Distribution function at ε and δ by 20-digit quadrature (mpmath), few and no errors: the hard corners.
REFERENCE = [
    ((1, 0, 0, 1), 0, 8, 0.9609550015104495),
    ((0, 5, 3, 0), 0.05, 8, 0.9242258946774536),
    ((2, 10, 0, 1), 0.05, 0.1, 0.19800277927541787),
    ((0, 100, 0, 100), 1e-05, 3, 0.722324224868847),
    ((48, 0, 0, 2), 0, 8, 0.8441196946355154),
    ((5, 0, 0, 5), 1e-05, 2, 0.08018725538967394),
    ((1, 3, 2, 1), 0, 0.7, 0.3329199546903029),
    ((100, 0, 0, 100), 1e-05, 5, 0.06138520102701815),
    ((3, 0, 500, 1), 1e-05, 1.0, 0.10582382647164529),
    ((0, 7, 9, 0), 0.001, 2, 0.0288251403931899),
]
counts_up_to = st.integers(0, 2000)


@pytest.mark.parametrize(("counts", "lower", "upper", "tolerance"), GOLDEN)
def test_joint_beta_meets_the_golden_table(counts, lower, upper, tolerance):
    found = epsilon_interval(AttackCounts(*counts), 1e-5, 0.1)
    assert found.lower == pytest.approx(lower, abs=tolerance)
    assert found.upper == pytest.approx(upper, abs=tolerance)
    assert found.kind == "credible"


@pytest.mark.parametrize(("counts", "delta", "epsilon", "expected"), REFERENCE)
def test_posterior_meets_quadrature_of_many_digits(counts, delta, epsilon, expected):
    posterior = EpsilonPosterior(AttackCounts(*counts), delta)
    assert posterior.cdf(epsilon) == pytest.approx(expected, abs=1e-11)
    ends = posterior.quantiles([expected, 0.999])
    assert ends[0] == pytest.approx(epsilon, rel=1e-8)
    assert [posterior.cdf(each) for each in ends] == pytest.approx([expected, 0.999], abs=1e-10)
    step = 1e-4 * epsilon
    slope = (posterior.cdf(epsilon + step) - posterior.cdf(epsilon - step)) / (2 * step)
    assert posterior.pdf(epsilon) == pytest.approx(slope, rel=1e-5)


@settings(max_examples=60, deadline=None)
@given(
    counts_up_to, counts_up_to, counts_up_to, counts_up_to, st.sampled_from([0.0, 1e-5, 0.05]), st.floats(0.001, 0.999)
)
def test_quantiles_invert_the_distribution(tp, fn, fp, tn, delta, p):
    posterior = EpsilonPosterior(AttackCounts(tp + 1, fn, fp, tn + 1), delta)
    found = posterior.quantile(p)
    assert posterior.cdf(found) >= p - 1e-9
    assert found == 0 or posterior.cdf(found) == pytest.approx(p, abs=1e-9)


def test_clopper_pearson_of_the_published_example_is_vacuous():
    counts = AttackCounts(487, 0, 512, 1)
    for method in ("clopper-pearson", "jeffreys"):
        found = epsilon_interval(counts, 1e-5, 0.1, method=method)
        assert (found.lower, found.upper) == (0.0, math.inf)
    assert epsilon_interval(counts, 1e-5, method="clopper-pearson").kind == "confidence"


def test_batch_equals_one_by_one():
    tables = np.array([row[0] for row in GOLDEN[:5]])
    found = epsilon_intervals(tables, 1e-5, 0.1)
    assert found.shape == (5, 2)
    np.testing.assert_allclose(found[:, 0], [row[1] for row in GOLDEN[:5]], atol=1e-8)


@settings(max_examples=40, deadline=None)
@given(counts_up_to, counts_up_to, counts_up_to, counts_up_to, st.sampled_from([0.0, 1e-5, 0.01, 0.2]))
def test_posterior_is_a_distribution_with_the_symmetries_of_the_region(tp, fn, fp, tn, delta):
    tp, tn = tp + 1, tn + 1
    grid = [0.0, 0.05, 0.3, 1.0, 2.0, 5.0, 10.0, 30.0, 200.0]
    cdf = [EpsilonPosterior(AttackCounts(tp, fn, fp, tn), delta).cdf(each) for each in grid]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(cdf))
    assert cdf[-1] == pytest.approx(1, abs=1e-9)
    swapped = EpsilonPosterior(AttackCounts(tn, fp, fn, tp), delta)  # (fn, tp) <-> (fp, tn)
    assert [swapped.cdf(each) for each in grid] == pytest.approx(cdf, abs=1e-9)
    if fn and fp:
        complement = EpsilonPosterior(AttackCounts(fn, tp, tn, fp), delta)  # (fn, fp) <-> (tp, tn)
        assert [complement.cdf(each) for each in grid] == pytest.approx(cdf, abs=1e-9)


def test_integral_agrees_with_two_dimensional_monte_carlo():
    # 60 comparisons at 6 standard errors: false alarm 60 * 2e-9.
    rng = np.random.default_rng(31)
    draws = 400_000
    for _ in range(20):
        scale = 10 ** rng.uniform(0.5, 6)
        tp, fn, fp, tn = (rng.random(4) ** 3 * scale).astype(int) + np.array([1, 0, 0, 1])
        delta = float(rng.choice([0.0, 1e-5, 0.05]))
        posterior = EpsilonPosterior(AttackCounts(int(tp), int(fn), int(fp), int(tn)), delta)
        x = rng.beta(0.5 + fn, 0.5 + tp, draws)
        y = rng.beta(0.5 + fp, 0.5 + tn, draws)
        for epsilon in (0.1, 1.0, 3.0):
            least, greatest = false_positive_range(x, epsilon, delta)
            exact = posterior.cdf(epsilon)
            measured = np.mean((y >= least) & (y <= greatest))
            error = math.sqrt(exact * (1 - exact) / draws)
            assert abs(measured - exact) <= 6 * error + 10 / draws


def test_density_mean_and_tail_fit_the_distribution():
    posterior = EpsilonPosterior(AttackCounts(80, 20, 10, 90), 1e-5)
    grid = np.linspace(0.05, 6, 600)
    density = np.array([posterior.pdf(each) for each in grid])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)
    assert posterior.mean() == pytest.approx(np.trapezoid(density * grid, grid), abs=2e-3)
    assert posterior.probability_above(2.0) == pytest.approx(1 - posterior.cdf(2.0))


def test_random_challenge_bit_gives_the_same_posterior():
    # Aggregation: rates under Dirichlet(½+fn, ½+fp, ½+tp, ½+tn) are the two independent Betas.
    # 4 Kolmogorov-Smirnov tests at 1e-7 each.
    rng = np.random.default_rng(7)
    fn, fp, tp, tn = 20, 10, 80, 90
    cells = rng.dirichlet([0.5 + fn, 0.5 + fp, 0.5 + tp, 0.5 + tn], 20_000)
    x, y = cells[:, 0] / (cells[:, 0] + cells[:, 2]), cells[:, 1] / (cells[:, 1] + cells[:, 3])
    assert stats.kstest(x, stats.beta(0.5 + fn, 0.5 + tp).cdf).pvalue > 1e-7
    assert stats.kstest(y, stats.beta(0.5 + fp, 0.5 + tn).cdf).pvalue > 1e-7
    assert stats.spearmanr(x, y).pvalue > 1e-7


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("rate", [0.02, 0.2, 0.5])
def test_one_sided_clopper_pearson_covers_exactly(epsilon, rate):
    # Summed over every outcome of 25 + 25 trials: no sampling, no false alarm.
    n, alpha = 25, 0.1
    fpr, tpr = rate, min(1.0, rate * math.exp(epsilon))
    truth = float(point_epsilon(1 - tpr, fpr, 0.0))
    outcomes = np.arange(n + 1)
    hit, false = np.meshgrid(outcomes, outcomes, indexing="ij")
    tables = np.column_stack([hit.ravel(), n - hit.ravel(), false.ravel(), n - false.ravel()])
    lower = epsilon_intervals(tables, 0.0, alpha, method="clopper-pearson", side="lower")[:, 0]
    weight = np.outer(stats.binom.pmf(outcomes, n, tpr), stats.binom.pmf(outcomes, n, fpr)).ravel()
    assert weight[lower > truth + 1e-12].sum() <= alpha


def test_joint_beta_is_no_proof_at_epsilon_zero():
    # Card 31, "hole, measured": its lower end lies above 0 whatever the counts, exact CP's does not.
    rng = np.random.default_rng(0)
    tables = [AttackCounts(a, 500 - a, b, 500 - b) for a, b in rng.binomial(500, 0.3, (20, 2)).tolist()]
    assert (epsilon_intervals(tables, 0.0)[:, 0] > 0).all()
    exact = epsilon_intervals(tables, 0.0, method="clopper-pearson")[:, 0]
    assert (exact > 0).sum() <= 10  # binomial(20, .05) above 10: 1e-9


def test_sides_and_point_values():
    counts = AttackCounts(80, 20, 10, 90)
    two = epsilon_interval(counts, 0.0, 0.1)
    lower = epsilon_interval(counts, 0.0, 0.05, side="lower")
    upper = epsilon_interval(counts, 0.0, 0.05, side="upper")
    assert lower.lower == pytest.approx(two.lower)
    assert upper.upper == pytest.approx(two.upper)
    assert (upper.lower, lower.upper) == (0.0, math.inf)
    assert point_epsilon(0.2, 0.1, 0.0) == pytest.approx(math.log(0.8 / 0.1))
    assert point_epsilon(0.8, 0.9, 0.0) == pytest.approx(math.log(0.8 / 0.1))
    assert point_epsilon(0.0, 0.5, 0.0) == math.inf
    assert point_epsilon(0.5, 0.5, 0.0) == 0.0


def test_counts_from_scores_and_guesses():
    scores, labels = [0.9, 0.4, 0.6, 0.1], [1, 1, 0, 0]
    assert AttackCounts.from_scores(scores, labels, 0.5) == AttackCounts(tp=1, fn=1, fp=1, tn=1)
    assert AttackCounts.from_guesses([1, 1, 0, 0], labels) == AttackCounts(tp=2, fn=0, fp=0, tn=2)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((-1, 2, 3, 4), "tp"),
        ((1, 2.5, 3, 4), "fn"),
        ((1, 2, math.nan, 4), "fp"),
        ((1, 2, 3, "4"), "tn"),
        ((0, 0, 3, 4), "tp"),
        ((1, 2, 0, 0), "fp"),
        ((True, 2, 3, 4), "tp"),
    ],
)
def test_bad_counts_are_named(arguments, name):
    with pytest.raises(InvalidData, match=name):
        AttackCounts(*arguments)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"delta": 1.0}, "delta"),
        ({"delta": -0.1}, "delta"),
        ({"delta": math.nan}, "delta"),
        ({"alpha": 0.0}, "alpha"),
        ({"alpha": 1.0}, "alpha"),
        ({"method": "bayes"}, "method"),
        ({"side": "left"}, "side"),
    ],
)
def test_bad_arguments_are_named(change, name):
    with pytest.raises(InvalidData, match=name):
        epsilon_interval(AttackCounts(1, 1, 1, 1), **{"delta": 0.0, **change})


def test_bad_labels_scores_prior_and_probability():
    with pytest.raises(InvalidData, match="labels"):
        AttackCounts.from_guesses([1, 0], [1, 2])
    with pytest.raises(InvalidData, match="length"):
        AttackCounts.from_guesses([1, 0], [1])
    with pytest.raises(InvalidData, match="NaN"):
        AttackCounts.from_scores([math.nan, 0], [1, 0], 0.5)
    with pytest.raises(InvalidData, match="prior"):
        EpsilonPosterior(AttackCounts(1, 1, 1, 1), 0.0, prior=(0.0, 0.5))
    with pytest.raises(InvalidData, match="strictly"):
        EpsilonPosterior(AttackCounts(1, 1, 1, 1), 0.0).quantile(1.0)
    with pytest.raises(InvalidData, match="shape"):
        epsilon_intervals([[1, 2, 3]], 0.0)
