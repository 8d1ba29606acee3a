"""The game of two people: certain against copies, blind against what does not depend on the table."""

import numpy as np
import pandas as pd
import pytest

from sfumato import Claim
from sfumato.attacks.coins import accuracy_ceiling
from sfumato.attacks.reconstruction import IndependentHistograms, NonPrivate
from sfumato.attacks.record_membership import MembershipGame, marginal_score, nearest_score
from sfumato.data.tabular import synthetic_census
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Heuristic

PEOPLE = synthetic_census(3000, {"a": 6, "b": 5, "c": 7, "d": 4, "e": 6}, 0)
ATTACKS = {"marginals": marginal_score(3), "nearest": nearest_score}


class Elsewhere:
    """Publishes rows that have nothing to do with the table."""

    claim = Claim(Heuristic("nothing is used"), neighbours="replace-one")
    random_state = 0

    def fit(self, frame):
        return self

    def sample(self, n):
        return synthetic_census(n, {"a": 6, "b": 5, "c": 7, "d": 4, "e": 6}, self.random_state)


def play(generator, **change):
    settings = {"n": 200, "pairs": 40, "rows": 2000, "repetitions": 4, "random_state": 1} | change
    return MembershipGame(generator, PEOPLE, **settings).run(ATTACKS)


def test_copies_betray_who_is_in_the_table():
    """160 guesses, with .75 right: by chance with a probability below 1e-9."""
    found = play(NonPrivate(random_state=0))
    assert found["marginals"].games == 160
    assert found["marginals"].accuracy > 0.75
    assert found["nearest"].accuracy > 0.7


def test_rows_from_elsewhere_tell_nothing():
    """160 guesses: outside [.3, .7] with a probability below 1e-6."""
    for outcome in play(Elsewhere()).values():
        assert 0.3 <= outcome.accuracy <= 0.7


def test_pairs_of_columns_tell_more_than_columns_alone():
    full = play(NonPrivate(random_state=0))["marginals"]
    apart = play(IndependentHistograms(random_state=0))["marginals"]
    assert full.accuracy > apart.accuracy + 0.1


def test_the_same_seed_plays_the_same_game():
    first, second = (play(NonPrivate())["marginals"] for _ in range(2))
    assert np.array_equal(first.scores, second.scores)
    assert not np.array_equal(first.bits, play(NonPrivate(), random_state=2)["marginals"].bits)


def test_ties_are_broken_by_coins():
    """All scores are equal: of 160 guesses neither all nor none are for the first."""
    game = MembershipGame(Elsewhere(), PEOPLE, n=200, pairs=40, rows=10, repetitions=4, random_state=0)
    guesses = game.run({"blind": lambda people, synthetic, others: np.zeros(len(people))})["blind"].guesses
    assert 40 < guesses.sum() < 120


def test_no_claim_no_ceiling():
    assert accuracy_ceiling(Elsewhere.claim) is None


@pytest.mark.parametrize(
    "change", [{"n": 0}, {"pairs": 0}, {"pairs": 201}, {"n": 2980}, {"rows": 1.5}, {"repetitions": True}]
)
def test_games_that_cannot_be_played_are_refused(change):
    with pytest.raises(InvalidData):
        play(NonPrivate(), **change)


def test_a_generator_that_drops_a_column_is_refused():
    class Dropping(Elsewhere):
        def sample(self, n):
            return pd.DataFrame({"a": [0] * n})

    with pytest.raises(InvalidData, match="lack the column"):
        play(Dropping())
    with pytest.raises(InvalidData, match="at least one attack"):
        MembershipGame(Elsewhere(), PEOPLE).run({})
