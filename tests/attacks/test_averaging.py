"""The averaging attack: right about what it was told, silent where it cannot say."""

import numpy as np
import pytest

from sfumato import Claim, InvalidData, PureDP
from sfumato.attacks.averaging import averaging_attack

RNG = np.random.default_rng(0)


def noisy(answer):
    return lambda: answer + RNG.laplace()


@pytest.mark.parametrize("pair", [(0.0, 1.0), (1.0, 0.0)])
def test_fresh_noise_is_averaged_away(pair):
    """A service of ε = 1 an answer; wrong with probability below 1e-6."""
    evidence = averaging_attack(noisy, pair, Claim(PureDP(1.0)), repeats=400, games=100, random_state=0)
    assert evidence.verdict == "falsified"
    assert evidence.value > 0.95


def test_noise_drawn_once_is_not():
    """Accused with probability 1e-6."""

    def once(answer):
        fixed = answer + RNG.laplace()
        return lambda: fixed

    evidence = averaging_attack(once, (0.0, 1.0), Claim(PureDP(1.0)), games=2000, repeats=2, alpha=1e-6, random_state=0)
    assert evidence.verdict == "consistent"
    assert 0.6 < evidence.value < 0.8


def test_too_few_games_say_nothing():
    evidence = averaging_attack(noisy, (0.0, 1.0), Claim(PureDP(6.0)), repeats=1, games=5, random_state=0)
    assert evidence.verdict == "inconclusive"
    for bad in ({"repeats": 0}, {"games": 1}):
        with pytest.raises(InvalidData):
            averaging_attack(noisy, (0.0, 1.0), Claim(PureDP(1.0)), **bad)
