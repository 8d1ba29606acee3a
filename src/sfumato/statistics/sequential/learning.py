"""Bayesian agents who act one after another, each seeing every earlier report.

For a platform that shows what others did: what the crowd believes after a history, and what one more person, whose
signal stays private, intends and reports. Liu and Rahimian 2025.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.claim import Claim
from sfumato.statistics.sequential.mechanisms import Mechanism, SmoothRandomizedResponse
from sfumato.statistics.sequential.signals import BinarySignals, GaussianSignals
from sfumato.statistics.sequential.simulation import Paths, simulate

#: Draws the public ε of each simulated agent: ``law(rng, size)``.
EpsilonLaw = Callable[[np.random.Generator, int], NDArray[np.float64]]


@dataclass(frozen=True)
class Decision:
    """What one agent did.

    Attributes
    ----------
    action : int
        Intended, +1 or -1. It depends on the private signal: it stays with the agent.
    report : int
        Published, +1 or -1.
    claim : Claim or None
        What the report promises; None in a cascade, where it depends on no signal.
    """

    action: int
    report: int
    claim: Claim | None


@dataclass(frozen=True)
class SequentialLearning:
    """A crowd that learns a binary state from one another's reports.

    Each agent's own loss is that of its one report: it depends on the agent's signal and on public history, and later
    reports are functions of earlier ones. The state itself is not protected: the crowd is meant to learn it.

    Parameters
    ----------
    signals : GaussianSignals or BinarySignals
    mechanism : SmoothRandomizedResponse, UniformRandomizedResponse or NoNoise
        Smooth flips need normal signals.
    prior : float, default 0.5
        Probability of the state +, in (0, 1).

    Examples
    --------
    >>> from sfumato.statistics.sequential import GaussianSignals, SequentialLearning, SmoothRandomizedResponse
    >>> crowd = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(0.5))
    >>> odds = crowd.belief([1, 1, -1, 1])
    >>> crowd.decide(odds, signal=0.2).claim.bound.epsilon
    0.5
    """

    signals: GaussianSignals | BinarySignals
    mechanism: Mechanism
    prior: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.prior < 1:
            raise InvalidData("prior must lie strictly between 0 and 1")
        if isinstance(self.signals, BinarySignals) and isinstance(self.mechanism, SmoothRandomizedResponse):
            raise InvalidClaim(
                "smooth flips need signals with a distance: use UniformRandomizedResponse for binary ones"
            )

    def belief(
        self,
        reports: ArrayLike,
        *,
        epsilons: ArrayLike | None = None,
        coding: Literal["signs", "01"] = "signs",
    ) -> float:
        """Public log-odds of the state + after a history of reports.

        Parameters
        ----------
        reports : array_like, shape (n,)
            +1 and -1; or 1 and 0 with ``coding="01"``.
        epsilons : array_like of float, shape (n,), optional
            Each agent's own public ε, if they differ.
        coding : {"signs", "01"}

        Raises
        ------
        InvalidData
            If there is any other symbol, or the lengths differ.
        """
        history = np.asarray(reports)
        low = {"signs": -1, "01": 0}.get(coding)
        if low is None or history.ndim != 1 or not np.isin(history, (low, 1)).all():
            raise InvalidData("reports must be one history of +1 and -1, or of 0 and 1 with coding='01'")
        own: list[float] | list[None] = [None] * len(history)
        if epsilons is not None:
            given = np.asarray(epsilons, dtype=float)
            if given.shape != history.shape or not ((given >= 0) & (given < math.inf)).all():
                raise InvalidData("epsilons must hold one finite number, at least 0, for each report")
            own = given.tolist()
        odds = np.array([self._prior_odds()])
        for report, epsilon in zip(np.where(history == 1, 1, -1), own, strict=True):
            odds = odds + self.signals.log_ratio(report, odds, self.mechanism, epsilon)
        return float(odds[0])

    def decide(self, log_odds: float, signal: float, *, radius: float = 1.0, noise_seed: int | None = None) -> Decision:
        """Intend and report for one person, who must not report again on this signal.

        The report is drawn inside a `Release`, charged to the active ledger if there is one. In a cascade of binary
        signals nothing is drawn and nothing is spent.

        Parameters
        ----------
        log_odds : float
            Public belief, as `belief` gives it.
        signal : float
            Private; ±1 for binary signals.
        radius : float
            For smooth flips: signals within it count as neighbours.
        noise_seed : int, optional
            For tests only.

        Raises
        ------
        InvalidData
            If either number is not finite, or a binary signal is not ±1.
        """
        if not math.isfinite(log_odds) or not math.isfinite(signal):
            raise InvalidData("log_odds and signal must be finite")
        if isinstance(self.signals, BinarySignals) and signal not in (-1, 1):
            raise InvalidData("a binary signal must be +1 or -1")
        threshold = float(self.signals.threshold(log_odds))
        action = 1 if signal > threshold else -1
        if math.isinf(threshold):
            return Decision(action, action, None)
        options: dict[str, Any] = {}
        if isinstance(self.mechanism, SmoothRandomizedResponse):
            options = {"radius": radius}
        claim = self.mechanism.claim(**options)
        if claim.formal:
            options["noise_seed"] = noise_seed
        return Decision(action, int(self.mechanism.report(signal, threshold, **options)), claim)

    def run(
        self,
        n_agents: int,
        n_paths: int,
        *,
        theta: Literal[1, -1] = 1,
        epsilon_law: EpsilonLaw | None = None,
        keep_reports: bool = False,
        random_state: int | None = None,
        checkpoint: str | Path | None = None,
    ) -> Paths:
        """Simulate crowds of generated people; nobody's data, so no noise of a release.

        Parameters
        ----------
        n_agents, n_paths : int
            Agents in a crowd, and crowds.
        theta : {1, -1}
            The state.
        epsilon_law : callable, optional
            ``law(rng, size)`` draws the agents' own public ε's, instead of the mechanism's.
        keep_reports : bool
            Keep every report, shape (n_agents, n_paths).
        random_state : int, optional
        checkpoint : str or Path, optional
            A file from which the same call goes on after an interruption.

        Raises
        ------
        InvalidData
            If a parameter is out of range, or the checkpoint is of another run.
        """
        if theta not in (1, -1):
            raise InvalidData("theta must be 1 or -1")
        for name, value in (("n_agents", n_agents), ("n_paths", n_paths)):
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        return simulate(
            self.signals,
            self.mechanism,
            self._prior_odds(),
            theta=theta,
            n_agents=int(n_agents),
            n_paths=int(n_paths),
            epsilon_law=epsilon_law,
            keep_reports=keep_reports,
            random_state=random_state,
            checkpoint=None if checkpoint is None else Path(checkpoint),
        )

    def first_correct_tail(self, n_agents: int, *, theta: Literal[1, -1] = 1) -> NDArray[np.float64]:
        """Probability that the first n reports are all wrong, for n = 1 .. n_agents; exact.

        As long as all are wrong there is one history, so the probability is a product. Its sum up to N, plus one, is
        the expected time of the first right report capped at N + 1.

        Raises
        ------
        InvalidData
            With binary signals, whose wrong herds never end.
        """
        if not isinstance(self.signals, GaussianSignals):
            raise InvalidData("a wrong herd of binary signals never ends: see cascade_probability")
        odds, total = np.asarray(self._prior_odds()), 0.0
        logs = np.empty(n_agents)
        for n in range(n_agents):
            total += float(self.signals.log_probability(-theta, theta, odds, self.mechanism))
            logs[n] = total
            odds = odds + self.signals.log_ratio(-theta, odds, self.mechanism)
        return np.asarray(np.exp(logs), dtype=np.float64)

    def _prior_odds(self) -> float:
        return math.log(self.prior / (1 - self.prior))
