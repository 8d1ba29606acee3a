"""Attacks on answers about similarity: averaging, membership, and a bandwidth that was read from the data.

For the study of private similarities; attacks of `sfumato.attacks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.averaging import averaging_attack
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.similarity import PrivateKDE
from sfumato.studies.study import Row, Scale

Floats = NDArray[np.float64]

CLAIM = Claim(PureDP(1.0))
_GAMES = {"smoke": 60, "small": 1000, "full": 10_000}
_TRIALS = {"smoke": 300, "small": 4000, "full": 40_000}
TARGET = np.array([[0.3]])


def rows(scale: Scale, seed: int) -> Iterator[Row]:
    """The attacks, each with the twin that they must catch; verdicts at a false-alarm rate of 1e-4."""
    others = np.random.default_rng(seed).normal(size=(30, 1))
    pair = (others, np.vstack([others, TARGET]))
    for name, publish, expected in (
        ("one release", publish_once, "consistent"),
        ("a twin with fresh noise for each answer", publish_anew, "falsified"),
    ):
        found = averaging_attack(publish, pair, CLAIM, repeats=50, games=_GAMES[scale], alpha=1e-4, random_state=seed)
        yield Row(
            f"averaging 50 answers to one question, {name}, ε = 1: accuracy on a coin",
            "unlimited queries from one release (abstract)",
            f"{found.value:.3f}, {found.notes[0]}: {found.verdict}",
            found.verdict == expected,
        )
    for name, mechanism, expected in (
        ("answers at the person and two other places", _answers, "no violation found"),
        ("a twin whose bandwidth is the data's median distance", _tuned_answers, "violation"),
    ):
        n = _TRIALS[scale]
        auditor = Auditor(
            n_train=n // 4,
            n_select=n // 4,
            n_test=n,
            alpha=1e-4,
            scores=("threshold", "linear"),
            random_state=seed,
            progress=False,
        )
        report = auditor.audit(_one_by_one(mechanism), CLAIM, pairs=[pair])
        yield Row(
            f"membership, {name}, ε = 1: what the audit certifies",
            "pure ε",
            f"ε ≥ {report.eps_lower:.2f}: {report.verdict}",
            report.verdict == expected,
        )


def _kde(bandwidth: float = 1.0) -> PrivateKDE:
    return PrivateKDE("gaussian", bandwidth, epsilon=1.0, n_features=16, random_state=0)


def publish_once(data: Floats) -> Callable[[], float]:
    """Release once, answer as often as asked."""
    fitted = _kde().fit(data)
    return lambda: float(fitted.density_sum(TARGET)[0])


def publish_anew(data: Floats) -> Callable[[], float]:
    """Draw noise of ε = 1 for each answer, and keep no books."""
    exact = int(1000 * np.exp(-((data - TARGET) ** 2) / 2).sum())

    def ask() -> float:
        with Release(CLAIM, purpose="one answer") as release:
            return float(release.discrete_laplace([exact], l1_sensitivity=1000, epsilon=1.0)[0])

    return ask


def _answers(data: Floats) -> Floats:
    return _kde().fit(data).density_sum(np.array([[0.3], [0.0], [2.0]]))


def _tuned_answers(data: Floats) -> Floats:
    """The usual median heuristic. The bandwidth is part of the release: without it nobody could ask."""
    bandwidth = float(np.median(np.abs(data - data.T)[np.triu_indices(len(data), 1)]))
    return np.append(bandwidth, _kde(bandwidth).fit(data).density_sum(TARGET))


def _one_by_one(mechanism: Callable[[Floats], Floats]) -> Callable[[Floats, int, Any], Floats]:
    return lambda data, n, rng: np.array([mechanism(data) for _ in range(n)])
