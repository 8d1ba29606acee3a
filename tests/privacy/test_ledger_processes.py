"""The ledger under many processes and under kill -9: no charge lost, none counted twice, the budget never exceeded."""

import multiprocessing
import os
import random
import signal
import threading
import time

from sfumato.errors import BudgetExceeded
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger

FORK = multiprocessing.get_context("fork")
PART = Claim(PureDP(0.001))


def _charge_many(url, times, queue):
    ledger = Ledger(url)
    positions, refused = [], 0
    for _ in range(times):
        try:
            positions.append(ledger.charge("lung", PART, f"process {os.getpid()}").position)
        except BudgetExceeded:
            refused += 1
    queue.put((positions, refused))


def test_eight_processes_with_500_charges_each_never_overspend_or_lose_one(url):
    """The budget takes 3,000 of the 4,000; all processes together get exactly those, each position once."""
    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(3.0))
    queue = FORK.Queue()
    children = [FORK.Process(target=_charge_many, args=(url, 500, queue)) for _ in range(8)]
    for child in children:
        child.start()
    results = [queue.get(timeout=300) for _ in children]
    for child in children:
        child.join()
    positions = sorted(p for got, _ in results for p in got)
    assert positions == list(range(1, 3001))
    assert sum(refused for _, refused in results) == 1000
    assert ledger.verify() == 3000


def _charge_forever(url, pipe):
    ledger = Ledger(url)
    while True:
        receipt = ledger.charge("lung", PART, "until killed")
        os.write(pipe, receipt.position.to_bytes(8, "little"))


def test_a_hundred_kills_leave_a_ledger_that_verifies_with_every_returned_charge(url):
    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(1e6))
    rng = random.Random(0)
    returned = set()
    for _ in range(100):
        reader, writer = os.pipe()
        child = FORK.Process(target=_charge_forever, args=(url, writer))
        child.start()
        os.close(writer)
        first = os.read(reader, 8)  # it is charging now
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        rest = b""
        while chunk := os.read(reader, 65536):
            rest += chunk
        os.close(reader)
        words = first + rest
        returned |= {int.from_bytes(words[i : i + 8], "little") for i in range(0, len(words) - 7, 8)}
    checked = ledger.verify()
    assert returned <= set(range(1, checked + 1))
    # At most the one charge that each kill cut off between commit and acknowledgement is there unreturned.
    assert checked - len(returned) <= 100


def test_a_forked_child_opens_its_own_connection(url):
    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(1.0))
    ledger.charge("lung", PART, "parent")
    queue = FORK.Queue()
    child = FORK.Process(target=lambda: queue.put(ledger.charge("lung", PART, "child").position))
    child.start()
    assert queue.get(timeout=60) == 2
    child.join()
    assert ledger.charge("lung", PART, "parent").position == 3
    assert ledger.verify() == 3


def test_threads_of_one_process_charge_in_turn(url):
    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(1.0))
    threads = [
        threading.Thread(target=lambda: [ledger.charge("lung", PART, "thread") for _ in range(25)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ledger.verify() == 100


def _watch(url, until, queue):
    ledger = Ledger(url)
    checked = []
    while not until.is_set():
        checked.append(ledger.verify())
        assert len(ledger.history("lung")) >= checked[-1]
    queue.put(checked)


def test_a_ledger_verifies_while_others_charge(url):
    """Verification sees one moment of the ledger: a charge that lands meanwhile is no tampering."""
    ledger = Ledger(url, create=True)
    ledger.create("lung", PureDP(10.0))
    queue, until = FORK.Queue(), FORK.Event()
    watcher = FORK.Process(target=_watch, args=(url, until, queue))
    charger = FORK.Process(target=_charge_many, args=(url, 500, FORK.Queue()))
    watcher.start()
    charger.start()
    charger.join()
    until.set()
    checked = queue.get(timeout=60)
    watcher.join()
    assert watcher.exitcode == 0
    assert checked == sorted(checked)
    assert ledger.verify() == 500


def _open_account(url, name, queue):
    Ledger(url, create=True).create(name, PureDP(1.0))
    queue.put(name)


def test_eight_processes_make_one_ledger_and_open_accounts_in_it(url):
    queue = FORK.Queue()
    children = [FORK.Process(target=_open_account, args=(url, f"cohort {i}", queue)) for i in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * 8
    ledger = Ledger(url)
    assert sorted(ledger.datasets()) == [f"cohort {i}" for i in range(8)]
    assert ledger.verify() == 0
