"""The ledger's rules, on SQLite and PostgreSQL alike: what it charges, refuses, remembers and notices."""

import hashlib
import sqlite3

import pytest
import sqlalchemy as sa

from sfumato.errors import BudgetExceeded, InvalidClaim, LedgerCorrupt, LedgerError
from sfumato.privacy.accounting import ORDERS, cost_of
from sfumato.privacy.bounds import ZCDP, ApproxDP, GaussianDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger, active
from sfumato.privacy.ledger_schema import VERSION

ONE = Claim(PureDP(1.0))


def test_a_charge_is_remembered_with_its_receipt(ledger, url):
    receipt = ledger.charge("lung", ONE, "a curve")
    again = Ledger(url)
    account = again.account("lung")
    assert (receipt.dataset, receipt.position, receipt.hash) == ("lung", 1, account.head)
    assert account.charges == 1
    assert account.remaining == "ε = 2 of 3 left"
    (row,) = again.history("lung")
    assert (row.purpose, row.claim, row.at) == ("a curve", ONE, receipt.at)
    assert again.verify() == 1


def test_the_budget_holds_exactly(ledger):
    for _ in range(3):
        ledger.charge("lung", ONE, "x")
    with pytest.raises(BudgetExceeded, match=r"ε = 0 of 3 left, asked for .* with ε"):
        ledger.charge("lung", Claim(PureDP(0.001)), "x")
    assert ledger.account("lung").charges == 3


@pytest.mark.parametrize(
    ("budget", "bound", "most"),
    [
        (PureDP(1.0), PureDP(0.1), 10),
        (ZCDP(1.0), ZCDP(0.1), 10),
        (GaussianDP(1.0), GaussianDP(0.25), 16),
        (ZCDP(0.01), PureDP(0.1), 2),
        (PureDP(1.0), ZCDP(1e-6), 0),
    ],
)
def test_budgets_of_each_kind_take_what_fits(url, budget, bound, most):
    ledger = Ledger(url, create=True)
    ledger.create("x", budget)
    charged = 0
    with pytest.raises(BudgetExceeded):
        while charged <= most:
            ledger.charge("x", Claim(bound), "x")
            charged += 1
    assert charged == most
    ledger.verify("x")


def test_composition_under_an_approximate_budget_is_not_the_naive_sum(url):
    """ε = 1 at δ = 1e-6 buys 20 charges of 0.05 by the naive sum, and at least twice that by Rényi composition."""
    ledger = Ledger(url, create=True)
    ledger.create("x", ApproxDP(1.0, 1e-6))
    part, charged = Claim(PureDP(0.02)), 0
    while True:
        try:
            ledger.charge("x", part, "x")
        except BudgetExceeded:
            break
        charged += 1
    assert charged > 2 * 50
    total = cost_of(PureDP(0.02)) * charged
    assert total.epsilon_at(1e-6) <= 1.0 + 1e-6
    assert "at δ = 1e-06" in ledger.account("x").remaining


def test_claims_about_something_else_do_not_add_up(ledger):
    for other in (Claim(PureDP(1), neighbours="replace-one"), Claim(PureDP(1), unit="record")):
        with pytest.raises(InvalidClaim, match="does not add up"):
            ledger.charge("lung", other, "x")
    for hollow in (Claim(Heuristic("why")), Claim(PureDP(1), void="seeded")):
        with pytest.raises(InvalidClaim, match="formal"):
            ledger.charge("lung", hollow, "x")
    assert ledger.account("lung").charges == 0


def test_accounts_open_once_with_a_formal_budget(ledger):
    with pytest.raises(LedgerError, match="already has a data set 'lung'"):
        ledger.create("lung", PureDP(100))
    with pytest.raises(InvalidClaim, match="budget"):
        ledger.create("x", Heuristic("none"))
    for name in ("", "a\x00b", "\ud800", "two\nlines", None, 3):
        with pytest.raises(LedgerError, match="name"):
            ledger.create(name, PureDP(1))
    for purpose in ("a\x00b", "\ud800", None, 3):
        with pytest.raises(InvalidClaim, match="purpose"):
            ledger.charge("lung", ONE, purpose)
    with pytest.raises(LedgerError, match="no data set 'rossi'; it has: 'lung'"):
        ledger.charge("rossi", ONE, "x")
    with pytest.raises(LedgerError, match="no data set"), ledger.charging("rossi"):
        pass


def test_charging_is_a_scope_and_nests(ledger):
    ledger.create("rossi", PureDP(1))
    assert active() is None
    with ledger.charging("lung"):
        assert active() == (ledger, "lung")
        with ledger.charging("rossi"):
            assert active() == (ledger, "rossi")
        assert active() == (ledger, "lung")
    assert active() is None


