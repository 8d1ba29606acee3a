"""PrivateCountEngine: pays before it answers, refuses when spent, cannot be multiplied, works alike on neighbours."""

import copy
import multiprocessing
import pickle
import sys
import threading

import numpy as np
import pandas as pd
import pytest

from sfumato import BudgetExceeded, ClaimViolated, InvalidClaim, InvalidData, Ledger, PureDP
from sfumato.errors import LedgerError, QueryRejected
from sfumato.statistics.counting import PrivateCount, PrivateCountEngine

COLUMNS = {"age": "number", "town": "text"}
FRAME = pd.DataFrame({"uid": range(100), "age": [20.0, 60.0] * 50, "town": ["Ayr"] * 30 + ["Bath"] * 70})
SQL = "SELECT count(*) FROM people WHERE town = 'Ayr'"


def engine(data=FRAME, **change):
    return PrivateCountEngine(data, COLUMNS, **{"epsilon_per_query": 0.5, "max_queries": 4, **change})


def test_an_answer_is_a_count_with_noise_of_the_stated_size():
    """Mean and variance within five standard errors: false alarms below 1e-6 each."""
    asked = engine(max_queries=4000)
    errors = np.array([asked.query(SQL).count - 30 for _ in range(4000)])
    q = np.exp(-0.5)
    variance = 2 * q / (1 - q) ** 2
    kurtosis = 6  # of a Laplace; the variance of the mean square is (kurtosis - 1) variance² / n
    assert abs((errors**2).mean() / variance - 1) < 5 * np.sqrt((kurtosis - 1) / 4000)
    assert abs(errors.mean()) < 5 * np.sqrt(variance / 4000)


def test_counts_may_be_negative_and_nothing_is_suppressed():
    asked = engine(max_queries=200, epsilon_per_query=0.1)
    counts = [asked.query("SELECT count(*) FROM people WHERE age = 99").count for _ in range(200)]
    assert all(isinstance(count, int) for count in counts)
    assert min(counts) < 0 < max(counts)


def test_the_interval_holds_as_often_as_it_says():
    """Coverage at least the level, and no wider than it must be; exact by the distribution function."""
    for epsilon in (0.05, 1.0, 5.0):
        for level in (0.5, 0.95, 0.999):
            asked = engine(epsilon_per_query=epsilon)
            low, high = asked.query(SQL).interval(level)
            margin = (high - low) // 2
            outside = [2 * np.exp(-epsilon * (t + 1)) / (1 + np.exp(-epsilon)) for t in (margin, margin - 1)]
            assert outside[0] <= 1 - level + 1e-12
            assert margin == 0 or outside[1] > 1 - level
    with pytest.raises(InvalidData, match="level"):
        asked.query(SQL).interval(1.0)


def test_it_refuses_when_its_own_budget_is_spent_and_spends_nothing_on_a_refused_text():
    asked = engine()
    with pytest.raises(QueryRejected):
        asked.query("SELECT count(*) FROM people WHERE town = 'Ayr' OR age = 1")
    assert asked.queries_left == 4
    for _ in range(4):
        asked.query(SQL)
    with pytest.raises(BudgetExceeded, match="4 queries are used up"):
        asked.query(SQL)
    assert asked.claim.bound == PureDP(2.0)


def test_each_query_is_charged_to_the_active_ledger_which_may_refuse(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("people", PureDP(1.0))
    asked = engine()
    with ledger.charging("people") as receipts:
        answers = [asked.query(SQL), asked.query(SQL)]
        with pytest.raises(BudgetExceeded):
            asked.query(SQL)
        assert [each.receipt for each in answers] == receipts
    assert asked.queries_left == 2  # the refused one was not used up
    assert ledger.account("people").charges == 2
    assert "Ayr" not in str(ledger.history("people"))


def test_a_ledger_about_other_neighbours_refuses(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("people", PureDP(1.0))
    with ledger.charging("people"), pytest.raises(InvalidClaim, match="neighbours"):
        engine(neighbours="replace-one").query(SQL)
    with pytest.raises(LedgerError), ledger.charging("others"):
        pass


@pytest.mark.parametrize("multiply", [copy.copy, copy.deepcopy, pickle.dumps])
def test_it_cannot_be_copied_or_pickled(multiply):
    with pytest.raises(ClaimViolated, match="paid for once"):
        multiply(engine())


def test_a_forked_process_gets_no_free_answers():
    asked = engine()
    ours, theirs = multiprocessing.get_context("fork").Pipe()

    def child():
        try:
            asked.query(SQL)
            theirs.send("answered")
        except ClaimViolated:
            theirs.send("refused")

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    assert ours.poll(60)
    assert ours.recv() == "refused"
    process.join()
    assert asked.query(SQL)


def test_threads_share_one_budget():
    asked = engine(max_queries=20)
    answers, refused = [], []

    def ask():
        for _ in range(10):
            try:
                answers.append(asked.query(SQL))
            except BudgetExceeded:
                refused.append(1)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answers), len(refused)) == (20, 40)


