"""Ledger: the privacy budget of a data set, durable and shared.

For the custodian, who sets a budget once, and for every release, which is charged before its noise exists.
Composition is `sfumato.privacy.accounting`'s, the tables are in `ledger_schema`, the hashes in `ledger_chain`.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sfumato.errors import BudgetExceeded, InvalidClaim, LedgerCorrupt, LedgerError
from sfumato.privacy import ledger_chain as chain
from sfumato.privacy import ledger_schema as schema
from sfumato.privacy.accounting import Cost
from sfumato.privacy.bounds import (
    FORMAL,
    ZCDP,
    ApproxDP,
    FormalBound,
    GaussianDP,
    Neighbours,
    PureDP,
    bound_to_json,
)
from sfumato.privacy.claim import Claim, Unit
from sfumato.privacy.ledger_migration import prepare


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


def check_active(claim: Claim) -> None:
    """Raise what `charge_active` would raise now, and charge nothing: before the first of several charges.

    Another process may still spend in between; each charge is checked again.
    """
    scope = _ACTIVE.get()
    if scope is not None:
        _check_formal(claim)
        _total(scope.ledger.account(scope.dataset), claim, chain.cost_of_bound(claim.bound))


class Ledger:
    """Budgets and charges in one database.

    A charge is one transaction that holds the account's lock: read what was spent, compose, refuse or append. It is
    durable when `charge` returns (SQLite: write-ahead log, synced at each commit). The composed Rényi curve and sums
    are kept with the account, so a charge costs the same whatever the history's length.

    Every row's hash covers the row and the hash before it; so are the accounts' openings chained. `verify` finds
    an edited, removed or reordered row, a changed budget or total, a removed account. The chain has no secret: who can
    rewrite the whole database *and* recompute the hashes, or put yesterday's copy back, goes unnoticed, unless the
    head (`account(...).head`) is kept elsewhere.

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
        with schema.translated_errors(self._engine, timeout):
            prepare(self._engine, create=create)

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
        if not dataset or not _storable(dataset):
            raise LedgerError("a data set needs a name: text without control characters")
        row: dict[str, Any] = {
            "dataset": dataset,
            "budget": chain.canonical(bound_to_json(budget)),
            "unit": unit,
            "neighbours": neighbours,
            "created": _now(),
        }
        opening = chain.opening_hash(row)
        with self._connected(), self._engine.connect() as connection:
            schema.begin_changing(connection)
            if connection.execute(schema.ACCOUNT, {"dataset": dataset}).first():
                raise LedgerError(f"the ledger already has a data set {dataset!r}; its budget stands")
            register = connection.execute(sa.select(schema.META)).one()
            number = register.accounts + 1
            row |= {"number": number, "charges": 0, "spent": chain.pack(Cost.zero()), "head": opening}
            connection.execute(sa.insert(schema.ACCOUNTS), row)
            head = chain.register_hash(register.head, opening)
            connection.execute(sa.update(schema.META).values(accounts=number, head=head))
            connection.commit()

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
        _check_formal(claim)
        if not _storable(purpose):
            raise InvalidClaim("a purpose is text without control characters")
        cost = chain.cost_of_bound(claim.bound)
        with self._connected(), schema.cursor(self._engine) as cursor:
            row = schema.run(self._engine, cursor, schema.READ, dataset, lock=True).fetchone()
            if row is None:
                raise _unknown(dataset, [name for (name,) in cursor.execute(schema.NAMED).fetchall()])
            account = _account(dataset, row)
            total = _total(account, claim, cost)
            position, at = account.charges + 1, _now()
            entry = {
                "dataset": dataset,
                "position": position,
                "at": at,
                "purpose": purpose,
                "claim": chain.claim_text(claim),
            }
            head = chain.charge_hash(account.head, entry)
            schema.run(self._engine, cursor, schema.APPEND, *entry.values(), head)
            schema.run(self._engine, cursor, schema.UPDATE, position, chain.pack(total), head, dataset)
        return Receipt(dataset, position, at, head)

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
        with self._reading() as connection:
            return _read(connection, dataset)

    def datasets(self) -> list[str]:
        """Return the names of all accounts, in the order of their opening."""
        with self._reading() as connection:
            return list(connection.execute(schema.NAMES).scalars())

    def history(self, dataset: str, limit: int | None = None) -> list[Charge]:
        """Return the charges in order, or the last `limit` of them."""
        with self._reading() as connection:
            total = _read(connection, dataset).charges
            first = 0 if limit is None else max(0, total - limit)
            rows = connection.execute(schema.ROWS, {"dataset": dataset, "after": first}).mappings()
            return [_charge(row) for row in rows]

    def verify(self, dataset: str | None = None) -> int:
        """Recompute every hash and total, of one account or of all; return the number of charges checked.

        Raises
        ------
        LedgerCorrupt
            If a row was edited, removed or reordered, or an account does not follow from its rows, or is gone.
        """
        with self._reading() as connection:
            names = list(connection.execute(schema.NAMES).scalars())
            if dataset is not None:
                _read(connection, dataset)
                names = [dataset]
            checked = sum(chain.verify_account(connection, name) for name in names)
            chain.verify_register(connection)
            return checked

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        if os.getpid() != self._pid:  # connections must not be shared with the parent process
            self._engine.dispose(close=False)
            self._pid = os.getpid()
        with schema.translated_errors(self._engine, self._timeout):
            yield

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sa.Connection]:
        with self._connected(), self._engine.connect() as connection:
            schema.begin_reading(connection)
            yield connection


