"""Noise: exact, against the exact probabilities, against OpenDP, and against itself with a digit bent by 2^-10.

Every goodness-of-fit test rejects a true sampler with probability at most 1e-6 (chi-square on pooled cells).
"""

import math
import multiprocessing
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy import noise
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.probability import Probability, exp_minus, odds, rational

FALSE_ALARM = 1e-6
DRAWS = 10**6


def fit_p_value(draws, log_weight):
    """Chi-square p-value of integer draws against weights exp(log_weight(x)), cells pooled to 25 expected hits."""
    reach = max(30, 2 * int(np.abs(draws).max()))
    support = np.arange(-reach, reach + 1)
    weights = np.exp(log_weight(support))
    expected = weights / weights.sum() * len(draws)
    observed = np.bincount(draws + reach, minlength=len(support))
    pooled_expected, pooled_observed = pool(expected, observed)
    if len(pooled_expected) == 1:
        return 1.0
    return stats.chisquare(pooled_observed, pooled_expected * pooled_observed.sum() / pooled_expected.sum()).pvalue


def pool(expected, observed, fewest=25.0):
    """Join neighbouring cells until each expects enough hits for the chi-square law."""
    groups = np.minimum(np.floor(np.cumsum(expected) / fewest), np.floor(expected.sum() / fewest) - 1).clip(0)
    _, start = np.unique(groups, return_index=True)
    return np.add.reduceat(expected, start), np.add.reduceat(observed, start)


class Scripted(Entropy):
    """Entropy that plays back given words, to steer the comparisons into their ties."""

    def __init__(self, words16, words64):
        super().__init__(0)
        self.words16, self.words64 = list(words16), list(words64)

    def uint16(self, n):
        return np.array([self.words16.pop(0) for _ in range(n)], dtype=np.uint16)

    def uint64(self, n):
        return np.array([self.words64.pop(0) for _ in range(n)], dtype=np.uint64)


@pytest.mark.parametrize("scale", [0.05, 0.1, 0.5, 1, Fraction(7, 3), 50, 1e4])
def test_discrete_laplace_has_its_exact_probabilities(scale):
    draws = noise.discrete_laplace(scale, DRAWS, Entropy())
    if scale < 1e3:
        assert fit_p_value(draws, lambda x: -np.abs(x) / float(scale)) > FALSE_ALARM
    else:  # too many cells for a table: the distribution function at each draw, made continuous by a uniform
        q = math.exp(-1 / scale)
        below = np.where(draws <= 0, q ** (-draws) * q / (1 + q), 1 - q ** (draws.clip(0)) / (1 + q))
        here = (1 - q) / (1 + q) * q ** np.abs(draws)
        uniform = below + here * np.random.default_rng(0).random(DRAWS)
        assert stats.kstest(uniform, "uniform").pvalue > FALSE_ALARM


@pytest.mark.parametrize("sigma2", [0.01, 0.3, 1, 7.5, 2500])
def test_discrete_gaussian_has_its_exact_probabilities(sigma2):
    draws = noise.discrete_gaussian(sigma2, DRAWS, Entropy())
    assert fit_p_value(draws, lambda x: -(x.astype(float) ** 2) / (2 * sigma2)) > FALSE_ALARM


@pytest.mark.parametrize("scale", [1, 20])
def test_discrete_laplace_agrees_with_opendp(scale):
    import opendp.prelude as dp

    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int)
    theirs = np.array(dp.m.make_laplace(*space, scale=float(scale))([0] * 20_000))
    ours = noise.discrete_laplace(scale, 20_000, Entropy())
    edges = np.unique(np.quantile(np.concatenate((ours, theirs)), np.linspace(0, 1, 20)))
    table = [np.histogram(x, np.append(edges, edges[-1] + 1))[0] + 1 for x in (ours, theirs)]
    assert stats.chi2_contingency(table).pvalue > FALSE_ALARM


