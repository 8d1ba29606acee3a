"""Chunks and one release: the same as all at once, one charge, and no copy of raw sums. Twins are in the contracts."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone

from sfumato import BudgetExceeded, ClaimViolated, InvalidData, Ledger, PureDP
from sfumato.statistics.similarity import PrivateDistanceSum, PrivateKDE, SimilarityClassifier

SEEDS = {"random_state": 0, "noise_seed": 0}
SUBJECTS = {
    "l1": PrivateDistanceSum("l1", 1.0, low=-3, high=3, levels=5, **SEEDS),
    "l2": PrivateDistanceSum("l2", 1.0, norm_bound=2.0, levels=5, directions=4, **SEEDS),
    "squares": PrivateDistanceSum("sqeuclidean", 1.0, norm_bound=2.0, **SEEDS),
    "squares, replaced": PrivateDistanceSum("sqeuclidean", 1.0, norm_bound=2.0, neighbours="replace-one", **SEEDS),
    "kernel, Gaussian noise": PrivateKDE(rho=0.5, **SEEDS),
    "kernel, Laplace noise": PrivateKDE(epsilon=1.0, **SEEDS),  # features wait for the noisy number of people
    "classes by kernel": SimilarityClassifier("kernel", rho=0.5, classes=[0, 1], norm_bound=2.0, **SEEDS),
    "classes by centroid": SimilarityClassifier("centroid", 1.0, classes=[0, 1], norm_bound=2.0, **SEEDS),
}
EACH = pytest.mark.parametrize("name", SUBJECTS)
X = np.random.default_rng(0).normal(size=(200, 3))
Y = (X[:, 0] > 0).astype(int)


def answers(fitted):
    ask = next(getattr(fitted, name) for name in ("sum", "density_sum", "decision_function") if hasattr(fitted, name))
    return ask(X[:20])


@EACH
@pytest.mark.parametrize("cuts", [[50], [0, 1, 1, 199]])
def test_chunks_are_released_as_all_at_once_to_the_last_bit(name, cuts):
    parts = zip(np.split(X, cuts), np.split(Y, cuts), strict=True)
    chunked, whole = clone(SUBJECTS[name]), clone(SUBJECTS[name]).fit(X, Y)
    for rows, labels in parts:
        chunked.partial_fit(rows, labels)
    assert (answers(chunked.finalize()) == answers(whole)).all()
    assert str(chunked.claim_) == str(whole.claim_)


@EACH
def test_chunks_cost_one_release_and_nothing_before_it(name, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    fresh = clone(SUBJECTS[name]).set_params(noise_seed=None)
    bound = PureDP(1.0) if fresh.rho is None else clone(fresh).fit(X, Y).claim_.bound
    ledger.create("rows", bound, neighbours=fresh.neighbours)
    with ledger.charging("rows"):
        for chunk in np.array_split(np.arange(200), 7):
            fresh.partial_fit(X[chunk], Y[chunk])
        fresh.finalize()
        again = clone(fresh).partial_fit(X, Y)
        with pytest.raises(BudgetExceeded):
            again.finalize()
    assert (answers(again.finalize()) != 0).any()  # the sums stayed: without the ledger it goes on


@EACH
def test_nothing_can_be_asked_or_copied_before_the_release_and_nothing_added_after(name):
    fresh = clone(SUBJECTS[name])
    with pytest.raises(InvalidData, match="nothing to release"):
        fresh.finalize()
    fresh.partial_fit(X, Y)
    for attempt in (answers, pickle.dumps, copy.deepcopy):
        with pytest.raises((ValueError, ClaimViolated)):
            attempt(fresh)
    fresh.finalize()
    assert (answers(pickle.loads(pickle.dumps(fresh))) == answers(fresh)).all()
    with pytest.raises(InvalidData, match="released already"):
        fresh.partial_fit(X, Y)
    with pytest.raises(InvalidData, match="nothing to release"):
        fresh.finalize()


@EACH
def test_a_bad_chunk_is_not_added_and_parameters_stay(name):
    fresh = clone(SUBJECTS[name]).partial_fit(X, Y)
    for rows, labels in ((X * np.nan, Y), (X[:, :2], Y), (X, "labels")):
        if rows is X and not name.startswith("classes"):
            continue
        with pytest.raises(InvalidData):
            fresh.partial_fit(rows, labels)
    whole = clone(SUBJECTS[name]).fit(X, Y)
    assert (answers(fresh.finalize()) == answers(whole)).all()
    begun = clone(SUBJECTS[name]).partial_fit(X, Y).set_params(random_state=1)
    for attempt in (begun.finalize, lambda: begun.partial_fit(X, Y)):
        with pytest.raises(InvalidData, match="random_state changed"):
            attempt()


def test_a_fit_that_fails_keeps_no_sums(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", create=True)
    ledger.create("rows", PureDP(0.5))
    fresh = clone(SUBJECTS["l1"]).set_params(noise_seed=None)
    with ledger.charging("rows"), pytest.raises(BudgetExceeded):
        fresh.fit(X)
    with pytest.raises(InvalidData, match="nothing to release"):
        fresh.finalize()
    pickle.dumps(fresh)


def test_kept_rows_are_the_estimators_own():
    mine, fresh = X.copy(), clone(SUBJECTS["kernel, Laplace noise"])
    fresh.partial_fit(mine)
    mine[:] = 9.0
    assert (answers(fresh.finalize()) == answers(clone(fresh).fit(X))).all()


def test_people_apart_are_two_releases_whose_answers_add():
    first, second = (
        clone(SUBJECTS["l1"]).set_params(epsilon=1e6).fit(X[part]) for part in (slice(90), slice(90, None))
    )
    whole = clone(SUBJECTS["l1"]).set_params(epsilon=1e6).fit(X)
    assert answers(first) + answers(second) == pytest.approx(answers(whole), abs=0.01)
