"""No copy, pickle, fork, thread, crash or end of an answerer gives a free answer; the ledger is the memory."""

import copy
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from sfumato import Claim, ClaimViolated, Ledger, PureDP, Release
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.sparse_vector import AboveThreshold
from sfumato.statistics.adaptive import AdaptiveOracle, Ladder, PrivateMultiplicativeWeights, Thresholdout

ROWS = np.repeat([0, 1], 500)


def first(rows):
    return rows


def opened(kind):
    """An answerer and the call that asks it."""
    if kind in ("gaussian", "split", "histogram", "pmw"):
        oracle = AdaptiveOracle(ROWS, max_queries=8, mechanism=kind, universe=2)
        return oracle, lambda: oracle.answer(first)
    if kind == "thresholdout":
        holdout = Thresholdout(1 - ROWS, ROWS, budget=8)
        return holdout, lambda: holdout.query(first)
    if kind == "weights":
        weights = PrivateMultiplicativeWeights(ROWS, 2, rho=1.0, alpha=0.5)
        return weights, lambda: weights.answer(first)
    if kind == "ladder":
        ladder = Ladder(ROWS, eta=0.1, max_submissions=8)
        return ladder, lambda: ladder.submit(first)
    release = Release(Claim(PureDP(1.0)), purpose="test").__enter__()
    above = AboveThreshold(release, 1.0, threshold=10**6, max_tops=8)
    return above, lambda: above.ask(0)


KINDS = ("gaussian", "split", "histogram", "pmw", "thresholdout", "weights", "ladder", "above")
EACH = pytest.mark.parametrize("kind", KINDS)


@EACH
def test_no_copy_and_no_pickle(kind):
    answerer, ask = opened(kind)
    ask()
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps, lambda a: pickle.dumps({"deep": [a]})):
        with pytest.raises(ClaimViolated, match="copied or pickled"):
            attempt(answerer)
    ask()  # and it still answers


def _in_child(ask, pipe):
    try:
        ask()
        pipe.send("answered")
    except ClaimViolated as error:
        pipe.send(str(error))


@EACH
def test_a_forked_process_gets_nothing_even_if_the_lock_was_held(kind):
    answerer, ask = opened(kind)
    ours, theirs = multiprocessing.Pipe()
    with answerer._lock:
        child = multiprocessing.get_context("fork").Process(target=_in_child, args=(ask, theirs))
        child.start()
    assert ours.poll(60), "the child hangs"
    assert "forked" in ours.recv()
    child.join()
    ask()


@EACH
def test_a_closed_one_is_closed_for_good(kind):
    answerer, ask = opened(kind)
    with answerer:
        ask()
    assert answerer.remaining_ == 0
    with pytest.raises(ClaimViolated):
        ask()
    answerer.close()  # a second time is no error


@pytest.mark.parametrize("kind", ["gaussian", "split", "histogram", "ladder"])
def test_after_the_last_answer_every_call_raises(kind):
    answerer, ask = opened(kind)
    for left in range(7, -1, -1):
        ask()
        assert answerer.remaining_ == left
    for _ in range(3):
        with pytest.raises(BudgetExceeded):
            ask()


def test_an_error_amid_an_answer_ends_it(monkeypatch):
    _, ask = opened("gaussian")
    monkeypatch.setattr("sfumato.privacy.noise.discrete_gaussian", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        ask()
    monkeypatch.undo()
    with pytest.raises(ClaimViolated):
        ask()


def test_threads_share_the_count():
    oracle = AdaptiveOracle(ROWS, max_queries=50, mechanism="gaussian")
    answered, refused = [], []

    def work():
        for _ in range(20):
            try:
                answered.append(oracle.answer(first).value)
            except BudgetExceeded:
                refused.append(1)

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(answered), len(refused)) == (50, 50)
    assert len(set(answered)) == 50  # fresh noise each


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("survey", ZCDP(0.5), unit="record", neighbours="replace-one")
    return ledger


