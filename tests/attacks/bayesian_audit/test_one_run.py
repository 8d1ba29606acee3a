"""One run with many canaries: golden values, soundness at the true parameter, and what a perfect attack can reach."""

import math

import numpy as np
import pytest
from scipy import stats

from sfumato.attacks.bayesian_audit import (
    AttackCounts,
    fdp_one_run,
    gaussian_epsilon,
    gaussian_mu,
    one_run_epsilon,
    one_run_pvalue,
    statdp_pvalues,
)
from sfumato.attacks.bayesian_audit.fdp import refutes_gaussian
from sfumato.errors import InvalidData

RUNS, ALPHA = 1000, 0.05
# A sound test rejects with probability at most 0.05; more rejections in 1000 happen with probability < 1e-6.
MOST_REJECTIONS = int(stats.binom.isf(1e-6, RUNS, ALPHA))


def test_golden_values():
    assert one_run_pvalue(100, 100, 75, math.log(3), 0) == pytest.approx(0.5534708, abs=1e-7)
    assert one_run_epsilon(1000, 100, 75, 1e-4) == pytest.approx(0.672985, abs=1e-6)
    assert one_run_epsilon(1000, 1000, 1000, 1e-5) == pytest.approx(5.782283, abs=1e-6)
    assert one_run_epsilon(1000, 100, 100, 0) == pytest.approx(3.492965, abs=1e-6)


@pytest.mark.parametrize(("m", "r", "v", "epsilon", "delta"), [(200, 150, 101, 0.4, 1e-3), (60, 60, 60, 2.0, 1e-2)])
def test_the_pvalue_is_the_formula_term_by_term(m, r, v, epsilon, delta):
    law = stats.binom(r, 1 / (1 + math.exp(-epsilon)))
    worst = max(sum(law.pmf(v - j) for j in range(1, i + 1)) / i for i in range(1, v + 1))
    assert one_run_pvalue(m, r, v, epsilon, delta) == pytest.approx(min(1, law.sf(v - 1) + 2 * m * delta * worst))


@pytest.mark.parametrize("epsilon", [0.0, 0.5, 2.0])
def test_one_run_is_sound_at_the_true_epsilon(epsilon):
    """Randomized response of each coin is the worst that ε allows: guesses are right with e^ε/(1+e^ε)."""
    rng = np.random.default_rng(1)
    correct = rng.binomial(500, 1 / (1 + math.exp(-epsilon)), RUNS)
    assert sum(one_run_pvalue(500, 500, int(v), epsilon, 0.0) < ALPHA for v in correct) <= MOST_REJECTIONS
    assert sum(one_run_epsilon(500, 500, int(v), 0.0) > epsilon for v in correct[:100]) <= 25


@pytest.mark.parametrize("mu", [0.5, 1.0, 2.0])
def test_fdp_is_sound_at_the_true_mu_and_tighter_on_gaussian_canaries(mu):
    rng = np.random.default_rng(2)
    correct = rng.binomial(500, stats.norm.cdf(mu / 2), RUNS)
    assert sum(refutes_gaussian(500, 500, int(v), mu, ALPHA) for v in correct) <= MOST_REJECTIONS
    for v in correct[:20]:
        ours = gaussian_epsilon(fdp_one_run(500, 500, int(v)), 1e-5)
        assert ours >= one_run_epsilon(500, 500, int(v), 1e-5)


@pytest.mark.parametrize(("mu", "epsilon"), [(1, 1.297), (2, 2.833), (4, 6.449)])
def test_fdp_golden_values(mu, epsilon):
    correct = int(1000 * stats.norm.cdf(mu / 2))
    assert gaussian_epsilon(fdp_one_run(1000, 1000, correct), 1e-5) == pytest.approx(epsilon, abs=1e-3)


def test_a_million_canaries():
    assert 2.1 < one_run_epsilon(10**6, 10**6, 900_000, 1e-8) < math.log(9)


def test_mu_from_rates_covers():
    """2,000 audits of N(0,1) against N(1,1): the bound exceeds μ = 1 with probability at most 0.05 each."""
    rng = np.random.default_rng(3)
    miss, wrong = rng.binomial(500, stats.norm.cdf(-0.5), (2, 2000))
    found = [gaussian_mu(AttackCounts(500 - a, a, b, 500 - b)) for a, b in zip(miss, wrong, strict=True)]
    assert np.sum(np.array(found) > 1) <= stats.binom.isf(1e-6, 2000, 0.05)
    assert np.mean(found) > 0.7


def test_thinning_agrees_with_the_exact_bound():
    truth, claimed = 1.0, np.array([0.7, 1.0, 1.3])
    rng = np.random.default_rng(4)
    hits, other = rng.binomial(100_000, 0.4), rng.binomial(100_000, 0.4 * math.exp(-truth))
    low, at, high = statdp_pvalues(hits, other, 100_000, claimed)
    assert low < 1e-6
    assert at > 1e-6
    assert high == 1.0


@pytest.mark.parametrize("counts", [(0, 0, 0), (10, 11, 5), (10, 5, 6), (10, 5, -1), (10, 5, 2.5), (True, 1, 1)])
def test_bad_counts_are_refused(counts):
    with pytest.raises(InvalidData):
        one_run_pvalue(*counts, 1.0, 0.0)
    with pytest.raises(InvalidData):
        one_run_pvalue(10, 5, 3, -1.0, 0.0)
    with pytest.raises(InvalidData):
        one_run_epsilon(10, 5, 3, 1.0)
    with pytest.raises(InvalidData):
        fdp_one_run(10, 5, 3, alpha=0)
    with pytest.raises(InvalidData):
        statdp_pvalues(5, 3, 4, [1.0])
