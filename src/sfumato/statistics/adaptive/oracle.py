"""AdaptiveOracle: answers adaptively chosen questions about a population, with an interval that holds for all of them.

For a data scientist or a host who must not fool himself. Dwork, Feldman, Hardt, Pitassi, Reingold and Roth,
"Preserving Statistical Validity in Adaptive Data Analysis" (STOC 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, TypeAlias

import numpy as np
from dp_accounting import dp_event
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.interactive import Interactive
from sfumato.privacy.release import Release
from sfumato.statistics.adaptive.queries import (
    GRID,
    ROW_BY_ROW,
    Integers,
    Query,
    Rows,
    count_of,
    on_grid,
    plain,
    try_on,
)
from sfumato.statistics.adaptive.transfer import Mechanism, Plan, plan, planned, updates_for
from sfumato.statistics.adaptive.universe import cell_counts
from sfumato.statistics.adaptive.weights import MultiplicativeWeights

Floats: TypeAlias = NDArray[np.float64]
Responder: TypeAlias = Callable[[Integers], Floats]


@dataclass(frozen=True)
class Answer:
    """One answer, or those to several queries asked at once.

    Attributes
    ----------
    value : float or ndarray of float
        Estimated population mean, in [0, 1].
    half_width : float
        With probability 1 - beta *all* answers of the oracle are this near to their population means; 1 promises
        nothing.
    remaining : int
        Queries that are left.
    """

    value: Any
    half_width: float
    remaining: int


class AdaptiveOracle(Interactive):
    """Answers up to `max_queries` statistical queries, each chosen after the answers before it.

    Validity: if the rows are independent draws of a population and the analyst sees them through this object only,
    then with probability 1 - beta, over rows and noise, each answer is within `plan_.half_width` of its population
    mean. It does not hold for rows that depend on each other, for another population, or for whoever looks at the rows
    elsewhere.

    Privacy: ρ-zCDP for each row, replaced by another, as `claim_` says, by mechanism:

    - "gaussian": a sum of n values in 0 .. `GRID` moves by `GRID` at most, and carries discrete Gaussian noise with
      ρ / `max_queries`; adaptively composed.
    - "split": each query has ⌊n / max_queries⌋ rows of its own, in the order given. A row sways one answer alone,
      which carries noise with all of ρ; given the answers before it, all others have the same law on neighbours.
    - "histogram": counts over the universe, of which a replaced row moves two by one: L2 sensitivity √2. All answers
      are computed from the noisy counts.
    - "pmw": see `MultiplicativeWeights`.

    Parameters
    ----------
    sample : array_like, data frame or tuple of them
        n rows. A query is called with the array, or with each part of a tuple, (X, y) say.
    max_queries : int
    beta : float
        Probability with which any answer may be farther off.
    accuracy : float, optional
        Refuse to start where the half-width would be larger.
    mechanism : {"auto", "gaussian", "split", "histogram", "pmw"}
        "auto" takes the narrowest; see `plan`.
    rho : float
        The largest zCDP that may be spent. "gaussian" and "pmw" spend less: more noise is what makes them valid.
    universe : array_like, data frame, tuple of them or int, optional
        All rows that there can be, if they are finitely many; needed for "histogram" and "pmw", which never call a
        query with the sample.
    examples : array_like, data frame or tuple of them, optional
        Rows of yours, not secret. Each query is tried on them first, so that a mistake is an error and costs nothing.
        On the sample a value beyond [0, 1] is clipped and NaN counts as 0, since an error there would tell of a row.
    noise_seed : int, optional
        For tests and studies; voids the claim.

    Attributes
    ----------
    claim_ : Claim
    plan_ : Plan
    remaining_ : int

    Raises
    ------
    InvalidData, InvalidClaim
        On a bad argument, or if `accuracy` cannot be promised; nothing is spent.
    BudgetExceeded
        If the active ledger has too little left, and from `answer` when there is no query left.

    Examples
    --------
    >>> import numpy as np
    >>> rows = np.random.default_rng(0).integers(0, 2, (20_000, 5))
    >>> with AdaptiveOracle(rows, max_queries=10, examples=np.eye(5)) as oracle:
    ...     answer = oracle.answer(lambda rows: rows[:, 0])
    >>> abs(answer.value - 0.5) < answer.half_width, answer.remaining
    (True, 9)
    """

    def __init__(
        self,
        sample: Any,
        *,
        max_queries: int,
        beta: float = 0.05,
        accuracy: float | None = None,
        mechanism: Mechanism | Literal["auto"] = "auto",
        rho: float = 0.5,
        universe: Any = None,
        examples: Any = None,
        noise_seed: int | None = None,
    ) -> None:
        self._rows = Rows.of("sample", sample, least=2)
        self._public = None if examples is None else Rows.of("examples", examples)
        counts: Integers | None = None
        if universe is not None:
            self._public, counts = cell_counts(sample, universe)
        size = None if counts is None else len(counts)
        if math.isinf(rho):
            raise InvalidData("rho must be finite")
        if mechanism == "auto":
            self.plan_ = plan(len(self._rows), max_queries, beta=beta, rho=rho, universe=size)
        else:
            self.plan_ = planned(len(self._rows), max_queries, beta, mechanism, rho, size)
        if accuracy is not None and not self.plan_.half_width <= accuracy:
            raise InvalidData(f"accuracy {accuracy:g} cannot be promised; {self.plan_}")
        if self.plan_.mechanism == "split" and max_queries > len(self._rows):
            raise InvalidData("split needs at least one row for each of max_queries")
        self._on_universe = self.plan_.mechanism in ("histogram", "pmw")
        trusted = () if self._on_universe else (ROW_BY_ROW,)
        claim = Claim(ZCDP(self.plan_.rho), unit="record", neighbours="replace-one", assumptions=trusted)
        release = Release(claim, f"{max_queries} adaptive queries, {self.plan_.mechanism}", seed=noise_seed).__enter__()
        self._respond = _responder(self.plan_, release, self._rows, counts)
        super().__init__(release.claim, int(max_queries), release)

    def answer(self, query: Query) -> Answer:
        """Estimate the population mean of a query, or of several at once.

        Parameters
        ----------
        query : callable
            Rows to values in [0, 1], shape (n,), or (n, k) for k queries, which count as k.

        Returns
        -------
        Answer

        Raises
        ------
        InvalidData
            If the query fails on the examples or the universe, or has not one number a row; nothing is spent.
        BudgetExceeded
            If fewer queries are left than are asked.
        ClaimViolated
            If the oracle is closed, or was carried into another process.
        """
        self._check_usable()
        if self._public is not None:
            try_on(query, self._public)
        if self._on_universe and self._public is not None:
            values = on_grid(query, self._public)
        else:
            values = on_grid(query, self._rows)
        with self._turn(count_of(values)):
            found = self._respond(values if values.ndim == 2 else values[:, np.newaxis])
            return Answer(plain(np.clip(found, 0.0, 1.0)), self.plan_.half_width, self._left)


def _responder(plan: Plan, release: Release, rows: Rows, counts: Integers | None) -> Responder:
    """The mechanism: values in steps of the grid, shape (rows or universe, k), to k answers."""
    if plan.mechanism == "gaussian":
        return _gaussian(plan, release)
    if plan.mechanism == "split":
        return _split(plan, release)
    assert counts is not None  # as the plan needed a universe
    if plan.mechanism == "histogram":
        noisy = release.discrete_gaussian(counts, l2_sensitivity=math.sqrt(2), rho=plan.rho)
        return lambda values: (noisy @ values) / (plan.n * GRID)
    core = MultiplicativeWeights(release, counts, plan.alpha, updates_for(len(counts), plan.alpha))
    return lambda values: np.array([core.answer(column) for column in values.T])


def _gaussian(plan: Plan, release: Release) -> Responder:
    noise = release.prepaid(dp_event.ZCDpEvent(plan.rho))
    sigma2 = Fraction(GRID) ** 2 * plan.max_queries / (2 * Fraction(plan.rho))

    def respond(values: Integers) -> Floats:
        sums = values.sum(axis=0)
        noisy = noise.discrete_gaussian(sums, l2_sensitivity=GRID * math.sqrt(sums.size), sigma2=sigma2)
        return np.asarray(noisy / (plan.n * GRID))

    return respond


def _split(plan: Plan, release: Release) -> Responder:
    noise = release.prepaid(dp_event.ZCDpEvent(plan.rho))
    sigma2 = Fraction(GRID) ** 2 / (2 * Fraction(plan.rho))
    size = plan.n // plan.max_queries
    asked = 0

    def respond(values: Integers) -> Floats:
        nonlocal asked
        sums = np.array(
            [column[(asked + j) * size : (asked + j + 1) * size].sum() for j, column in enumerate(values.T)]
        )
        asked += sums.size
        noisy = noise.discrete_gaussian(sums, l2_sensitivity=GRID, sigma2=sigma2)
        return np.asarray(noisy / (size * GRID))

    return respond
