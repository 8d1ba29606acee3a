"""Rates, intervals and influences from memberships and scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.training.memorization.scores import influence_above, influence_matrix, rates


def runs(seed, t=30, n=12, m=7):
    rng = np.random.default_rng(seed)
    members = np.zeros((t, n), dtype=bool)
    for row in members:
        row[rng.choice(n, size=round(0.7 * n), replace=False)] = True
    return members, rng.integers(2, size=(t, n)), rng.integers(2, size=(t, m))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_scores_and_influences_equal_the_double_loop(seed):
    members, correct, correct_test = runs(seed)
    if members.all(axis=0).any() or not members.any(axis=0).all():
        return
    found, influence = rates(members, correct), influence_matrix(members, correct_test)
    for i in range(members.shape[1]):
        inside = members[:, i]
        expected = correct[inside, i].mean() - correct[~inside, i].mean()
        assert found.memorization[i] == pytest.approx(expected, abs=1e-12)
        for z in range(correct_test.shape[1]):
            expected = correct_test[inside, z].mean() - correct_test[~inside, z].mean()
            assert influence[i, z] == pytest.approx(expected, abs=1e-6)


def test_the_standard_error_is_that_of_two_proportions():
    found = rates(*runs(0)[:2])
    expected = np.sqrt(
        found.in_rate * (1 - found.in_rate) / found.in_models + found.out_rate * (1 - found.out_rate) / found.out_models
    )
    assert found.standard_error == pytest.approx(expected, abs=1e-12)


def test_probabilities_have_the_spread_of_their_own():
    members, _, _ = runs(1)
    scores = np.random.default_rng(0).random(members.shape)
    found = rates(members, scores)
    inside = members[:, 0]
    expected = scores[inside, 0].var() / inside.sum() + scores[~inside, 0].var() / (~inside).sum()
    assert found.standard_error[0] == pytest.approx(np.sqrt(expected))


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_sparse_influence_is_the_dense_one_above_its_threshold(block, monkeypatch):
    monkeypatch.setattr("sfumato.training.memorization.scores._BLOCK", block)
    members, _, correct_test = runs(3)
    dense = influence_matrix(members, correct_test)
    assert np.array_equal(influence_above(members, correct_test, 0.2).toarray(), dense * (np.abs(dense) >= 0.2))


def covered(p_in, p_out, method, t=60, repeats=200, points=30):
    """How often intervals hold the truth, over 200 repetitions of 30 records, and those of mean ± 1.96 errors."""
    rng = np.random.default_rng(7)
    members = rng.random((t, repeats * points)) < 0.7
    found = rates(members, rng.random(members.shape) < np.where(members, p_in, p_out))
    low, high = found.interval(0.95, method)
    truth, half = p_in - p_out, stats.norm.ppf(0.975) * found.standard_error
    return ((low <= truth) & (truth <= high)).mean(), (np.abs(found.memorization - truth) <= half).mean()


@pytest.mark.parametrize("rates_of", [(0.95, 0.1), (0.5, 0.5), (0.9, 0.7), (1.0, 0.02), (0.3, 0.28)])
@pytest.mark.parametrize("method", ["newcombe", "clopper-pearson"])
def test_intervals_cover(rates_of, method):
    """At least 93 %: at a coverage of 95 % of 6,000 intervals, 2 % less is 7 deviations."""
    assert covered(*rates_of, method)[0] >= 0.93


def test_the_textbook_interval_would_not():
    """The twin: at rates near 0 and 1 the standard error is estimated as 0."""
    assert covered(1.0, 0.02, "newcombe")[1] < 0.8


def test_records_in_all_or_no_subsets_have_no_score_and_no_warning_from_numpy():
    members, correct, correct_test = runs(4)
    members[:, 0], members[:, 1] = True, False
    with np.errstate(all="raise"):
        found, influence = rates(members, correct), influence_matrix(members, correct_test)
        ends = [found.interval(method=m) for m in ("newcombe", "clopper-pearson", "normal")]
    assert np.isnan(found.memorization[:2]).all()
    assert np.isnan(influence[:2]).all()
    assert np.isfinite(found.memorization[2:]).all()
    assert all(np.isnan(low[:2]).all() and np.isfinite(low[2:]).all() for low, _ in ends)
    assert influence_above(members, correct_test, 0.1).toarray()[:2].any() == np.False_


def test_shapes_and_parameters_are_checked():
    members, correct, correct_test = runs(5)
    for bad in (
        lambda: rates(members, correct[:-1]),
        lambda: influence_matrix(members, correct_test[:-1]),
        lambda: influence_above(members, correct_test, 0.0),
        lambda: rates(members, correct).interval(1.0),
        lambda: rates(members, correct).interval(method="wald"),
    ):
        with pytest.raises(InvalidData):
            bad()
