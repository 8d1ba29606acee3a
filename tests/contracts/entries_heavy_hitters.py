"""Contracts of `sfumato.federation.heavy_hitters`: local privacy, one report a user.

The worst pair replaces the item of one user, the far pair those of all. TrieHH, whose votes are sampled and not
noised, has its bound checked against brute force in tests/federation/heavy_hitters/test_trie.py.
"""

import numpy as np
from contract import Contract
from coupling import captured

from sfumato import Release
from sfumato.federation.heavy_hitters import GRR, OLH, OUE, FederatedHeavyHitters, hashing

CANDIDATES = 3


def one_replaced(rng, n, low, high):
    items = rng.integers(low, high, n)
    other = items.copy()
    place = int(rng.integers(n))
    other[place] = rng.choice([item for item in range(low, high) if item != items[place]])
    return items, other


def reports(oracle, values):
    """What each user's report supports, shape (n, candidates): all that anybody can learn from it."""
    values = np.asarray(values, np.int64)
    with Release(oracle.claim, "contract") as release:
        drawn = oracle.perturb(values, release, np.random.default_rng(5))
    if isinstance(oracle, GRR):
        return drawn[:, np.newaxis] == np.arange(CANDIDATES)
    if isinstance(oracle, OUE):
        return np.unpackbits(drawn, axis=1, count=CANDIDATES)
    seeds, buckets = drawn
    hashed = [hashing.buckets(seeds, np.full(len(seeds), x), oracle.buckets) for x in range(CANDIDATES)]
    return np.stack(hashed, axis=1) == buckets[:, np.newaxis]


def oracle(kind):
    one = kind(1.0, CANDIDATES)
    return Contract(
        kind,
        "report",
        one.claim,
        lambda values: reports(one, values),
        lambda rng: one_replaced(rng, int(rng.integers(1, 20)), -1, CANDIDATES),
        lambda values, n, rng: reports(one, np.tile(values, n)).reshape(n, -1).astype(np.float64),
        [(np.array([0, -1]), np.array([1, -1]))],
        [(np.array([0, 0]), np.array([1, 1]))],
    )


def federated():
    """Coupled runs walk two levels of several parties; audits fit many parties at once, each a release of its own."""
    common = {"k": 1, "epsilon": 1.0, "bits": 2, "random_state": 0}
    walk = FederatedHeavyHitters(**common, levels=2, method="tap", shared_levels=1)
    flat = FederatedHeavyHitters(**common, levels=1, method="fedpem")

    def outputs(items, n, rng):
        drawn = []
        with captured(drawn):
            flat.fit([items] * n)
        symbols = np.array(drawn)
        return np.sum((symbols == 0) * 1.0 - (symbols == 3), axis=1, keepdims=True)

    nobody, one, all_of_them = np.zeros((3, 8), np.int64)
    one[7], all_of_them[:] = 3, 3
    return Contract(
        FederatedHeavyHitters,
        "tap",
        walk.fit([nobody]).claim_,
        lambda items: walk.fit(np.array_split(items, max(1, len(items) // 8))),
        lambda rng: one_replaced(rng, int(rng.integers(4, 30)), 0, 4),
        outputs,
        [(nobody, one)],
        [(nobody, all_of_them)],
        trials=300,
        bug=8,
    )


CONTRACTS = [oracle(GRR), oracle(OUE), oracle(OLH), federated()]

WITHOUT_A_FORMAL_CLAIM = {}
