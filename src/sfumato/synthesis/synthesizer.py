"""Synthesizer: a private table, from a public domain and a workload of queries; what all searches for rows share.

For data stewards. Children say how rows are found that fit the noisy answers; what is asked and paid for is here.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import BudgetExceeded, DomainError, InvalidClaim, InvalidData
from sfumato.privacy import ledger
from sfumato.privacy.accounting import Cost
from sfumato.privacy.bounds import ZCDP, ApproxDP, Neighbours
from sfumato.privacy.budget import largest_rho, privacy_bound
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import REPRODUCIBLE
from sfumato.synthesis.domain import Domain, Rows
from sfumato.synthesis.families import marginals
from sfumato.synthesis.journal import Journal, opened
from sfumato.synthesis.measuring import (
    Asking,
    Measurements,
    Round,
    Strategy,
    ask,
    count_rows,
    measurements,
    plan,
)
from sfumato.synthesis.workloads import Workload, WorkloadSet

_SHARE_OF_N = 0.01  # of ρ, for the number of rows where that is private


class Synthesizer(BaseEstimator, ABC):  # type: ignore[misc]
    """A table of synthetic rows whose answers to a workload are near the noisy answers of a private table.

    *Proof.* The table is looked at in the rounds of `measuring.ask` only, each a release of ρ_r-zCDP whose ρ_r add up
    to ρ, and under add-remove in one noisy count of its rows. Everything else - the search, when it stops, how many
    rows are drawn - is computed from what they returned, from public arguments and from coins.

    Two statements are public and unpaid: under replace-one neighbours the number of rows; and that the table lies in
    its domain, which is refused before anything is spent.

    Parameters
    ----------
    epsilon : float, default 1.0
    delta : float, optional
        By default 1 / N² under replace-one neighbours, where the number of rows N is public.
    rho : float, optional
        ρ-zCDP instead of (ε, δ); then epsilon must be None.
    workload : WorkloadSet or "marginals"
        The queries; "marginals" are all pairs of columns.
    strategy : {"oneshot", "adaptive", "hybrid"}
        Measure everything at once; or, in rounds, what the rows found so far answer worst; or the workload's first
        family at once and the others in rounds.
    rounds, per_round : int
        Of the adaptive rounds: how many, and how many workloads each.
    n_synthetic : int, default 2000
        Rows of the synthetic table, at least 10.
    warm_start : bool, default True
        A round's search begins from the rows of the round before.
    neighbours : {"replace-one", "add-remove"}
        Under add-remove a hundredth of ρ pays for a noisy number of rows.
    unit : {"record", "person"}
        "person" if each person has at most one row.
    clip : bool, default False
        Move numbers outside their public bounds to the nearest bound.
    journal : path, optional
        A file that keeps what was measured: `fit` goes on from it after a crash, and spends nothing twice. One journal
        belongs to one table.
    random_state : int, optional
        Of the search, which is public. Never of the noise.
    noise_seed : int, optional
        For tests and studies: reproducible noise. It voids the claim.

    Attributes
    ----------
    claim_ : Claim
        ρ-zCDP; `claim_.to(ApproxDP, delta=...)` gives the (ε, δ) that was asked for.
    domain_ : Domain
    measurements_ : Measurements
        The noisy answers: public.
    history_ : list of dict
        For each round which workloads it measured, and the mean squared gap between the rows found and all noisy
        answers so far.
    rows_ : ndarray of float64, shape (n_synthetic, d)
        The synthetic rows as numbers of the domain.
    """

    epsilon: float | None
    delta: float | None
    rho: float | None
    workload: WorkloadSet | Literal["marginals"]
    strategy: Strategy
    rounds: int
    per_round: int
    n_synthetic: int
    warm_start: bool
    neighbours: Neighbours
    unit: Literal["record", "person"]
    clip: bool
    journal: str | Path | None
    random_state: int | None
    noise_seed: int | None

    @abstractmethod
    def _search(self, found: Measurements, rows: Rows, random: np.random.Generator, *, last: bool) -> Rows:
        """Return rows of the same shape that answer the measured workloads better than the given ones do.

        `last` says whether they are the table, or only what the next round is chosen by.
        """

    @abstractmethod
    def _check_search(self, workloads: WorkloadSet) -> None:
        """Raise InvalidData if the search's own parameters do not fit; before anything is spent."""

    def fit(self, frame: pd.DataFrame, domain: Domain) -> Self:
        """Measure the table and find rows that answer alike. A second fit spends again, unless a journal has it.

        Parameters
        ----------
        frame : DataFrame, N rows
            Columns that the domain does not name are not looked at.
        domain : Domain
            Public, and confirmed by a person.

        Raises
        ------
        DomainError
            If there is no domain, it is a draft, or the table does not lie in it.
        InvalidData, InvalidClaim
            If a parameter does not fit. Nothing is spent.
        BudgetExceeded
            If the active ledger has too little left for all rounds.
        """
        workloads = self._checked_workloads(domain)
        self._check_parameters()
        self._check_search(workloads)
        table = domain.encode(frame, clip=self.clip)
        if not len(table) and self.neighbours == "replace-one":
            raise InvalidData("the frame has no rows")
        rho = self._rho(len(table))
        promise = self._promise(rho, workloads)
        share = rho * _SHARE_OF_N if self.neighbours == "add-remove" else 0.0
        planned = plan(workloads, self.strategy, rho - share, self.rounds, self.per_round)
        with opened(self.journal, self._identity(rho, workloads, len(table))) as journal:
            n = len(table)
            self._check_budget(promise, planned, share, journal)
            if share:
                n = count_rows(n, promise, share, self.noise_seed, journal)
            asking = Asking(workloads, workloads.counts(table), n, promise, self.noise_seed)
            self._warn_of_noise(asking, planned)
            self._run(asking, planned, journal)
        self.claim_ = promise if self.noise_seed is None else replace(promise, void=REPRODUCIBLE)
        self.domain_ = domain
        return self

    def sample(self, n: int | None = None, *, random_state: int | None = None) -> pd.DataFrame:
        """Return the synthetic rows, or n of them drawn with replacement; costs nothing.

        Parameters
        ----------
        n : int, optional
        random_state : int, optional

        Returns
        -------
        DataFrame with the domain's columns
        """
        check_is_fitted(self, "rows_")
        if n is None:
            return self.domain_.decode(self.rows_)
        if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
            raise InvalidData(f"n must be a whole number, at least 1, got {n!r}")
        drawn = np.random.default_rng(random_state).integers(len(self.rows_), size=int(n))
        return self.domain_.decode(self.rows_[drawn])

    def _run(self, asking: Asking, planned: tuple[Round, ...], journal: Journal) -> None:
        random = np.random.default_rng(self.random_state)
        start = asking.workloads.domain.draw(self.n_synthetic, random)
        rows, self.history_ = start, []
        found: Measurements | None = None
        lost = {number for number in range(len(planned)) if journal.lost(number)}
        last = max(set(range(len(planned))) - lost, default=-1)
        for number, each in enumerate(planned):
            if not journal.started(number):
                done = np.zeros(0, dtype=np.int64) if found is None else found.which
                ask(asking, number, each, done, rows, journal)
            if number in lost:
                continue  # the other rounds must do without it
            found = measurements(asking, planned[: number + 1], journal)
            assert found is not None
            rows = self._search(found, rows if self.warm_start else start, random, last=number == last)
            rows = asking.workloads.domain.settled(rows)
            gaps = found.workloads.counts(rows) / len(rows) - found.answers
            self.history_.append(
                {"round": number, "workloads": found.which.tolist(), "mean_squared_gap": float(np.mean(gaps**2))}
            )
        if found is None:
            raise BudgetExceeded("all rounds were paid for and lost in a crash: begin again with a new journal")
        self.measurements_, self.rows_ = found, rows

    def _checked_workloads(self, domain: Any) -> WorkloadSet:
        if not isinstance(domain, Domain):
            raise DomainError(f"domain must be a Domain, public and declared, got {type(domain).__name__}")
        if domain.drafted:
            raise DomainError("the domain is a draft that looked at the data: confirm it, and set drafted to false")
        if isinstance(self.workload, str) and self.workload == "marginals":
            return marginals(domain)
        if not isinstance(self.workload, WorkloadSet):
            raise InvalidData(f'workload must be a WorkloadSet or "marginals", got {type(self.workload).__name__}')
        if self.workload.domain != domain:
            raise InvalidData("workload is over another domain than the one given")
        return self.workload

    def _check_parameters(self) -> None:
        for name, least in (("rounds", 1), ("per_round", 1), ("n_synthetic", 10)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
                raise InvalidData(f"{name} must be a whole number, at least {least}, got {value!r}")
        if self.unit not in ("record", "person"):
            raise InvalidClaim(f"unit must be record or person, got {self.unit!r}")

    def _rho(self, n: int) -> float:
        delta = self.delta
        if delta is None and self.rho is None:
            if self.neighbours != "replace-one":
                raise InvalidClaim("delta must be given under add-remove neighbours, where N is not public")
            delta = min(0.1, 1 / n**2)
        bound = privacy_bound(self.epsilon, self.rho, delta)
        return bound.rho if isinstance(bound, ZCDP) else largest_rho(ApproxDP(bound.epsilon, delta or 0.0), Cost.zero())

    def _promise(self, rho: float, workloads: WorkloadSet) -> Claim:
        assumptions = ["columns, categories, bounds and queries are public"]
        if self.neighbours == "replace-one":
            assumptions.append("the number of rows is public")
        if self.unit == "person":
            assumptions.append("each person has at most one row")
        if any(workload.asked for workload in workloads):
            assumptions.append("the functions given as queries treat each row by itself")
        return Claim(ZCDP(rho), unit=self.unit, neighbours=self.neighbours, assumptions=tuple(assumptions))

    def _identity(self, rho: float, workloads: WorkloadSet, n: int) -> dict[str, Any]:
        """What a journal must be of to be gone on with: public terms only."""
        return {
            "rho": rho,
            "neighbours": self.neighbours,
            "rows": n if self.neighbours == "replace-one" else None,
            "strategy": [self.strategy, int(self.rounds), int(self.per_round)],
            "n_synthetic": int(self.n_synthetic),
            "domain": _digest(workloads.domain.to_dict()),
            "workloads": _digest([_words(workload) for workload in workloads]),
            "noise_seed": self.noise_seed,
        }

    def _check_budget(self, promise: Claim, planned: tuple[Round, ...], share: float, journal: Journal) -> None:
        """Refuse before the first round what the ledger would refuse at a later one."""
        left = sum(each.rho for number, each in enumerate(planned) if not journal.started(number))
        left += 0.0 if journal.started(-1) else share
        if left > 0:
            ledger.check_active(replace(promise, bound=ZCDP(left)))

    def _warn_of_noise(self, asking: Asking, planned: tuple[Round, ...]) -> None:
        largest = max(each.deviation(self.neighbours) for each in planned) / asking.n
        if largest > 1:
            warnings.warn(
                f"the noise of an answer has a standard deviation of {largest:.3g} times the number of rows: there is "
                "no signal; ask fewer workloads, spend more, or bring more rows",
                UserWarning,
                stacklevel=3,
            )


def _words(workload: Workload) -> list[Any]:
    if workload.asked:
        return [
            workload.family,
            getattr(workload.asked.function.function, "__qualname__", ""),
            list(workload.asked.queries),
        ]
    return [workload.family, [list(axis) for axis in workload.axes], workload.gate and list(workload.gate)]


def _digest(plain: Any) -> str:
    return hashlib.sha256(json.dumps(plain, sort_keys=True, default=str).encode()).hexdigest()