def test_the_two_geometrics_it_combines_are_independent(monkeypatch):
    """Capture both streams of one million-draw call; their contingency table must not reject independence."""
    streams = []
    geometric = noise.geometric

    def recorded(*arguments):
        streams.append(geometric(*arguments).copy())
        return streams[-1].copy()

    monkeypatch.setattr(noise, "geometric", recorded)
    noise.discrete_laplace(3, DRAWS, Entropy())
    first, second = (np.minimum(stream, 12) for stream in streams)
    table = np.zeros((13, 13))
    np.add.at(table, (first, second), 1)
    assert stats.chi2_contingency(table).pvalue > FALSE_ALARM
    assert abs(np.corrcoef(streams)[0, 1]) < 5 / math.sqrt(DRAWS)  # 5 standard errors: 6e-7


def test_the_digits_of_a_geometric_are_independent_bits():
    draws = noise.geometric(50, DRAWS, Entropy())
    low = draws & 0xFF
    for a in range(8):
        for b in range(a):
            table = np.zeros((2, 2))
            np.add.at(table, (low >> a & 1, low >> b & 1), 1)
            assert stats.chi2_contingency(table).pvalue > FALSE_ALARM


def digits_p_value(draws, scale, digits):
    """Least binomial p-value of the binary digits of geometric draws, Bonferroni-corrected."""
    n = len(draws)
    p = [1 / (1 + math.exp(2.0**k / scale)) for k in range(digits)]
    return digits * min(stats.binomtest(int((draws >> k & 1).sum()), n, p[k]).pvalue for k in range(digits))


@pytest.mark.parametrize("bent", [0, 3, 6])
def test_a_digit_bent_by_two_to_the_minus_ten_is_caught(monkeypatch, bent):
    """The test passes the true sampler and rejects the mutant: 2^-10 is 8 standard errors of 2^24 digits at p = 1/2,
    and more at smaller p, so the power is above 1 - 1e-2 even at the corrected level."""
    n, scale, digits = 2**24, 50, 8
    assert digits_p_value(noise.geometric(scale, n, Entropy()), scale, digits) > FALSE_ALARM
    thresholds, probabilities, tail = noise._digits(Fraction(scale))
    shifted = list(probabilities)
    exact = Fraction(1) / (1 + Fraction(math.exp(2.0**bent / scale))) + Fraction(1, 2**10)
    shifted[bent] = rational(exact)
    limits = list(thresholds)
    limits[bent] = np.uint16(shifted[bent].floor(16))
    monkeypatch.setattr(noise, "_digits", lambda _: (limits, shifted, tail))
    assert digits_p_value(noise.geometric(scale, n, Entropy()), scale, digits) < FALSE_ALARM


def test_ties_are_refined_with_the_next_digits():
    p = Probability(lambda _: (Fraction(0x1234_8000_0000_0000_0000, 2**80),) * 2)
    words = Scripted([0x1233, 0x1235, 0x1234, 0x1234, 0x1234], [2**63 - 1, 2**63, 2**63 + 1, 5])
    # Below, above; then ties: below in the next digits; equal, then above zero digits; above.
    np.testing.assert_array_equal(noise.bernoulli(p, 5, words), [True, False, True, False, False])
    assert words.words64 == []


@settings(max_examples=200, deadline=None)
@given(st.fractions(Fraction(1, 1000), 40), st.integers(1, 200))
def test_probabilities_have_correct_digits(x, bits):
    """Two enclosures of very different width give the same digits, and doubles agree as far as they go."""
    for p, approximate in ((exp_minus(x), math.exp(-x)), (odds(3, x), 1 / (1 + 3 * math.exp(x)))):
        digits = p.floor(bits)
        assert p.floor(bits + 64) >> 64 == digits
        assert digits / 2**bits <= approximate * (1 + 1e-12)
        assert (digits + 1) / 2**bits >= approximate * (1 - 1e-12)


def test_probabilities_at_the_ends():
    assert exp_minus(Fraction(0)).floor(16) == 2**16
    assert odds(1, Fraction(0)).floor(16) == 2**15
    assert exp_minus(Fraction(10) ** 30).floor(4000) == 0
    assert noise.bernoulli(1, 1000, Entropy()).all()
    assert not noise.bernoulli(0, 1000, Entropy()).any()


