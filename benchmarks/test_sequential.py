"""Simulated crowds, side by side, beside the loop over agents of one crowd after another that a paper's script writes.

For the study of system 07: same model, same number of decisions, one run.
"""

import math
import time

import numpy as np
from scipy import stats

from sfumato.statistics.sequential import GaussianSignals, SequentialLearning, SmoothRandomizedResponse

AGENTS, PATHS = 2_000, 400
LOOPED = 2  # crowds of the loop: its time is proportional to them


def one_crowd_by_loop(epsilon, rng):
    """One agent at a time, the closed form in plain floats."""

    def plus(z):
        upper = stats.norm.cdf(z) - 0.5 * math.exp(epsilon**2 / 2 - epsilon * z) * stats.norm.cdf(z - epsilon)
        return upper + 0.5 * math.exp(epsilon**2 / 2 + epsilon * z) * stats.norm.cdf(-z - epsilon)

    odds = 0.0
    for _ in range(AGENTS):
        threshold = -odds / 2
        signal = 1 + rng.standard_normal()
        action = 1 if signal > threshold else -1
        report = -action if rng.random() < 0.5 * math.exp(-epsilon * abs(signal - threshold)) else action
        odds += math.log(plus(report * (1 - threshold)) / plus(report * (-1 - threshold)))
    return odds


def test_crowds_beside_a_loop(capsys):
    crowd = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(1.0))
    start = time.perf_counter()
    paths = crowd.run(AGENTS, PATHS, random_state=0)
    ours = time.perf_counter() - start
    rng = np.random.default_rng(0)
    start = time.perf_counter()
    looped = [one_crowd_by_loop(1.0, rng) for _ in range(LOOPED)]
    peer = (time.perf_counter() - start) / LOOPED * PATHS
    with capsys.disabled():
        print(
            f"\n{PATHS} crowds of {AGENTS:,}: {ours:.2f} s; a loop {peer:.0f} s, {peer / ours:.0f} times as long "
            f"(median log-odds {np.median(paths.log_odds[-1]):.1f}, looped {np.round(looped, 1)})"
        )


def test_one_decision(benchmark):
    crowd = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(1.0))
    benchmark(crowd.decide, 0.4, 0.1)
