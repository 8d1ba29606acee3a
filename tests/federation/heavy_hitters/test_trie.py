"""TrieHH: its parameters, and the bound computed for them."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom

from sfumato.federation.heavy_hitters.trie import paper_threshold, round_delta, sampling_rate, sound_threshold


def test_the_papers_check_value():
    assert paper_threshold(4.0, 2.3e-12, 10) == 15
    assert 1_780_000 * sampling_rate(4.0, 15, 10) == pytest.approx(39_150, rel=2e-3)


@pytest.mark.parametrize(("epsilon", "delta", "rounds"), itertools.product((0.5, 2.0, 8.0), (1e-4, 1e-9), (1, 6)))
def test_all_rounds_together_are_within_delta(epsilon, delta, rounds):
    threshold = sound_threshold(epsilon, delta, rounds)
    rate = sampling_rate(epsilon, threshold, rounds)
    assert rounds * round_delta(epsilon / rounds, threshold, rate) <= delta


@pytest.mark.parametrize(("epsilon", "threshold"), [(0.3, 5), (1.0, 6), (3.0, 25)])
def test_the_bound_covers_every_count_in_both_directions(epsilon, threshold):
    """Brute force over counts far beyond those that the bound looks at, and for either value of the bit."""
    rate = -math.expm1(-epsilon) / threshold
    c = np.arange(40_000)
    bits = [(binom.sf(threshold - 1, n, rate), binom.cdf(threshold - 1, n, rate)) for n in (c, c + 1)]
    factor = math.exp(epsilon)
    bound = round_delta(epsilon, threshold, rate)
    for one, other in ((0, 1), (1, 0)):
        for value in (0, 1):
            assert np.max(bits[one][value] - factor * bits[other][value]) <= bound + 1e-12


def test_a_rate_beyond_the_proof_gives_no_bound():
    assert round_delta(1.0, 5, 0.9) == 1.0
    assert round_delta(1.0, 5, 5 * sampling_rate(1.0, 5, 1) / 2) > round_delta(1.0, 5, sampling_rate(1.0, 5, 1))
