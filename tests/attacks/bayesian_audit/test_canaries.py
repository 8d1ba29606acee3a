"""Canary games on trainings whose ε is known: sound where they claim to be, and estimates where they do not."""

import math

import numpy as np
import pytest

from sfumato import Claim, PureDP
from sfumato.attacks.bayesian_audit import CanaryGame
from sfumato.errors import InvalidClaim, InvalidData


def coins(epsilon):
    """A "training" that publishes each canary's coin by randomized response: ε-private in each, and no less."""
    keep = 1 / (1 + math.exp(-epsilon))

    def train(included, seed):
        rng = np.random.default_rng(seed)
        return np.where(rng.random(len(included)) < keep, included, ~included) + rng.normal(0, 1e-3, len(included))

    return train


def identity(model):
    return model


def test_one_canary_in_many_runs():
    game = CanaryGame(train=coins(2.0), score=identity, n_models=4000)
    report = game.run(Claim(PureDP(2.0)), delta=0.0, random_state=0)
    assert report.mode == "independent runs"
    assert 1.5 < report.eps_lower <= 2.0
    assert report.to_evidence().verdict == "consistent"
    broken = game.run(Claim(PureDP(1.0)), delta=0.0, random_state=0).to_evidence()
    assert broken.verdict == "falsified"


def test_many_canaries_in_one_run():
    report = CanaryGame(train=coins(2.0), score=identity, n_models=1, m=2000).run(
        Claim(PureDP(1.0)), delta=0.0, random_state=1
    )
    assert report.mode == "one run"
    assert 1.5 < report.eps_lower <= 2.0
    assert report.to_evidence().verdict == "falsified"
    assert math.isnan(report.design_effect)


def test_many_in_many_is_an_estimate_without_a_verdict():
    report = CanaryGame(train=coins(1.0), score=identity, n_models=40, m=100).run(
        Claim(PureDP(0.1)), delta=0.0, random_state=2
    )
    evidence = report.to_evidence()
    assert report.heuristic
    assert (evidence.verdict, evidence.kind) == ("inconclusive", "credible")
    assert 0.5 < report.eps_lower < 1.5
    assert 0.4 < report.design_effect < 2.0
    assert 0.6 < report.auc < 0.8


def test_dependent_canaries_show_in_the_design_effect():
    def shares_one_coin(included, seed):
        rng = np.random.default_rng(seed)
        return (included if rng.random() < 0.7 else ~included) + rng.normal(0, 1e-3, len(included))

    report = CanaryGame(train=shares_one_coin, score=identity, n_models=60, m=50).run(
        Claim(PureDP(1.0)), delta=0.0, random_state=3
    )
    assert report.design_effect > 10


def test_games_repeat_by_seed():
    game = CanaryGame(train=coins(1.0), score=identity, n_models=50)
    a, b, other = (game.run(Claim(PureDP(1.0)), delta=0.0, random_state=s) for s in (5, 5, 6))
    assert a == b or (a.counts == b.counts and a.eps_lower == b.eps_lower)
    assert a.counts != other.counts


def test_bad_games_are_refused():
    with pytest.raises(InvalidData, match="at least 4 models"):
        CanaryGame(train=coins(1), score=identity, n_models=3)
    with pytest.raises(InvalidData, match="m must"):
        CanaryGame(train=coins(1), score=identity, n_models=1, m=0)
    diverged = CanaryGame(train=coins(1), score=lambda model: model * np.nan, n_models=1, m=5)
    with pytest.raises(InvalidData, match="5 finite numbers"):
        diverged.run(Claim(PureDP(1.0)), delta=0.0)
    with pytest.raises(InvalidClaim, match="void"):
        CanaryGame(train=coins(1), score=identity, n_models=4).run(Claim(PureDP(1.0), void="seeded"), delta=0.0)