@pytest.mark.parametrize("p", [0.5, 1 / 3, 1e-5, Fraction(999, 1000)])
def test_bernoulli_hits_with_its_probability(p):
    hits = int(noise.bernoulli(p, DRAWS, Entropy()).sum())
    assert stats.binomtest(hits, DRAWS, float(p)).pvalue > FALSE_ALARM


@pytest.mark.parametrize(("k", "epsilon"), [(2, 0.5), (5, 1.0), (3, 1e-3)])
def test_randomized_response_has_its_exact_probabilities(k, epsilon):
    values = np.full(DRAWS, k - 1)
    counts = np.bincount(noise.randomized_response(values, k, epsilon, Entropy()), minlength=k)
    weights = np.where(np.arange(k) == k - 1, math.exp(epsilon), 1.0)
    assert stats.chisquare(counts, weights / weights.sum() * DRAWS).pvalue > FALSE_ALARM


def test_the_exponential_mechanism_has_its_exact_probabilities():
    scores, epsilon, sensitivity = np.array([0, 3, 1, 3, -2]), 0.9, 2
    source = Entropy()
    counts = np.bincount([noise.exponential_choice(scores, epsilon, sensitivity, source) for _ in range(20_000)])
    weights = np.exp(epsilon * scores / (2 * sensitivity))
    assert stats.chisquare(counts, weights / weights.sum() * 20_000).pvalue > FALSE_ALARM


def test_the_exponential_mechanism_on_far_scores_and_undecided_digits():
    assert noise.exponential_choice([0, 10**15], 1.0, 1, Entropy()) == 1
    assert noise._invert([1, 2], [1, 2], 0, 4) == 0
    assert noise._invert([7, 15], [8, 17], 8, 4) is None  # the border lies inside the digits' interval


def test_permutations_are_uniform():
    source = Entropy()
    keys = [tuple(noise.permutation(3, source)) for _ in range(6000)]
    _, counts = np.unique(keys, axis=0, return_counts=True)
    assert len(counts) == 6
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


def test_uniform_integers_reject_the_incomplete_block():
    drawn = noise.uniform_integers(3, 2, Scripted([], [2**64 - 1, 4, 5]))
    np.testing.assert_array_equal(drawn, [2, 1])


@pytest.mark.parametrize("scale", [0, -1, math.nan, math.inf, 2.0**51])
def test_scales_out_of_range_are_refused(scale):
    with pytest.raises(InvalidClaim, match="scale"):
        noise.discrete_laplace(scale, 1, Entropy())
    with pytest.raises(InvalidClaim, match="sigma2"):
        noise.discrete_gaussian(scale if scale != 2.0**51 else 2.0**101, 1, Entropy())


def test_bad_arguments_are_refused():
    with pytest.raises(InvalidClaim, match="p must"):
        noise.bernoulli(1.5, 1, Entropy())
    with pytest.raises(InvalidData, match="categories"):
        noise.randomized_response([3], 3, 1.0, Entropy())
    with pytest.raises(InvalidData, match="scores"):
        noise.exponential_choice([], 1.0, 1, Entropy())


def test_large_scales_do_not_overflow_and_shapes_are_kept():
    draws = noise.discrete_laplace(2**50, (100, 3), Entropy())
    assert draws.shape == (100, 3)
    assert np.abs(draws).max() < 2**58  # beyond 2^8 scales: exp(-256) a draw
    assert noise.discrete_gaussian(1, (0, 4), Entropy()).shape == (0, 4)


def test_entropy_is_fresh_and_a_seed_repeats():
    assert Entropy().keystream(32) != Entropy().keystream(32)
    assert Entropy(5).keystream(32) == Entropy(5).keystream(32) != Entropy(6).keystream(32)
    source = Entropy()
    assert source.keystream(64)[:32] != source.keystream(64)[:32]


def _child(source, queue):
    queue.put(bytes(source.keystream(32)))


def test_a_fork_does_not_share_the_keystream():
    context = multiprocessing.get_context("fork")
    source = Entropy()
    source.keystream(16)
    queue = context.Queue()
    children = [context.Process(target=_child, args=(source, queue)) for _ in range(2)]
    for child in children:
        child.start()
    seen = {queue.get() for _ in children} | {bytes(source.keystream(32))}
    for child in children:
        child.join()
    assert len(seen) == 3
