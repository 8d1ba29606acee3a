"""Ledger: the privacy budget of a data set, durable and shared.

For the custodian, who sets a budget once, and for every release, which is charged before its noise exists.
Composition is `sfumato.privacy.accounting`'s; the chain of hashes is that of a transparency log (RFC 9162), on rows.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from sfumato.errors import BudgetExceeded, InvalidClaim, LedgerCorrupt, LedgerError
from sfumato.privacy import ledger_schema as schema
from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.bounds import (
    FORMAL,
    ZCDP,
    ApproxDP,
    FormalBound,
    GaussianDP,
    Neighbours,
    PureDP,
    bound_from_json,
    bound_to_json,
)
from sfumato.privacy.claim import Claim, Unit


@dataclass(frozen=True)
class _Scope:
    """What releases in this context are charged to, and the receipts of those that were."""

    ledger: Ledger
    dataset: str
    receipts: list[Receipt]


_ACTIVE: ContextVar[_Scope | None] = ContextVar("sfumato_ledger", default=None)


@dataclass(frozen=True)
class Receipt:
    """Proof of one charge: where it stands and the hash that binds it to all before it."""

    dataset: str
    position: int
    at: str
    hash: str


@dataclass(frozen=True)
class Charge:
    """One row of a data set's history."""

    position: int
    at: str
    purpose: str
    claim: Claim
    hash: str


@dataclass(frozen=True)
class Account:
    """Where a data set stands."""

    dataset: str
    budget: FormalBound
    unit: Unit
    neighbours: Neighbours
    charges: int
    spent: Cost
    head: str

    @property
    def remaining(self) -> str:
        """What is left, in the budget's own currency, as text."""
        match self.budget:
            case PureDP(epsilon):
                return f"ε = {_left(epsilon, self.spent.epsilon)} of {epsilon:g} left"
            case ZCDP(rho):
                return f"ρ = {_left(rho, self.spent.rho)} of {rho:g} left"
            case GaussianDP(mu):
                return f"μ² = {_left(mu**2, self.spent.mu_squared)} of {mu**2:g} left"
            case ApproxDP(epsilon, delta):
                used = self.spent.epsilon_at(delta)
                return f"ε = {_left(epsilon, used)} of {epsilon:g} left at δ = {delta:g}"
        return f"see the composed curve; budget {self.budget}"


def active() -> tuple[Ledger, str] | None:
    """Return the ledger and data set that releases in this context are charged to, or None."""
    scope = _ACTIVE.get()
    return None if scope is None else (scope.ledger, scope.dataset)


def charge_active(claim: Claim, purpose: str) -> Receipt | None:
    """Charge the active ledger, if there is one; `Release` calls this before it draws noise."""
    scope = _ACTIVE.get()
    if scope is None:
        return None
    receipt = scope.ledger.charge(scope.dataset, claim, purpose)
    scope.receipts.append(receipt)
    return receipt


