"""Measuring: which workloads a synthesizer asks about, in how many rounds, and what each round costs.

For all synthesizers here: they differ in how they find rows that fit the answers, never in what they ask. One-shot,
adaptive and hybrid: Liu, Tang, Vietri and Wu 2023 (Private-GSD); the choice of the worst workloads by the exponential
mechanism after Aydöre et al. 2021 (RAP).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import BudgetExceeded, InvalidData
from sfumato.privacy.bounds import ZCDP, Neighbours
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.synthesis.domain import Rows
from sfumato.synthesis.journal import Journal
from sfumato.synthesis.workloads import WorkloadSet

Strategy = Literal["oneshot", "adaptive", "hybrid"]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Round:
    """One round of questions.

    Attributes
    ----------
    rho : float
        What it costs, in ρ-zCDP.
    given : tuple of int
        Workloads that are measured as planned; empty if the round chooses.
    choose : int
        How many workloads the round chooses, for half of its ρ.
    """

    rho: float
    given: tuple[int, ...] = ()
    choose: int = 0

    @property
    def measuring(self) -> float:
        """The ρ of the measurement: half if the round chooses, all of it if not."""
        return self.rho / 2 if self.choose else self.rho

    def deviation(self, neighbours: Neighbours) -> float:
        """Parameter σ of the noise of each count: its standard deviation, or just above it."""
        return sensitivity(self.choose or len(self.given), neighbours) / math.sqrt(2 * self.measuring)


def plan(workloads: WorkloadSet, strategy: Strategy, rho: float, rounds: int, per_round: int) -> tuple[Round, ...]:
    """Split ρ over rounds: once for all workloads, or in turns for those that are worst, or both.

    The hybrid measures the first family of `workloads` at once, for the share W₁ / (W₁ + T·S) of ρ, and chooses among
    the others in T rounds of S.

    Raises
    ------
    InvalidData
        If there are fewer workloads to choose from than rounds · per_round.
    """
    everything = tuple(range(len(workloads)))
    if strategy == "oneshot":
        return (Round(rho, given=everything),)
    first: tuple[int, ...] = ()
    if strategy == "hybrid":
        first = tuple(w for w in everything if workloads[w].family == workloads[0].family)
    elif strategy != "adaptive":
        raise InvalidData(f"strategy must be oneshot, adaptive or hybrid, got {strategy!r}")
    asked, left = rounds * per_round, len(everything) - len(first)
    if asked > left:
        raise InvalidData(f"rounds * per_round is {asked}, but there are only {left} workloads to choose from")
    share = rho * len(first) / (len(first) + asked)
    planned = (Round(share, given=first),) if first else ()
    return planned + (Round((rho - share) / rounds, choose=per_round),) * rounds


@dataclass(frozen=True)
class Measurements:
    """Noisy answers so far: public.

    Attributes
    ----------
    workloads : WorkloadSet
        Those that were measured, in the order of measuring.
    which : ndarray of int64
        Their places among all workloads.
    noisy : ndarray of float64, shape (workloads.n_cells,)
        Fractions of rows, unbiased: some are below 0.
    sigma : ndarray of float64, same shape
        Standard deviation of each answer's noise, as a fraction of rows.
    n : int
        Rows of the table: public, or a noisy number under add-remove.
    """

    workloads: WorkloadSet
    which: Integers
    noisy: NDArray[np.float64]
    sigma: NDArray[np.float64]
    n: int

    @property
    def answers(self) -> NDArray[np.float64]:
        """The noisy fractions, clipped to [0, 1]: what a search aims at."""
        return np.clip(self.noisy, 0.0, 1.0)


Search = Callable[[Measurements, Rows | None], Rows]


@dataclass(frozen=True)
class Asking:
    """Everything that a round needs to know besides its number.

    Attributes
    ----------
    workloads : WorkloadSet
    counts : ndarray of int64, shape (n_cells,)
        True counts: private.
    n : int
        Rows, public or noisy.
    promise : Claim
        Its bound is that of the whole; each round claims its own part of it.
    noise_seed : int or None
    """

    workloads: WorkloadSet
    counts: Integers
    n: int
    promise: Claim
    noise_seed: int | None = None


def sensitivity(workloads: int, neighbours: Neighbours) -> float:
    """L2 sensitivity of the counts of so many workloads together; the argument is that of `WorkloadSet`.

    Replacing a row moves a workload's counts by at most √2, adding or removing one by at most 1; squares add up.
    """
    return math.sqrt(workloads * (2 if neighbours == "replace-one" else 1))


def ask(asking: Asking, number: int, each: Round, done: Integers, rows: Rows | None, journal: Journal) -> None:
    """Charge, choose and measure one round, and record it in the journal.

    *Choice.* The score of a workload is max over its cells of |N'·c - N·ĉ|, with c true counts of N rows and ĉ those
    of the N' rows found so far: integers. A row moves each c by at most 1, so each score by at most N'. S times, the
    exponential mechanism chooses among those not chosen yet, each time with ε₀ = √(8·(ρ/2)/S): ε₀²/8-zCDP each (its
    bounded range; Cesar and Rogers 2021), ρ/2 together.

    *Measurement.* Discrete Gaussian noise for the other ρ/2, or all of ρ if nothing is chosen, on the counts of all
    workloads of the round at once; see `sensitivity`.

    Raises
    ------
    BudgetExceeded
        If the active ledger refuses; nothing was spent on this round.
    """
    purpose = f"synthetic table, round {number + 1}: {each.choose or len(each.given)} workloads"
    journal.start(number)
    try:
        with Release(_part(asking.promise, each.rho), purpose, seed=_seed(asking, number)) as release:
            rho = each.measuring
            which = np.array(each.given, dtype=np.int64)
            if each.choose:
                assert rows is not None  # a search begins from drawn rows
                which = _choose(release, asking, each.choose, rho, done, rows)
            moved = sensitivity(len(which), asking.promise.neighbours)
            noisy = release.discrete_gaussian(
                asking.counts[_cells_of(asking.workloads, which)], l2_sensitivity=moved, rho=rho
            )
    except BudgetExceeded:  # raised on entering only: the ledger took nothing
        journal.refused(number)
        raise
    journal.measured(number, which, noisy)


def count_rows(rows: int, promise: Claim, rho: float, noise_seed: int | None, journal: Journal) -> int:
    """Release the number of rows, which neighbours under add-remove change by 1, and record it as round -1.

    Raises
    ------
    BudgetExceeded
        If the ledger refuses, or an earlier run paid for the number and was stopped before it had it.
    """
    if not journal.started(-1):
        journal.start(-1)
        try:
            with Release(_part(promise, rho), "synthetic table: number of rows", seed=noise_seed) as release:
                noisy = release.discrete_gaussian([rows], l2_sensitivity=1, rho=rho)
        except BudgetExceeded:
            journal.refused(-1)
            raise
        journal.measured(-1, np.zeros(0, dtype=np.int64), noisy)
    found = journal.result(-1)
    if found is None:
        raise BudgetExceeded("the number of rows was paid for and lost in a crash: begin again with a new journal")
    return max(1, int(found[1][0]))


def measurements(asking: Asking, planned: tuple[Round, ...], journal: Journal) -> Measurements | None:
    """Gather what the journal holds: everything that a search may know. None if it holds nothing."""
    found = [(number, journal.result(number)) for number in range(len(planned))]
    kept = [(planned[number], *result) for number, result in found if result is not None]
    if not kept:
        return None
    which = np.concatenate([which for _, which, _ in kept])
    noisy = np.concatenate([counts for _, _, counts in kept])
    neighbours = asking.promise.neighbours
    deviations = [np.full(len(counts), each.deviation(neighbours)) for each, _, counts in kept]
    return Measurements(
        workloads=asking.workloads.subset(which),
        which=which,
        noisy=noisy / asking.n,
        sigma=np.concatenate(deviations) / asking.n,
        n=asking.n,
    )


def _choose(release: Release, asking: Asking, times: int, rho: float, done: Integers, rows: Rows) -> Integers:
    """Choose workloads that the rows answer badly; each choice is paid for on its own."""
    epsilon = math.sqrt(8 * rho / times)
    gaps = np.abs(len(rows) * asking.counts - asking.n * asking.workloads.counts(rows))
    scores = np.maximum.reduceat(gaps, asking.workloads.offsets[:-1])
    left = np.setdiff1d(np.arange(len(asking.workloads)), done)
    for _ in range(times):
        place = release.choose(scores[left], sensitivity=len(rows), epsilon=epsilon)
        done = np.append(done, left[place])
        left = np.delete(left, place)
    return np.asarray(done[len(done) - times :], dtype=np.int64)


def _cells_of(workloads: WorkloadSet, which: Integers) -> Integers:
    starts, stops = workloads.offsets[which], workloads.offsets[which + 1]
    return np.concatenate([np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)])


def _part(promise: Claim, rho: float) -> Claim:
    return replace(promise, bound=ZCDP(rho))


def _seed(asking: Asking, number: int) -> int | None:
    return None if asking.noise_seed is None else asking.noise_seed * 1_000_003 + number + 1
