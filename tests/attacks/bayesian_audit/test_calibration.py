"""Calibrated scores: LiRA and RMIA see through canaries of different difficulty, and break no exact test."""

import math

import numpy as np
import pytest
from scipy import stats

from sfumato import Claim, PureDP
from sfumato.attacks.bayesian_audit import CanaryGame, lira, rmia
from sfumato.errors import InvalidData

M, K = 40, 200


def world(effect, seed=0):
    """A training whose log-likelihoods differ by record far more than by membership."""
    rng = np.random.default_rng(seed)
    difficulty = rng.normal(scale=5, size=M + K)

    def train(included, seed):
        own = np.random.default_rng(seed)
        scores = difficulty + own.normal(size=M + K)
        scores[:M] += effect * included
        return scores

    return train


def whole(model):
    return model


def play(effect, calibrate, n_models=1, shadows=60, epsilon=1.0):
    settings = {"train": world(effect), "score": whole, "n_models": n_models, "m": M, "population": K}
    game = CanaryGame(**settings, calibrate=calibrate, shadows=shadows if calibrate else 0)
    return game.run(Claim(PureDP(epsilon)), delta=0.0, random_state=1)


@pytest.mark.parametrize("calibrate", [lira, rmia])
def test_calibration_sees_what_the_raw_score_does_not(calibrate):
    raw = play(3.0, None, n_models=30)
    seen = play(3.0, calibrate, n_models=30)
    assert raw.auc < 0.75
    assert seen.auc > 0.9
    assert seen.heuristic


def test_one_run_with_shadows_refutes():
    assert play(4.0, None).to_evidence().verdict != "falsified"
    report = play(4.0, lira)
    assert report.mode == "one run"
    assert report.to_evidence().verdict == "falsified"


def test_the_runs_themselves_are_the_shadows():
    with_shadows, without = play(3.0, lira, n_models=60), play(3.0, lira, n_models=60, shadows=0)
    assert abs(with_shadows.auc - without.auc) < 0.1


@pytest.mark.parametrize("calibrate", [lira, rmia])
def test_calibration_raises_no_false_alarm(calibrate):
    """400 exact games at level 0.05 on a training that ignores its canary: too many alarms with probability 1e-6."""
    alarms, most = 0, stats.binom.isf(1e-6, 400, 0.05)
    rng = np.random.default_rng(0)
    for seed in range(400):
        values = rng.normal(size=(40, 1 + 5))
        rows = iter(values)
        game = CanaryGame(
            train=lambda included, seed, rows=rows: next(rows),
            score=whole,
            n_models=40,
            population=5,
            calibrate=calibrate,
        )
        alarms += game.run(Claim(PureDP(0.0)), delta=0.0, random_state=seed).to_evidence().verdict == "falsified"
    assert alarms <= most


def test_lira_is_the_ratio_of_two_normal_laws():
    rng = np.random.default_rng(2)
    inside = rng.random((4000, 1)) < 0.5
    known = rng.normal(size=(4000, 1)) * np.where(inside, 2.0, 1.0) + 3 * inside
    points = np.array([[-1.0], [0.0], [4.0]])
    exact = stats.norm.logpdf(points, 3, 2) - stats.norm.logpdf(points, 0, 1)
    np.testing.assert_allclose(lira(points, known, inside), exact, atol=0.5)
    one_sided = lira(points, known, np.ones_like(inside))
    assert (one_sided == 0).all()


def test_rmia_by_hand():
    """Two reference runs, one with the canary: p(x) = (0.4 + 0.2) / 2, and p(z) is the plain average."""
    scores = np.log([[0.6, 0.3, 0.5, 0.1]])
    reference = np.log([[0.4, 0.2, 0.1, 0.2], [0.2, 0.2, 0.3, 0.2]])
    found = rmia(scores, reference, [[True], [False]])
    # x: 0.6 / 0.3 = 2; z: 1.5, 2.5, 0.5
    assert found == pytest.approx(np.array([[2 / 3]]))
    assert rmia(scores, reference, [[True], [False]], gamma=2.0) == pytest.approx(np.array([[1 / 3]]))


def test_bad_calibration_is_named():
    with pytest.raises(InvalidData, match="population"):
        rmia(np.zeros((1, 2)), np.zeros((3, 2)), np.zeros((3, 2), bool))
    with pytest.raises(InvalidData, match="gamma"):
        rmia(np.zeros((1, 2)), np.zeros((3, 2)), np.zeros((3, 1), bool), gamma=0.5)
    with pytest.raises(InvalidData, match="same records"):
        lira(np.zeros((1, 3)), np.zeros((3, 2)), np.zeros((3, 2), bool))
    with pytest.raises(InvalidData, match="canaries"):
        lira(np.zeros((1, 2)), np.zeros((3, 2)), np.zeros((2, 2), bool))
    with pytest.raises(InvalidData, match="two reference runs"):
        lira(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 2), bool))
    with pytest.raises(InvalidData, match="shadows"):
        CanaryGame(train=world(1.0), score=whole, n_models=1, m=M, calibrate=lira)
    with pytest.raises(InvalidData, match="population"):
        CanaryGame(train=world(1.0), score=whole, n_models=1, m=M, population=-1)
    short = CanaryGame(train=world(1.0), score=lambda model: model[:M], n_models=1, m=M, population=K)
    with pytest.raises(InvalidData, match="240 finite numbers"):
        short.run(Claim(PureDP(1.0)), delta=0.0)
    assert math.isnan(play(1.0, lira).design_effect)
