"""GeneticSynthesizer from end to end: what it costs, how near it comes, what it refuses, and what a crash leaves."""

import multiprocessing
import os
import pickle
import signal
import time
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP
from sfumato.privacy.ledger import Ledger
from sfumato.synthesis import Column, Domain, Measurements, halfspaces, marginals, prefixes, queries
from sfumato.synthesis.genetic import GeneticSynthesizer, estimator, kernel
from sfumato.synthesis.genetic.search import Settings, search

FORK = multiprocessing.get_context("fork")
N = 20_000


def people(n=N, seed=0):
    """Rows like those of a census: skewed, dependent, with many in one point."""
    rng = np.random.default_rng(seed)
    age = np.minimum(rng.gamma(4, 10, n), 90).astype(int)
    works = rng.random(n) < np.where((age > 17) & (age < 66), 0.8, 0.05)
    education = np.clip(rng.poisson(2 + 2 * works), 0, 6)
    weeks = np.where(works, np.where(rng.random(n) < 0.7, 52, rng.integers(0, 53, n)), 0)
    income = rng.random(n) < 0.02 + 0.06 * works * education / 2
    return pd.DataFrame(
        {
            "age": age,
            "education": education,
            "weeks": weeks,
            "sex": rng.choice(["f", "m"], n),
            "income": np.where(income, "high", "low"),
            "note": "kept apart",
        }
    )


DOMAIN = Domain(
    (
        Column.numeric("age", 0, 90, integer=True),
        Column.ordinal("education", range(7)),
        Column.numeric("weeks", 0, 52, integer=True),
        Column.categorical("sex", ["f", "m"]),
        Column.categorical("income", ["low", "high"]),
    )
)
PAIRS = marginals(DOMAIN, 2, resolutions=(16,))


def errors(workloads, rows, frame):
    real = DOMAIN.encode(frame)
    return np.abs(workloads.counts(rows) / len(rows) - workloads.counts(real) / len(real))