class Ledger:
    """Budgets and charges in one database.

    A charge is one transaction that holds the account's lock: read what was spent, compose, refuse or append. It is
    durable when `charge` returns (SQLite: write-ahead log, synced at each commit). The composed Rényi curve and sums
    are kept with the account, so a charge costs the same whatever the history's length.

    Every row's hash covers the row and the hash before it; the account's opening is hashed too. `verify` finds
    an edited, removed or reordered row, a changed budget or total. The chain has no secret: who can rewrite the whole
    database *and* recompute the hashes goes unnoticed, unless the head (`account(...).head`) is kept elsewhere.

    Parameters
    ----------
    url : str or Path
        A path or `sqlite:///path`, or any SQLAlchemy URL such as `postgresql+psycopg://user@host/database`.
    create : bool
        Make the tables if they are not there. Without it a missing ledger is an error: a typing mistake must not
        silently start an empty budget.
    timeout : float
        Seconds to wait for another process's charge.

    Raises
    ------
    LedgerError
        If there is no ledger, or it is locked, unreachable, of a newer schema, or no ledger at all.
    """

    def __init__(self, url: str | Path, *, create: bool = False, timeout: float = 60.0) -> None:
        self._engine = schema.connect(url, create=create, timeout=timeout)
        self._pid = os.getpid()
        self._timeout = timeout
        self.url = self._engine.url.render_as_string(hide_password=True)
        with self._transaction() as connection:
            schema.prepare(connection, create=create)

    def create(
        self,
        dataset: str,
        budget: FormalBound,
        *,
        unit: Unit = "person",
        neighbours: Neighbours = "add-remove",
    ) -> None:
        """Open an account.

        Parameters
        ----------
        dataset : str
            Its name; appears in messages.
        budget : PureDP, ApproxDP, ZCDP, GaussianDP or RenyiDP
            All that may ever be spent on it.
        unit, neighbours : str
            What every claim charged to it must be about: ε's about other units or neighbours do not add up.

        Raises
        ------
        LedgerError
            If the account exists: a budget is not changed by opening it again.
        InvalidClaim
            If the budget is not a formal bound.
        """
        if not isinstance(budget, FORMAL):
            raise InvalidClaim(f"a budget is a formal bound such as PureDP(3.0), got {type(budget).__name__}")
        Claim(budget, unit=unit, neighbours=neighbours)  # checks the words
        if not dataset or not isinstance(dataset, str):
            raise LedgerError("a data set needs a name")
        row = {
            "dataset": dataset,
            "budget": _canonical(bound_to_json(budget)),
            "unit": unit,
            "neighbours": neighbours,
            "created": _now(),
        }
        opening = {"charges": 0, "spent": _pack(Cost.zero()), "head": _opening_hash(row)}
        with self._transaction() as connection:
            if schema.run(connection, schema.READ, dataset).first():
                raise LedgerError(f"the ledger already has a data set {dataset!r}; its budget stands")
            connection.execute(schema.OPEN, row | opening)

    def charge(self, dataset: str, claim: Claim, purpose: str) -> Receipt:
        """Spend the claim's bound, durably, or refuse.

        Raises
        ------
        BudgetExceeded
            If the composed total would exceed the budget; nothing is written.
        InvalidClaim
            If the claim is not formal (a seeded release's is not), or is about another unit or other neighbours.
        LedgerError
            If there is no such data set, or the database fails or stays locked.
        """
        if not claim.formal:
            raise InvalidClaim(f"only a formal claim that stands can be charged, got: {claim}")
        cost = _cost(claim.bound)
        with self._transaction() as connection:
            account = self._read(connection, dataset, lock=True)
            for name in ("unit", "neighbours"):
                if getattr(claim, name) != getattr(account, name):
                    raise InvalidClaim(
                        f"the budget of {dataset!r} is about {name} {getattr(account, name)!r}; "
                        f"a claim about {getattr(claim, name)!r} does not add up with it"
                    )
            total = account.spent + cost
            if not total.fits(account.budget):
                raise BudgetExceeded(
                    f"the budget of {dataset!r} is exhausted: {account.remaining}, asked for {claim.bound}"
                )
            row = {
                "dataset": dataset,
                "position": account.charges + 1,
                "at": _now(),
                "purpose": purpose,
                "claim": _claim_text(claim),
            }
            digest = _row_hash(account.head, row)
            schema.run(connection, schema.APPEND, *row.values(), digest)
            schema.run(connection, schema.UPDATE, row["position"], _pack(total), digest, dataset)
        return Receipt(dataset, account.charges + 1, str(row["at"]), digest)

    @contextlib.contextmanager
    def charging(self, dataset: str) -> Iterator[list[Receipt]]:
        """Make this ledger the active one for `dataset` in this thread or task.

        Yields
        ------
        list of Receipt
            Of the releases charged inside so far.

        Raises
        ------
        LedgerError
            If there is no such data set.
        """
        self.account(dataset)
        scope = _Scope(self, dataset, [])
        token = _ACTIVE.set(scope)
        try:
            yield scope.receipts
        finally:
            _ACTIVE.reset(token)

    def account(self, dataset: str) -> Account:
        """Return where a data set stands."""
        with self._transaction(write=False) as connection:
            return self._read(connection, dataset)

    def datasets(self) -> list[str]:
        """Return the names of all accounts, sorted."""
        with self._transaction(write=False) as connection:
            return sorted(connection.execute(schema.NAMES).scalars())

    def history(self, dataset: str, limit: int | None = None) -> list[Charge]:
        """Return the charges in order, or the last `limit` of them."""
        with self._transaction(write=False) as connection:
            total = self._read(connection, dataset).charges
            first = 0 if limit is None else max(0, total - limit)
            rows = connection.execute(schema.ROWS, {"dataset": dataset, "after": first}).mappings()
            return [
                Charge(r["position"], r["at"], r["purpose"], Claim.from_json(json.loads(r["claim"])), r["hash"])
                for r in rows
            ]

    def verify(self, dataset: str | None = None) -> int:
        """Recompute every hash and total; return the number of charges checked.

        Raises
        ------
        LedgerCorrupt
            If a row was edited, removed or reordered, or an account does not follow from its rows.
        """
        names = self.datasets() if dataset is None else [dataset]
        with self._transaction(write=False) as connection:
            return sum(_verify_account(connection, name) for name in names)

    def _read(self, connection: sa.Connection, dataset: str, *, lock: bool = False) -> Account:
        row = schema.run(connection, schema.READ, dataset, lock=lock).first()
        if row is None:
            names = ", ".join(repr(name) for name in connection.execute(schema.NAMES).scalars()) or "none"
            raise LedgerError(f"the ledger has no data set {dataset!r}; it has: {names}")
        try:
            budget, spent = _budget(row.budget), _unpack(row.spent)
        except (ValueError, KeyError):
            raise LedgerCorrupt(f"the account of {dataset!r} cannot be read") from None
        return Account(dataset, budget, row.unit, row.neighbours, row.charges, spent, row.head)

    @contextlib.contextmanager
    def _transaction(self, *, write: bool = True) -> Iterator[sa.Connection]:
        if os.getpid() != self._pid:  # connections must not be shared with the parent process
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        with schema.translated_errors(self._timeout), self._engine.connect() as connection:
            schema.begin(connection, write=write)
            yield connection
            connection.commit()