def test_history_can_be_cut(ledger):
    for i in range(3):
        ledger.charge("lung", ONE, str(i))
    assert [row.purpose for row in ledger.history("lung", limit=2)] == ["1", "2"]
    assert ledger.datasets() == ["lung"]


TAMPERINGS = {
    "an edited claim": "UPDATE charges SET claim = replace(claim, '1.0', '0.1') WHERE position = 2",
    "an edited purpose": "UPDATE charges SET purpose = 'nothing' WHERE position = 1",
    "an edited time": "UPDATE charges SET at = '2020-01-01' WHERE position = 3",
    "a removed row": "DELETE FROM charges WHERE position = 2",
    "a removed last row": "DELETE FROM charges WHERE position = 3",
    "a removed last row and its count": ("DELETE FROM charges WHERE position = 3; UPDATE accounts SET charges = 2"),
    "two rows exchanged": (
        "UPDATE charges SET position = 9 WHERE position = 1;"
        "UPDATE charges SET position = 1 WHERE position = 2;"
        "UPDATE charges SET position = 2 WHERE position = 9"
    ),
    "a larger budget": "UPDATE accounts SET budget = replace(budget, '3.0', '9.0')",
    "another unit": "UPDATE accounts SET unit = 'record'",
    "all rows removed": "DELETE FROM charges; UPDATE accounts SET charges = 0",
}


@pytest.mark.parametrize("statements", TAMPERINGS.values(), ids=TAMPERINGS.keys())
def test_verify_finds_tampering(ledger, url, statements):
    for purpose in "abc":
        ledger.charge("lung", ONE, purpose)
    assert ledger.verify() == 3
    with sa.create_engine(url).begin() as connection:
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)
    with pytest.raises(LedgerCorrupt, match="'lung'"):
        Ledger(url).verify()


def test_verify_finds_an_edited_total(ledger, url):
    ledger.charge("lung", ONE, "x")
    with sa.create_engine(url).begin() as connection:
        blob = connection.exec_driver_sql("SELECT spent FROM accounts").scalar()
        edited = bytes(8) + bytes(blob)[8:]
        connection.execute(sa.text("UPDATE accounts SET spent = :spent"), {"spent": edited})
    with pytest.raises(LedgerCorrupt, match="total"):
        Ledger(url).verify()


REMOVALS = {
    "an account with its charges": (
        "DELETE FROM charges WHERE dataset = 'lung'; DELETE FROM accounts WHERE dataset = 'lung'"
    ),
    "the last account": "DELETE FROM accounts WHERE dataset = 'rossi'",
    "the register": "DELETE FROM sfumato_ledger WHERE accounts > 0",
    "an account's number": "UPDATE accounts SET number = 7 WHERE dataset = 'rossi'",
}


@pytest.mark.parametrize("statements", REMOVALS.values(), ids=REMOVALS.keys())
def test_verify_finds_a_removed_account(ledger, url, statements):
    """A data set whose account vanished could be opened anew with a fresh budget."""
    ledger.create("rossi", PureDP(1))
    ledger.charge("lung", ONE, "x")
    with sa.create_engine(url).begin() as connection:
        for statement in statements.split(";"):
            connection.exec_driver_sql(statement)
    with pytest.raises(LedgerCorrupt, match="accounts"):
        ledger.verify()


def test_verify_finds_charges_without_an_account(ledger, url):
    ledger.charge("lung", ONE, "x")
    with sa.create_engine(url).connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        else:
            connection.exec_driver_sql("ALTER TABLE charges DROP CONSTRAINT charges_dataset_fkey")
        connection.exec_driver_sql("UPDATE charges SET dataset = 'hidden'")
        connection.exec_driver_sql("DELETE FROM accounts")
        connection.exec_driver_sql("UPDATE sfumato_ledger SET accounts = 0, head = ''")
        connection.commit()
    with pytest.raises(LedgerCorrupt, match="account was removed"):
        ledger.verify()


@pytest.mark.parametrize("spent", [b"", b"1234", b"\x00" * 8 * 5])
def test_a_total_that_cannot_be_read_refuses_to_charge(ledger, url, spent):
    with sa.create_engine(url).begin() as connection:
        connection.execute(sa.text("UPDATE accounts SET spent = :spent"), {"spent": spent})
    with pytest.raises(LedgerCorrupt, match="'lung'"):
        ledger.charge("lung", ONE, "x")
    with pytest.raises(LedgerCorrupt, match="total"):
        ledger.verify()


def test_the_orders_of_stored_totals_belong_to_the_schemas_version():
    """Other orders in `accounting` would misread every stored curve: raise VERSION and migrate, then change this."""
    fingerprint = hashlib.sha256(repr([f"{order:.9g}" for order in ORDERS]).encode()).hexdigest()[:16]
    assert (VERSION, fingerprint) == (2, "d786b3bb5ca789f3")


