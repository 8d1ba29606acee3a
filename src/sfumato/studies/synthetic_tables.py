"""Study of system 24: private tables by a genetic search beside RAP, RAP++, GEM, MST and AIM, and attacks on them.

Liu, Tang, Vietri and Wu, "Generating Private Synthetic Data with Genetic Algorithms" (ICML 2023, arXiv 2306.03257).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from sfumato.errors import MissingExtra
from sfumato.studies import synthetic_tables_attacked as attacked
from sfumato.studies.study import Row, Scale, Study, StudyResult
from sfumato.studies.synthesis_baselines import published_behaviour
from sfumato.studies.synthesis_peers import Peer, peer_rows
from sfumato.studies.synthetic_tables_data import census, census_is_here, census_numbers, marriages, visits
from sfumato.synthesis import Domain, GeneticSynthesizer, WorkloadSet, halfspaces, marginals, prefixes
from sfumato.synthesis.domain import Rows

_PEOPLE = {"smoke": 5000, "small": 100_000, "full": 199_523}
_GATES = {"smoke": 20, "small": 2000, "full": 10_000}
_ROUNDS: dict[str, list[tuple[int, int]]] = {"smoke": [(2, 4)], "small": [(10, 20)], "full": [(25, 5), (50, 20)]}
_TOKEN: dict[str, dict[str, Any]] = {  # at scale smoke the baselines only show that they run
    "rap": {"iterations": 12, "relaxed_rows": 50, "n_synthetic": 1000},
    "rap++": {"iterations": 12, "relaxed_rows": 50, "n_synthetic": 1000},
    "gem": {"iterations": 10, "network_rows": 50, "n_synthetic": 1000},
}
_SEEDS = {"smoke": 1, "small": 1, "full": 3}
_SYNTHETIC = 2000
_PATIENCE = 900  # seconds that a peer may take
_EPSILONS = {"smoke": (1.0,), "small": (1.0, 0.07), "full": (1.0, 0.74, 0.52, 0.23, 0.07)}


@dataclass(frozen=True)
class Measured:
    """How far rows are from a table, over all queries, and what they took."""

    largest: float
    mean: float
    seconds: float = float("nan")

    def __str__(self) -> str:
        took = "" if np.isnan(self.seconds) else f", {self.seconds:.1f} s"
        return f"max {self.largest:.4f}, mean {self.mean:.5f}{took}"


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run private-tables`."""
    start = time.perf_counter()
    points = attacked.measure(scale, seed)
    rows = [
        *_rival_rows(scale, seed),
        *_marginal_rows(scale, seed),
        *_geometry_rows(scale, seed),
        *_number_rows(seed),
        *attacked.rows(points),
    ]
    return StudyResult(rows, scale, time.perf_counter() - start, {"attacks": attacked.picture(points)})


def _distance(workloads: WorkloadSet, table: Rows, rows: Rows, seconds: float = float("nan")) -> Measured:
    gaps = np.abs(workloads.counts(table) / len(table) - workloads.counts(rows) / len(rows))
    return Measured(float(gaps.max()), float(gaps.mean()), seconds)


def _fitted(synthesizer: Any, frame: pd.DataFrame, domain: Domain, workloads: WorkloadSet) -> Measured:
    start = time.perf_counter()
    synthesizer.fit(frame, domain)
    seconds = time.perf_counter() - start
    return _distance(workloads, domain.encode(frame), synthesizer.rows_, seconds)


def independent(table: Rows, n: int, seed: int) -> Rows:
    """Each column drawn from the table by itself: what one-way answers alone would give, without noise."""
    random = np.random.default_rng(seed)
    return np.column_stack([column[random.integers(len(table), size=n)] for column in table.T])


def subsample(table: Rows, n: int, seed: int) -> Rows:
    """Rows of the table itself: no privacy, and as good as so few rows can be without looking at the queries."""
    return table[np.random.default_rng(seed).choice(len(table), n, replace=False)]


def _baseline(method: Literal["rap", "rap++", "gem"], **settings: Any) -> Any:
    if method == "gem":
        from sfumato.synthesis.generator import GenerativeNetworkSynthesizer

        return GenerativeNetworkSynthesizer(**settings)
    from sfumato.synthesis.relaxed import RelaxedSynthesizer

    return RelaxedSynthesizer(**settings, method=method)


def _rival_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """First of all: whether the baselines do what their own papers show."""
    if scale == "smoke":
        return
    try:
        yield from published_behaviour(seed)
    except MissingExtra as missing:
        yield Row("RAP, RAP++ and GEM", "", f"not installed: {missing}")


