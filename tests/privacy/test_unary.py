"""Unary encoding: its law, and what it refuses. Oracles and audits: tests/federation/heavy_hitters, tests/contracts."""

import math

import numpy as np
import pytest

from sfumato import Claim, PureDP, Release
from sfumato.errors import ClaimViolated, InvalidClaim, InvalidData
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.unary import unary_encoding

LOCAL = Claim(PureDP(1.0), neighbours="replace-one", trust="local")


def test_bits_are_independent_coins_of_the_stated_probabilities():
    """Each of 20 frequencies within 6 standard deviations: a sound sampler fails with probability 4e-8."""
    n, k, epsilon = 100_000, 10, 1.5
    categories = np.repeat([3, -1], [n, n])
    bits = np.unpackbits(unary_encoding(categories, k, epsilon, Entropy()), axis=1, count=k)
    q = 1 / (math.exp(epsilon) + 1)
    for part, own in ((bits[:n], 3), (bits[n:], -1)):
        expected = np.where(np.arange(k) == own, 0.5, q)
        z = (part.mean(axis=0) - expected) / np.sqrt(expected * (1 - expected) / n)
        assert np.abs(z).max() < 6
        correlation = np.corrcoef(part.T) - np.eye(k)
        assert np.abs(correlation).max() < 6 / math.sqrt(n)


def test_long_reports_are_drawn_row_by_row_and_packed():
    packed = unary_encoding(np.array([0, 2_000_000]), 2_000_001, 1.0, Entropy())
    assert packed.shape == (2, 250_001)
    assert not np.array_equal(packed[0], packed[1])
    assert unary_encoding(np.zeros(0, np.int64), 9, 1.0, Entropy()).shape == (0, 2)


def test_a_release_charges_one_epsilon_for_all_users_and_refuses_what_does_not_hold():
    with Release(LOCAL, "test") as release:
        release.unary_encoding([0, 1, -1], k=2, epsilon=1.0)
        with pytest.raises(ClaimViolated, match="spends more"):
            release.unary_encoding([0], k=2, epsilon=0.5)
    with pytest.raises(InvalidClaim, match="replace-one"), Release(Claim(PureDP(1.0)), "test") as release:
        release.unary_encoding([0], k=2, epsilon=1.0)


@pytest.mark.parametrize(("categories", "k"), [([2], 2), ([-2], 2), ([0.5], 2), ([0], 0)])
def test_bad_categories_are_refused(categories, k):
    with pytest.raises((InvalidData, InvalidClaim)), Release(LOCAL, "test") as release:
        release.unary_encoding(categories, k=k, epsilon=1.0)