def test_an_interrupted_draw_is_counted(monkeypatch):
    asked = engine()
    monkeypatch.setattr("sfumato.privacy.noise.discrete_laplace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        asked.query(SQL)
    assert asked.queries_left == 3


def steps(asked, sql):
    """The lines of this library that a query runs through, in order."""
    lines = []

    def trace(frame, event, _):
        if "sfumato" not in frame.f_code.co_filename:
            return None
        if event == "line":
            lines.append((frame.f_code.co_name, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        asked.query(sql)
    finally:
        sys.settrace(None)
    return lines


class Impatient(PrivateCountEngine):
    """A twin that saves itself the work where nobody is selected: its time tells."""

    def query(self, sql):
        if not self._table.who(self._table.parse(sql)).any():
            return super().query("SELECT count(*) FROM people WHERE age = 1000")
        return super().query(sql)


class Discreet(PrivateCountEngine):
    """A twin that answers None for what it finds too small: the difference between None and a number tells."""

    def query(self, sql):
        true = int(self._table.who(self._table.parse(sql)).sum())
        answer = super().query(sql)
        return answer if true > 4 else PrivateCount(None, answer.n_conditions, answer.claim, None)


ALONE = "SELECT count(*) FROM people WHERE town = 'Cork'"


def in_cork(frame):
    return frame.assign(town=["Cork", *frame["town"][1:]])


@pytest.mark.parametrize(("kind", "alike"), [(PrivateCountEngine, True), (Impatient, False)])
def test_neighbours_take_the_same_steps(kind, alike):
    """With noise from one seed: a step more or less for the person who is alone would show in the time."""
    parameters = {"epsilon_per_query": 0.5, "max_queries": 9, "noise_seed": 3}
    pair = [kind(data, COLUMNS, **parameters) for data in (FRAME, in_cork(FRAME))]
    for each in pair:
        each.query(ALONE)  # the first time evaluates the condition, for both
    first, second = (steps(each, ALONE) for each in pair)
    assert (first == second) is alike


@pytest.mark.parametrize(("kind", "sound"), [(PrivateCountEngine, True), (Discreet, False)])
def test_whether_there_is_an_answer_does_not_depend_on_the_data(kind, sound):
    """Five people in Cork or four: the sound engine answers all alike, the twin's None betrays one of them."""
    four, five = (FRAME.assign(town=["Cork"] * k + ["Bath"] * (100 - k)) for k in (4, 5))
    missing = []
    for data in (four, five):
        asked = kind(data, COLUMNS, epsilon_per_query=0.01, max_queries=50)
        missing.append(sum(asked.query(ALONE).count is None for _ in range(50)))
    assert (missing == [0, 0]) is sound
    assert sound or missing == [50, 0]


def test_a_seed_repeats_the_noise_and_voids_the_claim(tmp_path):
    first, second = (
        [asked.query(SQL).count for _ in range(4)] for asked in (engine(noise_seed=1), engine(noise_seed=1))
    )
    assert first == second
    assert len(set(first)) > 1
    assert not engine(noise_seed=1).claim.formal
    assert not engine(noise_seed=1).query(SQL).claim.formal
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("people", PureDP(1.0))
    with ledger.charging("people"), pytest.raises(InvalidClaim):
        engine(noise_seed=1).query(SQL)


def test_the_kinds_are_public_whatever_the_data_hold():
    for data in (FRAME.iloc[:0], FRAME.assign(age=None), FRAME.assign(age=FRAME["age"].astype(int))):
        assert isinstance(
            engine(data, epsilon_per_query=50.0).query("SELECT count(*) FROM people WHERE age = 20.5").count, int
        )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"epsilon_per_query": 0}, InvalidClaim),
        ({"epsilon_per_query": -1}, InvalidClaim),
        ({"epsilon_per_query": float("nan")}, InvalidClaim),
        ({"epsilon_per_query": float("inf")}, InvalidClaim),
        ({"max_queries": 0}, InvalidData),
        ({"max_queries": 1.5}, InvalidData),
        ({"max_queries": True}, InvalidData),
        ({"neighbours": "both"}, InvalidClaim),
        ({"noise_seed": "a"}, InvalidData),
        ({"key": "id"}, InvalidData),
        ({"table": ""}, InvalidData),
    ],
)
def test_parameters_out_of_range_are_refused(change, error):
    with pytest.raises(error):
        engine(**change)


@pytest.mark.parametrize(
    "columns", [{}, None, {"age": "integer"}, {"weight": "number"}, {"town": "number"}, {"uid": "number"}]
)
def test_columns_must_be_declared_as_they_are(columns):
    with pytest.raises(InvalidData) as caught:
        PrivateCountEngine(FRAME, columns, epsilon_per_query=1.0, max_queries=1)
    assert "Ayr" not in str(caught.value)


def test_one_row_a_person():
    with pytest.raises(InvalidData, match="once"):
        engine(FRAME.assign(uid=1))
