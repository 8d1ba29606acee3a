"""Throughput of exact discrete Laplace noise beside that of OpenDP (exact too, value by value) and numpy (floats).

For whoever believes that exact noise must be slow. OpenDP draws a tenth of the values, for its patience;
throughput is compared, in one run.
"""

import statistics
import time

import numpy as np
import opendp.prelude as dp

from sfumato.privacy.entropy import Entropy
from sfumato.privacy.noise import discrete_laplace

VALUES, SCALE = 1_000_000, 50


def median_seconds(draw, rounds):
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        draw()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def test_a_million_discrete_laplace_values(capsys):
    dp.enable_features("contrib")
    zeros = [0] * (VALUES // 10)
    opendp = dp.m.make_laplace(dp.vector_domain(dp.atom_domain(T=int)), dp.l1_distance(T=int), scale=float(SCALE))
    rng = np.random.default_rng(0)

    def ours():
        return discrete_laplace(SCALE, VALUES, Entropy())

    assert abs(np.abs(ours()).mean() - SCALE) < 0.5
    mine = median_seconds(ours, 11)
    floats = median_seconds(lambda: rng.laplace(scale=SCALE, size=VALUES), 11)
    peer = 10 * median_seconds(lambda: opendp(zeros), 3)
    with capsys.disabled():
        print(f"\n10^6 discrete Laplace values, scale {SCALE}: {1e3 * mine:.1f} ms")
        print(f"OpenDP {peer:.2f} s, {peer / mine:.0f} times as long; ours {mine / floats:.1f} times numpy's floats")
    assert peer >= 100 * mine
    assert mine <= 5 * floats
