"""AboveThreshold: exact output probabilities on all small neighbours, the published mistakes, and its state."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sfumato import Claim, ClaimViolated, InvalidClaim, InvalidData, PureDP, Release
from sfumato.errors import BudgetExceeded
from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.sparse_vector import AboveThreshold, NumericSparse

EPSILON = 1.0
SPAN = np.arange(-160, 161)  # beyond it the thresholds' noise has less than 1e-34, far below what is compared


def laplace(scale):
    q = math.exp(-1 / scale)
    return (1 - q) / (1 + q) * q ** np.abs(SPAN)


def below(values, scale):
    """P(value + noise < t) for each t of the span; without noise if the scale is 0."""
    gap = SPAN[:, np.newaxis] - np.asarray(values)
    if scale == 0:
        return (gap > 0).astype(float)
    q = math.exp(-1 / scale)
    # P(noise <= k) with k = gap - 1
    return np.where(gap - 1 >= 0, 1 - q**gap / (1 + q), q ** (1.0 - gap) / (1 + q))


def exact(values, tops, *, threshold_scale, query_scale, one_threshold=False):
    """Probability of every answer sequence of above-threshold at 0, cut off after `tops` tops: a dict."""
    miss, weight = below(values, query_scale), laplace(threshold_scale)
    found = {}
    for answers in itertools.product((0, 1), repeat=len(values)):
        probability, term, count = 1.0, weight.copy(), 0
        for j, top in enumerate(answers):
            term = term * ((1 - miss[:, j]) if top else miss[:, j])
            if top and not one_threshold:
                probability *= term.sum()
                term, count = weight.copy(), count + 1
                if count == tops:
                    found[answers[: j + 1]] = probability
                    break
        else:
            found[answers] = probability * term.sum()
    return found


def loss(a, b):
    """Largest log ratio over outputs."""
    return max(math.log(a[key] / b[key]) if b[key] else math.inf for key in a if a[key] > 1e-300)


def pairs(moves, length=3):
    for values in itertools.product((-2, 0, 1), repeat=length):
        for step in itertools.product(moves, repeat=length):
            yield values, tuple(np.add(values, step))


@pytest.mark.parametrize(("tops", "monotone"), [(1, False), (2, False), (1, True), (2, True)])
def test_output_probabilities_obey_epsilon_on_all_small_neighbours(tops, monotone):
    settings = {"threshold_scale": 2 * tops / EPSILON, "query_scale": (2 if monotone else 4) * tops / EPSILON}
    known = {}

    def of(values):
        if values not in known:
            known[values] = exact(values, tops, **settings)
        return known[values]

    worst = 0.0
    for values, other in pairs((0, 1) if monotone else (-1, 0, 1)):
        a, b = of(values), of(other)
        assert sum(a.values()) == pytest.approx(1, abs=1e-12)
        worst = max(worst, loss(a, b), loss(b, a))
    assert (0.5 if tops == 1 else 0.3) * EPSILON < worst <= EPSILON + 1e-9  # and the sums are no empty test


@pytest.mark.parametrize(
    "broken",
    [
        {"threshold_scale": 2 / EPSILON, "query_scale": 0},  # no noise on queries (variant 5)
        {"threshold_scale": 2 / EPSILON, "query_scale": 4 / EPSILON, "one_threshold": True},  # no cut-off (variant 6)
        {"threshold_scale": 4 / EPSILON, "query_scale": 4 / 3 / EPSILON, "one_threshold": True},  # variant 4
    ],
)
def test_the_same_sums_refute_the_published_mistakes(broken):
    """Variant 3 prints a continuous output: `sfumato.studies.museum` holds all four, with the auditor's word."""
    half = (0,) * 5 + (1,) * 5
    a, b = exact(half, 99, **broken), exact(half[::-1], 99, **broken)
    assert loss(a, b) > EPSILON