def _marginal_rows(scale: Scale, seed: int) -> Iterator[Row]:
    if scale == "smoke":
        frame, domain = visits()
        frame, what = frame.sample(_PEOPLE[scale], random_state=seed).reset_index(drop=True), "randhie"
        workloads = marginals(domain, 2, resolutions=(8,))
    elif census_is_here():
        frame, domain = census(_PEOPLE[scale], seed)
        workloads, what = marginals(domain, 2, resolutions=(32,)), "census-income"
    else:
        yield Row("two-way marginals of census-income", "", "not here: python -m sfumato.data.census_income fetches it")
        return
    GeneticSynthesizer(1.0, workload=workloads, max_generations=1).fit(frame, domain)  # compiles, once
    table = domain.encode(frame)
    case = f"{what}, {len(frame):,} people, {len(workloads)} two-way marginals of {workloads.n_cells:,} queries"
    for epsilon in _EPSILONS[scale]:
        settings: dict[str, Any] = {"epsilon": epsilon, "workload": workloads, "random_state": seed}
        genetic = _fitted(GeneticSynthesizer(**settings, n_synthetic=_SYNTHETIC), frame, domain, workloads)
        card = {1.0: ("max 0.0080, mean 0.00021 in 0.21 s (our notes)", 0.012), 0.07: ("max 0.055, mean 0.00095", None)}
        said, target = card.get(epsilon, ("not found", None))
        yield Row(
            f"{case}, ε = {epsilon:g}: genetic search",
            said + ("; at most 0.012 in 10 s (our target)" if target else ""),
            str(genetic),
            genetic.largest <= target and genetic.seconds <= 10 if target and scale != "smoke" else None,
        )
        others = {}
        for method in ("rap", "gem"):
            found = _tried(method, settings | _effort(method, scale), frame, domain, workloads)
            if isinstance(found, Measured):
                others[method] = found
            yield Row(f"the same, {method.upper()}", "not found", str(found))
        if others and scale != "smoke":
            mean, largest = min(o.mean for o in others.values()), min(o.largest for o in others.values())
            yield Row(
                f"ε = {epsilon:g}: genetic search against the better of RAP and GEM",
                "on par (abstract); mean within 1.1 times, max within 1.25 times (our target)",
                f"mean {genetic.mean / mean:.2f} times, max {genetic.largest / largest:.2f} times",
                genetic.mean <= 1.1 * mean and genetic.largest <= 1.25 * largest,
            )
        if scale != "smoke":
            yield from _peer_rows(table, domain, workloads, epsilon)
    for name, rows in (
        ("columns drawn apart, without noise", independent(table, _SYNTHETIC, seed)),
        (f"{_SYNTHETIC} real rows, without privacy", subsample(table, _SYNTHETIC, seed)),
    ):
        yield Row(f"the same queries: {name}", "not found", str(_distance(workloads, table, rows)))


def _tried(method: Any, settings: dict[str, Any], frame: pd.DataFrame, domain: Domain, queries: WorkloadSet) -> Any:
    try:
        return _fitted(_baseline(method, **settings), frame, domain, queries)
    except MissingExtra as missing:
        return f"not installed: {missing}"


def _effort(method: str, scale: Scale) -> dict[str, Any]:
    return _TOKEN[method] if scale == "smoke" else {}


def _peer_rows(table: Rows, domain: Domain, workloads: WorkloadSet, epsilon: float) -> Iterator[Row]:
    names: tuple[Literal["MST", "AIM"], ...] = ("MST", "AIM")
    for name in names:
        peer: Peer = peer_rows(
            name, table, domain, epsilon=epsilon, delta=1 / len(table) ** 2, n_synthetic=len(table), timeout=_PATIENCE
        )
        measured = peer.reason
        if peer.rows is not None:
            versions = ", ".join(f"{package} {version}" for package, version in (peer.versions or {}).items())
            measured = f"{_distance(workloads, table, peer.rows, peer.seconds)} ({versions})"
        yield Row(f"the same, {name} in a Python of its own", "not found", measured)


def _geometry_rows(scale: Scale, seed: int) -> Iterator[Row]:
    tables = [("randhie", visits())]
    if scale != "smoke":
        tables.append(("fair", marriages()))
        if census_is_here():
            tables.insert(0, ("census-income", census_numbers(_PEOPLE[scale], seed)))
    better = []
    for name, (frame, domain) in tables:
        for family, make in (("half-spaces", halfspaces), ("prefixes", prefixes)):
            workloads = make(domain, _GATES[scale], random_state=seed)
            table = domain.encode(frame)
            genetic = _best("genetic", scale, seed, frame, domain, workloads)
            other = _best("rap++", scale, seed, frame, domain, workloads)
            lines = [("columns drawn apart", independent), (f"{_SYNTHETIC} real rows", subsample)]
            apart, real = (_distance(workloads, table, draw(table, _SYNTHETIC, seed)) for _, draw in lines)
            case = f"{name}, {len(frame):,} people, {len(workloads)} workloads of {family}"
            yield Row(
                f"{case}, adaptive, ε = 1: genetic search",
                "max 0.0093, mean 0.00067 on half-spaces of census-income (our notes)",
                f"{genetic}; {lines[0][0]} {apart}; {lines[1][0]} {real}",
                bool(genetic.largest < 0.1 * apart.largest and genetic.largest < real.largest)
                if name == "census-income" and family == "half-spaces"
                else None,
            )
            if isinstance(other, str):
                yield Row(f"the same, RAP++ ({name}, {family})", "not found", other)
                continue
            better.append((name, genetic.largest <= 0.8 * other.largest and genetic.mean < other.mean))
            yield Row(
                f"the same, RAP++ ({name}, {family})",
                "beaten (figures of the paper; numbers not found)",
                f"{other}; genetic search has {genetic.largest / other.largest:.2f} of its largest error, "
                f"{genetic.mean / other.mean:.2f} of its mean",
                None if scale == "smoke" else better[-1][1],
            )
    if scale != "smoke" and better:
        won = {name for name, _ in tables if all(won for each, won in better if each == name)}
        yield Row(
            "tables on which the genetic search has at most 0.8 of RAP++'s largest error and a smaller mean",
            "at least two of three (our target)",
            f"{len(won)} of {len(tables)}: {', '.join(sorted(won)) or 'none'}",
            len(won) >= 2,
        )


