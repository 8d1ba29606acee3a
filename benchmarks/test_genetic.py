"""Generations per second of the genetic search, engine by engine, and the seconds and errors of a whole fit.

`pytest benchmarks/test_genetic.py -s`. The rate is that of the card of Private-GSD: 8 columns, 28 workloads, about
5,000 queries, 2,000 rows, 50 candidates a generation, of which only the best may be accepted. The official JAX package
(no licence, old pins) made about 55 generations/s there on a machine of 2 cores, after 12 s of compilation; name a
command that prints another implementation's rate in `SFUMATO_GENETIC_PEER` to put it beside, in the same run.
"""

import os
import subprocess
import time

import numpy as np
import pandas as pd
import pytest

from sfumato.data.census_income import cache_path, load_census_income
from sfumato.synthesis import Column, Domain, halfspaces, marginals, prefixes
from sfumato.synthesis.genetic import GeneticSynthesizer, kernel
from sfumato.synthesis.genetic.compiled import Compiled
from sfumato.synthesis.genetic.objective import UNIT
from sfumato.synthesis.genetic.proposals import propose
from sfumato.synthesis.genetic.reference import Reference
from sfumato.synthesis.genetic.vectorised import Vectorised

OFFICIAL, PEER = 55.0, "SFUMATO_GENETIC_PEER"
PAIRS = [
    "age",
    "weeks_worked",
    "worker_class",
    "education",
    "enrolled",
    "marital",
    "industry",
    "major_occupation",
    "race",
    "hispanic_origin",
    "sex",
    "union_member",
    "unemployment_reason",
    "employment",
    "tax_filer",
    "household_summary",
    "household",
    "self_born",
    "citizenship",
    "employer_size",
    "income",
]
NUMBERS = ["age", "wage_per_hour", "capital_gains", "capital_losses", "dividends", "employer_size", "weeks_worked"]
CENSUS = pytest.mark.skipif(not cache_path().is_file(), reason="needs `python -m sfumato.data.census_income` once")


def census(columns, numeric):
    """100,000 rows, and a domain read off them: good enough to measure time and error, not to publish."""
    frame = load_census_income().iloc[:100_000][list(columns)]

    def column(name):
        if name in numeric:
            return Column.numeric(name, int(frame[name].min()), int(frame[name].max()), integer=True)
        return Column.categorical(name, sorted(frame[name].unique().tolist()))

    return frame, Domain(tuple(map(column, columns)))


def peer_rate():
    command = os.environ.get(PEER)
    if not command:
        return None
    return float(subprocess.run(command, shell=True, capture_output=True, text=True, check=True).stdout.split()[-1])


@pytest.mark.parametrize("stage", ["from random rows", "near the optimum"])
def test_generations_per_second(stage, capsys):
    domain = Domain(
        tuple(Column.categorical(str(j), range(size)) for j, size in enumerate([6, 8, 10, 12, 14, 16, 18, 20]))
    )
    workloads = marginals(domain, 2)
    random = np.random.default_rng(0)
    real = domain.draw(5000, random)
    real[:, 1:] = np.minimum(real[:, 1:], real[:, :1] + 3)  # so that columns depend on each other
    aimed = workloads.counts(real) * UNIT * 2000 // 5000
    rows, sizes = domain.draw(2000, random), {"mutate": 25, "cross": 25}
    if stage == "near the optimum":
        warm = (Compiled if kernel.COMPILED else Vectorised)(workloads, aimed, rows, 5)
        warm.run(propose(random, domain, 2000, 20_000, sizes, 5), 1)
        rows = warm.rows
    rates = {}
    for engine, generations in ((Reference, 5), (Vectorised, 500), (Compiled, 20_000)):
        if engine is Compiled:
            if not kernel.COMPILED:
                continue
            Compiled(workloads, aimed, rows, 5).run(propose(random, domain, 2000, 1, sizes, 5), 50)  # compiles
        search = engine(workloads, aimed, rows, 5)
        start = time.perf_counter()
        search.run(propose(random, domain, 2000, generations, sizes, 5), 50)
        rates[engine.__name__] = generations / (time.perf_counter() - start)
    peer = peer_rate()
    beside, said = (peer, f"the peer of {PEER}") if peer else (OFFICIAL, "the official package as the card gives it")
    with capsys.disabled():
        print(f"\n{len(workloads)} workloads, {workloads.n_cells:,} queries, 50 candidates, {stage}:")
        for name, rate in rates.items():
            print(f"  {name}: {rate:,.0f} generations/s, {rate / beside:,.1f} times {said} ({beside:,.0f})")


@CENSUS
@pytest.mark.parametrize("engine", ["compiled", "NumPy"])
@pytest.mark.parametrize("epsilon", [1.0, 0.07])
def test_all_pairs_of_census_columns(engine, epsilon, capsys, monkeypatch):
    if engine == "NumPy":
        monkeypatch.setattr(kernel, "COMPILED", False)
    elif not kernel.COMPILED:
        pytest.skip("needs numba")
    frame, domain = census(PAIRS, {"age", "weeks_worked"})
    report(engine, epsilon, frame, domain, marginals(domain, 2, resolutions=(32,)), capsys)


@CENSUS
@pytest.mark.parametrize("family", [halfspaces, prefixes])
@pytest.mark.parametrize("epsilon", [1.0, 0.07])
def test_random_half_spaces_and_prefixes_of_census_numbers(family, epsilon, capsys):
    if not kernel.COMPILED:
        pytest.skip("needs numba")
    frame, domain = census([*NUMBERS, "sex", "income"], set(NUMBERS))
    workloads = family(domain, 2000, random_state=0)
    report("compiled", epsilon, frame, domain, workloads, capsys, strategy="adaptive", rounds=25, per_round=20)


def report(engine, epsilon, frame, domain, workloads, capsys, **settings):
    generations = 20_000 if engine == "NumPy" else 300_000
    model = GeneticSynthesizer(epsilon, workload=workloads, random_state=0, max_generations=generations, **settings)
    warm = pd.DataFrame(domain.decode(domain.draw(20, np.random.default_rng(0))))
    GeneticSynthesizer(epsilon, rho=None, workload=workloads, n_synthetic=10, max_generations=1, delta=0.1).fit(
        warm, domain
    )  # compiles, and imports what the first fit imports
    wall, cpu = time.perf_counter(), time.process_time()
    model.fit(frame, domain)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    real = domain.encode(frame)
    answers = workloads.counts(real) / len(real)
    random = np.random.default_rng(0)
    others = {
        "independent columns": np.column_stack([random.choice(column, 2000) for column in real.T]),
        "2,000 real rows": real[random.choice(len(real), 2000, replace=False)],
    }
    gaps = {"synthetic": np.abs(workloads.counts(model.rows_) / 2000 - answers)}
    gaps |= {name: np.abs(workloads.counts(rows) / 2000 - answers) for name, rows in others.items()}
    said = ", ".join(f"{name} max {gap.max():.4f} mean {gap.mean():.5f}" for name, gap in gaps.items())
    with capsys.disabled():
        print(
            f"\n{workloads[0].family}, {len(workloads):,} workloads, {workloads.n_cells:,} queries, ε = {epsilon:g}, ",
            end="",
        )
        print(f"{engine}: {wall:.1f} s ({cpu:.1f} CPU s); {said}")
