"""What binds a ledger's rows: canonical text, the hashes that chain it, and the composed total beside it.

For `ledger`, which charges and verifies, and for the migration of old schemas. The chain of hashes is that of a
transparency log (RFC 9162), on rows: each covers its row and all before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from sfumato.errors import LedgerCorrupt
from sfumato.privacy import ledger_schema as schema
from sfumato.privacy.accounting import ORDERS, Cost, cost_of
from sfumato.privacy.bounds import FORMAL, FormalBound, bound_from_json
from sfumato.privacy.claim import Claim

Row = Mapping[str, Any] | sa.RowMapping

_CANONICAL = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"))
_SUMS = 4  # a packed total is ε, ρ, μ², δ, and the Rényi curve on ORDERS


def opening_hash(account: Row) -> str:
    """Hash of what an account was opened with: the start of its chain, and a link of the register's."""
    return _hash("", account, "dataset", "budget", "unit", "neighbours", "created")


def charge_hash(previous: str, charge: Row) -> str:
    """Hash of a charge and of all before it in its account."""
    return _hash(previous, charge, "dataset", "position", "at", "purpose", "claim")


def register_hash(previous: str, opening: str) -> str:
    """Hash of an account's opening and of all openings before it."""
    return hashlib.sha256((previous + opening).encode()).hexdigest()


def register_head(openings: Iterable[str]) -> str:
    """Hash of all openings in order; empty if there is none."""
    head = ""
    for opening in openings:
        head = register_hash(head, opening)
    return head


def pack(total: Cost) -> bytes:
    """Return a total as bytes; floats of 64 bits, little-endian."""
    sums = [total.epsilon, total.rho, total.mu_squared, total.delta]
    return np.concatenate((sums, total.rdp)).astype("<f8").tobytes()


def unpack(blob: bytes | None) -> Cost:
    """Return the total that `pack` wrote; `ValueError` if it is another's."""
    if blob is None or len(blob) != 8 * (_SUMS + len(ORDERS)):
        raise ValueError("not a total of this schema")
    values = np.frombuffer(blob, "<f8")
    epsilon, rho, mu_squared, delta = values[:_SUMS].tolist()
    return Cost(epsilon, rho, mu_squared, values[_SUMS:], delta)


@lru_cache(maxsize=256)
def cost_of_bound(bound: FormalBound) -> Cost:
    """`cost_of`, remembered: the same few bounds are charged again and again."""
    return cost_of(bound)


@lru_cache(maxsize=256)
def read_budget(text: str) -> FormalBound:
    """Return the bound that `canonical` wrote."""
    bound = bound_from_json(json.loads(text))
    if not isinstance(bound, FORMAL):
        raise ValueError("a budget is a formal bound")
    return bound


@lru_cache(maxsize=256)
def claim_text(claim: Claim) -> str:
    """Canonical text of a claim."""
    return canonical(claim.to_json())


def canonical(document: Mapping[str, Any]) -> str:
    """The one text of a JSON document: keys sorted, no spaces."""
    return _CANONICAL.encode(document)


def verify_account(connection: sa.Connection, dataset: str) -> int:
    """Recompute an account's chain and total; return its number of charges."""
    account = connection.execute(schema.ACCOUNT, {"dataset": dataset}).mappings().one()
    head, total, count = opening_hash(account), Cost.zero(), 0
    for count, row in enumerate(connection.execute(schema.ROWS, {"dataset": dataset, "after": 0}).mappings(), 1):
        head = charge_hash(head, row)
        if row["position"] != count or row["hash"] != head:
            raise LedgerCorrupt(f"the ledger of {dataset!r} was edited at or before position {count}")
        total = total + cost_of_bound(Claim.from_json(json.loads(row["claim"])).bound)
    if account["head"] != head or account["charges"] != count:
        raise LedgerCorrupt(f"the account of {dataset!r} does not follow from its {count} rows")
    if not _same(account["spent"], total):
        raise LedgerCorrupt(f"the total of {dataset!r} does not follow from its {count} rows")
    if not total.fits(read_budget(account["budget"])):
        raise LedgerCorrupt(f"{dataset!r} has spent more than its budget")
    return count


def verify_register(connection: sa.Connection) -> None:
    """Check that no account was removed, added or moved behind the ledger's back, and no charge orphaned."""
    accounts = connection.execute(schema.REGISTER).mappings().all()
    meta = connection.execute(sa.select(schema.META)).mappings().all()
    head = register_head(map(opening_hash, accounts))
    numbered = [row["number"] for row in accounts] == list(range(1, len(accounts) + 1))
    if len(meta) != 1 or not numbered or (meta[0]["accounts"], meta[0]["head"]) != (len(accounts), head):
        raise LedgerCorrupt("the ledger's accounts were edited, removed or added to behind its back")
    if connection.execute(schema.ORPHANS).scalar():
        raise LedgerCorrupt("the ledger has charges whose account was removed")


def _same(blob: bytes | None, total: Cost) -> bool:
    """Whether a stored total is `total`, but for the last bits that another numpy may round otherwise."""
    try:
        stored = np.frombuffer(pack(unpack(blob)))
    except ValueError:
        return False
    return bool(np.allclose(stored, np.frombuffer(pack(total)), rtol=1e-9, atol=0))


def _hash(previous: str, row: Row, *names: str) -> str:
    return hashlib.sha256((previous + canonical({name: row[name] for name in names})).encode()).hexdigest()