def _verify_account(connection: sa.Connection, dataset: str) -> int:
    account = connection.execute(schema.ACCOUNT, {"dataset": dataset}).mappings().first()
    if account is None:
        raise LedgerError(f"the ledger has no data set {dataset!r}")
    head, total, count = _opening_hash(account), Cost.zero(), 0
    for count, row in enumerate(connection.execute(schema.ROWS, {"dataset": dataset, "after": 0}).mappings(), 1):
        head = _row_hash(head, row)
        if row["position"] != count or row["hash"] != head:
            raise LedgerCorrupt(f"the ledger of {dataset!r} was edited at or before position {count}")
        total = total + _cost(Claim.from_json(json.loads(row["claim"])).bound)
    if account["head"] != head or account["charges"] != count:
        raise LedgerCorrupt(f"the account of {dataset!r} does not follow from its {count} rows")
    if not np.array_equal(np.frombuffer(account["spent"]), np.frombuffer(_pack(total))):
        raise LedgerCorrupt(f"the total of {dataset!r} does not follow from its {count} rows")
    if not total.fits(_budget(account["budget"])):
        raise LedgerCorrupt(f"{dataset!r} has spent more than its budget")
    return count


@lru_cache(maxsize=256)
def _cost(bound: FormalBound) -> Cost:
    return cost_of(bound)


@lru_cache(maxsize=256)
def _budget(text: str) -> FormalBound:
    bound = bound_from_json(json.loads(text))
    if not isinstance(bound, FORMAL):
        raise InvalidClaim("a budget is a formal bound")
    return bound


@lru_cache(maxsize=256)
def _claim_text(claim: Claim) -> str:
    return _canonical(claim.to_json())


def _pack(cost: Cost) -> bytes:
    return np.concatenate(([cost.epsilon, cost.rho, cost.mu_squared, cost.delta], cost.rdp)).tobytes()


def _unpack(blob: bytes) -> Cost:
    epsilon, rho, mu_squared, delta, *_ = values = np.frombuffer(blob)
    return Cost(float(epsilon), float(rho), float(mu_squared), values[4:], float(delta))


def _opening_hash(row: Any) -> str:
    names = ("dataset", "budget", "unit", "neighbours", "created")
    return hashlib.sha256(_canonical({name: row[name] for name in names}).encode()).hexdigest()


def _row_hash(previous: str, row: Any) -> str:
    names = ("dataset", "position", "at", "purpose", "claim")
    return hashlib.sha256((previous + _canonical({name: row[name] for name in names})).encode()).hexdigest()


def _canonical(document: dict[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _left(budget: float, spent: float) -> str:
    return f"{max(0.0, budget - spent):.6g}" if math.isfinite(spent) else "0"