def _check_formal(claim: Claim) -> None:
    if not claim.formal:
        raise InvalidClaim(f"only a formal claim that stands can be charged, got: {claim}")


def _total(account: Account, claim: Claim, cost: Cost) -> Cost:
    """What would be spent after this claim, if the account takes it."""
    for name in ("unit", "neighbours"):
        if getattr(claim, name) != getattr(account, name):
            raise InvalidClaim(
                f"the budget of {account.dataset!r} is about {name} {getattr(account, name)!r}; "
                f"a claim about {getattr(claim, name)!r} does not add up with it"
            )
    total = account.spent + cost
    if not total.fits(account.budget):
        raise BudgetExceeded(
            f"the budget of {account.dataset!r} is exhausted: {account.remaining}, asked for {claim.bound}"
        )
    return total


def _read(connection: sa.Connection, dataset: str) -> Account:
    row = connection.execute(schema.ACCOUNT, {"dataset": dataset}).first()
    if row is None:
        raise _unknown(dataset, list(connection.execute(schema.NAMES).scalars()))
    return _account(dataset, (row.budget, row.unit, row.neighbours, row.charges, row.head, row.spent))


def _unknown(dataset: str, names: Sequence[str]) -> LedgerError:
    return LedgerError(f"the ledger has no data set {dataset!r}; it has: {', '.join(map(repr, names)) or 'none'}")


def _account(dataset: str, row: Sequence[Any]) -> Account:
    """An account from what `schema.READ` selects."""
    budget, unit, neighbours, charges, head, spent = row
    try:
        return Account(dataset, chain.read_budget(budget), unit, neighbours, charges, chain.unpack(spent), head)
    except (ValueError, KeyError, TypeError):
        raise LedgerCorrupt(f"the account of {dataset!r} cannot be read") from None


def _charge(row: Any) -> Charge:
    try:
        claim = Claim.from_json(json.loads(row["claim"]))
    except (ValueError, KeyError, TypeError):
        raise LedgerCorrupt(f"position {row['position']} of {row['dataset']!r} cannot be read") from None
    return Charge(row["position"], row["at"], row["purpose"], claim, row["hash"])


def _storable(text: object) -> bool:
    """Whether both databases keep this text as it is: no NUL, no lone surrogate, nothing that hides in a terminal."""
    return isinstance(text, str) and all(character.isprintable() or character == " " for character in text)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")


def _left(budget: float, spent: float) -> str:
    return f"{max(0.0, budget - spent):.6g}" if math.isfinite(spent) else "0"
