"""Frequency oracles: exact laws, unbiased counts with the stated variance, and the simulated sums of their reports."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sfumato import Claim, PureDP, Release
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.heavy_hitters import GRR, OLH, OUE, choose_oracle, estimate, hashing, variance
from sfumato.federation.heavy_hitters.oracles import ORACLES

SMALLEST_P = 1e-6  # of a sound sampler's test
EPSILONS = (0.1, 1.0, 4.0)
SIZES = (2, 3, 64)
EACH = pytest.mark.parametrize("kind", [GRR, OUE, OLH])


def reported(oracle, values, seed=None, rng=None):
    rng = np.random.default_rng(0) if rng is None else rng
    with Release(oracle.claim, "test", seed=seed) as release:
        return oracle.perturb(np.asarray(values, np.int64), release, rng)


def law(oracle, value):
    """Logarithms of the probabilities of all reports of one user; of OLH given the hash function, x to x mod G."""
    d = oracle.domain_size
    if isinstance(oracle, GRR):
        return np.log([oracle.p if y == value % (d + 1) else oracle.q for y in range(d + 1)])
    if isinstance(oracle, OLH):
        other = (1 - oracle.p) / (oracle.buckets - 1)
        return np.log([oracle.p if y == value % oracle.buckets else other for y in range(oracle.buckets)])
    ones = np.array([oracle.p if x == value else oracle.q for x in range(d)])
    return np.array([np.log(np.where(bits, ones, 1 - ones)).sum() for bits in itertools.product((0, 1), repeat=d)])


def worst_ratio(oracle):
    """Largest log-ratio of a report's probabilities over two values, the dummy included."""
    if isinstance(oracle, OUE) and oracle.domain_size > 3:
        # Bits are independent, and only the two that change matter: as with two candidates.
        return worst_ratio(OUE(oracle.epsilon, 3))
    laws = [law(oracle, value) for value in range(-1, oracle.domain_size)]
    return max(np.max(a - b) for a, b in itertools.permutations(laws, 2))


@EACH
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("epsilon", EPSILONS)
def test_the_law_of_a_report_is_epsilon_private_and_wastes_nothing(kind, size, epsilon):
    oracle = kind(epsilon, size)
    for value in (-1, 0, size - 1) if size < 10 or kind is not OUE else ():
        assert np.exp(law(oracle, value)).sum() == pytest.approx(1, abs=1e-12)
    assert epsilon - 1e-9 <= worst_ratio(oracle) <= epsilon + 1e-12


@EACH
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("value", [-1, 0, 1])
def test_reports_follow_that_law(kind, size, value):
    """Chi-squared over all reports of the small domains; a sound sampler fails with probability 1e-6."""
    oracle, n = kind(1.0, size), 200_000
    drawn = reported(oracle, np.full(n, value))
    if kind is OLH:
        seeds, buckets = drawn
        own = hashing.buckets(seeds, np.full(n, value % (size + 1)), oracle.buckets)
        drawn, expected = (buckets - own) % oracle.buckets, np.exp(law(oracle, 0))
    else:
        expected = np.exp(law(oracle, value % (size + 1) if kind is GRR else value))
    if kind is OUE:
        drawn = drawn[:, 0] >> (8 - size)
    counts = np.bincount(drawn, minlength=len(expected))
    assert stats.chisquare(counts, n * expected).pvalue > SMALLEST_P


@EACH
@pytest.mark.parametrize("way", ["reports", "simulate"])
@pytest.mark.parametrize("epsilon", [0.5, 2.0])
def test_estimates_are_unbiased_and_their_error_is_the_stated_one(kind, way, epsilon):
    """Mean squared error within 5 % of the formula over 400 runs of 64 candidates.

    Candidates' squared errors are nearly independent, so the mean of 25,600 has a standard error of 0.9 %: a sound
    oracle fails with probability below 1e-7. GRR's sum to a constant, which changes this by one part in 64.
    """
    size, users, runs = 64, 300, 400
    oracle = kind(epsilon, size)
    held = np.zeros(size + 1, np.int64)
    held[:4] = 100, 50, 20, 10
    held[size] = users - held.sum()
    values = np.repeat(np.append(np.arange(size), -1), held)
    rng = np.random.default_rng(1)
    if way == "simulate":
        support = [oracle.simulate(values, rng) for _ in range(runs)]
    else:
        support = [oracle.aggregate(reported(oracle, values, rng=rng)) for _ in range(runs)]
    counts = np.array([estimate(oracle, each, users)[0] for each in support])
    expected = np.array([variance(oracle, users, float(h)) for h in held[:size]])
    z = (counts.mean(axis=0) - held[:size]) / np.sqrt(expected / runs)
    assert np.abs(z).max() < 6  # 64 means: 64 · 2e-9
    assert np.mean((counts - held[:size]) ** 2 / expected) == pytest.approx(1, abs=0.05)


@EACH
def test_simulated_sums_have_the_law_of_the_sums_of_reports(kind):
    """Two-sample Kolmogorov-Smirnov tests on each candidate's support and on differences of two."""
    oracle, runs = kind(1.0, 4), 1000
    values = np.repeat([0, 1, -1], [20, 10, 5])
    rng = np.random.default_rng(2)
    real = np.array([oracle.aggregate(reported(oracle, values, rng=rng)) for _ in range(runs)])
    simulated = np.array([oracle.simulate(values, rng) for _ in range(runs)])
    for direction in ([1, 0, 0, 0], [0, 0, 1, 0], [1, -1, 0, 0], [0, 1, 1, -1]):
        assert stats.ks_2samp(real @ direction, simulated @ direction).pvalue > SMALLEST_P


