"""Likelihoods: they sum to one, match simulation, and tell sets apart as often as they should."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from sfumato.attacks.sticky_noise import likelihood


@settings(max_examples=100, deadline=None)
@given(st.floats(-5, 5), st.floats(0.5, 60), st.integers(1, 20))
def test_the_exact_likelihood_sums_to_one(mean, variance, round_to):
    d = round_to * np.arange(-200, 201)
    total = np.exp(likelihood.log_difference(d, mean, variance, round_to=round_to)).sum()
    assert total == pytest.approx(1, abs=1e-9)


def test_the_exact_likelihood_is_that_of_two_rounded_numbers():
    """A goodness-of-fit test at 1e-6."""
    rng = np.random.default_rng(0)
    base = rng.uniform(0, 50, 40_000)
    d = np.round(base + rng.normal(1, 2, base.size)) - np.round(base)
    kept = np.arange(-6, 9)
    expected = np.exp(likelihood.log_difference(kept, 1.0, 4.0))
    observed = np.array([(d == k).sum() for k in kept])
    rest = [[*observed.tolist(), d.size - observed.sum()], (np.append(expected, 1 - expected.sum()) * d.size).tolist()]
    assert chisquare(*rest).pvalue > 1e-6


def test_far_tails_neither_cancel_nor_end():
    odds = [likelihood.differential_log_odds([d], 5) for d in range(2, 60)]
    assert np.isfinite(odds).all()
    assert likelihood.log_difference(-40, 0.0, 2.0) < -300


@pytest.mark.parametrize("rounding", ["exact", "ignore"])
def test_the_differential_odds_are_those_of_the_paper(rounding):
    """Best case at 5 attributes: .914 by 40,000 draws; 20,000 here, within six standard errors."""
    rng = np.random.default_rng(1)
    n, k = 4000, 5
    right = 0
    for counted in (False, True):
        base = rng.uniform(0, 50, (n, k))
        noise = rng.normal(1, np.sqrt(2 * k + 2), (n, k)) if counted else rng.normal(0, np.sqrt(2), (n, k))
        d = np.round(base + noise) - np.round(base)
        odds = np.array([likelihood.differential_log_odds(each, k, rounding=rounding) for each in d])
        right += int(((odds > 0) == counted).sum())
    assert abs(right / (2 * n) - 0.914) < 6 * np.sqrt(0.914 * 0.086 / (2 * n))


@pytest.mark.parametrize(("m", "accuracy"), [(3, 0.868), (5, 0.970), (8, 0.995), (10, 0.999)])
def test_the_variance_test_is_right_as_often_as_known(m, accuracy):
    """Within six standard errors of figures from 20,000 draws a class."""
    rng = np.random.default_rng(2)
    n = 10_000
    same = likelihood._simulated(rng, n, m, 0.0, 1.0, 1)
    apart = likelihood._simulated(rng, n, m, 1.0, 1.0, 1)
    odds = [np.array([likelihood.variance_log_odds(d) for d in each[:3000]]) for each in (same, apart)]
    found = ((odds[0] < 0).mean() + (odds[1] > 0).mean()) / 2
    assert abs(found - accuracy) < 6 * np.sqrt(accuracy * (1 - accuracy) / 6000) + 0.002


def test_the_likelihood_ratio_is_at_least_as_good_as_the_variance():
    """On the same 2 x 1500 draws: worse by chance beyond .015 with probability below 1e-6."""
    rng = np.random.default_rng(3)
    pairs = [likelihood._simulated(rng, 1500, 5, apart, 1.0, 1) for apart in (0.0, 1.0)]
    pairs = [d - d.mean(axis=1, keepdims=True).round() for d in pairs]  # the difference's common part, near its law
    ratio = [np.array([likelihood.cloning_log_odds(d, 4) for d in each]) for each in pairs]
    spread = [np.array([likelihood.variance_log_odds(d) for d in each]) for each in pairs]
    right = [((odds[0] < 0).mean() + (odds[1] > 0).mean()) / 2 for odds in (ratio, spread)]
    assert right[0] > right[1] - 0.015


def test_differences_two_apart_cannot_come_from_equal_sets():
    assert likelihood.cloning_log_odds([0, 2], 3) > 50
    assert likelihood.cloning_log_odds([1, 1, 1, 1, 1, 1, 2], 3) < 0
