"""PrivateCountEngine: answer an analyst's counting queries with differential privacy, until the budget is spent.

For data custodians. The geometric mechanism of Ghosh, Roughgarden and Sundararajan (2009), a Release a query; the
sound counterpart of the sticky noise that Gadotti et al. (USENIX Security 2019) attack.
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, get_args

import numpy as np

from sfumato.errors import BudgetExceeded, ClaimViolated, InvalidClaim, InvalidData
from sfumato.privacy.bounds import Neighbours, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Receipt
from sfumato.privacy.release import REPRODUCIBLE, Release
from sfumato.sql import CountQuery, Kind, PersonTable

__all__ = ["PrivateCount", "PrivateCountEngine"]


@dataclass(frozen=True)
class PrivateCount:
    """A noisy count.

    Attributes
    ----------
    count : int
        The number of people plus noise; it may be negative, and is right on average because it may.
    n_conditions : int
        Distinct conditions of the query.
    claim : Claim
        What this answer cost.
    receipt : Receipt or None
        Of the ledger that was charged, if one was active.
    """

    count: int
    n_conditions: int
    claim: Claim
    receipt: Receipt | None

    def interval(self, level: float = 0.95) -> tuple[int, int]:
        """Confidence interval of the true count: `count` plus and minus a margin that depends on ε alone.

        For noise X, P(|X| > t) = 2 q^(t+1) / (1 + q) with q = e^-ε; the margin is the least t for which this is at
        most 1 - level.

        Raises
        ------
        InvalidData
            If level is not in (0, 1).
        """
        if not 0 < level < 1:
            raise InvalidData("level must be in (0, 1)")
        assert isinstance(self.claim.bound, PureDP)  # as the engine states it
        epsilon = self.claim.bound.epsilon
        beyond = math.log(2) - math.log1p(math.exp(-epsilon)) - math.log1p(-level)
        margin = max(0, math.ceil(beyond / epsilon) - 1)
        return self.count - margin, self.count + margin


class PrivateCountEngine:
    """Answers counting queries with discrete Laplace noise, ε a query, for as many queries as were granted.

    **Sensitivity.** A table has one row a person, which the constructor checks, and whether a person meets a query's
    conditions depends on that person's row alone. So adding or removing a person changes a count by 1 at most, and so
    does replacing one: both kinds of neighbours have sensitivity 1. Discrete Laplace noise of scale 1/ε makes each
    answer ε-differentially private. The analyst may choose each query by the answers before it; the budgets of
    adaptive pure mechanisms add up, so all answers together are `epsilon_per_query` · `max_queries`-differentially
    private.

    **Nothing else answers.** No count is suppressed, rounded or clipped. A query is refused for its text, or because
    the budget is spent; neither depends on the data. The rows that a query selects are counted in the same steps
    whoever they are. The time of those steps is not guaranteed to be constant below Python: do not let an analyst
    measure it to microseconds.

    **The budget is this object's own,** kept with or without a ledger: it cannot be copied, pickled or used in a forked
    process, which would each be a budget nobody granted. Two engines on the same data have two budgets; only a ledger
    adds them up. Each query opens a `Release`, so it is charged to the ledger that is active in the calling
    thread (`ledger.charging(...)`), and if the ledger refuses, nothing was drawn and no query is used up. Threads may
    share an engine; each answer is paid for once. Asking again costs again and draws afresh.

    Parameters
    ----------
    data : frame or DuckDB relation
        One row a person; copied. A missing value meets no condition.
    columns : mapping of str to {"number", "text", "boolean"}
        The columns that may stand in conditions, with their kinds: public, and not read from the data.
    key : str, default "uid"
        The column that identifies people; it stands in no condition and no answer.
    epsilon_per_query : float
        Positive.
    max_queries : int
        How many are answered; at least 1.
    neighbours : {"add-remove", "replace-one"}
        What the claim is about.
    table : str, default "people"
        What queries call the table.
    noise_seed : int, optional
        For tests and studies: reproducible noise. It voids the claim, and a ledger refuses it.

    Raises
    ------
    InvalidClaim
        If epsilon_per_query is not positive and finite, or neighbours is neither.
    InvalidData
        If max_queries or noise_seed is no such number, or the data are not as declared. Raised to whoever builds the
        engine, before anything is answered.

    Examples
    --------
    >>> import pandas as pd
    >>> people = pd.DataFrame({"uid": range(1000), "town": ["Ayr", "Bath"] * 500})
    >>> engine = PrivateCountEngine(people, {"town": "text"}, epsilon_per_query=0.1, max_queries=10)
    >>> answer = engine.query("SELECT count(*) FROM people WHERE town = 'Ayr'")
    >>> low, high = answer.interval(0.999999)
    >>> low <= 500 <= high, engine.queries_left
    (True, 9)
    """

    def __init__(
        self,
        data: Any,
        columns: Mapping[str, Kind],
        *,
        key: str = "uid",
        epsilon_per_query: float,
        max_queries: int,
        neighbours: Neighbours = "add-remove",
        table: str = "people",
        noise_seed: int | None = None,
    ) -> None:
        if neighbours not in get_args(Neighbours):
            raise InvalidClaim(f"neighbours must be one of {', '.join(get_args(Neighbours))}")
        if not PureDP(epsilon_per_query).epsilon > 0:
            raise InvalidClaim("epsilon_per_query must be above 0")
        if not _whole(max_queries) or max_queries < 1:
            raise InvalidData("max_queries must be a whole number, at least 1")
        if noise_seed is not None and not _whole(noise_seed):
            raise InvalidData("noise_seed must be an integer or None")
        if not isinstance(columns, Mapping) or not columns:
            raise InvalidData("columns must declare the kind of at least one column")
        self._epsilon = float(epsilon_per_query)
        self._max_queries = int(max_queries)
        self._neighbours = neighbours
        self._seed = noise_seed
        self._table = PersonTable(data, key=key, columns=columns, name=table)
        self._purpose = f"count of {self._table.grammar.table}"
        self._used = 0
        self._lock = threading.Lock()
        self._pid = os.getpid()

    @property
    def claim(self) -> Claim:
        """What all answers together promise."""
        return self._promise(self._epsilon * self._max_queries, void="" if self._seed is None else REPRODUCIBLE)

    @property
    def queries_left(self) -> int:
        """How many more queries are answered, as far as this engine's own budget goes."""
        return self._max_queries - self._used

    def query(self, sql: str | CountQuery) -> PrivateCount:
        """Answer one counting query.

        Parameters
        ----------
        sql : str or CountQuery
            As `sfumato.sql.Grammar` reads it.

        Returns
        -------
        PrivateCount

        Raises
        ------
        QueryRejected
            If it is not a query of the grammar; nothing is spent.
        BudgetExceeded
            If all queries are used up or the active ledger refuses; nothing is spent or drawn.
        ClaimViolated
            In a forked process.
        """
        query = self._table.parse(sql)
        if os.getpid() != self._pid:
            raise ClaimViolated("a forked process cannot go on with its parent's engine: its answers are not paid for")
        with self._lock:
            if not self.queries_left:
                raise BudgetExceeded(f"the engine's {self._max_queries} queries are used up: {self.claim.bound}")
            people = np.count_nonzero(self._table.who(query))
            seed = None if self._seed is None else (self._seed << 32) + self._used
            with Release(self._promise(self._epsilon), purpose=self._purpose, seed=seed) as release:
                self._used += 1  # paid for by the ledger; from here on noise may have been seen
                noisy = release.discrete_laplace([people], l1_sensitivity=1, epsilon=self._epsilon)
        return PrivateCount(int(noisy[0]), len(query.conditions), release.claim, release.receipt)

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise ClaimViolated("an engine cannot be copied or pickled: its answers are paid for once")

    def _promise(self, epsilon: float, void: str = "") -> Claim:
        assumptions = ("the names and kinds of the columns are public", "each person has one row")
        return Claim(PureDP(epsilon), neighbours=self._neighbours, assumptions=assumptions, void=void)


def _whole(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)
