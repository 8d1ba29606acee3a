"""Two attacks on subject membership: the loss of one model, and how it fell over the rounds.

For a federation that must tell data subjects whether its model betrays that they took part. Suri, Kanani, Marathe and
Peterson, "Subject Membership Inference Attacks in Federated Learning" (2022, arXiv 2206.03317). The adversary has
fresh samples of each subject, never the training records, and knows the membership of a handful.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sfumato.attacks.subject_membership.calibration import CalibrationError, best_threshold, known_truth, refuse_known
from sfumato.attacks.subject_membership.federation import Samples
from sfumato.attacks.subject_membership.losses import Model, subject_losses
from sfumato.attacks.subject_membership.network import Floats
from sfumato.errors import InvalidData

LossStatistic = Literal["mean", "median", "trimmed", "fraction"]
RoundsStatistic = Literal["decreases", "area", "slope", "logistic"]

_TRIMMED = 0.1  # share that the trimmed mean leaves out at each end
_LEVELS = 33  # candidates for the level of "fraction"
_LEAST_FOR_LOGISTIC = 30

Subjects = Mapping[Any, Samples]


class LossThresholdAttack(BaseEstimator):  # type: ignore[misc]
    """A subject is taken for a member if the model's loss on fresh samples of it is low.

    Parameters
    ----------
    statistic : {"mean", "median", "trimmed", "fraction"}
        What is made of a subject's losses: the published mean, or the median, the mean without the outer tenths, or
        the share of samples with a loss below a level that is chosen on the known subjects.
    reference : Model, optional
        A model of the same task that was trained without these subjects: its loss is subtracted.
    threshold : float, optional
        A score from which on a subject is a member; then no known subjects are needed (but for "fraction").
    false_positive_rate : float, optional
        Set the threshold for this rate among the known others instead of for accuracy.

    Attributes
    ----------
    threshold_ : float
    level_ : float
        Of "fraction".
    known_ : frozenset
        Ids that were used up by `fit`: they can no longer be scored.

    Examples
    --------
    >>> import numpy as np
    >>> def model(x):  # it knows what lies above 0
    ...     sure = np.where(x[:, 0] > 0, 0.9, 0.6)
    ...     return np.column_stack([sure, 1 - sure])
    >>> subjects = {s: (np.full((5, 1), 1.0 if s % 2 else -1.0), np.zeros(5, int)) for s in range(6)}
    >>> attack = LossThresholdAttack().fit(model, {s: subjects[s] for s in range(4)}, {0: 0, 1: 1, 2: 0, 3: 1})
    >>> attack.predict(model, {s: subjects[s] for s in (4, 5)}).to_dict()
    {4: False, 5: True}
    """

    def __init__(
        self,
        statistic: LossStatistic = "mean",
        *,
        reference: Model | None = None,
        threshold: float | None = None,
        false_positive_rate: float | None = None,
    ) -> None:
        self.statistic = statistic
        self.reference = reference
        self.threshold = threshold
        self.false_positive_rate = false_positive_rate

    def fit(self, model: Model, known: Subjects | None = None, membership: Mapping[Any, bool] | None = None) -> Self:
        """Set the threshold from the known subjects.

        Parameters
        ----------
        model : Model
            Callable to probabilities, scikit-learn classifier or torch module.
        known : mapping of subject id to (x, y), optional
            Fresh samples of subjects of known membership; not needed with a fixed threshold.
        membership : mapping of subject id to bool, optional

        Raises
        ------
        CalibrationError
            With fewer than two known members or others.
        InvalidData
            On a bad parameter, bad samples or a diverged model.
        """
        _check(self.statistic, LossStatistic, self.false_positive_rate)
        self.known_ = frozenset(known or ())
        if self.threshold is not None and self.statistic != "fraction":
            self.threshold_ = float(self.threshold)
            return self
        truth = known_truth(known or (), membership or {})
        losses = self._losses(model, known or {})
        if self.statistic == "fraction":
            self.level_ = _best_level(losses, truth, self.false_positive_rate)
        scores = self._scores(losses)
        fixed = self.threshold
        self.threshold_ = best_threshold(scores, truth, self.false_positive_rate) if fixed is None else float(fixed)
        return self

    def score(self, model: Model, subjects: Subjects) -> pd.Series:
        """Score subjects whose membership is not known: higher for members; indexed by id.

        Raises
        ------
        InvalidData
            If one of them was used by `fit`, samples are bad, or the model has diverged.
        """
        _fitted(self)
        refuse_known(subjects, self.known_)
        return pd.Series(self._scores(self._losses(model, subjects)), index=list(subjects), name="score")

    def predict(self, model: Model, subjects: Subjects) -> pd.Series:
        """Guess membership, by id: whether the score reaches the threshold."""
        return (self.score(model, subjects) >= self.threshold_).rename("member")

    def _losses(self, model: Model, subjects: Subjects) -> list[Floats]:
        """One vector of losses a subject, the reference's subtracted."""
        models = [model] if self.reference is None else [model, self.reference]
        found = subject_losses(models, subjects).values()
        return [each[0] if self.reference is None else each[0] - each[1] for each in found]

    def _scores(self, losses: list[Floats]) -> Floats:
        match self.statistic:
            case "mean":
                summary: Callable[[Floats], Any] = np.mean
            case "median":
                summary = np.median
            case "trimmed":

                def summary(values: Floats) -> Any:
                    return stats.trim_mean(values, _TRIMMED)

            case _:
                return np.array([np.mean(each < self.level_) for each in losses])
        return -np.array([summary(each) for each in losses], dtype=np.float64)


