"""What an attack got right and wrong: four counts.

For the intervals and games of this package, and for whoever has an attack of their own to judge.
Zanella-Béguelin et al., "Bayesian Estimation of Differential Privacy" (ICML 2023, arXiv 2206.05199).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData


@dataclass(frozen=True)
class AttackCounts:
    """What an attack got right and wrong.

    Parameters
    ----------
    tp, fn : int
        Trials with the first input (member, "1") that the attack named so, and those it missed.
    fp, tn : int
        Trials with the second input that it named wrongly, and those it named rightly.

    Raises
    ------
    InvalidData
        If a count is negative or not a whole number, or if one side has no trial.
    """

    tp: int
    fn: int
    fp: int
    tn: int

    def __post_init__(self) -> None:
        for name in ("tp", "fn", "fp", "tn"):
            object.__setattr__(self, name, _whole(name, getattr(self, name)))
        if self.tp + self.fn == 0:
            raise InvalidData("tp + fn must be at least 1: no trial with the first input")
        if self.fp + self.tn == 0:
            raise InvalidData("fp + tn must be at least 1: no trial with the second input")

    @classmethod
    def from_guesses(cls, guesses: npt.ArrayLike, labels: npt.ArrayLike) -> AttackCounts:
        """Count guesses in {0, 1} against labels in {0, 1} (1 = first input, member)."""
        guess, truth = np.asarray(guesses), np.asarray(labels)
        if guess.shape != truth.shape or guess.ndim != 1:
            raise InvalidData("guesses and labels must be one-dimensional and of the same length")
        for name, values in (("guesses", guess), ("labels", truth)):
            if not np.isin(values, (0, 1)).all():
                raise InvalidData(f"{name} must hold only 0 and 1")
        hit, member = guess == 1, truth == 1
        return cls(
            tp=int(np.sum(hit & member)),
            fn=int(np.sum(~hit & member)),
            fp=int(np.sum(hit & ~member)),
            tn=int(np.sum(~hit & ~member)),
        )

    @classmethod
    def from_scores(cls, scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> AttackCounts:
        """Count ``score > threshold``; choose the threshold on other data than these scores."""
        values = np.asarray(scores, dtype=np.float64)
        if np.isnan(values).any() or math.isnan(threshold):
            raise InvalidData("scores and threshold must not be NaN")
        return cls.from_guesses((values > threshold).astype(np.int64), labels)


def _whole(name: str, value: object) -> int:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidData(f"{name} must be a whole number, not {type(value).__name__}")
    if not math.isfinite(value) or value < 0 or value != int(value):
        raise InvalidData(f"{name} must be a whole number, at least 0")
    return int(value)
