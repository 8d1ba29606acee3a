"""The transcript attack: right about what it was told, silent where it cannot say."""

import numpy as np
import pytest

from sfumato import Claim, InvalidData, PureDP
from sfumato.attacks.transcripts import transcript_attack

PAIR = (0, 1)


def test_a_schedule_that_follows_the_data_is_falsified():
    evidence = transcript_attack(lambda data: (3, 7 + data), PAIR, Claim(PureDP(1.0)), games=100, random_state=0)
    assert evidence.verdict == "falsified"
    assert evidence.value == 1.0


def test_a_fixed_schedule_is_not():
    """Accused with probability 1e-6; and a randomised one that keeps its claim just so, likewise."""
    rng = np.random.default_rng(0)

    def response(data):
        return data if rng.random() < np.e / (1 + np.e) else 1 - data

    for transcript in (lambda data: (3, 7), response):
        evidence = transcript_attack(transcript, PAIR, Claim(PureDP(1.0)), games=2000, alpha=1e-6, random_state=0)
        assert evidence.verdict == "consistent"
    assert 0.35 < evidence.value < 0.6


def test_too_few_games_say_nothing():
    evidence = transcript_attack(lambda data: data, PAIR, Claim(PureDP(6.0)), games=5, random_state=0)
    assert evidence.verdict == "inconclusive"
    with pytest.raises(InvalidData):
        transcript_attack(lambda data: data, PAIR, Claim(PureDP(1.0)), games=1)
