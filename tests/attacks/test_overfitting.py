"""The attacks work on exact answers, fail on planned ones, and their evidence refutes a claim that is too strong."""

import math

import numpy as np
import pytest

from sfumato import Claim, Heuristic, InvalidClaim, PureDP
from sfumato.attacks.overfitting import (
    OverfittingReport,
    feature_selection,
    leaderboard_boosting,
    packed_membership,
    sign_aggregation,
)
from sfumato.errors import InvalidData
from sfumato.statistics.adaptive import AdaptiveOracle, Ladder, Thresholdout, half_width

NONE = Claim(Heuristic("exact answers"), unit="record", neighbours="replace-one")


def exact(rows):
    parts = rows if isinstance(rows, tuple) else (rows,)
    return lambda query: np.asarray(query(*parts), dtype=float).mean(axis=0)


def planned(queries):
    def target(rows):
        oracle = AdaptiveOracle(rows, max_queries=queries, mechanism="gaussian")
        return lambda query: oracle.answer(query).value

    return target


def test_a_planned_oracle_keeps_its_word_in_200_runs_and_exact_answers_do_not():
    """The card's 95 % with a false alarm below 1e-6: the theorem allows 5 %, and none comes near here."""
    n, m = 5000, 50
    promised = half_width(n, m + 1)
    private = sign_aggregation(planned(m + 1), NONE, n=n, features=m, runs=200, random_state=0)
    assert private.share_within(promised) >= 0.95
    naive = sign_aggregation(exact, NONE, n=1000, features=1000, runs=20, random_state=0)
    hoeffding = math.sqrt(math.log(2 * 1001 / 0.05) / 2000)  # what holds for questions fixed in advance
    assert naive.share_within(hoeffding) == 0
    assert 2 * naive.bias.mean() == pytest.approx(0.58, abs=0.03)


def test_exact_answers_break_the_very_half_width_that_the_oracle_keeps():
    n, universe = 10_000, 30_000
    promised = half_width(n, universe // 22 + 2)
    naive = packed_membership(exact, NONE, n=n, universe=universe, runs=3, random_state=0)
    assert promised < 0.55 < naive.bias.min()
    private = packed_membership(planned(universe // 22 + 2), NONE, n=n, universe=universe, runs=2, random_state=0)
    assert private.share_within(promised) == 1


def test_a_fake_that_gives_exact_holdout_means_is_caught():
    """Feature selection on noise: exact answers report .63 at n = 2000, a holdout asked about models only does not."""

    def models_only(train, holdout):
        return exact(train), Thresholdout(train, holdout, budget=5).query

    settings = {"n": 1000, "features": 1000, "sizes": (20, 100), "runs": 10, "random_state": 0}
    fake = feature_selection(lambda train, holdout: (exact(holdout), exact(holdout)), NONE, **settings)
    kept = feature_selection(models_only, NONE, **settings)
    assert (fake[100].bias > 0.08).all()
    assert abs(np.mean(kept[100].on_sample - 0.5)) < 0.03  # the holdout itself is not overfitted
    assert np.abs(np.mean(fake[100].population) - 0.5) < 0.02


def test_boosting_beats_a_plain_leaderboard_and_not_the_ladder():
    settings = {"n": 1000, "submissions": 300, "runs": 5, "random_state": 0}
    assert leaderboard_boosting(exact, NONE, **settings).bias.min() > 0.08
    assert (
        leaderboard_boosting(lambda rows: Ladder(rows, eta=0.05).submit, NONE, **settings).bias.max() < 0.051
    )  # its step


def test_evidence():
    """200 runs, Hoeffding at 1e-6: a mean of .79 is beyond what ε = .1 allows, and within what ε = 1 does."""

    def report(bound):
        claim = Claim(bound, unit="record", neighbours="replace-one")
        return sign_aggregation(exact, claim, n=300, features=300, runs=200, random_state=0)

    broken = report(PureDP(0.1)).to_evidence(level=1 - 1e-6)
    assert broken.verdict == "falsified"
    assert report(PureDP(1.0)).to_evidence().verdict == "consistent"
    assert report(PureDP(0.1)).ceiling == pytest.approx(1 - math.exp(-0.1) / 2, rel=1e-4)
    assert report(Heuristic("none")).to_evidence().verdict == "inconclusive"


def test_bad_input():
    with pytest.raises(InvalidData):
        sign_aggregation(exact, NONE, n=0, features=3)
    with pytest.raises(InvalidData):
        packed_membership(exact, NONE, n=10, universe=1.5)
    ones = np.ones(3)
    with pytest.raises(InvalidData):
        OverfittingReport("x", ones, ones, ones, NONE, exact=False).to_evidence()
    with pytest.raises(InvalidClaim):
        _ = OverfittingReport("x", ones, ones, ones / 2, Claim(PureDP(1.0))).ceiling


def test_the_feature_selection_table_of_exact_answers():
    """No noise and a fixed seed, so that this is the same each time; n = 2000 as in the study at scale small."""
    found = feature_selection(
        lambda train, holdout: (exact(holdout), exact(holdout)), NONE, n=2000, features=2000, runs=5, random_state=0
    )
    assert [found[k].reported.mean() for k in (20, 100, 500)] == pytest.approx([0.56, 0.633, 0.635], abs=0.02)
    assert [found[k].population.mean() for k in (20, 100, 500)] == pytest.approx([0.5] * 3, abs=0.02)
