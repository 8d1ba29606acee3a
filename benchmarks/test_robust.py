"""Seconds of the private means and median beside diffprivlib's and OpenDP's, and of the exact choice beside OpenDP's.

`SFUMATO_DIFFPRIVLIB=/path/to/its/python pytest benchmarks/test_robust.py -s`: diffprivlib does not import beside
scikit-learn 1.9, so it is timed in a process with its own, within the same run; only its calls are timed.
"""

import statistics
import time

import numpy as np
import opendp.prelude as dp
import pytest

from sfumato.privacy.entropy import Entropy
from sfumato.privacy.noise import exponential_choice
from sfumato.statistics.robust import DPDepthMean, DPHodgesLehmann, DPMedian, DPTrimmedMean, ProposeTestRelease
from sfumato.studies.robust_peers import DIFFPRIVLIB, diffprivlib_errors, opendp_median

HALF, CALLS = 100.0, 20


def median_seconds(work, times=CALLS):
    found = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_mean_and_median_beside_diffprivlib_and_opendp(n, capsys):
    x = np.random.default_rng(0).normal(0, 1, n)
    ours = {
        "mean": median_seconds(lambda: DPTrimmedMean(1.0, bounds=(-HALF, HALF), scale=1.0).fit(x)),
        "median": median_seconds(lambda: DPMedian(1.0, bounds=(-HALF, HALF), scale=1.0).fit(x)),
        "mean by all pairs": median_seconds(
            lambda: DPHodgesLehmann(1.0, bounds=(-HALF, HALF), scale=1.0).fit(x), 1 + 2 * (n < 10_000)
        ),
        "mean by propose-test-release": median_seconds(lambda: ProposeTestRelease(scale=1.0, delta=1e-6).fit(x)),
    }
    peer = opendp_median(n, 1.0, np.linspace(-HALF, HALF, 4001))
    listed = x.tolist()
    opendp = median_seconds(lambda: peer(listed), 5)
    theirs = diffprivlib_errors(n, 1.0, HALF, CALLS, 0.0, 0)
    with capsys.disabled():
        for name, seconds in ours.items():
            print(f"\n{name} of {n:,}: ours {1e3 * seconds:.2f} ms", end="")
            if theirs:
                beside = name.split()[0]
                own = theirs["seconds"][beside] / CALLS
                print(f", diffprivlib's {beside} {1e3 * own:.2f} ms, {own / seconds:.3f} times as long", end="")
            else:
                print(f"; diffprivlib not timed: name an interpreter that has it in {DIFFPRIVLIB}", end="")
        print(
            f"\nOpenDP's median, 4,001 candidates: {1e3 * opendp:.2f} ms, {opendp / ours['median']:.2f} times as long"
        )


@pytest.mark.parametrize("d", [2, 3])
def test_deepest_point_beside_the_median_of_each_column(d, capsys):
    """No peer offers it: what it costs beside our own median of each column."""
    x = np.random.default_rng(0).normal(0, 1, (2000, d))
    common = {"bounds": (-HALF, HALF), "scale": 1.0}
    depth = median_seconds(lambda: DPDepthMean(1.0, **common).fit(x), 3)
    columns = median_seconds(lambda: DPMedian(1.0, **common).fit(x))
    with capsys.disabled():
        print(
            f"\ndeepest of {41**d:,} points, {d} columns of 2,000: {1e3 * depth:.1f} ms, medians {1e3 * columns:.1f} ms"
        )


@pytest.mark.parametrize("k", [100, 20_000])
def test_an_exact_choice_beside_opendp(k, capsys):
    dp.enable_features("contrib")
    scores = -np.arange(k)
    source = Entropy()
    peer = dp.m.make_noisy_max(
        dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.linf_distance(T=float), dp.max_divergence(), 2.0
    )
    listed = scores.astype(float).tolist()
    ours = median_seconds(lambda: exponential_choice(scores, 1.0, 1, source))
    runs = median_seconds(lambda: exponential_choice(scores, 1.0, 1, source, np.full(k, 2**40)))
    opendp = median_seconds(lambda: peer(listed), 5)
    with capsys.disabled():
        print(f"\nchoice among {k:,}: ours {1e3 * ours:.3f} ms, among as many runs of 2^40 each {1e3 * runs:.3f} ms")
        print(f"OpenDP's noisy max {1e3 * opendp:.3f} ms, {opendp / ours:.1f} times as long")
