"""The gradient from scalars: exact where there are enough, a projection where not, and little under noise."""

import numpy as np
import pytest

from sfumato import Claim, PureDP
from sfumato.attacks.scalar_gradients import GradientFromScalars, cosine
from sfumato.errors import AttackNotApplicable, InvalidData

P = 60
Z = np.random.default_rng(0).normal(size=(4 * P, P))
G = np.random.default_rng(1).normal(size=P)
CLAIM = Claim(PureDP(1.0))


def direction(i):
    return Z[i]


def test_enough_scalars_give_the_gradient():
    found = GradientFromScalars().reconstruct(direction, Z[: 2 * P] @ G)
    np.testing.assert_allclose(found, G, rtol=1e-8)
    evidence = GradientFromScalars().attack(direction, Z[: 2 * P] @ G, G, CLAIM)
    assert evidence.value > 0.999999
    assert evidence.verdict == "inconclusive"
    assert evidence.samples == 2 * P


def test_fewer_give_its_projection():
    n = P // 2
    found = GradientFromScalars().reconstruct(direction, Z[:n] @ G)
    projected = np.linalg.pinv(Z[:n]) @ Z[:n] @ G
    np.testing.assert_allclose(found, projected, atol=1e-10)
    assert 0.4 < cosine(found, G) < 0.95


def test_noise_hides_it_and_a_ridge_helps():
    noisy = Z @ G + 100 * np.random.default_rng(2).normal(size=len(Z))
    plain = cosine(GradientFromScalars().reconstruct(direction, noisy), G)
    assert plain < 0.5
    assert cosine(GradientFromScalars(ridge=40.0).reconstruct(direction, noisy), G) > plain - 0.1


def test_skipped_scalars_are_left_out():
    scalars = Z @ G
    scalars[::3] = np.nan
    np.testing.assert_allclose(GradientFromScalars().reconstruct(direction, scalars), G, rtol=1e-8)
    with pytest.raises(AttackNotApplicable, match="every scalar"):
        GradientFromScalars().reconstruct(direction, [np.nan])


def test_bad_input_is_named():
    with pytest.raises(InvalidData, match="ridge"):
        GradientFromScalars(ridge=-1)
    with pytest.raises(InvalidData, match="one dimension"):
        GradientFromScalars().reconstruct(direction, Z)
    with pytest.raises(InvalidData, match="gradient must have shape"):
        GradientFromScalars().attack(direction, Z @ G, G[:3], CLAIM)
    with pytest.raises(InvalidData, match="each direction"):
        GradientFromScalars().reconstruct(lambda i: np.zeros(3 + i), [1.0, 2.0, 3.0, 4.0])
    assert cosine(np.zeros(3), np.ones(3)) == 0
