"""Making a ledger's tables, and bringing those of an older schema up to date.

For `Ledger`, once at its opening. Version 1 summed the history at each charge and had no register of accounts.
"""

from __future__ import annotations

import functools
import json

import sqlalchemy as sa

from sfumato.errors import LedgerError
from sfumato.privacy import ledger_chain as chain
from sfumato.privacy import ledger_schema as schema
from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.claim import Claim


def prepare(engine: sa.Engine, *, create: bool) -> None:
    """Make the tables where asked and not there, and bring an old schema up to date.

    Raises
    ------
    LedgerError
        If there is no ledger and none is to be made, or it is newer than this code, or somebody else's.
    """
    with engine.connect() as connection:
        found = schema.version(connection)
        connection.rollback()
        if found == schema.VERSION:
            return  # reading an up-to-date ledger takes no lock
        if found is None and not create:
            raise LedgerError("the database holds no ledger: create it first")
        if found is None:
            schema.write_ahead(connection)
            connection.rollback()
        schema.begin_changing(connection)
        found = schema.version(connection)  # another process may have been first
        if found is None:
            schema.METADATA.create_all(connection)
            connection.execute(sa.insert(schema.META).values(version=schema.VERSION, accounts=0, head=""))
        elif found < schema.VERSION:
            _from_version_1(connection)
        connection.commit()


def _from_version_1(connection: sa.Connection) -> None:
    blob = sa.LargeBinary().compile(dialect=connection.dialect)
    for change in (
        "sfumato_ledger ADD COLUMN accounts BIGINT NOT NULL DEFAULT 0",
        "sfumato_ledger ADD COLUMN head TEXT NOT NULL DEFAULT ''",
        "accounts ADD COLUMN number BIGINT NOT NULL DEFAULT 0",
        f"accounts ADD COLUMN spent {blob} NOT NULL DEFAULT ''",
    ):
        connection.exec_driver_sql(f"ALTER TABLE {change}")
    openings = []
    ordered = sa.select(schema.ACCOUNTS).order_by(schema.ACCOUNTS.c.created, schema.ACCOUNTS.c.dataset)
    for number, account in enumerate(connection.execute(ordered).mappings().all(), 1):
        rows = connection.execute(schema.ROWS, {"dataset": account["dataset"], "after": 0}).mappings()
        costs = (cost_of(Claim.from_json(json.loads(row["claim"])).bound) for row in rows)
        spent = chain.pack(functools.reduce(Cost.__add__, costs, Cost.zero()))
        mine = schema.ACCOUNTS.c.dataset == account["dataset"]
        connection.execute(sa.update(schema.ACCOUNTS).where(mine).values(number=number, spent=spent))
        openings.append(chain.opening_hash(account))
    register = {"accounts": len(openings), "head": chain.register_head(openings)}
    connection.execute(sa.update(schema.META).values(version=schema.VERSION, **register))
