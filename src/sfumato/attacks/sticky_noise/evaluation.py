"""evaluate: attack users of a table through an engine, and report how many secrets came out.

For owners and red teams. The attack sees `query` and what it knows of the victim, nothing else. Gadotti et al. (USENIX
Security 2019), section 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.attacks.coins import AttackOutcome, accuracy_ceiling, share_interval
from sfumato.attacks.sticky_noise.asking import Guess, Queryable
from sfumato.errors import AttackNotApplicable, BudgetExceeded, InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.bounds import FORMAL
from sfumato.privacy.claim import Claim


class Attack(Protocol):
    """An attack on one engine."""

    def attack(self, known: Mapping[str, Any]) -> Guess:
        """Guess the secret of the user whose attributes these are."""
        ...


class QueryOnly:
    """All of an engine that an attack gets: `query`, and nothing to reach the data by."""

    __slots__ = ("query",)

    def __init__(self, engine: Queryable, log: list[str]) -> None:
        def query(sql: str) -> Any:
            if not isinstance(sql, str):
                raise InvalidData("an attack asks in SQL")
            log.append(sql)
            return engine.query(sql)

        self.query = query


@dataclass(frozen=True)
class AttackReport:
    """What an evaluation found.

    Attributes
    ----------
    attack : str
    claim : Claim
        The engine's.
    values : tuple
        The secret's.
    truth : ndarray of int64, shape (victims,)
        Positions of the victims' secrets in `values`.
    guesses : ndarray of int64, shape (victims,)
        Positions of the guesses; -1 where the attack did not apply.
    queries : ndarray of int64, shape (victims,)
        Queries that the engine saw for each victim, dead ends included.
    coins : bool
        Whether the victims' secrets were thrown as coins, each against an engine of its own.
    """

    attack: str
    claim: Claim
    values: tuple[Any, ...]
    truth: NDArray[np.int64]
    guesses: NDArray[np.int64]
    queries: NDArray[np.int64]
    coins: bool

    @property
    def victims(self) -> int:
        """Users that were to be attacked."""
        return len(self.truth)

    @property
    def attacked(self) -> int:
        """Users for whom there was a guess."""
        return int((self.guesses >= 0).sum())

    @property
    def right(self) -> int:
        """Right guesses."""
        return int((self.guesses == self.truth).sum())

    @property
    def share_attacked(self) -> float:
        """Share of victims for whom there was a guess."""
        return self.attacked / self.victims

    @property
    def accuracy(self) -> float:
        """Share of right guesses among those made; NaN if there was none."""
        return self.right / self.attacked if self.attacked else math.nan

    @property
    def prior(self) -> float:
        """Accuracy of guessing the most frequent secret of those attacked; NaN if nobody was."""
        if not self.attacked:
            return math.nan
        return float(np.bincount(self.truth[self.guesses >= 0]).max() / self.attacked)

    @property
    def median_queries(self) -> float:
        """Median over the users for whom there was a guess, as the paper counts; NaN if there was none."""
        return float(np.median(self.queries[self.guesses >= 0])) if self.attacked else math.nan

    @property
    def most_queries(self) -> int:
        """Largest number of queries for a victim, attacked or not."""
        return int(self.queries.max())

    @property
    def ceiling(self) -> float | None:
        """Largest accuracy that the claim allows on a fair coin; None if it is not formal."""
        return accuracy_ceiling(self.claim)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy; [0, 1] if there was no guess."""
        return share_interval(self.right, self.attacked, level) if self.attacked else (0.0, 1.0)

    def __str__(self) -> str:
        if not self.attacked:
            return f"{self.attack}: none of {self.victims} users could be attacked"
        low, high = self.interval()
        return (
            f"{self.attack}: {self.attacked} of {self.victims} users attacked ({self.share_attacked:.1%}), "
            f"accuracy {self.accuracy:.3f} [{low:.3f}, {high:.3f}], prior {self.prior:.3f}, "
            f"median {self.median_queries:g} queries"
        )

    def to_evidence(self, *, alpha: float = 0.05) -> Evidence:
        """Evidence against the engine's claim.

        A formal claim is judged by a lower bound of ε from games of coins, which are independent; a victim without a
        guess counts there as a guess of the first value, a rule that the data do not decide. A heuristic claim promises
        nothing that could be falsified: its evidence is the accuracy.

        Raises
        ------
        InvalidData
            If the claim is formal and the secrets were not coins, or have more than two values.
        """
        notes = [str(self)]
        if not isinstance(self.claim.bound, FORMAL):
            return Evidence(
                attack=self.attack,
                metric="share of secrets guessed right, of those guessed",
                value=self.accuracy if self.attacked else 0.0,
                interval=self.interval(1 - alpha),
                level=1 - alpha,
                samples=self.attacked,
                claim=self.claim,
                verdict="inconclusive",
                kind="confidence" if self.coins else "credible",
                notes=(*notes, f"guessing the most frequent secret would be right in {self.prior:.3f}"),
            )
        if not self.coins or len(self.values) != 2:
            raise InvalidData("a formal claim is judged by games of coins: evaluate with coins=True, on two values")
        guesses = np.maximum(self.guesses, 0)
        outcome = AttackOutcome(self.attack, self.truth, guesses, guesses.astype(np.float64), 0)
        lower = outcome.epsilon_lower(0.0, alpha)
        notes.append(f"the claim allows an accuracy of {self.ceiling:.3f} at most")
        return Evidence(
            attack=self.attack,
            metric="epsilon lower bound, one record replaced",
            value=lower,
            interval=(lower, math.inf),
            level=1 - alpha,
            samples=self.victims,
            claim=self.claim,
            verdict=outcome.verdict(self.claim, 0.0, alpha),
            notes=tuple(notes),
        )


