"""Noise: exact, against the exact probabilities, against OpenDP, and against itself with a digit bent by 2^-10.

Every goodness-of-fit test rejects a true sampler with probability at most 1e-6 (chi-square on pooled cells).
"""

import math
import multiprocessing
from decimal import Context, Decimal, localcontext
from fractions import Fraction
from itertools import accumulate

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


def chosen(scores, copies, draws, rate=0.45):
    """Counts of the candidates, the runs written out."""
    source = Entropy()
    counts = np.zeros(sum(copies), int)
    for _ in range(draws):
        counts[noise.exponential_choice(scores, 2 * rate, 1, source, copies)] += 1
    return counts


@pytest.mark.parametrize("exactly", [False, True])
def test_runs_of_candidates_are_chosen_as_if_written_out(monkeypatch, exactly):
    """By doubles with a margin, and by enclosures alone."""
    if exactly:
        monkeypatch.setattr(noise, "_invert_doubles", lambda weights, u: None)
    scores, copies = [-2, 0, 5, -1, 0], [3, 1, 0, 4, 2]
    counts = chosen(scores, copies, 20_000)
    weights = np.exp(0.45 * np.repeat(scores, copies))
    assert stats.chisquare(counts, weights / weights.sum() * 20_000).pvalue > FALSE_ALARM


class Words(Entropy):
    """Entropy whose integers are the digits of a given number, 64 first."""

    def __init__(self, digits):
        super().__init__(0)
        self.digits, self.used = digits, 0

    def integer(self, bits):
        self.used += bits
        return (self.digits << 1000 >> (1640 - self.used)) & (2**bits - 1)


def by_fractions(deficits, lengths, rate, digits):
    """The index whose share holds digits / 2^640, by 400 decimal digits."""
    weights = [
        w * Decimal(-int(d) * rate.numerator / Decimal(rate.denominator)).exp()
        for d, w in zip(deficits, lengths, strict=True)
    ]
    at, total = Decimal(digits) / 2**640, sum(weights)
    return next(i for i, end in enumerate(accumulate(weights)) if at * total < end)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 2**80)), min_size=1, max_size=12),
    st.fractions(Fraction(1, 100), 3, max_denominator=1000),
    st.integers(0, 2**640 - 1),
)
def test_doubles_enclosures_and_long_decimals_choose_alike(runs, rate, digits):
    deficits, lengths = np.array([d for d, _ in runs], np.uint64), np.array([c for _, c in runs], object)
    with localcontext(Context(prec=400)):
        expected = by_fractions(deficits, lengths.tolist(), rate, digits)
    assert noise._choose_run(deficits, lengths, rate, Words(digits)) == expected
    quick = noise._invert_doubles(noise._log(lengths) - float(rate) * deficits, digits >> 576)
    assert quick in (expected, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "_invert_doubles", lambda weights, u: None)
        assert noise._choose_run(deficits, lengths, rate, Words(digits)) == expected


def test_doubles_decline_at_the_ends_of_shares():
    """Two equal weights: digits within 2^-36 of one half do not decide, nor do they at the far end of a tail."""
    equal = np.zeros(2)
    for distance, decided in ((2**20, False), (2**30, True)):
        assert (noise._invert_doubles(equal, 2**63 + distance) is not None) is decided
        assert (noise._invert_doubles(equal, 2**63 - distance) is not None) is decided
    assert noise._invert_doubles(np.array([0.0, -50.0]), 2**64 - 1) is None
    assert noise._invert_doubles(np.array([-50.0, 0.0]), 0) is None
    assert noise._invert_doubles(np.zeros(1), 2**64 - 1) == 0


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.integers(0, 5000), min_size=1, max_size=30), st.fractions(Fraction(1, 1000), 5), st.integers(70, 300)
)
def test_powers_enclose(gaps, rate, bits):
    deficits = list(accumulate([0, *gaps]))
    low, high = noise._powers(deficits, rate, bits)
    with localcontext(Context(prec=300)):
        for d, below, above in zip(deficits, low, high, strict=True):
            exact = (Decimal(-d * rate.numerator) / Decimal(rate.denominator)).exp() * 2**bits
            assert below <= exact <= above
            assert above - below <= 4 * len(deficits) + 1


def test_runs_longer_than_any_machine_number():
    """2^200 candidates of score 0 are as likely as 2^203 of score -1 at rate ln 8; the lowest bit is fair."""
    rate = math.log(8)
    picks = [noise.exponential_choice([0, -1], 2 * rate, 1, Entropy(), [2**200, 2**203]) for _ in range(4000)]
    first = sum(pick < 2**200 for pick in picks)
    assert stats.binomtest(first, 4000, 0.5).pvalue > FALSE_ALARM
    assert stats.binomtest(sum(pick & 1 for pick in picks), 4000, 0.5).pvalue > FALSE_ALARM
    assert max(picks) < 2**200 + 2**203
    assert noise.exponential_choice([0, 2**62], 1.0, 1, Entropy(), [2**2000, 1]) == 2**2000  # logs too large for exp


@pytest.mark.parametrize("bound", [1, 3, 2**63 + 1, 2**64, 3 * 2**100])
def test_uniform_integers_of_any_size(bound):
    draws = [noise.uniform_integer(bound, Entropy()) for _ in range(3000)]
    assert 0 <= min(draws) <= max(draws) < bound
    thirds = np.bincount([3 * d // bound for d in draws], minlength=3)
    if bound >= 3:
        assert stats.chisquare(thirds).pvalue > FALSE_ALARM


def test_a_uniform_integer_rejects_the_incomplete_block():
    class Few(Entropy):
        words = iter([2**66 - 1, 7])

        def integer(self, bits):
            assert bits == 66
            return next(self.words)

    assert noise.uniform_integer(3, Few(0)) == 1


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
    for copies in ([1], [1, -1], [0, 0], [1.0, 2.0], [[1, 2]]):
        with pytest.raises(InvalidData, match="copies"):
            noise.exponential_choice([1, 2], 1.0, 1, Entropy(), copies)


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