@pytest.mark.parametrize(
    ("oracle", "formula"),
    [
        (GRR(1.5, 9), lambda n, e, d: n * (d + 1 - 2 + e) / (e - 1) ** 2),
        (OUE(1.5, 9), lambda n, e, d: 4 * n * e / (e - 1) ** 2),
        (OLH(math.log(4), 9), lambda n, e, d: 4 * n * e / (e - 1) ** 2),
    ],
)
def test_the_variance_of_a_rare_item_is_that_of_wang_et_al(oracle, formula):
    assert variance(oracle, 1000) == pytest.approx(formula(1000, math.exp(oracle.epsilon), 9), rel=1e-12)
    assert oracle.gap == pytest.approx(oracle.p - oracle.q, rel=1e-12)


def certified_epsilon(hits, others, n, alpha):
    """A lower bound of the log-ratio of two probabilities, by Clopper and Pearson."""
    low = stats.beta.ppf(alpha / 2, hits, n - hits + 1)
    high = stats.beta.ppf(1 - alpha / 2, others + 1, n - others)
    return math.log(low / high)


def test_what_an_attacker_certifies_stays_below_epsilon_and_a_q_off_by_two_percent_is_caught():
    """10^5 reports from either value, at level 1e-6; the broken twin with 4·10^6, where 2 % are 20 standard errors."""
    oracle, n = GRR(1.0, 2), 100_000
    hits, others = (np.count_nonzero(reported(oracle, np.full(n, value)) == 0) for value in (0, 1))
    assert 0.9 < certified_epsilon(hits, others, n, 1e-6) <= 1.0
    for kind in (OUE, OLH):
        bits = [kind(1.0, 2).aggregate(reported(kind(1.0, 2), np.full(n, value)))[0] for value in (0, 1)]
        assert certified_epsilon(*bits, n, 1e-6) <= 1.0
    n = 4_000_000
    q = 0.98 * oracle.q
    broken = np.random.default_rng(0).binomial(n, [1 - 2 * q, q])
    assert certified_epsilon(*broken, n, 1e-6) > 1.0
    sound = np.random.default_rng(0).binomial(n, [oracle.p, oracle.q])
    assert certified_epsilon(*sound, n, 1e-6) <= 1.0


@pytest.mark.slow
def test_hash_functions_are_pairwise_independent_and_both_counters_agree(monkeypatch):
    rng = np.random.default_rng(3)
    n, size = 200_000, 5
    seeds = rng.integers(0, 2**64, n, dtype=np.uint64)
    drawn = [hashing.buckets(seeds, np.full(n, x), size) for x in (0, 1, 2**31)]
    for a, b in itertools.combinations(drawn, 2):
        table = np.bincount(a * size + b, minlength=size**2)
        assert stats.chisquare(table).pvalue > SMALLEST_P
    plain = hashing.count_support(seeds[:999], drawn[0][:999], 300, size)
    direct = [(hashing.buckets(seeds[:999], np.full(999, x), size) == drawn[0][:999]).sum() for x in range(300)]
    assert plain.tolist() == direct
    pytest.importorskip("numba")
    monkeypatch.setattr(hashing, "_WORTH_COMPILING", 1)
    assert hashing.count_support(seeds[:999], drawn[0][:999], 300, size).tolist() == direct


def test_without_numba_numpy_counts(monkeypatch):
    hashing._compiled.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "numba", None)
    assert hashing._compiled() is None
    hashing._compiled.cache_clear()


def test_auto_takes_grr_for_small_domains_and_local_hashing_beyond():
    assert isinstance(choose_oracle("auto", 1.0, 8), GRR)
    assert isinstance(choose_oracle("auto", 1.0, 10), OLH)
    assert isinstance(choose_oracle("auto", 800.0, 2**20), GRR)
    for size in (4, 8, 10, 40):
        auto = variance(choose_oracle("auto", 1.0, size), 1)
        assert auto <= 1.02 * min(variance(kind(1.0, size), 1) for kind in ORACLES.values())


@EACH
@pytest.mark.parametrize("epsilon", [0, -1, math.nan, math.inf, True, "1"])
def test_a_bad_epsilon_is_refused(kind, epsilon):
    with pytest.raises(InvalidClaim, match="epsilon"):
        kind(epsilon, 4)


@EACH
def test_bad_input_is_refused_by_name(kind):
    oracle = kind(1.0, 4)
    for size in (0, 1.5, True, 2**32):
        with pytest.raises(InvalidData, match="domain_size"):
            kind(1.0, size)
    for values in ([4], [-2], [0.0], [[1]]):
        with pytest.raises(InvalidData, match="values"), Release(oracle.claim, "test") as release:
            oracle.perturb(np.array(values), release, np.random.default_rng())
    with pytest.raises(InvalidClaim, match="replace-one"):
        reported_under(oracle, Claim(PureDP(1.0)))


def reported_under(oracle, claim):
    with Release(claim, "test") as release:
        return oracle.perturb(np.zeros(3, np.int64), release, np.random.default_rng())


def test_local_hashing_refuses_what_grr_does_better():
    with pytest.raises(InvalidClaim, match='use "grr"'):
        OLH(12.0, 100)
