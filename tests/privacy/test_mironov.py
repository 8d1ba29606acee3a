"""Mironov 2012: the low bits of naive floating-point Laplace tell inputs apart; those of a release do not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import default_granularity, from_grid, grid_sensitivity, to_grid
from sfumato.privacy.release import Release

DRAWS = 100_000
CONFIDENCE = 1 - 1e-6


def lowest_bit_below(x, exponent):
    """Whether the lowest set bit of each double is worth less than 2**exponent."""
    return np.rint(x * 2.0**-exponent) != x * 2.0**-exponent


def naive(x):
    return x + np.random.default_rng(int(x)).laplace(scale=1.0, size=DRAWS)


def released(x):
    """DRAWS independent releases of x at ε = 1: one vector of scale-1 noise stands for them."""
    with Release(Claim(PureDP(float(2 * DRAWS))), purpose="test") as release:
        return release.laplace(
            np.full(DRAWS, x), l1_sensitivity=float(DRAWS), epsilon=float(DRAWS), granularity=2.0**-20
        )


def certified_epsilon(mechanism, exponent):
    """Clopper-Pearson lower bound on ε from one event fixed in advance, at 1e-6."""
    hits = [int(lowest_bit_below(mechanism(x), exponent).sum()) for x in (0.0, 1.0)]
    low = [stats.beta.ppf((1 - CONFIDENCE) / 2, h, DRAWS - h + 1) if h else 0.0 for h in hits]
    high = [stats.beta.ppf(1 - (1 - CONFIDENCE) / 2, h + 1, DRAWS - h) if h < DRAWS else 1.0 for h in hits]
    return max(0.0, *(np.log(low[a] / high[1 - a]) if low[a] else 0.0 for a in (0, 1)))


def test_the_attack_distinguishes_naive_float_laplace_and_not_ours():
    assert certified_epsilon(naive, -53) > 5
    for exponent in range(-60, -10, 5):
        assert certified_epsilon(released, exponent) <= 1.0


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.integers(0, 2**32),
    st.integers(-20, 5),
    st.sampled_from(["l1", "l2"]),
)
def test_rounding_never_widens_neighbours_beyond_what_is_paid_for(values, seed, exponent, norm):
    a = np.array(values)
    b = a + np.random.default_rng(seed).normal(size=len(a))
    step = 2.0**exponent
    order = 1 if norm == "l1" else 2
    cells = np.linalg.norm(to_grid(a, step) - to_grid(b, step), order)
    distance = float(np.linalg.norm(a - b, order)) * (1 + 1e-12)
    assert cells <= float(grid_sensitivity(distance, step, len(a), norm)) * (1 + 1e-12)


def test_the_widening_is_reached():
    """Half-granule ties round to even: values one granule apart land two granules apart."""
    assert to_grid(np.array([1.5]), 1.0) - to_grid(np.array([0.5]), 1.0) == 2
    assert grid_sensitivity(1.0, 1.0, 1, "l1") == 2


def test_the_grid_refuses_what_it_cannot_hold():
    with pytest.raises(InvalidClaim, match="power of two"):
        to_grid(np.array([1.0]), 0.3)
    for bad in (np.nan, np.inf, 1e300):
        with pytest.raises(InvalidData, match="finite"):
            to_grid(np.array([bad]), 2.0**-20)
    with pytest.raises(InvalidClaim, match="scale"):
        default_granularity(0.0)
    assert default_granularity(1.0) == 2.0**-20
    assert from_grid(np.array([3]), 0.25)[0] == 0.75