def test_parameters_are_kept_as_they_are_and_survive_a_clone():
    model = GeneticSynthesizer(2.0, operators=["cross"], population=[7], workload=PAIRS, noise_seed=3, tolerance=0.5)
    parameters = model.get_params()
    again = clone(model)
    assert again.get_params().keys() == parameters.keys()
    assert again.population == [7]
    assert again.epsilon == 2.0
    assert GeneticSynthesizer().set_params(**parameters).get_params() == parameters


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"operators": ("swap",), "population": (5,)}, "operators"),
        ({"operators": ()}, "operators"),
        ({"operators": ("mutate", "mutate")}, "operators"),
        ({"population": (50,)}, "population"),
        ({"population": (50, 0)}, "population"),
        ({"elite": 0}, "elite"),
        ({"max_generations": 1.5}, "max_generations"),
        ({"tolerance": 1.0}, "tolerance"),
        ({"tolerance": None}, "tolerance"),
        ({"acceptance": "any"}, "acceptance"),
        ({"engine": "jax"}, "engine"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_before_anything_is_spent(parameters, said, tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    ledger.create("people", ZCDP(1.0), unit="record", neighbours="replace-one")
    with ledger.charging("people"), pytest.raises(InvalidData, match=said):
        GeneticSynthesizer(None, rho=0.5, workload=PAIRS, **parameters).fit(people(100), DOMAIN)
    assert ledger.account("people").charges == 0


def exactly(workloads, frame):
    """Measurements without noise: only for tests."""
    real = DOMAIN.encode(frame)
    answers = workloads.counts(real) / len(real)
    return Measurements(workloads, np.arange(len(workloads)), answers, np.zeros(len(answers)), len(real))


@pytest.mark.parametrize("one_by_one", [True, False])
def test_exact_answers_are_met_to_two_rows(one_by_one):
    settings = Settings({"mutate": 50, "cross": 50}, 5, 300_000, 1e-5, one_by_one, "incremental")
    random = np.random.default_rng(0)
    rows, objectives = search(exactly(PAIRS, people()), DOMAIN.draw(2000, random), random, settings)
    assert errors(PAIRS, rows, people()).max() <= 2 / 2000
    assert all(after <= before for before, after in pairwise(objectives))


def test_without_a_compiler_the_same_rows_are_found(monkeypatch):
    """And by the reference, which counts every candidate anew."""
    small = marginals(DOMAIN, 2, columns=["age", "education", "income"], resolutions=(4,))
    model = GeneticSynthesizer(
        1.0, workload=small, n_synthetic=40, population=(5, 5), max_generations=120, random_state=1, noise_seed=1
    )
    compiled = clone(model).fit(people(2000), DOMAIN)
    reference = clone(model).set_params(engine="reference").fit(people(2000), DOMAIN)
    monkeypatch.setattr(kernel, "COMPILED", False)
    plain = clone(model).fit(people(2000), DOMAIN)
    np.testing.assert_array_equal(compiled.rows_, plain.rows_)
    np.testing.assert_array_equal(compiled.rows_, reference.rows_)
    assert compiled.objectives_ == plain.objectives_ == reference.objectives_


def test_the_search_is_seeded_and_the_noise_is_not():
    model = GeneticSynthesizer(1.0, workload=PAIRS, n_synthetic=50, max_generations=50, random_state=7)
    first, second = clone(model).fit(people(), DOMAIN), clone(model).fit(people(), DOMAIN)
    assert not np.array_equal(first.measurements_.answers, second.measurements_.answers)
    seeded = [clone(model).set_params(noise_seed=5).fit(people(), DOMAIN) for _ in range(2)]
    np.testing.assert_array_equal(seeded[0].measurements_.answers, seeded[1].measurements_.answers)
    np.testing.assert_array_equal(seeded[0].rows_, seeded[1].rows_)
    assert not seeded[0].claim_.formal
    assert first.claim_.formal


ROUNDS = {
    "oneshot": {"strategy": "oneshot"},
    "adaptive": {"strategy": "adaptive", "rounds": 3, "per_round": 2},
    "twice the rounds": {"strategy": "adaptive", "rounds": 6, "per_round": 2},
    "hybrid": {"strategy": "hybrid", "rounds": 3, "per_round": 2},
}


@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("neighbours", ["replace-one", "add-remove"])
def test_the_ledger_shows_the_rho_that_was_asked_for(rounds, neighbours, tmp_path):
    workloads = PAIRS + halfspaces(DOMAIN, 8, random_state=0)
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.db", create=True)
    ledger.create("people", ZCDP(1.0), unit="record", neighbours=neighbours)
    model = GeneticSynthesizer(
        None, rho=0.3, workload=workloads, neighbours=neighbours, n_synthetic=30, max_generations=30, **ROUNDS[rounds]
    )
    with ledger.charging("people"):
        model.fit(people(1000), DOMAIN)
    assert ledger.account("people").spent.rho == pytest.approx(0.3, abs=1e-12)
    assert model.claim_.bound == ZCDP(0.3)


def test_the_claim_gives_the_epsilon_that_was_asked_for():
    model = GeneticSynthesizer(0.7, workload=PAIRS, n_synthetic=30, max_generations=30).fit(people(1000), DOMAIN)
    assert model.claim_.to(ApproxDP, delta=1e-6).bound.epsilon == pytest.approx(0.7, rel=1e-6)


def test_half_spaces_beat_independent_columns_ten_times_and_a_real_sample_of_the_same_size():
    """A synthesizer that drew each column by itself fails the first, one that copied rows fails the second."""
    random = np.random.default_rng(0)
    x = random.random(100_000)
    noisy = (x + random.normal(0, 0.03, (3, len(x)))).clip(0, 1)
    real = np.column_stack([x, *noisy, noisy[0] + noisy[1] > 1])  # four numbers that nearly agree, and a threshold
    columns = tuple(Column.numeric(name, 0, 1) for name in "abcd")
    domain = Domain((*columns, Column.categorical("high", [0, 1])))
    workloads = halfspaces(domain, 100, random_state=0)
    model = GeneticSynthesizer(
        2.0, workload=workloads, strategy="adaptive", rounds=10, per_round=10, n_synthetic=500, random_state=0
    ).fit(domain.decode(real), domain)
    answers = workloads.counts(real) / len(real)

    def worst(rows):
        return np.abs(workloads.counts(rows) / len(rows) - answers).max()

    independent = np.column_stack([random.permutation(column) for column in real.T])
    samples = [real[random.choice(len(real), 500, replace=False)] for _ in range(9)]
    assert worst(model.rows_) < 0.1 * worst(independent)
    assert worst(model.rows_) < np.median([worst(sample) for sample in samples])


def test_all_families_at_once_in_numpy_with_a_users_query():
    rich = queries(DOMAIN, lambda f: ((f["age"] > 60) & (f["weeks"] > 0)).to_numpy()[:, np.newaxis], [[0]])
    workloads = PAIRS + prefixes(DOMAIN, 5, random_state=0) + halfspaces(DOMAIN, 5, random_state=1) + rich
    model = GeneticSynthesizer(2.0, workload=workloads, n_synthetic=200, max_generations=40, random_state=0)
    model.fit(people(), DOMAIN)
    random = DOMAIN.draw(200, np.random.default_rng(1))
    assert errors(workloads, model.rows_, people()).mean() < 0.2 * errors(workloads, random, people()).mean()
    assert any("function" in each for each in model.claim_.assumptions)


def test_numbers_stay_numbers_and_decoding_changes_no_answer():
    domain = Domain((Column.numeric("height", 0, 3), Column.numeric("age", 0, 90, integer=True)))
    frame = pd.DataFrame({"height": np.random.default_rng(0).random(N) * 2, "age": people()["age"]})
    workloads = marginals(domain, 2, resolutions=(8, 32))
    model = GeneticSynthesizer(1.0, workload=workloads, random_state=0, max_generations=2000).fit(frame, domain)
    table = model.sample()
    assert table["height"].nunique() >= 1000
    assert table["age"].dtype == np.int64
    np.testing.assert_array_equal(workloads.counts(domain.encode(table)), workloads.counts(model.rows_))


def test_a_value_of_a_column_outside_the_domain_goes_nowhere(capfd, caplog):
    frame = people(500)
    frame.loc[17, "note"] = "POISON-7f3a"
    model = GeneticSynthesizer(1.0, workload=PAIRS, n_synthetic=30, max_generations=30).fit(frame, DOMAIN)
    said = capfd.readouterr()
    everything = [said.out, said.err, caplog.text, repr(model), repr(model.history_), model.sample().to_csv()]
    everything += [str(model.claim_), str(model.measurements_), pickle.dumps(model).decode("latin-1")]
    assert not any("POISON" in each for each in everything)


def _fit(model, frame, url, stuck=None):
    if stuck is not None:

        def wait(*given):
            stuck.set()
            time.sleep(120)

        estimator.search = wait
    with Ledger(url).charging("people"):
        return model.fit(frame, DOMAIN)


@pytest.mark.parametrize("rounds", ["oneshot", "adaptive"])
def test_a_fit_that_was_killed_in_its_search_goes_on_without_spending_again(rounds, tmp_path):
    url = f"sqlite:///{tmp_path}/ledger.db"
    ledger = Ledger(url, create=True)
    ledger.create("people", ZCDP(1.0), unit="record", neighbours="replace-one")
    model = GeneticSynthesizer(
        None,
        rho=0.3,
        workload=PAIRS,
        n_synthetic=30,
        max_generations=30,
        journal=tmp_path / "fit.jsonl",
        **ROUNDS[rounds],
    )
    stuck = FORK.Event()
    child = FORK.Process(target=_fit, args=(model, people(1000), url, stuck))
    child.start()
    assert stuck.wait(60)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    spent = ledger.account("people")
    measured = (tmp_path / "fit.jsonl").read_text()
    assert spent.charges == 1
    _fit(model, people(1000), url)
    after = ledger.account("people")
    assert after.charges == (1 if rounds == "oneshot" else 3)
    assert after.spent.rho == pytest.approx(0.3, abs=1e-12)
    assert (tmp_path / "fit.jsonl").read_text().startswith(measured)
    _fit(model, people(1000), url)
    assert ledger.account("people").charges == after.charges


def test_rounds_that_others_follow_are_searched_roughly(monkeypatch):
    asked = []

    def listen(found, rows, random, settings):
        asked.append(settings.tolerance)
        return search(found, rows, random, settings)

    monkeypatch.setattr(estimator, "search", listen)
    for rounds, expected in (("oneshot", [1e-4]), ("adaptive", [1e-2, 1e-2, 1e-4]), ("hybrid", [1e-2] * 3 + [1e-4])):
        workloads = PAIRS + halfspaces(DOMAIN, 8, random_state=0)
        asked.clear()
        GeneticSynthesizer(
            1.0, workload=workloads, n_synthetic=30, max_generations=30, **ROUNDS[rounds]
        ).fit(people(1000), DOMAIN)  # fmt: skip
        assert asked == expected
