"""What one user adds, and how far one user can move it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.federation.bandits.contributions import clip, length_of, pack, sensitivity, unpack


def contribution(phi, y):
    return pack(np.multiply.outer(phi, phi), phi * y)


def balls(rng, n, d):
    directions = rng.normal(size=(n, d))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True) * rng.random((n, 1)) ** rng.choice([0, 1, 3])


@pytest.mark.parametrize("d", [1, 2, 5])
def test_no_pair_of_users_is_further_apart_than_the_proof_says(d):
    rng = np.random.default_rng(0)
    p, q = balls(rng, 4000, d), balls(rng, 4000, d)
    y, z = rng.choice([-1, 1], 4000), rng.choice([-1, 1], 4000)
    a = np.array([contribution(*each) for each in zip(p, y, strict=True)])
    b = np.array([contribution(*each) for each in zip(q, z, strict=True)])
    assert np.linalg.norm(a - b, axis=1).max() <= sensitivity("replace-one")
    assert np.linalg.norm(a, axis=1).max() <= sensitivity("add-remove") + 1e-12


def test_the_worst_pairs_are_as_far_as_the_proof_says():
    p, q = np.array([1.0, 0.0]), np.array([0.5, math.sqrt(0.75)])
    assert math.isclose(np.linalg.norm(contribution(p, 1) - contribution(q, -1)), math.sqrt(4.5))
    assert math.isclose(np.linalg.norm(contribution(p, 1)), math.sqrt(2))


@given(st.integers(1, 12), st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_packing_keeps_norms_and_is_undone(d, seed):
    rng = np.random.default_rng(seed)
    gram, bias = rng.normal(size=(d, d)), rng.normal(size=d)
    gram = (gram + gram.T) / 2
    vector = pack(gram, bias)
    assert vector.shape == (length_of(d),)
    assert math.isclose(np.linalg.norm(vector) ** 2, np.linalg.norm(gram) ** 2 + np.linalg.norm(bias) ** 2)
    back = unpack(vector, d)
    np.testing.assert_allclose(back[0], gram, atol=1e-12)
    np.testing.assert_allclose(back[1], bias)


def test_users_beyond_the_bounds_are_clipped_and_broken_ones_rejected():
    features = np.array([[3.0, 4.0], [0.1, 0.1], [np.nan, 0.0], [0.0, 1.0]])
    phi, y, changed = clip(features, np.array([1.0, 1.0, 1.0, np.inf]), reward_bound=2.0)
    np.testing.assert_allclose(phi, [[0.6, 0.8], [0.1, 0.1], [0, 0], [0, 0]])
    np.testing.assert_allclose(y, [0.5, 0.5, 0, 0])
    assert changed.tolist() == [1, 2]