class LossAcrossRoundsAttack(BaseEstimator):  # type: ignore[misc]
    """A subject is taken for a member if the loss on fresh samples of it fell from round to round.

    Parameters
    ----------
    statistic : {"decreases", "area", "slope", "logistic"}
        The published number of decreases, a sample and a round; or the loss before training less the mean loss after
        each round; the slope of the least-squares line, downwards; a logistic regression on the mean losses, which
        needs 30 known subjects. Under noise that is added in every round a decrease says little: take the area.
    threshold : float, optional
        A score from which on a subject is a member; then no known subjects are needed (but for "logistic").
    false_positive_rate : float, optional
        Set the threshold for this rate among the known others instead of for accuracy.

    Attributes
    ----------
    threshold_ : float
    known_ : frozenset
        Ids that were used up by `fit`: they can no longer be scored.
    """

    def __init__(
        self,
        statistic: RoundsStatistic = "decreases",
        *,
        threshold: float | None = None,
        false_positive_rate: float | None = None,
    ) -> None:
        self.statistic = statistic
        self.threshold = threshold
        self.false_positive_rate = false_positive_rate

    def fit(
        self,
        checkpoints: Sequence[Model],
        known: Subjects | None = None,
        membership: Mapping[Any, bool] | None = None,
    ) -> Self:
        """Set the threshold from the known subjects.

        Parameters
        ----------
        checkpoints : sequence of Model
            The global model before training and after each round, in order: at least two.
        known : mapping of subject id to (x, y), optional
        membership : mapping of subject id to bool, optional

        Raises
        ------
        CalibrationError
            With fewer than two known members or others, or, for "logistic", than 30 known subjects.
        InvalidData
            On a bad parameter, a single checkpoint, bad samples or a diverged model.
        """
        _check(self.statistic, RoundsStatistic, self.false_positive_rate)
        _several(checkpoints)
        self.known_ = frozenset(known or ())
        if self.threshold is not None and self.statistic != "logistic":
            self.threshold_ = float(self.threshold)
            return self
        truth = known_truth(known or (), membership or {})
        losses = list(subject_losses(checkpoints, known or {}).values())
        if self.statistic == "logistic":
            if len(truth) < _LEAST_FOR_LOGISTIC:
                raise CalibrationError(f"logistic needs at least {_LEAST_FOR_LOGISTIC} known subjects")
            self._regression = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=1000))
            self._regression.fit(_trajectories(losses), truth)
        scores = self._scores(losses)
        fixed = self.threshold
        self.threshold_ = best_threshold(scores, truth, self.false_positive_rate) if fixed is None else float(fixed)
        return self

    def score(self, checkpoints: Sequence[Model], subjects: Subjects) -> pd.Series:
        """Score subjects whose membership is not known: higher for members; indexed by id.

        Raises
        ------
        InvalidData
            If one of them was used by `fit`, there is one checkpoint only, samples are bad, or a model has diverged.
        """
        _fitted(self)
        _several(checkpoints)
        refuse_known(subjects, self.known_)
        losses = list(subject_losses(checkpoints, subjects).values())
        return pd.Series(self._scores(losses), index=list(subjects), name="score")

    def predict(self, checkpoints: Sequence[Model], subjects: Subjects) -> pd.Series:
        """Guess membership, by id: whether the score reaches the threshold."""
        return (self.score(checkpoints, subjects) >= self.threshold_).rename("member")

    def _scores(self, losses: list[Floats]) -> Floats:
        match self.statistic:
            case "decreases":
                return np.array([np.mean(each[1:] < each[:-1]) for each in losses])
            case "area":
                return np.array([each[0].mean() - each[1:].mean() for each in losses])
            case "slope":
                paths = _trajectories(losses)
                rounds = np.arange(paths.shape[1]) - (paths.shape[1] - 1) / 2
                return np.asarray(-paths @ rounds / (rounds @ rounds))
        return np.asarray(self._regression.decision_function(_trajectories(losses)), dtype=np.float64)


def _trajectories(losses: list[Floats]) -> Floats:
    """Mean loss of each subject at each checkpoint, shape (subjects, checkpoints)."""
    return np.array([each.mean(axis=1) for each in losses])


def _check(statistic: str, allowed: Any, false_positive_rate: float | None) -> None:
    if statistic not in get_args(allowed):
        raise InvalidData(f"statistic must be one of {', '.join(get_args(allowed))}")
    if false_positive_rate is not None and not 0 <= false_positive_rate < 1:
        raise InvalidData("false_positive_rate must lie in [0, 1)")


def _several(checkpoints: Sequence[Model]) -> None:
    if len(checkpoints) < 2:
        raise InvalidData("the attack across rounds needs at least two checkpoints: the model before training is one")


def _fitted(attack: Any) -> None:
    if not hasattr(attack, "threshold_"):
        raise InvalidData("fit the attack first, on subjects of known membership or with a threshold")


def _best_level(losses: list[Floats], truth: Any, false_positive_rate: float | None) -> float:
    """The level whose shares tell the known subjects apart most often."""
    levels = np.unique(np.quantile(np.concatenate(losses), np.linspace(0, 1, _LEVELS)))

    def right(level: float) -> int:
        shares = np.array([np.mean(each < level) for each in losses])
        cut = best_threshold(shares, truth, false_positive_rate)
        return int(((shares >= cut) == truth).sum())

    return float(max(levels, key=right))
