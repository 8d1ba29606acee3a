"""What both attacks share: how they ask, what they know, what they answer.

For `DifferentialAttack` and `CloningAttack`, which see an engine through `query` alone. Gadotti et al. (USENIX
Security 2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np

from sfumato.errors import AttackNotApplicable, InvalidData

#: column, operator, literal
Term: TypeAlias = tuple[str, str, Any]


class Queryable(Protocol):
    """All that an attack needs of its target."""

    def query(self, sql: str) -> Any:
        """Answer with an object whose `count` is an integer, or None where it is suppressed."""
        ...


@dataclass(frozen=True)
class Guess:
    """What an attack takes a person's secret for.

    Attributes
    ----------
    value : object
        One of the secret's values.
    log_odds : float
        Natural logarithm of the odds that it is right, as the attack sees them.
    n_queries : int
        Asked for this guess, checks and dead ends included.
    used : tuple of str
        Attributes that the decisive queries name.
    """

    value: Any
    log_odds: float
    n_queries: int
    used: tuple[str, ...]


class Asker:
    """Asks one engine on behalf of one attack: writes the SQL, counts queries, asks nothing twice.

    On an engine that draws afresh, asking twice would gain something; `again` asks so.
    """

    def __init__(self, engine: Queryable, table: str, most: int | None) -> None:
        self._engine, self._table, self._most = engine, table, most
        self._answers: dict[str, int | None] = {}
        self.n_queries = 0

    def count(self, terms: Iterable[Term]) -> int | None:
        """The engine's count of people who meet all terms; None if it is suppressed."""
        sql = count_sql(self._table, terms)
        if sql not in self._answers:
            self._answers[sql] = self.again(sql)
        return self._answers[sql]

    def again(self, sql: str) -> int | None:
        """Ask, whether it was asked before or not."""
        if self._most is not None and self.n_queries >= self._most:
            raise AttackNotApplicable(f"no guess within {self._most} queries")
        self.n_queries += 1
        count = self._engine.query(sql).count
        return None if count is None else int(count)


def count_sql(table: str, terms: Iterable[Term]) -> str:
    """Write a counting query."""
    conditions = " AND ".join(f"{_name(column)} {sign} {_literal(value)}" for column, sign, value in terms)
    return f"SELECT count(*) FROM {_name(table)}" + (f" WHERE {conditions}" if conditions else "")


def equal_to(known: Mapping[str, Any], names: Iterable[str]) -> list[Term]:
    """The terms that say that these attributes are as known."""
    return [(name, "=", known[name]) for name in names]


def read_values(values: Sequence[Any]) -> tuple[Any, ...]:
    """The values that a secret may have; at least two, each once."""
    distinct = tuple(values)
    if len(distinct) < 2 or len(set(distinct)) < len(distinct):
        raise InvalidData("values must hold at least two values of the secret, each once")
    return distinct


def read_known(known: Mapping[str, Any], secret: str, least: int) -> dict[str, Any]:
    """What the attacker knows of the victim, without what is missing; raises where it is not enough."""
    if secret in known:
        raise InvalidData(f"the secret {secret!r} is among the known attributes")
    given = {name: value for name, value in known.items() if not _missing(value)}
    if len(given) < least:
        raise AttackNotApplicable(f"the attack needs at least {least} known attributes")
    return given


def decide(odds: Mapping[Any, float], values: Sequence[Any]) -> tuple[Any, float]:
    """Choose the likeliest value by the log odds of those that were tested; if all those are unlikely, what is left.

    Returns
    -------
    tuple of object and float
        The value and the log odds in its favour.
    """
    best = max(odds, key=lambda value: odds[value])
    rest = [value for value in values if value not in odds]
    if rest and odds[best] < 0:
        return rest[0], -odds[best]
    return best, odds[best]


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and bool(np.isnan(value)))


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Any) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, bool):
        return "TRUE" if plain else "FALSE"
    if isinstance(plain, (int, float)):
        return repr(plain)
    return "'" + str(plain).replace("'", "''") + "'"
