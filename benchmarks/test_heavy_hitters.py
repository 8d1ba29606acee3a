"""Frequency oracles beside the peers' per-user functions, and ten million users; prints the ratios.

`pytest benchmarks/test_heavy_hitters.py -s`. Peers: pure-ldp 1.2.0 and multi-freq-ldpy 0.2.5, if they are installed
(both need xxhash below 4 for OLH); and local hashing written out in NumPy, block by block, which is what a vectorised
peer would do. Measured on a machine shared with others (two cores, load 12), a user, report and sum, 1024 candidates:
GRR 0.09 µs (multi-freq-ldpy 21 times as long), OUE 6.9 µs (pure-ldp 10 times, multi-freq-ldpy 9 times), OLH with numba
0.55 µs (pure-ldp 3,950 times, multi-freq-ldpy 3,470 times, NumPy with a full hash a pair 49 times). 10^7 users, k = 20:
10.5 s with simulated sums, 19.5 s with a report each, 0.55 GiB.
"""

from __future__ import annotations

import importlib
import resource
import time
from collections.abc import Callable

import numpy as np
import pytest

from sfumato import Release
from sfumato.federation.heavy_hitters import GRR, OLH, OUE, FederatedHeavyHitters
from sfumato.studies.heavy_hitters import misaligned

EPSILON, DOMAIN = 2.0, 1024


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def ours(kind: type, users: int) -> float:
    """Seconds a user: real reports, exact noise, and their sums."""
    oracle = kind(EPSILON, DOMAIN)
    values = np.random.default_rng(0).integers(0, DOMAIN, users)

    def work() -> None:
        with Release(oracle.claim, "benchmark") as release:
            oracle.aggregate(oracle.perturb(values, release, np.random.default_rng(1)))

    return seconds(work) / users


def splitmix(words: np.ndarray) -> np.ndarray:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def hashing_in_blocks(users: int) -> float:
    """Seconds a user of local hashing with a full hash of each pair of seed and candidate."""
    rng = np.random.default_rng(0)
    buckets = np.uint64(round(np.exp(EPSILON)) + 1)
    candidates = splitmix(np.arange(DOMAIN, dtype=np.uint64))

    def work() -> None:
        counts = np.zeros(DOMAIN, np.int64)
        for start in range(0, users, 1024):
            n = min(1024, users - start)
            seeds = rng.integers(0, 2**64, n, dtype=np.uint64)
            reported = rng.integers(0, int(buckets), n, dtype=np.uint64)
            hashed = splitmix(seeds[:, np.newaxis] + candidates) % buckets
            counts += (hashed == reported[:, np.newaxis]).sum(axis=0)

    return seconds(work) / users


def peer(library: str, name: str, users: int = 200) -> float | None:
    """Seconds a user of a peer's perturbation and aggregation, or None if it is not installed or fails."""
    values = np.random.default_rng(0).integers(0, DOMAIN, users)
    try:
        if library == "pure-ldp":
            module = importlib.import_module("pure_ldp.frequency_oracles")
            client = {"OLH": module.LHClient, "OUE": module.UEClient}[name]
            server = {"OLH": module.LHServer, "OUE": module.UEServer}[name]
            extra = {"OLH": {"use_olh": True}, "OUE": {"use_oue": True}}[name]
            sender, receiver = client(EPSILON, DOMAIN, **extra), server(EPSILON, DOMAIN, **extra)

            def work() -> None:
                for value in values:
                    receiver.aggregate(sender.privatise(int(value) + 1))

        else:
            part = {"OLH": "LH", "OUE": "UE", "GRR": "GRR"}[name]
            module = importlib.import_module(f"multi_freq_ldpy.pure_frequency_oracles.{part}")
            perturb = getattr(module, f"{part}_Client")
            collect = getattr(module, f"{part}_Aggregator_MI")
            optimal = () if name == "GRR" else (True,)

            def work() -> None:
                reports = [perturb(int(value), DOMAIN, EPSILON, *optimal) for value in values]
                collect(reports, DOMAIN, EPSILON, *optimal) if name != "OUE" else collect(reports, EPSILON, *optimal)

        work()  # compiles
        return seconds(work) / users
    except (ImportError, TypeError, AttributeError, KeyError):
        return None


@pytest.mark.parametrize(("kind", "users"), [(GRR, 1_000_000), (OUE, 50_000), (OLH, 500_000)])
def test_reports_beside_the_peers(kind, users, capsys):
    ours(kind, users)  # compiles
    own = ours(kind, users)
    lines = [f"\n{kind.__name__}, {DOMAIN} candidates, ε = {EPSILON:g}: {1e6 * own:.2f} µs a user"]
    rivals = {name: peer(name, kind.__name__) for name in ("pure-ldp", "multi-freq-ldpy")}
    if kind is OLH:
        rivals["NumPy, a full hash a pair"] = hashing_in_blocks(20_000)
    for name, taken in rivals.items():
        lines.append(f"; {name} not there" if taken is None else f"; {name} {1e6 * taken:.1f} µs ({taken / own:.0f}×)")
    with capsys.disabled():
        print("".join(lines))


@pytest.mark.parametrize("simulate", ["aggregate", "reports"])
def test_ten_million_users(simulate, capsys):
    data = misaligned(10_000_000, 0)
    estimator = FederatedHeavyHitters(20, 2.0, levels=8, method="aligned", simulate=simulate, random_state=0)
    taken = seconds(lambda: estimator.fit(data.items))
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with capsys.disabled():
        f1 = estimator.score(data.counts)["f1"]
        print(f"\n10^7 users, 8 parties, k = 20, {simulate}: {taken:.1f} s, at most {memory:.2f} GiB, F1 {f1:.2f}")
