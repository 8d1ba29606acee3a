"""The rate of charges beside a bare durable commit of SQLite, and its independence of the history's length.

For whoever fears that a budget slows queries down. The peer is the least that durability costs: one row inserted
and committed with the same settings (write-ahead log, synced at each commit), in turns with ours on the same disk.
"""

import sqlite3
import statistics
import time

import pytest

from sfumato import Claim, Ledger, PureDP

PART = Claim(PureDP(1e-6))
HISTORIES = (10, 1000, 100_000)
BATCH, ROUNDS = 1000, 9


def seconds(act):
    start = time.perf_counter()
    for _ in range(BATCH):
        act()
    return time.perf_counter() - start


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    connection = sqlite3.connect(tmp_path_factory.mktemp("bare") / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT)")
    yield lambda: connection.execute("INSERT INTO t (b) VALUES (?)", ("x" * 300,))
    connection.close()


@pytest.fixture(scope="module")
def ledgers(tmp_path_factory):
    made = {}
    for length in HISTORIES:
        made[length] = Ledger(tmp_path_factory.mktemp("ledger") / "ledger.db", create=True)
        made[length].create("lung", PureDP(1.0))
        for _ in range(length):
            made[length].charge("lung", PART, "history")
    return made


def test_charges_beside_bare_commits(ledgers, bare, capsys):
    rates = {length: [] for length in HISTORIES}
    for _ in range(ROUNDS):
        least = seconds(bare)
        for length, ledger in ledgers.items():
            rates[length].append(least / seconds(lambda ledger=ledger: ledger.charge("lung", PART, "benchmark")))
    medians = {length: statistics.median(found) for length, found in rates.items()}
    with capsys.disabled():
        for length, ratio in medians.items():
            print(f"\n{length:>7} rows before: {ratio:.2f} of the rate of bare durable commits", end="")
    assert all(ratio >= 0.5 for ratio in medians.values())
    assert medians[100_000] >= 0.8 * medians[10]
