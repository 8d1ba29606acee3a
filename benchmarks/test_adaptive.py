"""Sparse vector on a long line of queries, beside OpenDP's exact sampler; many means at once, beside one by one.

For hosts of many questions. The peer draws the same discrete Laplace noise a value at a time and compares in Python;
both in one run. `pytest benchmarks/test_adaptive.py -s`
"""

import time

import numpy as np
import opendp.prelude as dp

from sfumato import Claim, PureDP, Release
from sfumato.privacy.sparse_vector import AboveThreshold
from sfumato.statistics.adaptive import AdaptiveOracle

QUERIES = 20_000


def _seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def test_sparse_vector_beside_opendp(capsys):
    values = np.full(QUERIES, -1000)

    def ours():
        with Release(Claim(PureDP(1.0)), purpose="benchmark") as release:
            AboveThreshold(release, 1.0, sensitivity=1, threshold=1000).ask(values)

    def peer():
        dp.enable_features("contrib")
        space = dp.atom_domain(T=int), dp.absolute_distance(T=int)
        threshold = dp.m.make_laplace(*space, scale=2.0)(1000)
        query = dp.m.make_laplace(*space, scale=4.0)
        any(query(int(value)) >= threshold for value in values)

    a, b = _seconds(ours), _seconds(peer)
    with capsys.disabled():
        print(f"\n{QUERIES:,} queries below the threshold: {a:.3f} s; OpenDP one by one {b:.3f} s, {b / a:.0f} times")


def test_many_means_beside_one_by_one(capsys):
    rows = np.random.default_rng(0).integers(0, 2, (10_000, 500), dtype=np.int8)

    def at_once():
        AdaptiveOracle(rows, max_queries=500, mechanism="gaussian").answer(lambda rows: rows)

    def one_by_one():
        oracle = AdaptiveOracle(rows, max_queries=500, mechanism="gaussian")
        for j in range(500):
            oracle.answer(lambda rows, j=j: rows[:, j])

    _seconds(at_once)  # the plan is computed once for both
    a, b = _seconds(at_once), _seconds(one_by_one)
    with capsys.disabled():
        print(f"\n500 means of 10,000 rows: at once {a:.3f} s, one by one {b:.3f} s, {b / a:.1f} times")
