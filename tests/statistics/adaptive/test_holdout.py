"""Thresholdout: its claim, its two kinds of answer, its end, and the scorer for scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV

from sfumato import ClaimViolated, Ledger, PureDP
from sfumato.errors import BudgetExceeded, InvalidData
from sfumato.privacy.accounting import pure_to_zcdp
from sfumato.privacy.bounds import ZCDP
from sfumato.statistics.adaptive import Ladder, Thresholdout, thresholdout_scorer

HALF = np.repeat([0, 1], 5000)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 300), st.floats(1e-3, 1.0), st.integers(2, 5000))
def test_the_claim_is_two_b_over_sigma_n(budget, sigma, n):
    rows = np.zeros(n)
    pure = Thresholdout(rows, rows.copy(), budget=budget, sigma=sigma)
    assert pure.claim_.bound.epsilon == pytest.approx(2 * budget / (sigma * n))
    tighter = Thresholdout(rows, rows.copy(), budget=budget, sigma=sigma, bound="zcdp")
    assert tighter.claim_.bound == ZCDP(2 * budget * pure_to_zcdp(1 / (sigma * n)))


def test_it_composes_in_the_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("holdout", PureDP(1.0), unit="record", neighbours="replace-one")
    with ledger.charging("holdout"):
        for _ in range(2):
            Thresholdout(HALF, 1 - HALF, budget=20, sigma=0.01)  # 2 · 20 / (.01 · 10 000) = .4
        assert ledger.account("holdout").spent.epsilon == pytest.approx(0.8)
        with pytest.raises(BudgetExceeded):
            Thresholdout(HALF, 1 - HALF, budget=20, sigma=0.01)


def test_where_they_agree_it_says_what_the_training_set_says():
    holdout = Thresholdout(HALF, 1 - HALF, budget=1, threshold=0.9, sigma=1e-3)
    assert [holdout.query(lambda rows: rows) for _ in range(50)] == [0.5] * 50
    assert holdout.remaining_ == 1


def test_where_they_differ_it_gives_fresh_noise_until_the_budget_is_gone():
    holdout = Thresholdout(np.zeros(10_000), HALF, budget=3, threshold=0.1, sigma=0.005)
    answers = [holdout.query(lambda rows: rows) for _ in range(3)]
    assert len(set(answers)) == 3
    assert np.abs(np.array(answers) - 0.5).max() < 0.1
    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            holdout.query(lambda rows: rows * 0)  # would have agreed


def test_several_at_once_end_where_the_budget_does():
    holdout = Thresholdout(np.zeros(10_000), HALF, budget=2, threshold=0.1, sigma=0.005)
    answers = holdout.query(lambda rows: np.column_stack([rows, rows * 0, rows, rows, rows * 0]))
    assert answers[1] == 0
    assert np.abs(answers[[0, 2]] - 0.5).max() < 0.1
    assert np.isnan(answers[3:]).all()


def test_mistakes_show_on_the_training_set():
    holdout = Thresholdout(HALF, 1 - HALF, budget=1)
    for wrong in (lambda rows: rows * 2, lambda rows: rows * np.nan, lambda rows: rows - rows.mean()):
        with pytest.raises(InvalidData):
            holdout.query(wrong)


def test_what_is_proved_of_the_population():
    rows = np.zeros(10_000)
    assert Thresholdout(rows, rows.copy(), budget=100).half_width(1000) == 1.0  # at the paper's size: nothing
    many = np.zeros(10**6, dtype=np.int8)
    proved = Thresholdout(many, many.copy(), budget=100, threshold=0.01, sigma=1e-3).half_width(1000)
    assert 0.1 < proved < 0.2


@pytest.fixture
def labelled():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((600, 5))
    return X, (X[:, 0] + rng.standard_normal(600) > 0).astype(int)


def test_grid_search(labelled):
    X, y = labelled
    train, rest = np.arange(300), np.arange(300, 600)
    with Thresholdout((X[train], y[train]), (X[rest], y[rest]), budget=5, indices=(train, rest)) as holdout:
        search = GridSearchCV(
            LogisticRegression(),
            {"C": [0.01, 1.0, 100.0]},
            scoring=thresholdout_scorer(holdout),
            cv=[(train, rest)],
            refit=False,
            error_score="raise",
        ).fit(X, y)
        scores = search.cv_results_["mean_test_score"]
        assert ((scores > 0.4) & (scores <= 1)).all()
        with pytest.raises(InvalidData, match="other rows"):
            thresholdout_scorer(holdout)(search, X[:10], y[:10])
        with pytest.raises(ClaimViolated):  # a copy would be a second holdout
            clone(
                GridSearchCV(LogisticRegression(), {}, scoring=thresholdout_scorer(holdout)).set_params(scoring=holdout)
            )


def test_metrics_are_row_by_row(labelled):
    X, y = labelled
    model = LogisticRegression().fit(X[:300], y[:300])
    holdout = Thresholdout((X[:300], y[:300]), (X[300:], y[300:]), budget=5, threshold=0.9, sigma=1e-3)
    assert holdout.score(model) == pytest.approx(model.score(X[:300], y[:300]), abs=1e-4)
    with pytest.raises(InvalidData):
        holdout.score(model, lambda y, predicted: np.mean(y == predicted))
    with pytest.raises(InvalidData, match="pairs"):
        Thresholdout(X[:300], X[300:], budget=1).score(model)
    with pytest.raises(InvalidData, match="Thresholdout"):
        thresholdout_scorer(model)


def test_the_ladder_moves_for_a_real_step_only():
    board = Ladder(np.zeros(1000), eta=0.1, max_submissions=4)
    shown = [board.submit(lambda rows, loss=loss: rows + loss) for loss in (0.52, 0.45, 0.38, 0.9)]
    assert np.allclose(shown, [0.5, 0.5, 0.4, 0.4])
    assert not board.claim_.formal
    assert Ladder(np.zeros(10**6), eta=0.01).half_width(1000) < 0.05
    for eta in (0.0, 1.5, math.nan):
        with pytest.raises(InvalidData):
            Ladder(np.zeros(10), eta=eta)
    with pytest.raises(InvalidData):
        Ladder(np.zeros(10), eta=0.1, max_submissions=0)