def _best(method: str, scale: Scale, seed: int, frame: pd.DataFrame, domain: Domain, workloads: WorkloadSet) -> Any:
    """The best of a small grid of rounds, by the true error: tuning that is not private, and the same for all."""
    found: list[Measured] = []
    for rounds, per_round in _ROUNDS[scale]:
        runs = []
        for number in range(_SEEDS[scale]):
            settings: dict[str, Any] = {
                "epsilon": 1.0, "workload": workloads, "strategy": "adaptive", "rounds": rounds, "per_round": per_round,
                "random_state": seed + number,
            }  # fmt: skip
            if method == "genetic":
                synthesizer = GeneticSynthesizer(**settings, n_synthetic=_SYNTHETIC)
                runs.append(_fitted(synthesizer, frame, domain, workloads))
            else:
                runs.append(_tried(method, settings | _effort(method, scale), frame, domain, workloads))
                if isinstance(runs[-1], str):
                    return runs[-1]
        found.append(Measured(*np.mean([(r.largest, r.mean, r.seconds) for r in runs], axis=0)))
    return min(found, key=lambda each: each.largest)


def _number_rows(seed: int) -> Iterator[Row]:
    frame, domain = visits()
    workloads = halfspaces(domain, 20, random_state=seed)
    rows = GeneticSynthesizer(1.0, workload=workloads, random_state=seed).fit(frame, domain).sample()
    distinct = rows["lpi"].nunique()
    yield Row(
        "distinct values of a continuous column in 2000 synthetic rows",
        "numbers need no bins (abstract); at least 1000 (our target)",
        str(distinct),
        distinct >= 1000,
    )


STUDY = Study(
    24,
    "private-tables",
    "Private synthetic tables by a genetic search",
    """Noisy answers to counting queries, and a genetic search for rows that answer alike. All searches here ask the
same questions in the same rounds and differ only in how they find rows.

- The domains are read off whole published files, which stand for codebooks. RAP, RAP++ and GEM are ours, after their
  papers; whether they behave as those say is looked at first. They make 25,000 rows, the genetic search 2,000.
- On two-way marginals the genetic search, RAP and GEM are on a par; at ε = 1 the network of GEM smooths the noise best,
  and our target of 1.1 times its mean error is missed. More rows or a longer search do not change that.
- On half-spaces and prefixes the genetic search is ahead of RAP++ on all three tables, and by our margin on two. Both
  use ten rounds of twenty workloads, set once. RAP++ does badly on prefixes there: many of these columns are zero for
  nearly everybody, where the slope of a sigmoid is nothing; it is behind columns drawn apart, so that beating it means
  little. With more rounds and steps it is not, and the genetic search is still ahead. On the smaller tables ten rounds
  at ε = 1 leave everything behind 2,000 real rows.
- MST and AIM run in a Python of their own, named by SFUMATO_SMARTNOISE; AIM fits a model in each of 16 rounds a column,
  and at 21 columns it was stopped before it ended. On 6 columns its mean error is the least of all: a model of greatest
  entropy smooths noise better than rows do, at hundreds of times the time.
- Whoever chose rounds, queries or seeds by errors such as these on private rows would spend what no claim covers.
- The attacks are played on the real table fair with three-way marginals as workload; without noise the search is given
  the exact counts. Secrets are fair coins, so that half of them are read by chance; of two people one is in the table.
  Pairs and secrets of one repetition share its rows, so the intervals behind "holds" are estimates.
- Without noise 300 people are read nearly all. At n = 3000 a cell of three attributes holds so many people that secrets
  are hidden in the crowd, and membership is not. At ε ≤ 1 the best of four attacks is right .56 of the time and mostly
  .51; at ε = 10 it is .65 to .67, where nobody should take the claim's ceiling for comfort.""",
    run,
)
