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

#: 2 added the accounts' register and the composed totals. Totals are on `accounting.ORDERS`: other orders need
#: another version, whose migration composes them anew.
VERSION = 2

METADATA = sa.MetaData()
META = sa.Table(
    "sfumato_ledger",
    METADATA,
    sa.Column("version", sa.Integer, primary_key=True),
    sa.Column("accounts", sa.BigInteger, nullable=False),
    sa.Column("head", sa.Text, nullable=False),  # the chain of the accounts' openings
)
ACCOUNTS = sa.Table(
    "accounts",
    METADATA,
    sa.Column("dataset", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("budget", sa.Text, nullable=False),
    sa.Column("unit", sa.Text, nullable=False),
    sa.Column("neighbours", sa.Text, nullable=False),
    sa.Column("created", sa.Text, nullable=False),
    sa.Column("charges", sa.BigInteger, nullable=False),
    sa.Column("head", sa.Text, nullable=False),
    sa.Column("spent", sa.LargeBinary, nullable=False),  # the composed total, so that a charge is O(1)
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
    sqlite_with_rowid=False,  # one tree to write at a charge, not a table and its index
)

# A charge is READ, APPEND and UPDATE: plain text for the driver, since composing them would cost as much as the commit.
READ = "SELECT budget, unit, neighbours, charges, head, spent FROM accounts WHERE dataset = ?"
NAMED = "SELECT dataset FROM accounts ORDER BY number"
APPEND = "INSERT INTO charges (dataset, position, at, purpose, claim, hash) VALUES (?, ?, ?, ?, ?, ?)"
UPDATE = "UPDATE accounts SET charges = ?, spent = ?, head = ? WHERE dataset = ?"

ACCOUNT = sa.select(ACCOUNTS).where(ACCOUNTS.c.dataset == sa.bindparam("dataset"))
NAMES = sa.text(NAMED)
REGISTER = sa.select(ACCOUNTS).order_by(ACCOUNTS.c.number)
ROWS = (
    sa.select(CHARGES)
    .where(CHARGES.c.dataset == sa.bindparam("dataset"), CHARGES.c.position > sa.bindparam("after"))
    .order_by(CHARGES.c.position)
)
ORPHANS = sa.select(sa.func.count()).where(CHARGES.c.dataset.not_in(sa.select(ACCOUNTS.c.dataset)))

#: Of PostgreSQL's advisory lock under which a ledger is made or migrated: two processes may ask at once.
_SETTING_UP = 0x5F0A70


def connect(url: str | Path, *, create: bool, timeout: float) -> sa.Engine:
    """Return an engine for a path or URL; nothing is written yet."""
    text = str(url)
    if "://" not in text:
        text = f"sqlite:///{text}"
    try:
        parsed = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise LedgerError("expected a path or a database URL such as sqlite:///ledger.db") from None
    try:
        match parsed.get_backend_name():
            case "sqlite":
                return _connect_sqlite(parsed, create=create, timeout=timeout)
            case "postgresql":
                return _connect_postgres(parsed, timeout=timeout)
    except ModuleNotFoundError:
        raise MissingExtra("postgres") from None
    except sa.exc.NoSuchModuleError:
        pass
    raise LedgerError(f"a ledger lives in SQLite or PostgreSQL (postgresql+psycopg://…), not {parsed.drivername!r}")


def _connect_sqlite(url: sa.URL, *, create: bool, timeout: float) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise LedgerError("a ledger lives in a file: a budget in memory is forgotten")
    path = Path(url.database)
    if not create and not path.is_file():
        raise LedgerError(f"there is no ledger at {path}: create it first")
    if create and not path.parent.is_dir():
        raise LedgerError(f"there is no folder {path.parent}")
    engine = sa.create_engine(
        url, connect_args={"timeout": timeout, "check_same_thread": False}, pool_timeout=timeout, max_overflow=-1
    )

    @sa.event.listens_for(engine, "connect")
    def prepare_connection(connection: Any, _: Any) -> None:
        connection.isolation_level = None  # transactions begin where `begin` says, not where the driver guesses
        # FULL syncs the log at each commit: a charge that returned survives a power cut.
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA foreign_keys = ON")

    return engine


def _connect_postgres(url: sa.URL, *, timeout: float) -> sa.Engine:
    # A server may be set to acknowledge commits before they are on disk, and to wait for locks for ever.
    settings = f"-c synchronous_commit=on -c lock_timeout={max(1, round(1000 * timeout))}"
    return sa.create_engine(
        url, connect_args={"options": settings}, pool_pre_ping=True, pool_timeout=timeout, max_overflow=40
    )


@contextlib.contextmanager
def cursor(engine: sa.Engine) -> Iterator[Any]:
    """One writing transaction on the driver's own cursor: SQLAlchemy's layers would cost as much as the commit.

    On SQLite a writer takes the file's lock at the start, so that what it read cannot go stale. On PostgreSQL the
    account's row is locked when it is read, which puts charges to one data set in series, and lets others pass.
    """
    connection = engine.raw_connection()
    try:
        handle = connection.cursor()
        if engine.dialect.name == "sqlite":
            handle.execute("BEGIN IMMEDIATE")
        yield handle
        connection.commit()
    finally:
        connection.close()  # back to the pool, which rolls back what was not committed


def run(engine: sa.Engine, cursor: Any, statement: str, *values: Any, lock: bool = False) -> Any:
    """Execute one of the plain statements; `lock` holds the row it reads until the transaction ends."""
    if engine.dialect.name != "sqlite":  # SQLite's transaction has locked the file already
        statement = statement.replace("?", "%s") + (" FOR UPDATE" if lock else "")
    return cursor.execute(statement, values)


def begin_reading(connection: sa.Connection) -> None:
    """Start a transaction that sees one moment of the ledger, while others charge."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


def begin_changing(connection: sa.Connection) -> None:
    """Start a transaction in which nobody else makes or migrates a ledger, or opens an account."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SETTING_UP})")


