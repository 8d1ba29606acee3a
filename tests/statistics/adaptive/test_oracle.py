"""AdaptiveOracle: answers, what it refuses, and what its interval is worth."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP
from sfumato.statistics.adaptive import AdaptiveOracle
from sfumato.statistics.adaptive.queries import GRID, Rows, on_grid

MECHANISMS = ("gaussian", "split", "histogram", "pmw")


def coin(rows):
    return rows


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_answers_are_near_and_the_claim_is_the_plans(mechanism):
    rows = np.repeat([0, 1], [30_000, 70_000])
    np.random.default_rng(0).shuffle(rows)
    with AdaptiveOracle(rows, max_queries=4, mechanism=mechanism, universe=2) as oracle:
        answer = oracle.answer(coin)
        near = oracle.plan_.half_width if mechanism == "pmw" else 0.05
        assert abs(answer.value - 0.7) < near
        assert answer.remaining == 3
        assert answer.half_width == oracle.plan_.half_width < 0.7
        assert oracle.claim_.bound == ZCDP(oracle.plan_.rho)
        assert (oracle.claim_.unit, oracle.claim_.neighbours) == ("record", "replace-one")
        several = oracle.answer(lambda rows: np.column_stack([rows, 1 - rows, rows]))
        assert several.remaining == 0
        assert np.abs(several.value - [0.7, 0.3, 0.7]).max() < near


def test_the_noise_is_the_plans():
    """Answers to one query many times: their deviation within 10 % of the planned one, chi-squared at 1e-6."""
    oracle = AdaptiveOracle(np.repeat([0, 1], 500), max_queries=3000, mechanism="gaussian", rho=2000.0)
    answers = oracle.answer(lambda rows: np.tile(rows[:, np.newaxis], 3000)).value
    planned = np.sqrt(3000 / (2 * oracle.plan_.rho)) / 1000
    low, high = np.sqrt(stats.chi2.ppf([5e-7, 1 - 5e-7], 2999) / 2999)
    assert low < np.std(answers, ddof=1) / planned < high
    steps = np.rint(answers * 1000 * GRID)
    assert np.all(answers == steps / (1000 * GRID))  # on the public grid


def test_splitting_gives_each_question_rows_of_its_own():
    rows = np.repeat([0, 1, 0, 1], 250)
    with AdaptiveOracle(rows, max_queries=4, mechanism="split", rho=50.0) as oracle:
        one = oracle.answer(coin).value
        rest = oracle.answer(lambda rows: np.column_stack([rows, rows, rows])).value
    assert np.round([one, *rest], 1).tolist() == [0, 1, 0, 1]


def test_the_interval_covers_the_population_in_all_of_100_runs():
    """All 20 answers, best of coins among them; at β = .05 fewer than 80 of 100 have probability below 1e-8."""
    rng, inside = np.random.default_rng(0), 0
    for _ in range(100):
        rows = rng.integers(0, 2, (5000, 20), dtype=np.int8)
        oracle = AdaptiveOracle(rows, max_queries=21, mechanism="gaussian")
        answers = oracle.answer(coin).value
        best = int(np.argmax(answers))
        last = oracle.answer(lambda rows, best=best: rows[:, best]).value
        inside += bool(np.all(np.abs(np.append(answers, last) - 0.5) <= oracle.plan_.half_width))
    assert inside >= 80


def test_mistakes_show_on_the_examples_and_cost_nothing():
    rng = np.random.default_rng()
    oracle = AdaptiveOracle(np.arange(1000) % 2, max_queries=3, examples=np.array([0, 1, 0, 1]))
    for wrong in (
        lambda rows: rows + 1,
        lambda rows: rows - 0.1,
        lambda rows: rows * np.nan,
        lambda rows: rows[:2],
        lambda rows: rows.mean(),
        lambda rows: rows.astype(str),
        lambda rows: rng.random(len(rows)),  # not the same twice
        lambda rows: rows / rows.sum(),  # not row by row
        "mean",
    ):
        with pytest.raises(InvalidData):
            oracle.answer(wrong)
    with pytest.raises(ZeroDivisionError):  # its own error, since the examples are no secret
        oracle.answer(lambda rows: 1 / 0)
    assert oracle.remaining_ == 3


def test_on_the_sample_nothing_tells_of_a_row():
    """Out of range is clipped and NaN is 0; an error of the query's own keeps its message to itself."""
    rows = np.repeat([0.0, 1.0, 1e9, np.nan], 2500)
    oracle = AdaptiveOracle(rows, max_queries=2, mechanism="gaussian", rho=50.0)
    assert oracle.answer(coin).value == pytest.approx(0.5, abs=0.05)

    def tells(rows):
        raise KeyError("Jane has 1e9")

    with pytest.raises(InvalidData) as caught:
        oracle.answer(tells)
    assert "Jane" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert oracle.remaining_ == 1


def test_frames_and_pairs():
    frame = pd.DataFrame({"ill": [0, 1] * 500})
    oracle = AdaptiveOracle((frame, np.arange(1000) % 2), max_queries=2, mechanism="split", rho=10.0)
    for _ in range(2):
        assert oracle.answer(lambda frame, y: frame["ill"] == y).value > 0.9


def test_auto_refuses_what_it_cannot_promise_and_says_what_it_could():
    with pytest.raises(InvalidData, match=r"accuracy 0.1 cannot be promised; split.*gaussian"):
        AdaptiveOracle(np.zeros(10_000), max_queries=100, accuracy=0.1)


def test_a_row_outside_the_universe_is_an_error_without_the_row():
    with pytest.raises(InvalidData) as caught:
        AdaptiveOracle(np.array([["a", "x"], ["b", "secret"]]), max_queries=1, universe=np.array([["a", "x"]]))
    assert "secret" not in str(caught.value)


def test_the_grid_holds_half_precision_and_no_value_of_a_row_is_an_error():
    wild = np.array([np.nan, np.inf, -np.inf, 2.0, -1.0, 0.5])
    for kind in (np.float16, np.float32, np.float64):
        rows = Rows.of("rows", wild.astype(kind))
        assert on_grid(lambda x: x, rows).tolist() == [0, GRID, 0, GRID, 0, GRID // 2]
        assert np.isnan(rows.parts[0][0])  # the rows themselves are left alone
