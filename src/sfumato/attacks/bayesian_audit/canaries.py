"""Canary games: an audit of training, where each run is expensive and gives one model.

For an ML engineer who trains with a claim. One canary in many runs is exact; many canaries in one run are exact by
Steinke et al. (2023); many canaries in many runs, taken for independent, are the estimate of
Zanella-Béguelin et al. (2023), which carries no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

from sfumato.attacks.bayesian_audit.calibration import Calibration
from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.attacks.bayesian_audit.intervals import epsilon_interval
from sfumato.attacks.bayesian_audit.one_run import GUESS_SHARES, best_guesses, one_run_epsilon
from sfumato.attacks.bayesian_audit.posterior import EpsilonPosterior
from sfumato.attacks.bayesian_audit.power import Profile, profile_of
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL
from sfumato.privacy.claim import Claim

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Mode = Literal["independent runs", "one run", "pooled"]

#: Trains with the canaries that are included (m booleans) and a fresh seed; returns whatever `score` reads.
Train = Callable[[Bools, int], Any]
#: Scores each canary on a trained model, shape (m,): higher where it looks included; then the population, if any.
Score = Callable[[Any], npt.ArrayLike]


@dataclass(frozen=True)
class CanaryReport:
    """What a canary game found.

    Attributes
    ----------
    mode : {"independent runs", "one run", "pooled"}
        One canary and many runs; many canaries in one run; many in many, which is a heuristic.
    eps_lower : float
        Lower bound of ε at ``delta`` and level ``1 - alpha``; of a pooled game, an estimate.
    counts : AttackCounts
        Guesses that the bound rests on, by truth.
    m, n_models : int
    auc : float
        Of the scores, over all runs.
    design_effect : float
        Variance of the number of right guesses of a run over that of independent guesses; 1 if they are, and not
        a number for one run or one canary.
    """

    claim: Claim
    mode: Mode
    eps_lower: float
    delta: float
    alpha: float
    counts: AttackCounts
    m: int
    n_models: int
    auc: float
    design_effect: float

    @property
    def heuristic(self) -> bool:
        """Whether the guesses were taken for independent though they need not be: no verdict then."""
        return self.mode == "pooled"

    @property
    def posterior(self) -> EpsilonPosterior:
        """Posterior of the attack's ε, its guesses taken for independent: an estimate."""
        return EpsilonPosterior(self.counts, self.delta)

    def _refutes(self, counts: AttackCounts) -> bool:
        """Whether such counts would refute the claim: of independent runs, any point of its privacy profile."""
        if self.mode == "one run":
            guesses = counts.tp + counts.fn + counts.fp + counts.tn
            share = self.alpha / len(GUESS_SHARES)
            found = one_run_epsilon(self.m, guesses, counts.tp + counts.tn, self.delta, share)
            return found > self.claim.epsilon_at(self.delta)
        return _margin(counts, profile_of(self.claim, self.n_models), self.alpha) > 0

    def to_evidence(self) -> Evidence:
        """Evidence against the claim; only exact modes carry a verdict.

        "inconclusive" if even an attack that never errs would not have refuted the claim in this game.
        """
        verdict: Verdict = "inconclusive"
        if not self.heuristic and isinstance(self.claim.bound, FORMAL):
            verdict = "falsified" if self._refutes(self.counts) else "consistent"
            if verdict == "consistent" and not self._refutes(_perfect(self.counts)):
                verdict = "inconclusive"
        notes = [f"{self.m} canaries, {self.n_models} models, AUC {self.auc:.3f}"]
        if self.heuristic:
            notes.append("heuristic: canaries of one model were taken for independent")
        if not math.isnan(self.design_effect):
            notes.append(f"design effect {self.design_effect:.2f}")
        return Evidence(
            attack=f"canary game, {self.mode}",
            metric=f"epsilon lower bound at delta = {self.delta:g}",
            value=self.eps_lower,
            interval=(self.eps_lower, math.inf),
            level=1 - self.alpha,
            samples=self.n_models,
            claim=self.claim,
            verdict=verdict,
            kind="credible" if self.heuristic else "confidence",
            notes=tuple(notes),
        )