def version(connection: sa.Connection) -> int | None:
    """Return the schema's version, None where there is no ledger yet.

    Raises
    ------
    LedgerError
        If the schema is newer than this code, or the database is somebody else's.
    """
    tables = set(sa.inspect(connection).get_table_names())
    if META.name not in tables:
        if tables & {ACCOUNTS.name, CHARGES.name}:
            raise LedgerError("the database has tables of the same names that are not a ledger's")
        return None
    found = connection.execute(sa.select(sa.func.max(META.c.version))).scalar()
    if found is None or found > VERSION:
        raise LedgerError(f"the ledger has schema {found}, this sfumato knows up to {VERSION}: upgrade sfumato")
    return int(found)


def write_ahead(connection: sa.Connection) -> None:
    """Keep SQLite's log beside the file, so that readers and a writer do not wait; a property of the file."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def translated_errors(engine: sa.Engine, timeout: float) -> Iterator[None]:
    """Turn the database's errors into one line each, without its statements and their parameters."""
    driver: Any = engine.dialect.dbapi
    try:
        yield
    except sa.exc.TimeoutError:
        raise LedgerError(f"no connection to the ledger's database came free within {timeout:g} s") from None
    except sa.exc.DBAPIError as error:
        raise _translated(error.orig, timeout) from None
    except driver.Error as error:
        raise _translated(error, timeout) from None


def _translated(error: Any, timeout: float) -> LedgerError | LedgerCorrupt:
    text, kind = str(error).lower(), type(error).__name__
    if "locked" in text or "busy" in text or kind == "LockNotAvailable":
        return LedgerError(f"the ledger stayed locked by another process for {timeout:g} s")
    if "not a database" in text:
        return LedgerError("the file is not a ledger")
    if "malformed" in text or "disk image" in text:
        return LedgerCorrupt("the ledger's file is damaged")
    if "readonly" in text or "unable to open" in text:
        return LedgerError("the ledger's file cannot be opened for writing")
    if kind == "OperationalError":
        return LedgerError("the ledger's database cannot be reached or failed")
    return LedgerError(f"the ledger's database refused: {kind}")
