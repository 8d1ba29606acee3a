"""Crowds of generated agents, many at once: how fast they learn, how often they are wrong.

For `SequentialLearning.run` and the study of system 07. Simulated people: numpy's randomness, no release.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.statistics.sequential.mechanisms import Mechanism
from sfumato.statistics.sequential.signals import BinarySignals, GaussianSignals

Floats = NDArray[np.float64]

_PER_DECADE = 10
_MOST_ODDS = 1e6  # beyond it probabilities are below exp(-10**5): nothing more is learned, and nothing overflows


@dataclass(frozen=True)
class Paths:
    """What the simulated crowds did, at the agents of `trace`.

    Attributes
    ----------
    trace : ndarray of int, shape (k,)
        Agents after whom the figures are taken, about ten a decade.
    log_odds : ndarray of float, shape (k, n_paths)
        Public belief in the state +.
    intended_wrong, reported_wrong : ndarray of int, shape (k, n_paths)
        How many actions so far differed from the state.
    first_correct : ndarray of int, shape (n_paths,)
        First agent whose reported action is the state; n_agents + 1 if none was.
    reports : ndarray of int8, shape (n_agents, n_paths), or None
    """

    trace: NDArray[np.int64]
    log_odds: Floats
    intended_wrong: NDArray[np.int64]
    reported_wrong: NDArray[np.int64]
    first_correct: NDArray[np.int64]
    reports: NDArray[np.int8] | None = None


@dataclass
class _State:
    """A run in progress: all that a checkpoint holds."""

    done: int
    log_odds: Floats
    intended_wrong: NDArray[np.int64]
    reported_wrong: NDArray[np.int64]
    first_correct: NDArray[np.int64]
    taken: list[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)


def simulate(
    signals: GaussianSignals | BinarySignals,
    mechanism: Mechanism,
    prior_odds: float,
    *,
    theta: int,
    n_agents: int,
    n_paths: int,
    epsilon_law: Callable[[np.random.Generator, int], Floats] | None,
    keep_reports: bool,
    random_state: int | None,
    checkpoint: Path | None,
) -> Paths:
    """Run `n_paths` crowds side by side; the parameters are those of `SequentialLearning.run`."""
    trace = _trace(n_agents)
    rng = np.random.default_rng(random_state)
    zeros = np.zeros(n_paths, dtype=np.int64)
    state = _State(0, np.full(n_paths, prior_odds), zeros, zeros.copy(), np.full(n_paths, n_agents + 1))
    identity = repr((signals, mechanism, prior_odds, theta, n_agents, n_paths, random_state))
    if checkpoint is not None:
        if keep_reports or random_state is None:
            raise InvalidData("a checkpoint needs random_state, and does not keep reports")
        state = _resumed(checkpoint, identity, state, rng)
    reports = np.empty((n_agents, n_paths), dtype=np.int8) if keep_reports else None
    stops = set(trace.tolist())
    for agent in range(state.done + 1, n_agents + 1):
        report = _one_agent(signals, mechanism, theta, epsilon_law, state, agent, rng)
        if reports is not None:
            reports[agent - 1] = report
        if agent in stops:
            state.done = agent
            state.taken.append((state.log_odds.copy(), state.intended_wrong.copy(), state.reported_wrong.copy()))
            if checkpoint is not None:
                _save(checkpoint, identity, state, rng)
    odds, intended, reported = (np.stack(each) for each in zip(*state.taken, strict=True))
    return Paths(trace, odds, intended, reported, state.first_correct, reports)


def _one_agent(
    signals: GaussianSignals | BinarySignals,
    mechanism: Mechanism,
    theta: int,
    epsilon_law: Callable[[np.random.Generator, int], Floats] | None,
    state: _State,
    agent: int,
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Let one more agent of each crowd act, and everyone update."""
    n = len(state.log_odds)
    epsilon = None if epsilon_law is None else epsilon_law(rng, n)
    own = signals.draw(theta, n, rng)
    action = np.where(own > signals.threshold(state.log_odds), 1, -1)
    flipped = rng.random(n) < signals.flip_probability(own, state.log_odds, mechanism, epsilon)
    report = np.where(flipped, -action, action)
    state.intended_wrong += action != theta
    state.reported_wrong += report != theta
    state.first_correct[(report == theta) & (state.first_correct > agent)] = agent
    moved = state.log_odds + signals.log_ratio(report, state.log_odds, mechanism, epsilon)
    state.log_odds = np.clip(moved, -_MOST_ODDS, _MOST_ODDS)
    return report


def _trace(n_agents: int) -> NDArray[np.int64]:
    steps = int(np.ceil(np.log10(n_agents) * _PER_DECADE)) + 1
    points = np.rint(np.geomspace(1, n_agents, max(2, steps))).astype(np.int64)
    return np.unique(points)


def _save(path: Path, identity: str, state: _State, rng: np.random.Generator) -> None:
    """Write beside the file and rename: an interruption leaves the old state or the new one."""
    beside = path.with_name(path.name + ".new")
    odds, intended, reported = (np.stack(each) for each in zip(*state.taken, strict=True))
    with beside.open("wb") as file:
        np.savez(
            file,
            identity=identity,
            rng=json.dumps(rng.bit_generator.state),
            done=state.done,
            first_correct=state.first_correct,
            log_odds=odds,
            intended_wrong=intended,
            reported_wrong=reported,
        )
    os.replace(beside, path)


def _resumed(path: Path, identity: str, fresh: _State, rng: np.random.Generator) -> _State:
    if not path.exists():
        return fresh
    with np.load(path, allow_pickle=False) as saved:
        if str(saved["identity"]) != identity:
            raise InvalidData("the checkpoint belongs to another run")
        generator: Any = json.loads(str(saved["rng"]))
        rng.bit_generator.state = generator
        odds, intended, reported = saved["log_odds"], saved["intended_wrong"], saved["reported_wrong"]
        taken = list(zip(odds, intended, reported, strict=True))
        return _State(
            int(saved["done"]), odds[-1].copy(), intended[-1].copy(), reported[-1].copy(), saved["first_correct"], taken
        )
