"""What an attack on subject membership found: the field's metrics, and evidence against a claim about subjects.

For the federation and its reviewer. Metrics of Suri et al. (2022, arXiv 2206.03317); the bound of ε is that of one
training run, Steinke, Nasr and Jagielski (2023): every subject is a canary, in the run by a fair coin.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special
from sklearn.metrics import f1_score, precision_score, recall_score, roc_auc_score

from sfumato.attacks.bayesian_audit.one_run import best_guesses
from sfumato.attacks.subject_membership.attacks import LossAcrossRoundsAttack, LossThresholdAttack, Subjects
from sfumato.attacks.subject_membership.federation import Bools
from sfumato.attacks.subject_membership.network import Floats
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL
from sfumato.privacy.claim import Claim


@dataclass(frozen=True, eq=False)
class AttackReport:
    """Scores and guesses beside the truth.

    Attributes
    ----------
    attack : str
    scores : ndarray of float64, shape (subjects,)
        Higher for members.
    guesses, truth : ndarray of bool, shape (subjects,)
    known : int
        Subjects that set the threshold; they are not among the scored.
    """

    attack: str
    scores: Floats
    guesses: Bools
    truth: Bools
    known: int

    def __post_init__(self) -> None:
        if not np.isfinite(self.scores).all() or not len(self.scores) == len(self.guesses) == len(self.truth):
            raise InvalidData("expected one finite score, one guess and the truth for each subject")
        if self.truth.all() or not self.truth.any():
            raise InvalidData("members and others are both needed")

    @property
    def accuracy(self) -> float:
        """Share of right guesses."""
        return float((self.guesses == self.truth).mean())

    @property
    def precision(self) -> float:
        """Share of members among those taken for members; 0 if none was."""
        return float(precision_score(self.truth, self.guesses, zero_division=0.0))

    @property
    def recall(self) -> float:
        """Share of members that were found."""
        return float(recall_score(self.truth, self.guesses))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall."""
        return float(f1_score(self.truth, self.guesses))

    @property
    def auc(self) -> float:
        """Area under the ROC curve: the chance that a member scores above another subject."""
        return float(roc_auc_score(self.truth, self.scores))

    def auc_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval of the AUC with a standard error of Hanley and McNeil (1982): an approximation."""
        inside, outside, a = int(self.truth.sum()), int((~self.truth).sum()), self.auc
        q1, q2 = a / (2 - a), 2 * a**2 / (1 + a)
        variance = (a * (1 - a) + (inside - 1) * (q1 - a**2) + (outside - 1) * (q2 - a**2)) / (inside * outside)
        half = float(special.ndtri((1 + level) / 2)) * math.sqrt(max(variance, 0.0))
        return max(0.0, a - half), min(1.0, a + half)

    def accuracy_interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy, guesses taken for independent."""
        return _clopper_pearson(int((self.guesses == self.truth).sum()), len(self.truth), level)

    def tpr_at(self, fpr: float) -> float:
        """Share of members above the lowest cut that at most a share `fpr` of the others reaches."""
        if not 0 <= fpr < 1:
            raise InvalidData("fpr must lie in [0, 1)")
        outside = np.sort(self.scores[~self.truth])[::-1]
        cut = outside[int(fpr * len(outside) + 1e-9)]  # the first that must stay below
        return float((self.scores[self.truth] > cut).mean())

    def tpr_interval(self, fpr: float, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of `tpr_at`, the cut taken for given."""
        inside = int(self.truth.sum())
        return _clopper_pearson(round(self.tpr_at(fpr) * inside), inside, level)

    def epsilon_lower(self, delta: float, alpha: float = 0.05) -> float:
        """Lower bound of ε at the unit of the subject (added or removed), from this one run, at level 1 - alpha.

        It holds if each scored subject was a member by a fair coin of its own. The subjects with the highest and the
        lowest scores are guessed, for three shares fixed beforehand among which alpha is divided.
        """
        return _epsilon_lower(self.scores, self.truth, delta, alpha)

    def to_evidence(self, claim: Claim, *, delta: float = 1e-5, alpha: float = 0.05) -> Evidence:
        """Evidence against a claim about subjects.

        Parameters
        ----------
        claim : Claim
            Its unit must be the subject. One about records says something of subjects by `group_claim` only.
        delta : float, default 1e-5
            δ at which ε is stated.
        alpha : float, default 0.05

        Raises
        ------
        InvalidClaim
            If the claim is about another unit, about subjects replaced by others, or void.
        """
        if claim.unit != "subject":
            raise InvalidClaim(
                f"this attack is on subjects and the claim about each {claim.unit}: state the claim about subjects "
                "(group_claim turns one about records into it)"
            )
        if claim.neighbours != "add-remove":
            raise InvalidClaim('a subject is in the run or not: state the claim for neighbours="add-remove"')
        if claim.void:
            raise InvalidClaim("a void claim cannot be judged: it was about another mechanism")
        lower = self.epsilon_lower(delta, alpha)
        low, high = self.auc_interval()
        return Evidence(
            attack=f"subject membership, {self.attack}",
            metric=f"epsilon lower bound at delta = {delta:g}, one subject added or removed",
            value=lower,
            interval=(lower, math.inf),
            level=1 - alpha,
            samples=len(self.truth),
            claim=claim,
            verdict=self._verdict(claim, lower, delta, alpha),
            notes=(
                f"AUC {self.auc:.3f}, about [{low:.3f}, {high:.3f}]; accuracy {self.accuracy:.3f}",
                f"true positive rate {self.tpr_at(0.01):.3f} at a false positive rate of 1 %, "
                f"{self.tpr_at(0.1):.3f} at 10 %",
                f"one training run; {self.known} subjects of known membership set the threshold",
                "an AUC near a half is no proof of privacy",
            ),
        )

    def _verdict(self, claim: Claim, lower: float, delta: float, alpha: float) -> Verdict:
        if not isinstance(claim.bound, FORMAL):
            return "inconclusive"
        promised = claim.epsilon_at(delta)
        if lower > promised:
            return "falsified"
        perfect = _epsilon_lower(self.truth.astype(np.float64), self.truth, delta, alpha)
        return "consistent" if perfect > promised else "inconclusive"  # so few subjects could not have shown it

    def to_dict(self) -> dict[str, float]:
        """The metrics by name."""
        return {
            "auc": self.auc,
            "accuracy": self.accuracy,
            "precision": self.precision,
            "recall": self.recall,
            "f1": self.f1,
            "tpr at fpr 1 %": self.tpr_at(0.01),
            "tpr at fpr 10 %": self.tpr_at(0.1),
        }


def evaluate(
    attack: LossThresholdAttack | LossAcrossRoundsAttack,
    target: Any,
    subjects: Subjects,
    membership: Mapping[Any, bool],
) -> AttackReport:
    """Score subjects with a fitted attack and put the truth beside it.

    Parameters
    ----------
    attack : LossThresholdAttack or LossAcrossRoundsAttack
        Fitted, on other subjects.
    target : Model or sequence of Model
        As the attack takes it.
    subjects : mapping of subject id to (x, y)
    membership : mapping of subject id to bool

    Raises
    ------
    InvalidData
        As `score`, or if membership lacks a subject.
    """
    if any(s not in membership for s in subjects):
        raise InvalidData("membership must say of each subject whether it is a member")
    scores = attack.score(target, subjects)
    truth = np.array([bool(membership[s]) for s in scores.index])
    kind = "loss threshold" if isinstance(attack, LossThresholdAttack) else "loss across rounds"
    values = scores.to_numpy(dtype=np.float64)
    name = f"{kind}, {attack.statistic}"
    return AttackReport(name, values, values >= attack.threshold_, truth, len(attack.known_))


def _epsilon_lower(scores: Floats, truth: Bools, delta: float, alpha: float) -> float:
    # Equal scores go by a random order: one in which members come last would tell the truth.
    order = np.random.default_rng(0).permutation(len(scores))
    return best_guesses(scores[order], truth[order], delta, alpha)[0]


def _clopper_pearson(right: int, n: int, level: float) -> tuple[float, float]:
    tail = (1 - level) / 2
    return float(clopper_pearson_lower(right, n, tail)), float(clopper_pearson_upper(right, n, tail))
