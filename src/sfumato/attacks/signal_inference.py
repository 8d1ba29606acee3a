"""What a published action tells of the private signal behind it.

For whoever lets people see each other's decisions. The adversary knows the mechanism, the public threshold and the
signal's law, and sees one report: Bayes' rule is the best attack. Card of system 07.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.evidence import Evidence, Verdict
from sfumato.privacy.bounds import FORMAL
from sfumato.privacy.claim import Claim

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SignalInference:
    """Infer a signal from one report.

    Parameters
    ----------
    plus : callable
        ``plus(signals, threshold)``: probability of a + report, for an array of signals.
    """

    plus: Callable[[Floats, float], ArrayLike]

    def posterior(self, report: int, threshold: float, signals: ArrayLike, prior: ArrayLike) -> Floats:
        """Probability of each candidate signal after one report.

        Parameters
        ----------
        report : {1, -1}
        threshold : float
        signals, prior : array_like of float, shape (k,)
            Candidates and their prior weights, at least 0, not all 0.

        Returns
        -------
        ndarray of float, shape (k,)
            Sums to one.
        """
        candidates, weights = np.asarray(signals, dtype=float), np.asarray(prior, dtype=float)
        if report not in (1, -1) or candidates.ndim != 1 or candidates.shape != weights.shape:
            raise InvalidData("report must be 1 or -1, signals and prior of one length")
        if not (weights >= 0).all() or not weights.sum() > 0:
            raise InvalidData("prior weights must be at least 0, and not all 0")
        likelihood = self._probability(report, candidates, threshold)
        return np.asarray(weights * likelihood / (weights @ likelihood), dtype=np.float64)

    def accuracy(self, threshold: float, first: float, second: float) -> float:
        """Best chance to tell two signals apart, each as likely: ½ + half their total variation distance."""
        a, b = self._probability(1, np.array([first, second]), threshold)
        return float((1 + abs(a - b)) / 2)

    def run(
        self,
        report: Callable[[Floats], ArrayLike],
        claim: Claim,
        pair: tuple[float, float],
        threshold: float,
        *,
        trials: int = 100_000,
        alpha: float = 0.05,
        random_state: int | None = None,
    ) -> Evidence:
        """Guess which of two signals was reported, again and again; each by a fair coin.

        A claim of ε for this pair allows at most e^ε/(1 + e^ε) right guesses.

        Parameters
        ----------
        report : callable
            ``report(signals)``: one ±1 for each signal, freshly drawn.
        claim : Claim
            What is promised to a person with either signal.
        pair : tuple of float
            Two signals that are neighbours under the claim, which is not checked.
        threshold : float
        trials : int
        alpha : float
            False-alarm rate of the verdict.
        random_state : int, optional
            Seeds the coins.
        """
        if trials < 1 or not 0 < alpha < 1:
            raise InvalidData("trials must be at least 1 and alpha in (0, 1)")
        coins = np.random.default_rng(random_state).integers(2, size=trials)
        reports = np.asarray(report(np.asarray(pair, dtype=float)[coins]))
        if reports.shape != (trials,) or not np.isin(reports, (-1, 1)).all():
            raise InvalidData("report must return one +1 or -1 for each signal")
        plus = self._probability(1, np.asarray(pair, dtype=float), threshold)
        guesses = np.where(reports == 1, int(plus[1] > plus[0]), int(plus[1] <= plus[0]))
        right = int((guesses == coins).sum())
        low, high = stats.binomtest(right, trials).proportion_ci(1 - alpha, method="exact")
        allowed = _most_accurate(claim)
        verdict: Verdict = "inconclusive" if allowed is None else "falsified" if low > allowed else "consistent"
        return Evidence(
            attack="signal inference from one report",
            metric="accuracy on a fair coin",
            value=right / trials,
            interval=(float(low), float(high)),
            level=1 - alpha,
            samples=trials,
            claim=claim,
            verdict=verdict,
            notes=() if allowed is None else (f"the claim allows at most {allowed:.4f}",),
        )

    def _probability(self, report: int, signals: Floats, threshold: float) -> Floats:
        plus = np.asarray(self.plus(signals, threshold), dtype=np.float64)
        if plus.shape != signals.shape or not ((plus >= 0) & (plus <= 1)).all():
            raise InvalidData("plus must return one probability for each signal")
        return plus if report == 1 else 1 - plus


def _most_accurate(claim: Claim) -> float | None:
    """Largest chance of a right guess on a fair coin that the claim allows, from its δ at ε = 0."""
    if not isinstance(claim.bound, FORMAL) or claim.void:
        return None
    delta = claim.delta_at(0.0)
    return None if math.isnan(delta) else (1 + delta) / 2