def test_the_whole_claim_is_charged_before_the_first_question(ledger):
    with ledger.charging("survey") as receipts:
        oracle = AdaptiveOracle(ROWS, max_queries=5, mechanism="split")
        assert len(receipts) == 1
        assert ledger.account("survey").spent.rho == pytest.approx(0.5)
        oracle.answer(first)
        assert ledger.account("survey").charges == 1
        with pytest.raises(BudgetExceeded):  # going on elsewhere pays anew
            AdaptiveOracle(ROWS, max_queries=5, mechanism="split")


def test_bad_arguments_cost_nothing(ledger):
    with ledger.charging("survey"):
        bad = [
            lambda: AdaptiveOracle(ROWS[:1], max_queries=5),
            lambda: AdaptiveOracle(ROWS, max_queries=0),
            lambda: AdaptiveOracle(ROWS, max_queries=5, beta=1.0),
            lambda: AdaptiveOracle(ROWS, max_queries=5, rho=float("inf")),
            lambda: AdaptiveOracle(ROWS, max_queries=5, mechanism="magic"),
            lambda: AdaptiveOracle(ROWS, max_queries=5, mechanism="histogram"),
            lambda: AdaptiveOracle(ROWS, max_queries=5, accuracy=0.001),
            lambda: AdaptiveOracle(ROWS, max_queries=2000, mechanism="split"),
            lambda: AdaptiveOracle((ROWS, ROWS[1:]), max_queries=5),
            lambda: AdaptiveOracle(ROWS, max_queries=5, universe=1),
            lambda: AdaptiveOracle(ROWS, max_queries=5, universe=[]),
            lambda: AdaptiveOracle(ROWS, max_queries=5, universe=[0, 1, 1]),
            lambda: AdaptiveOracle(ROWS, max_queries=5, universe=10**7 + 1),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=0),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=1, sigma=0.0),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=1, threshold=0.0),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=1, threshold=float("nan")),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=1, bound="best"),
            lambda: Thresholdout(ROWS, ROWS, budget=1),
            lambda: Thresholdout(ROWS, ROWS[:1], budget=1),
            lambda: Thresholdout(ROWS, (ROWS.copy(), ROWS), budget=1),
            lambda: Thresholdout(ROWS, ROWS.copy(), budget=1, indices=(range(5), range(4, 9))),
            lambda: PrivateMultiplicativeWeights(ROWS, 2, alpha=0.5),
            lambda: PrivateMultiplicativeWeights(ROWS, 2, alpha=0.5, epsilon=1.0, rho=1.0),
            lambda: PrivateMultiplicativeWeights(ROWS, 2, alpha=0.5, rho=0.0),
            lambda: PrivateMultiplicativeWeights(ROWS, 2, alpha=1.5, rho=0.1),
            lambda: PrivateMultiplicativeWeights(ROWS, 2, alpha=0.5, rho=0.1, max_updates=0),
            lambda: PrivateMultiplicativeWeights(ROWS, 1, alpha=0.5, rho=0.1),
        ]
        for attempt in bad:
            with pytest.raises((InvalidData, InvalidClaim)):
                attempt()
        assert ledger.account("survey").charges == 0


def test_a_crash_gives_nothing_away(ledger, tmp_path):
    """Killed after its first answer: the charge stands whole, and the next process is refused."""
    script = """
import os, signal, sys
import numpy as np
from sfumato import Ledger
from sfumato.statistics.adaptive import AdaptiveOracle
with Ledger(sys.argv[1]).charging("survey"):
    oracle = AdaptiveOracle(np.repeat([0, 1], 500), max_queries=5, mechanism="split")
    print(oracle.answer(lambda rows: rows).value, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "ledger.db")]
    first_run = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert first_run.returncode == -signal.SIGKILL
    assert first_run.stdout
    assert ledger.account("survey").spent.rho == pytest.approx(0.5)
    second_run = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    assert second_run.stdout == ""
    assert "exhausted" in second_run.stderr