VERSION_1 = """
CREATE TABLE sfumato_ledger (version INTEGER PRIMARY KEY);
INSERT INTO sfumato_ledger VALUES (1);
CREATE TABLE accounts (dataset TEXT PRIMARY KEY, budget TEXT NOT NULL, unit TEXT NOT NULL, neighbours TEXT NOT NULL,
    created TEXT NOT NULL, charges BIGINT NOT NULL, head TEXT NOT NULL);
CREATE TABLE charges (dataset TEXT REFERENCES accounts (dataset), position BIGINT, at TEXT NOT NULL,
    purpose TEXT NOT NULL, claim TEXT NOT NULL, hash TEXT NOT NULL, PRIMARY KEY (dataset, position));
"""


def test_an_old_ledger_opens_under_the_newer_schema(ledger, url, tmp_path):
    """Version 1 had no totals: copy a ledger's rows into such a file, open it, and find the same budget left."""
    ledger.charge("lung", ONE, "x")
    ledger.charge("lung", Claim(PureDP(0.5)), "y")
    old = tmp_path / "old.db"
    columns = {
        "accounts": "dataset, budget, unit, neighbours, created, charges, head",
        "charges": "dataset, position, at, purpose, claim, hash",
    }
    file = sqlite3.connect(old)
    file.executescript(VERSION_1)
    with sa.create_engine(url).connect() as connection:
        for table, names in columns.items():
            marks = ", ".join("?" * len(names.split(",")))
            for row in connection.exec_driver_sql(f"SELECT {names} FROM {table}"):
                file.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(row))
    file.commit()
    file.close()
    opened = Ledger(old)
    assert opened.account("lung").remaining == "ε = 1.5 of 3 left"
    assert opened.verify() == 2
    opened.charge("lung", ONE, "z")
    assert Ledger(old).verify() == 3


def test_a_newer_schema_is_left_alone(ledger, url):
    with sa.create_engine(url).begin() as connection:
        connection.exec_driver_sql("UPDATE sfumato_ledger SET version = 99")
    with pytest.raises(LedgerError, match=r"schema 99.*upgrade"):
        Ledger(url)


def test_missing_foreign_and_damaged_files_are_named_in_one_line(tmp_path):
    with pytest.raises(LedgerError, match="no ledger at"):
        Ledger(tmp_path / "missing.db")
    with pytest.raises(LedgerError, match="no folder"):
        Ledger(tmp_path / "missing" / "ledger.db", create=True)
    with pytest.raises(LedgerError, match="file"):
        Ledger("sqlite://")
    with pytest.raises(LedgerError, match="URL"):
        Ledger("://")
    with pytest.raises(LedgerError, match="SQLite or PostgreSQL"):
        Ledger("nosuchdatabase://x/y")
    text = tmp_path / "notes.txt"
    text.write_text("SECRET " * 1000)
    with pytest.raises(LedgerError, match="not a ledger") as caught:
        Ledger(text)
    assert "SECRET" not in str(caught.value)
    other = tmp_path / "other.db"
    sqlite3.connect(other).execute("CREATE TABLE t (x)")
    with pytest.raises(LedgerError, match="holds no ledger"):
        Ledger(other)
    clash = tmp_path / "clash.db"
    sqlite3.connect(clash).execute("CREATE TABLE accounts (x)")
    with pytest.raises(LedgerError, match="not a ledger's"):
        Ledger(clash, create=True)


def test_a_damaged_ledger_is_corrupt(tmp_path):
    path = tmp_path / "ledger.db"
    ledger = Ledger(path, create=True)
    ledger.create("lung", PureDP(3000.0))
    for _ in range(50):
        ledger.charge("lung", ONE, "x" * 200)
    ledger._engine.dispose()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    content = bytearray(path.read_bytes())
    content[4096 : len(content)] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(LedgerError):
        Ledger(path).verify()


def test_a_locked_ledger_says_so_and_can_still_be_read(ledger, url):
    hold = sa.create_engine(url, isolation_level="AUTOCOMMIT").connect()
    if hold.dialect.name == "sqlite":
        hold.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        hold.exec_driver_sql("BEGIN; SELECT * FROM accounts FOR UPDATE")
    impatient = Ledger(url, timeout=0.1)
    with pytest.raises(LedgerError, match=r"locked by another process for 0\.1 s"):
        impatient.charge("lung", ONE, "x")
    assert impatient.account("lung").charges == 0
    assert impatient.verify() == 0
    hold.exec_driver_sql("ROLLBACK")
    assert impatient.charge("lung", ONE, "x").position == 1
    hold.close()
