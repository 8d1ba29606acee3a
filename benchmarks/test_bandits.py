"""Steps a second of one silo without privacy beside mabwiser's LinUCB, and a hundred silos; prints the figures.

`pytest benchmarks/test_bandits.py -s`. Peer: mabwiser 2.7.4, if it is installed: its LinUCB keeps one model an arm, so
it solves an easier problem a step (one context, one model changed) and its regret is not comparable. Measured on a
machine shared with others (two cores, load 11), in CPU seconds, d = 10, 20 actions: 5,411 steps a second beside 341, 16
times as many. 100 silos, T = 10,000, K = 100 fresh contexts, d = 10: 197 s at that load, 35 s of CPU.
"""

from __future__ import annotations

import importlib.util
import time

import numpy as np
import pytest

from sfumato.federation.bandits import FedLinUCB, LinearArms, LinearContexts, NoPrivacy, SecureSumDP, simulate

D, ARMS, STEPS = 10, 20, 2000


def ours() -> float:
    """Steps a second of act and observe, one silo."""
    users, rng = LinearContexts.random(D, ARMS, 0), np.random.default_rng(0)
    drawn = [users.users(1, rng) for _ in range(STEPS)]
    learner = FedLinUCB(D, silos=1, horizon=STEPS, mechanism=NoPrivacy(), steering="local")
    began = time.perf_counter()
    for features, means in drawn:
        action = learner.act(0, features[0])
        learner.observe(0, features[0, action], means[0, action])
        if learner.sync_due(0):
            learner.sync()
    return STEPS / (time.perf_counter() - began)


def mabwiser() -> float:
    """Steps a second of predict and partial_fit; disjoint arms, one context a step."""
    from mabwiser.mab import MAB, LearningPolicy

    users, rng = LinearContexts.random(D, ARMS, 0), np.random.default_rng(0)
    drawn = [users.users(1, rng) for _ in range(STEPS)]
    bandit = MAB(list(range(ARMS)), LearningPolicy.LinUCB(alpha=1.0))
    bandit.fit([0], [0.0], drawn[0][0][0, :1])
    began = time.perf_counter()
    for features, means in drawn:
        context = features[0, :1]
        action = bandit.predict(context)
        bandit.partial_fit([action], [means[0, action]], context)
    return STEPS / (time.perf_counter() - began)


def test_one_silo_beside_mabwiser() -> None:
    if importlib.util.find_spec("mabwiser") is None:
        pytest.skip("mabwiser is not installed")
    rates = {"sfumato": ours(), "mabwiser": mabwiser()}
    print({name: f"{rate:.0f} steps/s" for name, rate in rates.items()}, "ratio", rates["sfumato"] / rates["mabwiser"])
    assert min(rates.values()) > 0


@pytest.mark.parametrize("environment", [LinearArms, LinearContexts])
def test_a_hundred_silos(environment: type) -> None:
    horizon = 1000  # a tenth of the card's
    began = time.perf_counter()
    simulate(
        lambda seed: environment.random(10, 100, seed),
        lambda seed: FedLinUCB(10, silos=100, horizon=horizon, mechanism=SecureSumDP(1.0, 1e-5)),
        silos=100,
        horizon=horizon,
        seeds=[0],
    )
    wall = time.perf_counter() - began
    print(f"{environment.__name__}: 100 silos, {horizon} users each, 100 actions: {wall:.1f} s")