def evaluate(
    make_engine: Callable[[pd.DataFrame], Any],
    data: pd.DataFrame,
    secret: str,
    attack: Callable[[Queryable], Attack],
    *,
    key: str = "uid",
    n_victims: int = 500,
    coins: bool = False,
    random_state: int | None = None,
) -> AttackReport:
    """Attack users who are alone with their attributes.

    Victims are drawn before anything is asked, from the users whose attributes but the secret nobody shares; the
    attacker knows all of those. An attack that does not apply, or that a spent budget stops, makes no guess: neither
    right nor wrong.

    Parameters
    ----------
    make_engine : callable
        ``make_engine(frame)`` returns an engine with ``query(sql)`` and a ``claim``.
    data : pandas.DataFrame
        One row a user.
    secret : str
    attack : callable
        ``attack(engine)`` returns an attack, given no more than ``engine.query``.
    key : str, default "uid"
    n_victims : int, default 500
        Fewer if fewer users are unique.
    coins : bool, default False
        Throw each victim's secret as a fair coin, and build an engine for each: independent games, as a verdict on a
        formal claim needs them. Else all victims share one engine and keep their secrets, as in the paper.
    random_state : int, optional
        Draws the victims and the coins.

    Returns
    -------
    AttackReport

    Raises
    ------
    InvalidData
        If a column is missing, the secret has one value or is missing for somebody, nobody is unique, or n_victims is
        below 1.
    """
    values = _check(data, secret, key, n_victims)
    quasi = data.drop(columns=[key, secret])
    unique = np.flatnonzero(~quasi.duplicated(keep=False).to_numpy())
    if not len(unique):
        raise InvalidData("nobody is unique by the attributes: there is no one to attack")
    rng = np.random.default_rng(random_state)
    victims = rng.permutation(unique)[:n_victims]
    truth = np.array([values.index(data[secret].iloc[v]) for v in victims], dtype=np.int64)
    engine = None if coins else make_engine(data)
    guesses, queries, name = [], [], ""
    for i, victim in enumerate(victims):
        if coins:
            truth[i] = rng.integers(len(values))
            thrown = data.copy()
            thrown.loc[thrown.index[victim], secret] = values[truth[i]]
            engine = make_engine(thrown)
        log: list[str] = []
        trial = attack(QueryOnly(engine, log))  # type: ignore[arg-type]
        name = type(trial).__name__
        guesses.append(_guess(trial, quasi.iloc[victim].to_dict(), values))
        queries.append(len(log))
    assert engine is not None  # as there are victims
    return AttackReport(name, engine.claim, values, truth, np.array(guesses), np.array(queries), coins)


def _guess(trial: Attack, known: Mapping[str, Any], values: tuple[Any, ...]) -> int:
    try:
        return values.index(trial.attack(known).value)
    except (AttackNotApplicable, BudgetExceeded):
        return -1


def _check(data: pd.DataFrame, secret: str, key: str, n_victims: int) -> tuple[Any, ...]:
    for column in (secret, key):
        if column not in data:
            raise InvalidData(f"there is no column {column!r}; the table has {', '.join(map(str, data))}")
    if len(data.columns) < 3:
        raise InvalidData("data needs attributes beside the key and the secret")
    if n_victims < 1:
        raise InvalidData("n_victims must be at least 1")
    if data[secret].isna().any():
        raise InvalidData(f"the secret {secret!r} must be there for everybody")
    values = tuple(sorted(data[secret].unique().tolist()))
    if len(values) < 2:
        raise InvalidData(f"the secret {secret!r} is the same for everybody")
    return values
