"""The tables of a ledger, their versions, and how SQLite and PostgreSQL are told to be durable.

For `ledger`, which holds the rules. No network and no data here but the charges.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from sfumato.errors import LedgerCorrupt, LedgerError, MissingExtra

VERSION = 2

METADATA = sa.MetaData()
META = sa.Table(
    "sfumato_ledger",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True),
)
ACCOUNTS = sa.Table(
    "accounts",
    METADATA,
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("budget", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("neighbours", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("charges", sa.BigInteger, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("spent", sa.LargeBinary),  # since version 2: the composed total, so that a charge is O(1)
)
CHARGES = sa.Table(
    "charges",
    METADATA,
    sa.Column("dataset", sa.Text, sa.ForeignKey("accounts.dataset"), primary_key=True),
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("claim", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
)

# A charge is these three: plain text for the driver, since composing them would cost as much as the commit.
READ = "SELECT budget, unit, neighbours, charges, head, spent FROM accounts WHERE dataset = ?"
APPEND = "INSERT INTO charges (dataset, position, at, purpose, claim, hash) VALUES (?, ?, ?, ?, ?, ?)"
UPDATE = "UPDATE accounts SET charges = ?, spent = ?, head = ? WHERE dataset = ?"

ACCOUNT = sa.select(ACCOUNTS).where(ACCOUNTS.c.dataset == sa.bindparam("dataset"))
OPEN = sa.insert(ACCOUNTS)
NAMES = sa.select(ACCOUNTS.c.dataset)
ROWS = (
    sa.select(CHARGES)
    .where(CHARGES.c.dataset == sa.bindparam("dataset"), CHARGES.c.position > sa.bindparam("after"))
    .order_by(CHARGES.c.position)
)


def connect(url: str | Path, *, create: bool, timeout: float) -> sa.Engine:
    """Return an engine for a path or URL; nothing is written yet."""
    text = str(url)
    if "://" not in text:
        text = f"sqlite:///{text}"
    try:
        parsed = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise LedgerError("expected a path or a database URL such as sqlite:///ledger.db") from None
    if parsed.get_backend_name() == "sqlite":
        return _connect_sqlite(parsed, create=create, timeout=timeout)
    try:
        return sa.create_engine(parsed, pool_pre_ping=True)
    except ModuleNotFoundError:
        raise MissingExtra("postgres") from None
    except sa.exc.NoSuchModuleError:
        raise LedgerError(f"no database driver is known for {parsed.drivername!r}") from None


def _connect_sqlite(url: sa.URL, *, create: bool, timeout: float) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise LedgerError("a ledger lives in a file: a budget in memory is forgotten")
    path = Path(url.database)
    if not create and not path.is_file():
        raise LedgerError(f"there is no ledger at {path}: create it first")
    if create and not path.parent.is_dir():
        raise LedgerError(f"there is no folder {path.parent}")
    engine = sa.create_engine(url, connect_args={"timeout": timeout, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def prepare_connection(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says, not where the driver guesses
        # FULL syncs the log at each commit: a charge that returned survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def run(connection: sa.Connection, statement: str, *values: Any, lock: bool = False) -> sa.CursorResult[Any]:
    """Execute one of the plain statements; `lock` holds the row it reads until the transaction ends."""
    if connection.dialect.name != "sqlite":  # SQLite's transaction has locked the file already
        statement = statement.replace("?", "%s") + (" FOR UPDATE" if lock else "")
    return connection.exec_driver_sql(statement, values)


def begin(connection: sa.Connection, *, write: bool) -> None:
    """Start the transaction: on SQLite a writer takes the file's lock now, so that its read cannot go stale.

    On PostgreSQL the account's row is locked when it is read (`FOR UPDATE`), which puts charges to one
    data set in series, and lets those to others pass.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def prepare(connection: sa.Connection, *, create: bool) -> None:
    """Check what is there, create it where asked, and bring an old schema up to date."""
    tables = set(sa.inspect(connection).get_table_names())
    if META.name not in tables:
        if tables & {ACCOUNTS.name, CHARGES.name}:
            raise LedgerError("the database has tables of the same names that are not a ledger's")
        if not create:
            raise LedgerError("the database holds no ledger: create it first")
        if connection.dialect.name == "sqlite":
            _write_ahead(connection)
        METADATA.create_all(connection)
        connection.execute(sa.insert(META).values(version=VERSION))
        return
    version = connection.execute(sa.select(sa.func.max(META.c.version))).scalar()
    if version is None or version > VERSION:
        raise LedgerError(f"the ledger has schema {version}, this sfumato knows up to {VERSION}: upgrade sfumato")
    if version < 2:
        _add_totals(connection)
    if version < VERSION:
        connection.execute(sa.update(META).values(version=VERSION))


def _write_ahead(connection: sa.Connection) -> None:
    # The journal's mode is a property of the file and cannot change inside a transaction.
    connection.exec_driver_sql("COMMIT")
    connection.exec_driver_sql("PRAGMA journal_mode = WAL")
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def _add_totals(connection: sa.Connection) -> None:
    """Version 1 summed the history at each charge; version 2 keeps the total with the account."""
    import functools
    import json

    from sfumato.privacy.accounting import Cost, cost_of
    from sfumato.privacy.claim import Claim
    from sfumato.privacy.ledger import _pack

    connection.exec_driver_sql(f"ALTER TABLE accounts ADD COLUMN spent {_blob(connection)}")
    for dataset in list(connection.execute(NAMES).scalars()):
        claims = connection.execute(
            sa.select(CHARGES.c.claim).where(CHARGES.c.dataset == dataset).order_by(CHARGES.c.position)
        ).scalars()
        costs = (cost_of(Claim.from_json(json.loads(text)).bound) for text in claims)
        spent = _pack(functools.reduce(Cost.__add__, costs, Cost.zero()))
        connection.execute(sa.update(ACCOUNTS).where(ACCOUNTS.c.dataset == dataset).values(spent=spent))


def _blob(connection: sa.Connection) -> str:
    return sa.LargeBinary().compile(dialect=connection.dialect)


@contextlib.contextmanager
def translated_errors(timeout: float) -> Iterator[None]:
    """Turn the database's errors into one line each, without its statements and their parameters."""
    try:
        yield
    except sa.exc.OperationalError as error:
        text = str(error.orig).lower()
        if "locked" in text or "busy" in text:
            raise LedgerError(f"the ledger stayed locked by another process for {timeout:g} s") from None
        if "malformed" in text or "disk image" in text:
            raise LedgerCorrupt("the ledger's file is damaged") from None
        if "readonly" in text or "unable to open" in text:
            raise LedgerError("the ledger's file cannot be opened for writing") from None
        raise LedgerError("the ledger's database cannot be reached or failed") from None
    except sa.exc.DatabaseError as error:
        text = str(error.orig).lower()
        if "not a database" in text:
            raise LedgerError("the file is not a ledger") from None
        if "malformed" in text:
            raise LedgerCorrupt("the ledger's file is damaged") from None
        raise LedgerError(f"the ledger's database refused: {type(error.orig).__name__}") from None
