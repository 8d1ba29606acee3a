"""GeneticSynthesizer: a private table whose rows a genetic algorithm changes until they answer like the noisy answers.

For data stewards with mixed columns and any counting queries: nothing is made differentiable, and numbers stay numbers.
Liu, Tang, Vietri and Wu 2023, "Generating private synthetic data with genetic algorithms" (Private-GSD).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic.proposals import OPERATORS
from sfumato.synthesis.genetic.search import Settings, search
from sfumato.synthesis.measuring import Measurements, Strategy
from sfumato.synthesis.synthesizer import Synthesizer
from sfumato.synthesis.workloads import WorkloadSet

Acceptance = Literal["first_improvement", "best_of_population"]
Engine = Literal["incremental", "reference"]


#: A window that gains less ends the search of a round that others follow: what comes next is chosen from a rough fit.
_ROUGH = 1e-2


class GeneticSynthesizer(Synthesizer):
    """Private rows by a genetic algorithm.

    Each candidate changes one cell of one row: to a random value of its column (`mutate`), or to that of a random row
    of one of the best data sets so far (`cross`, with normal noise on numbers, as in the code of the paper). The
    objective is the sum of squared gaps to the noisy answers. The search is post-processing: it costs nothing.

    Parameters and attributes that are not listed are those of `Synthesizer`.

    Parameters
    ----------
    operators : sequence of {"mutate", "cross"}
    population : sequence of int
        Candidates of each operator in a generation.
    elite : int, default 5
        Data sets that are kept for `cross` to copy from.
    max_generations : int, default 300,000
        Of each round's search.
    tolerance : float, default 1e-4
        The search ends after a window of n_synthetic generations that improves the objective by less than this part of
        it; in rounds that others follow, by less than a hundredth.
    acceptance : {"first_improvement", "best_of_population"}
        Accept each candidate that improves; or, as in the paper, the best of a generation if it improves.
    engine : {"incremental", "reference"}
        Follow the counts of the row that changes, compiled if numba is there; or count every candidate anew. Both make
        the same rows.

    Attributes
    ----------
    objectives_ : list of list of float
        For each round, the objective before the first window of its search and after each.
    """

    def __init__(
        self,
        epsilon: float | None = 1.0,
        delta: float | None = None,
        *,
        rho: float | None = None,
        workload: WorkloadSet | Literal["marginals"] = "marginals",
        strategy: Strategy = "oneshot",
        rounds: int = 50,
        per_round: int = 10,
        n_synthetic: int = 2000,
        warm_start: bool = True,
        neighbours: Neighbours = "replace-one",
        unit: Literal["record", "person"] = "record",
        clip: bool = False,
        journal: str | Path | None = None,
        random_state: int | None = None,
        noise_seed: int | None = None,
        operators: Sequence[str] = ("mutate", "cross"),
        population: Sequence[int] = (50, 50),
        elite: int = 5,
        max_generations: int = 300_000,
        tolerance: float = 1e-4,
        acceptance: Acceptance = "first_improvement",
        engine: Engine = "incremental",
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.rho = rho
        self.workload = workload
        self.strategy = strategy
        self.rounds = rounds
        self.per_round = per_round
        self.n_synthetic = n_synthetic
        self.warm_start = warm_start
        self.neighbours = neighbours
        self.unit = unit
        self.clip = clip
        self.journal = journal
        self.random_state = random_state
        self.noise_seed = noise_seed
        self.operators = operators
        self.population = population
        self.elite = elite
        self.max_generations = max_generations
        self.tolerance = tolerance
        self.acceptance = acceptance
        self.engine = engine

    def _search(self, found: Measurements, rows: Rows, random: np.random.Generator, *, last: bool) -> Rows:
        settings = Settings(
            sizes=dict(zip(self.operators, self.population, strict=True)),
            elite=self.elite,
            max_generations=self.max_generations,
            tolerance=self.tolerance if last else max(self.tolerance, _ROUGH),
            one_by_one=self.acceptance == "first_improvement",
            engine=self.engine,
        )
        better, objectives = search(found, rows, random, settings)
        self.objectives_.append(objectives)
        return better

    def _check_search(self, workloads: WorkloadSet) -> None:
        self.objectives_: list[list[float]] = []
        operators, population = tuple(self.operators), tuple(self.population)
        if not operators or len(set(operators)) != len(operators) or not set(operators) <= set(OPERATORS):
            raise InvalidData(f"operators must be some of {OPERATORS}, each once, got {self.operators!r}")
        if len(population) != len(operators):
            raise InvalidData(f"population must have a number for each of the operators {operators}, got {population}")
        for name, value in (
            *(("population", size) for size in population),
            ("elite", self.elite),
            ("max_generations", self.max_generations),
        ):
            if not _whole(value) or value < 1:
                raise InvalidData(f"{name} must be of whole numbers, at least 1, got {value!r}")
        if not isinstance(self.tolerance, (int, float)) or not 0 <= self.tolerance < 1:
            raise InvalidData(f"tolerance must be a number in [0, 1), got {self.tolerance!r}")
        for name, choices in (("acceptance", get_args(Acceptance)), ("engine", get_args(Engine))):
            if getattr(self, name) not in choices:
                raise InvalidData(f"{name} must be one of {choices}, got {getattr(self, name)!r}")


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
