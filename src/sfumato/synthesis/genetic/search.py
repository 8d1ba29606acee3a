"""The search: generations in windows, until a window improves the objective too little.

For `GeneticSynthesizer`. The windows are those of the code of Liu, Tang, Vietri and Wu 2023 (Private-GSD).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from sfumato.synthesis.domain import Rows
from sfumato.synthesis.genetic import kernel
from sfumato.synthesis.genetic.compiled import Compiled
from sfumato.synthesis.genetic.flat import flattenable
from sfumato.synthesis.genetic.objective import UNIT, residuals, squares, targets
from sfumato.synthesis.genetic.proposals import Proposals, propose
from sfumato.synthesis.genetic.reference import Reference
from sfumato.synthesis.genetic.vectorised import Vectorised
from sfumato.synthesis.measuring import Integers, Measurements
from sfumato.synthesis.workloads import WorkloadSet

_BLOCK = 1 << 16  # proposals drawn at once


class Engine(Protocol):
    """What tries proposals. All engines decide the same for the same proposals."""

    @property
    def rows(self) -> Rows:
        """The best data set."""

    @property
    def residuals(self) -> Integers:
        """Its counts less their targets."""

    def run(self, proposals: Proposals, size: int) -> int:
        """Try proposals, `size` of them a generation; return by how much the objective moved, in units of 1 / UNIT."""


@dataclass(frozen=True)
class Settings:
    """How to search; see `GeneticSynthesizer`.

    Attributes
    ----------
    sizes : mapping of str to int
        Candidates of each operator in a generation.
    elite, max_generations : int
    tolerance : float
    one_by_one : bool
        Accept each candidate that improves, and not the best of a generation only.
    engine : {"incremental", "reference"}
    """

    sizes: Mapping[str, int]
    elite: int
    max_generations: int
    tolerance: float
    one_by_one: bool
    engine: Literal["incremental", "reference"]


def search(
    found: Measurements, rows: Rows, random: np.random.Generator, settings: Settings
) -> tuple[Rows, list[float]]:
    """Improve rows; return them, and the objective before the first window and after each.

    Parameters
    ----------
    found : Measurements
    rows : ndarray of float64, shape (n, d)
    random : Generator
    settings : Settings
    """
    domain, n = found.workloads.domain, len(rows)
    aimed = targets(found, n)
    engine = start(found.workloads, aimed, domain.settled(rows), settings)
    population = sum(settings.sizes.values())
    objectives = [squares(engine.residuals)]
    done = 0
    while done < settings.max_generations:
        window = min(n, settings.max_generations - done)
        moved = 0
        for first in range(0, window, max(1, _BLOCK // population)):
            generations = min(max(1, _BLOCK // population), window - first)
            proposals = propose(random, domain, n, generations, settings.sizes, settings.elite)
            moved += engine.run(proposals, 1 if settings.one_by_one else population)
        done += window
        objectives.append(objectives[-1] + moved / UNIT)
        if -moved / UNIT <= settings.tolerance * objectives[-2]:
            break
    if not np.array_equal(engine.residuals, residuals(found.workloads.counts(engine.rows), aimed)):
        raise AssertionError("the counts of the search are not those of its rows")  # a defect of ours
    return np.asfortranarray(engine.rows), objectives


def start(workloads: WorkloadSet, aimed: Integers, rows: Rows, settings: Settings) -> Engine:
    """Return the engine that was asked for: compiled if it can be, or else in NumPy."""
    if settings.engine == "reference":
        return Reference(workloads, aimed, rows, settings.elite)
    compilable = kernel.COMPILED and all(map(flattenable, workloads))
    return (Compiled if compilable else Vectorised)(workloads, aimed, rows, settings.elite)
