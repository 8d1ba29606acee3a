"""Games of coins: what a claim allows a guess of somebody's secret bit, and what guesses say of the claim.

For attacks that infer an attribute: the secret is thrown as a fair coin, so that the best guess without the release is
right half of the time. The bound of ε is that of `sfumato.attacks.bayesian_audit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from sfumato.attacks.bayesian_audit import AttackCounts, epsilon_interval
from sfumato.errors import InvalidClaim
from sfumato.evidence import Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.bounds import FORMAL, PureDP
from sfumato.privacy.claim import Claim


@dataclass(frozen=True)
class AttackOutcome:
    """The games of one attack.

    Attributes
    ----------
    attack : str
    bits, guesses : ndarray of int64, shape (games,)
        The coins, and what the attack took them for.
    scores : ndarray of float, shape (games,)
    unsolved : int
        Repetitions in which the attack gave up; its guesses there are coins and count.
    """

    attack: str
    bits: NDArray[np.int64]
    guesses: NDArray[np.int64]
    scores: NDArray[np.float64]
    unsolved: int

    @property
    def games(self) -> int:
        """Bits that were guessed."""
        return len(self.bits)

    @property
    def accuracy(self) -> float:
        """Share of right guesses."""
        return float((self.guesses == self.bits).mean())

    @property
    def auc(self) -> float:
        """Area under the ROC curve of the scores; NaN if all coins fell alike."""
        if self.bits.min() == self.bits.max():
            return math.nan
        return float(roc_auc_score(self.bits, self.scores))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Clopper-Pearson interval of the accuracy, the games being independent."""
        return share_interval(int((self.guesses == self.bits).sum()), self.games, level)

    def epsilon_lower(self, delta: float = 0.0, alpha: float = 0.05) -> float:
        """Exact lower bound of ε (one record replaced) at level 1 - alpha, the games being independent.

        It is 0 if all coins fell alike.
        """
        if self.bits.min() == self.bits.max():
            return 0.0
        counts = AttackCounts.from_guesses(self.guesses, self.bits)
        return epsilon_interval(counts, delta, alpha, method="clopper-pearson", side="lower").lower

    def verdict(self, claim: Claim, delta: float = 0.0, alpha: float = 0.05) -> Verdict:
        """What independent games say of a claim, with false-alarm rate alpha; a void claim is judged by its bound."""
        if not isinstance(claim.bound, FORMAL):
            return "inconclusive"
        promised = of_a_replaced_record(claim).epsilon_at(delta)
        if self.epsilon_lower(delta, alpha) > promised:
            return "falsified"
        perfect = replace(self, guesses=self.bits).epsilon_lower(delta, alpha)
        return "consistent" if perfect > promised else "inconclusive"


def share_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share."""
    tail = (1 - level) / 2
    low: Any = clopper_pearson_lower(successes, n, tail)
    high: Any = clopper_pearson_upper(successes, n, tail)
    return float(low), float(high)


def accuracy_ceiling(claim: Claim) -> float | None:
    """Largest accuracy that a claim allows any attack on a fair coin; None if the claim is not formal.

    A test of two hypotheses that are equally likely is right with probability (1 + TV) / 2 at most, and a bound implies
    that TV ≤ δ(0); for pure ε this is e^ε / (1 + e^ε).
    """
    if not isinstance(claim.bound, FORMAL):
        return None
    return (1 + of_a_replaced_record(claim).delta_at(0.0)) / 2


def of_a_replaced_record(claim: Claim) -> Claim:
    """The claim under the neighbours of a coin: to replace is to remove and to add, at twice a pure ε."""
    if claim.neighbours == "replace-one":
        return claim
    if isinstance(claim.bound, PureDP):
        return replace(claim, bound=PureDP(2 * claim.bound.epsilon), neighbours="replace-one")
    raise InvalidClaim('the game replaces a record: state the claim for neighbours="replace-one"')


def verdict_on_accuracy(lower: float, ceiling: float, games: int, alpha: float) -> Verdict:
    """What a lower bound of a guess's accuracy says of a claim that allows `ceiling`.

    Inconclusive where not even right guesses in all games could have refuted it.
    """
    if lower > ceiling:
        return "falsified"
    perfect = float(clopper_pearson_lower(games, games, alpha))
    return "consistent" if perfect > ceiling else "inconclusive"
