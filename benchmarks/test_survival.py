"""Speed of DPKaplanMeier.fit beside lifelines' KaplanMeierFitter.fit, in one run; prints the ratio.

`pytest benchmarks/test_survival.py -s`
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from lifelines import KaplanMeierFitter

from sfumato.statistics.survival import DPKaplanMeier

ROWS = 1_000_000


@pytest.fixture(scope="module")
def million() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    event, censoring = 420 * rng.weibull(1.3, ROWS), rng.uniform(100, 1500, ROWS)
    return np.minimum(event, censoring), (event <= censoring).astype(int)


def _best(work: Callable[[], object], times: int = 3) -> float:
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


@pytest.mark.parametrize("n_bins", [26, "auto"])
def test_fit_a_million_rows(million, n_bins, capsys):
    durations, events = million
    km = DPKaplanMeier(1.0, horizon=1095, n_bins=n_bins)
    ours = _best(lambda: km.fit(durations, events))
    peer = _best(lambda: KaplanMeierFitter().fit(durations, events))
    with capsys.disabled():
        print(
            f"\nfit, 10^6 rows, {km.n_bins_} bins: sfumato {ours:.3f} s, lifelines {peer:.3f} s, "
            f"{peer / ours:.1f} times as fast"
        )
    assert peer >= 5 * ours


def test_memory_beyond_the_input(million, capsys):
    durations, events = million
    tracemalloc.start()
    DPKaplanMeier(1.0, horizon=1095, n_bins=365).fit(durations, events)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with capsys.disabled():
        print(f"\nfit, 10^6 rows (16 MB): peak of {peak / 1e6:.2f} MB beyond the input")
    assert peak < 8e6