def test_answers_have_the_exact_probabilities():
    """Chi-squared on 6000 runs, false alarm 1e-6."""
    values, tops, runs = (-2, 1, 0), 2, 6000
    expected = exact(values, tops, threshold_scale=4 / 3, query_scale=8 / 3)
    seen = dict.fromkeys(expected, 0)
    for _ in range(runs):
        with Release(Claim(PureDP(3.0)), purpose="test") as release:
            answers = AboveThreshold(release, 3.0, threshold=0, max_tops=tops).ask(values)
            seen[tuple(answers.astype(int).tolist())] += 1
    counts = np.array([[seen[key], expected[key] * runs] for key in expected]).T
    assert stats.chisquare(*counts).pvalue > 1e-6


def test_one_by_one_is_the_same_as_in_a_line():
    def answers(ask):
        with Release(Claim(PureDP(1.0)), purpose="test", seed=1) as release:
            return ask(AboveThreshold(release, 1.0, threshold=50, max_tops=2))

    values = [0, 1000, 0, 1000, 0]
    assert answers(lambda above: above.ask(values).tolist()) == [False, True, False, True]
    assert answers(lambda above: [bool(above.ask(v)) for v in values[:4]]) == [False, True, False, True]


def test_it_halts_after_its_tops_and_costs_what_it_says():
    with Release(Claim(PureDP(1.0)), purpose="test") as release:
        above = AboveThreshold(release, 1.0, threshold=0, max_tops=2)
        assert above.claim_.bound == PureDP(1.0)
        with pytest.raises(ClaimViolated):  # nothing is left of the release
            AboveThreshold(release, 0.1, threshold=0)
        above.ask([10_000, 10_000])
        assert above.remaining_ == 0
        with pytest.raises(BudgetExceeded):
            above.ask(-10_000)


def test_tops_compose_in_zcdp_where_the_release_claims_that():
    with Release(Claim(ZCDP(10 * 0.1**2 / 2)), purpose="test") as release:
        AboveThreshold(release, 1.0, threshold=0, max_tops=10)
    with Release(Claim(PureDP(0.5)), purpose="test") as release, pytest.raises(ClaimViolated):
        AboveThreshold(release, 1.0, threshold=0, max_tops=10)


def test_values_carry_fresh_noise_of_their_own():
    """The value's noise has scale 2Δ·tops/ε: standard deviation √2 of it, 5 % off in 6000 runs at 1e-6."""
    found = []
    for _ in range(1500):
        with Release(Claim(PureDP(4.0)), purpose="test") as release:
            sparse = NumericSparse(release, 4.0, sensitivity=10, threshold=0, max_tops=1)
            found.append(sparse.ask(100_000) - 100_000)
            with pytest.raises(BudgetExceeded):
                sparse.ask(100_000)
    assert np.std(found) == pytest.approx(5 * math.sqrt(2), rel=0.3)


def test_a_low_query_gets_no_value():
    with Release(Claim(PureDP(1.0)), purpose="test") as release:
        assert NumericSparse(release, 1.0, threshold=1000).ask(-1000) is None


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"epsilon": 0.0}, InvalidClaim),
        ({"epsilon": math.nan}, InvalidClaim),
        ({"sensitivity": 0}, InvalidClaim),
        ({"max_tops": 0}, InvalidClaim),
        ({"max_tops": 1.5}, InvalidClaim),
        ({"threshold": 0.5}, InvalidData),
    ],
)
@pytest.mark.parametrize("kind", [AboveThreshold, NumericSparse])
def test_bad_parameters_cost_nothing(kind, change, error):
    with Release(Claim(PureDP(1.0)), purpose="test") as release:
        with pytest.raises(error):
            kind(release, **{"epsilon": 1.0, "threshold": 0, **change})
        assert release.events == []


def test_bad_queries():
    with Release(Claim(PureDP(1.0)), purpose="test") as release:
        above = AboveThreshold(release, 1.0, threshold=0)
        for values in (0.5, [[1, 2]], [2**62]):
            with pytest.raises(InvalidData):
                above.ask(values)
        assert above.remaining_ == 1
    with pytest.raises(ClaimViolated):  # its release is closed
        above.ask(0)
