"""Propose, test, release: the distance to instability, the threshold, and what passes."""

import itertools
import math

import numpy as np
import pytest

from sfumato import ApproxDP
from sfumato.statistics.robust import ProposeTestRelease, check_sensitivity, trimmed_mean
from sfumato.statistics.robust.stable import StabilityTest

RADIUS, VALUES = 2, np.arange(-2, 3)


@pytest.mark.parametrize("n", [3, 4, 5, 6])
@pytest.mark.parametrize("proposal", [0, 1, 2, 3])
def test_the_distance_is_that_of_an_exhaustive_search(n, proposal):
    """All data sets on five points: which of them a replaced record moves by more, and how far each is from those."""
    everything = np.array(list(itertools.combinations_with_replacement(VALUES, n)))
    counts = (everything[:, :, np.newaxis] == VALUES).sum(axis=1)
    apart = n - np.minimum(counts[:, np.newaxis], counts).sum(axis=2)
    for trim in range(1, (n - 1) // 2 + 1):
        statistic = trimmed_mean(n, trim)
        sums = np.array([int(statistic.value(x) * statistic.divisor) for x in everything])
        local = np.where(apart <= 1, np.abs(sums[:, np.newaxis] - sums), 0).max(axis=1)
        test = StabilityTest(1.0, 0.1, statistic)
        for x, far in zip(everything, apart, strict=True):
            unstable = far[local > proposal]
            assert test.distance(x, RADIUS, proposal) == (unstable.min() if unstable.size else test.enough)


@pytest.mark.parametrize("epsilon", [0.01, 0.3, 2.0, 20.0])
@pytest.mark.parametrize("delta", [0.5, 1e-3, 1e-9])
def test_an_unstable_set_passes_with_probability_delta_at_most(epsilon, delta):
    t, q = StabilityTest(epsilon, delta, trimmed_mean(9, 2)).threshold, math.exp(-epsilon)
    assert q**t / (1 + q) <= delta
    assert t <= 1 or q ** (t - 3) / (1 + q) > delta  # and is not far above


def neighbours(rng):
    n = int(rng.integers(4, 30))
    x = np.sort(rng.integers(-40, 41, n) // rng.integers(1, 9))
    y = x.copy()
    y[int(rng.integers(n))] = rng.integers(-40, 41)
    return x, np.sort(y)


def test_the_distance_has_sensitivity_one_and_a_greedy_one_has_not():
    def exact(x):
        return np.array([StabilityTest(1.0, 0.1, trimmed_mean(len(x), 1)).distance(x, 40, b) for b in (3, 10, 30)])

    def greedy(x):
        """Replace the record next to the widest gap by the upper bound until the kept ones spread too far."""
        found = []
        for b in (3, 10, 30):
            y, steps = x.copy(), 0
            while y[-2] - y[1] <= b and steps < len(x):
                y[np.argmax(np.diff(y))] = 40
                y, steps = np.sort(y), steps + 1
            found.append(steps)
        return np.array(found)

    assert check_sensitivity(exact, neighbours, 600, random_state=0) == 1
    assert check_sensitivity(greedy, neighbours, 600, random_state=0) > 1


def test_stable_records_are_answered_wherever_they_lie():
    """A test passes unless its noise is 40 of its scales; the error is sampling noise and a few thousandths."""
    rng = np.random.default_rng(0)
    for centre in (0.0, 1e9, -12345.6):
        fit = ProposeTestRelease(1.0, scale=1.0, delta=1e-6).fit(rng.normal(centre, 1, 4000))
        assert abs(fit.estimate_ - centre) < 0.25
        assert fit.claim_.bound == ApproxDP(1.0, 1e-6)
    both = ProposeTestRelease(2.0, scale=1.0, delta=1e-6, bounds=(-1e3, 1e3)).fit(rng.normal([5, -7], 1, (4000, 2)))
    assert np.abs(both.estimate_ - [5, -7]).max() < 0.25
    wild = np.concatenate((rng.normal(0, 1, 3600), np.full(400, 1e6)))
    assert abs(ProposeTestRelease(1.0, scale=1.0, delta=1e-6).fit(wild).estimate_) < 0.5


def test_unstable_records_have_no_answer():
    """Each of 60 fits passes with probability at most δ = 1e-9."""
    halves = np.repeat([-50.0, 50.0], 2000)
    assert all(math.isnan(ProposeTestRelease(1.0, scale=1.0, delta=1e-9).fit(halves).estimate_) for _ in range(30))
    wider = np.random.default_rng(1).normal(0, 20, 4000)
    assert all(math.isnan(ProposeTestRelease(1.0, scale=1.0, delta=1e-9).fit(wider).estimate_) for _ in range(30))


def test_too_few_records_are_said():
    with pytest.warns(UserWarning, match="with 20 records .* be NaN"):
        ProposeTestRelease(1.0, scale=1.0, delta=1e-6).fit(np.zeros(20))