@dataclass(frozen=True, kw_only=True)
class CanaryGame:
    """Trains with canaries in or out by fair coins, and guesses from the models which were in.

    Canaries are chosen before the game and held fixed, as is everything else about the training; its unit and
    neighbours (one canary added or removed) must be the claim's.

    Parameters
    ----------
    train : callable
        ``train(included, seed) -> model``; `included` has shape (m,).
    score : callable
        ``score(model) -> (m,)``, higher where a canary looks included.
    n_models : int
        Runs of `train`. With m = 1 the first half chooses the threshold and the second is counted.
    m : int, default 1
        Canaries.
    population : int, default 0
        Records outside the game that `score` scores after the canaries, for `rmia`.
    calibrate : callable, optional
        `lira`, `rmia` or one of your own: compares a run's scores with those of reference runs. These are `shadows`
        runs, trained first with coins of their own and counted nowhere; without any, they are the half of the runs
        that chooses the threshold, each of which is then compared with the others.
    shadows : int, default 0
        One run with many canaries has no half to spare and needs some.
    """

    train: Train
    score: Score
    n_models: int
    m: int = 1
    population: int = 0
    calibrate: Calibration | None = None
    shadows: int = 0

    def __post_init__(self) -> None:
        for name in ("n_models", "m"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        if self.m == 1 and self.n_models < 4:
            raise InvalidData("with one canary, at least 4 models are needed: half of them choose the threshold")
        for name in ("population", "shadows"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
                raise InvalidData(f"{name} must be a whole number, at least 0")
        if self.calibrate is not None and (self.shadows or self.n_models // 2) < 3:
            raise InvalidData("to calibrate, at least 3 shadows are needed, or 6 models")

    def run(self, claim: Claim, *, delta: float, alpha: float = 0.05, random_state: int | None = None) -> CanaryReport:
        """Play the game.

        Parameters
        ----------
        claim : Claim
            What the training promises; evidence is stated against it.
        delta : float
            δ at which ε is stated, in [0, 1).
        alpha : float, default 0.05
        random_state : int, optional
            Seeds the coins and the seeds handed to `train`.

        Raises
        ------
        InvalidData
            If a score is not one finite number for each canary: a diverged model cannot be ranked.
        InvalidClaim
            If the claim is void: it was about another mechanism.
        """
        if claim.void:
            raise InvalidClaim("a void claim cannot be audited: state what the training promises")
        rng = np.random.default_rng(random_state)
        shadows = self._play(rng, self.shadows if self.calibrate else 0)
        scores, included = self._play(rng, self.n_models)
        scores = self._calibrated(scores, included, *shadows)
        if self.m == 1:
            return judge_independent(scores[:, 0], included[:, 0], claim, delta, alpha)
        mode: Mode
        if self.n_models == 1:
            mode, (eps, counts) = "one run", _one_run(scores[0], included[0], delta, alpha)
        else:
            mode, (eps, counts) = "pooled", _pooled(scores, included, delta, alpha)
        return CanaryReport(
            claim=claim,
            mode=mode,
            eps_lower=eps,
            delta=delta,
            alpha=alpha,
            counts=counts,
            m=self.m,
            n_models=self.n_models,
            auc=_auc(scores.ravel(), included.ravel()),
            design_effect=_design_effect(scores, included),
        )

    def _play(self, rng: np.random.Generator, runs: int) -> tuple[Floats, Bools]:
        """Train some runs, each canary in by a fair coin; their scores and coins."""
        included = rng.random((runs, self.m)) < 0.5
        seeds = rng.integers(2**31, size=runs)
        scores = [self._scores(row, int(seed)) for row, seed in zip(included, seeds, strict=True)]
        return np.array(scores).reshape(runs, self.m + self.population), included

    def _scores(self, included: Bools, seed: int) -> Floats:
        scores = np.asarray(self.score(self.train(included.copy(), seed)), dtype=np.float64)
        if scores.shape != (self.m + self.population,) or not np.isfinite(scores).all():
            what = "one for each canary" + (" and population record" if self.population else "")
            raise InvalidData(f"score must return {self.m + self.population} finite numbers, {what}")
        return scores

    def _calibrated(self, scores: Floats, included: Bools, reference: Floats, known: Bools) -> Floats:
        """Scores of the canaries, shape (runs, m); the coins of a counted run are not looked at for its scores."""
        if self.calibrate is None:
            return scores[:, : self.m]
        if len(reference):
            return self.calibrate(scores, reference, known)
        half = self.n_models // 2
        first, coins = scores[:half], included[:half]
        rest = [np.arange(half) != i for i in range(half)]
        apart = [self.calibrate(first[i : i + 1], first[keep], coins[keep]) for i, keep in enumerate(rest)]
        return np.concatenate([*apart, self.calibrate(scores[half:], first, coins)])


def judge_independent(scores: Floats, included: Bools, claim: Claim, delta: float, alpha: float) -> CanaryReport:
    """Report on one canary in runs (or steps) that are independent: the first half chooses, the second is counted.

    Parameters
    ----------
    scores, included : ndarray, shape (n,)
    claim : Claim
        Of one run.
    delta, alpha : float
    """
    half = len(scores) // 2
    merit = _certified(delta, alpha)
    if isinstance(claim.bound, FORMAL):
        merit = partial(_margin, profile=profile_of(claim, len(scores)), alpha=alpha)
    threshold = _best_threshold(scores[:half], included[:half], merit)
    counts = _count(scores[half:] > threshold, included[half:])
    return CanaryReport(
        claim=claim,
        mode="independent runs",
        eps_lower=epsilon_interval(counts, delta, alpha, method="clopper-pearson", side="lower").lower,
        delta=delta,
        alpha=alpha,
        counts=counts,
        m=1,
        n_models=len(scores),
        auc=_auc(scores, included),
        design_effect=math.nan,
    )


def _one_run(scores: Floats, included: Bools, delta: float, alpha: float) -> tuple[float, AttackCounts]:
    eps, picked, guess = best_guesses(scores, included, delta, alpha)
    return eps, _count(guess, included[picked])


def _pooled(scores: Floats, included: Bools, delta: float, alpha: float) -> tuple[float, AttackCounts]:
    half = len(scores) // 2
    threshold = _best_threshold(scores[:half].ravel(), included[:half].ravel(), _certified(delta, alpha))
    counts = _count(scores[half:].ravel() > threshold, included[half:].ravel())
    return epsilon_interval(counts, delta, alpha, side="lower").lower, counts


def _best_threshold(scores: Floats, included: Bools, merit: Callable[[AttackCounts], float]) -> float:
    """The cut whose counts have most merit; the middle of the scores where no cut is better than another."""
    if included.all() or not included.any():
        return float(np.median(scores))
    cuts = np.unique(np.quantile(scores, np.linspace(0, 1, 33)))[:-1]
    tables = [_count(scores > cut, included) for cut in cuts]
    merits = [merit(table) for table in tables]
    if not cuts.size or max(merits) == min(merits):
        return float(np.median(scores))
    return float(cuts[int(np.argmax(merits))])


def _certified(delta: float, alpha: float) -> Callable[[AttackCounts], float]:
    return lambda counts: epsilon_interval(counts, delta, alpha, method="clopper-pearson", side="lower").lower


def _margin(counts: AttackCounts, profile: Profile, alpha: float) -> float:
    """By how much the two exact bounds, of "in" where it is and where it is not, exceed the profile."""
    low = clopper_pearson_lower(counts.tp, counts.tp + counts.fn, alpha / 2)
    high = clopper_pearson_upper(counts.fp, counts.fp + counts.tn, alpha / 2)
    return float(max(profile.margin(low, high)[0], profile.margin(1 - high, 1 - low)[0]))


def _perfect(counts: AttackCounts) -> AttackCounts:
    return AttackCounts(counts.tp + counts.fn, 0, 0, counts.fp + counts.tn)


def _count(guess: Bools, truth: Bools) -> AttackCounts:
    if truth.all() or not truth.any():
        raise InvalidData("every canary that was counted fell on one side: play more runs, or with another seed")
    return AttackCounts.from_guesses(guess.astype(np.int64), truth.astype(np.int64))


def _auc(scores: Floats, truth: Bools) -> float:
    if truth.all() or not truth.any():
        return math.nan
    ranks = stats.rankdata(scores)
    inside = int(truth.sum())
    return float((ranks[truth].sum() - inside * (inside + 1) / 2) / (inside * (len(truth) - inside)))


def _design_effect(scores: Floats, included: Bools) -> float:
    if min(scores.shape) < 2:
        return math.nan
    right = ((scores > np.median(scores)) == included).sum(1)
    rate = right.mean() / scores.shape[1]
    expected = scores.shape[1] * rate * (1 - rate)
    return float(right.var(ddof=1) / expected) if expected > 0 else math.nan
