"""The linear program and the attack: against brute force, on exact marginals, on noise, and on bad input."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import optimize, sparse, stats

from sfumato.attacks.reconstruction import ReconstructionAttack, solve
from sfumato.attacks.reconstruction import solver as solver_module
from sfumato.data.tabular import ACS, synthetic_census
from sfumato.errors import InvalidData

CENSUS = synthetic_census(3000, ACS, 3)
PEOPLE = CENSUS.drop_duplicates(subset=[c for c in CENSUS if c != "SEX"]).iloc[:600].reset_index(drop=True)
QUASI = PEOPLE.drop(columns="SEX")


def with_coins(seed):
    return PEOPLE.assign(SEX=np.random.default_rng(seed).integers(0, 2, len(PEOPLE)))


def random_program(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 13))
    members = (rng.random((3 * n, n)) < 0.4).astype(float)
    return members, rng


@pytest.mark.parametrize("solver", ["highs-ipm", "highs-ds"])
@pytest.mark.parametrize("seed", range(6))
def test_exact_answers_are_explained_by_the_bits_that_brute_force_finds(seed, solver):
    members, rng = random_program(seed)
    bits = rng.integers(0, 2, members.shape[1])
    answers = members @ bits
    every = np.array(list(itertools.product((0, 1), repeat=members.shape[1])))
    fitting = every[np.abs(every @ members.T - answers).sum(axis=1) < 1e-9]
    found = solve(sparse.csr_matrix(members), answers, solver=solver)
    assert found.solved
    assert found.objective < 1e-7
    if len(fitting) == 1 and np.linalg.matrix_rank(members) == members.shape[1]:
        np.testing.assert_allclose(found.scores, fitting[0], atol=1e-6)


@pytest.mark.parametrize("seed", range(6))
def test_the_program_is_at_least_as_good_as_all_bits_and_as_a_smooth_solver(seed):
    members, rng = random_program(seed)
    n = members.shape[1]
    answers = members @ rng.integers(0, 2, n) + rng.normal(0, 1, len(members))
    found = solve(sparse.csr_matrix(members), answers)
    assert np.all((found.scores >= 0) & (found.scores <= 1))
    assert found.objective == pytest.approx(np.abs(members @ found.scores - answers).sum(), abs=1e-7)
    every = np.array(list(itertools.product((0, 0.5, 1), repeat=min(n, 8))))
    padded = np.hstack([every, np.full((len(every), n - every.shape[1]), 0.5)])
    assert found.objective <= np.abs(padded @ members.T - answers).sum(axis=1).min() + 1e-7
    # No descent direction is left: small moves inside the box never lower the sum.
    moved = np.clip(found.scores + rng.normal(0, 1e-3, (2000, n)), 0, 1)
    assert found.objective <= np.abs(moved @ members.T - answers).sum(axis=1).min() + 1e-7


def test_least_squares_is_scipys_dense_solution():
    members, rng = random_program(3)
    answers = members @ rng.integers(0, 2, members.shape[1]) + rng.normal(0, 1, len(members))
    found = solve(sparse.csr_matrix(members), answers, loss="l2")
    exact = optimize.lsq_linear(members, answers, bounds=(0, 1), method="bvls", tol=1e-14)
    assert found.objective == pytest.approx(exact.cost, rel=1e-4)


@pytest.mark.parametrize("scaling", ["cond", "normal"])
def test_exact_marginals_give_everybody_away(scaling):
    truth = with_coins(1)
    guesses = ReconstructionAttack(scaling=scaling).fit(QUASI).predict(truth, "SEX")
    assert (guesses == truth["SEX"]).mean() >= 0.999


def test_both_solvers_agree_in_accuracy_within_one_percent():
    truth = with_coins(2)
    rows = truth.iloc[np.random.default_rng(0).integers(0, len(truth), 3000)]
    right = []
    for solver in ("highs-ipm", "highs-ds"):
        attack = ReconstructionAttack(solver=solver).fit(QUASI)
        right.append((attack.predict(rows, "SEX") == truth["SEX"]).mean())
    assert abs(right[0] - right[1]) <= 0.01
    assert min(right) > 0.9


def test_independent_bits_tell_nothing():
    """Guesses from bits that are independent of the truth: 1,200 fair games; a false alarm has probability 1e-6."""
    right = 0
    for seed in (3, 4):
        guesses = ReconstructionAttack().fit(QUASI).predict(with_coins(seed), "SEX")
        right += int((guesses == with_coins(seed + 100)["SEX"]).sum())
    low, high = stats.binom.interval(1 - 1e-6, 2 * len(PEOPLE), 0.5)
    assert low <= right <= high


def test_the_order_of_rows_and_people_does_not_matter():
    truth = with_coins(5)
    shuffle = np.random.default_rng(0).permutation(len(truth))
    straight = ReconstructionAttack().fit(QUASI).predict(truth, "SEX")
    shuffled = ReconstructionAttack().fit(QUASI.iloc[shuffle]).predict(truth.sample(frac=1, random_state=1), "SEX")
    assert (straight[shuffle] == shuffled).mean() >= 0.999


def test_the_same_seed_chooses_the_same_queries():
    first, second = (ReconstructionAttack(4, max_queries=200, random_state=7).fit(QUASI).queries_ for _ in range(2))
    assert np.array_equal(first.keys, second.keys)
    assert (first.members != second.members).nnz == 0


def test_a_program_that_is_not_solved_is_flagged_and_guessed_by_coins(monkeypatch):
    monkeypatch.setattr(solver_module, "_least_l1", lambda *rest: None)
    attack = ReconstructionAttack(random_state=0).fit(QUASI)
    assert attack.score(with_coins(1), "SEX").tolist() == [0.5] * len(QUASI)
    assert not attack.solved_
    assert set(attack.predict(with_coins(1), "SEX")) == {0, 1}


def test_a_time_limit_that_is_too_short_is_flagged():
    rows = with_coins(1).iloc[np.random.default_rng(0).integers(0, len(QUASI), 3000)]
    attack = ReconstructionAttack(time_limit=1e-9).fit(QUASI)
    attack.score(rows, "SEX")
    assert not attack.solved_


def test_bad_input_is_named():
    attack, rows = ReconstructionAttack().fit(QUASI), with_coins(1)
    with pytest.raises(InvalidData, match="nothing to find"):
        ReconstructionAttack().fit(PEOPLE).score(rows, "SEX")
    with pytest.raises(InvalidData, match="only 0 and 1"):
        attack.score(rows.assign(SEX=2), "SEX")
    with pytest.raises(InvalidData, match="only 0 and 1"):
        attack.score(rows.assign(SEX=np.nan), "SEX")
    with pytest.raises(InvalidData, match="lacks the secret"):
        attack.score(QUASI, "SEX")
    with pytest.raises(InvalidData, match=r"lacks the column\(s\) MIG, DIS"):
        attack.score(rows.drop(columns=["MIG", "DIS"]), "SEX")
    with pytest.raises(InvalidData, match="no known value"):
        attack.score(rows.assign(MIG=rows["MIG"].map("m{}".format)), "SEX")
    with pytest.raises(InvalidData, match="with rows"):
        attack.score(rows.iloc[:0], "SEX")
    with pytest.raises(InvalidData, match="fit the attack"):
        ReconstructionAttack().score(rows, "SEX")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scaling": "other"}, "scaling"),
        ({"loss": "l3"}, "loss"),
        ({"solver": "gurobi"}, "solver"),
        ({"max_queries": 0}, "max_queries"),
        ({"time_limit": 0}, "time_limit"),
        ({"missing": "drop"}, "missing"),
    ],
)
def test_bad_parameters_are_named(change, said):
    with pytest.raises(InvalidData, match=said):
        ReconstructionAttack(**change).fit(QUASI)


def test_a_missing_quasi_identifier_may_be_a_category():
    truth = with_coins(6)
    holes = QUASI.astype(float)
    holes.iloc[::7, 3] = np.nan
    with pytest.raises(InvalidData, match="missing"):
        ReconstructionAttack().fit(holes)
    guesses = ReconstructionAttack(missing="category").fit(holes).predict(holes.assign(SEX=truth["SEX"]), "SEX")
    assert (guesses == truth["SEX"]).mean() > 0.99


def test_bits_may_be_booleans():
    truth = with_coins(7).astype({"SEX": bool})
    assert (ReconstructionAttack().fit(QUASI).predict(truth, "SEX") == truth["SEX"]).mean() >= 0.999
    assert isinstance(truth, pd.DataFrame)
