"""What an attribute game found: accuracy of each attack beside what the generator's claim allows.

For the team that decides on a release and for its reviewer. Annamalai, Gadotti and Rocher (USENIX Security 2024);
the bound of ε is that of `sfumato.attacks.bayesian_audit`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score

from sfumato.attacks.bayesian_audit import AttackCounts, epsilon_interval
from sfumato.attacks.bayesian_audit.intervals import clopper_pearson_lower, clopper_pearson_upper
from sfumato.attacks.reconstruction.encoding import Codes, Floats
from sfumato.errors import InvalidClaim
from sfumato.evidence import Evidence, Verdict
from sfumato.privacy.bounds import FORMAL, PureDP
from sfumato.privacy.claim import Claim

Mode = Literal["single_bit", "all_bits"]


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
    bits: Codes
    guesses: Codes
    scores: Floats
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
        right, tail = int((self.guesses == self.bits).sum()), (1 - level) / 2
        return (
            float(clopper_pearson_lower(right, self.games, tail)),
            float(clopper_pearson_upper(right, self.games, tail)),
        )

    def epsilon_lower(self, delta: float = 0.0, alpha: float = 0.05) -> float:
        """Exact lower bound of ε (one record replaced) at level 1 - alpha, the games being independent.

        It is 0 if all coins fell alike.
        """
        if self.bits.min() == self.bits.max():
            return 0.0
        counts = AttackCounts.from_guesses(self.guesses, self.bits)
        return epsilon_interval(counts, delta, alpha, method="clopper-pearson", side="lower").lower


@dataclass(frozen=True)
class GameReport:
    """Result of a game.

    Attributes
    ----------
    claim : Claim
        The generator's.
    mode : {"single_bit", "all_bits"}
        One game a repetition, or as many as the sample has unique people: these share one synthetic table, so that
        their intervals are estimates.
    n, rows, repetitions : int
    outcomes : dict of str to AttackOutcome
    """

    claim: Claim
    mode: Mode
    n: int
    rows: int
    repetitions: int
    outcomes: dict[str, AttackOutcome]

    @property
    def ceiling(self) -> float | None:
        """Largest accuracy that the claim allows any attack on a fair coin; None if the claim is not formal.

        A test of two hypotheses that are equally likely is right with probability (1 + TV) / 2 at most, and a bound
        implies that TV ≤ δ(0); for pure ε this is e^ε / (1 + e^ε).
        """
        if not isinstance(self.claim.bound, FORMAL):
            return None
        return (1 + _of_a_replaced_record(self.claim).delta_at(0.0)) / 2

    def to_frame(self) -> pd.DataFrame:
        """One row an attack: games, accuracy, its 95 % interval, AUC, unsolved repetitions and the ceiling."""
        rows = []
        for name, each in self.outcomes.items():
            low, high = each.interval()
            rows.append((name, each.games, each.accuracy, low, high, each.auc, each.unsolved, self.ceiling))
        columns = ["attack", "games", "accuracy", "low", "high", "auc", "unsolved", "ceiling"]
        return pd.DataFrame(rows, columns=columns).set_index("attack")

    def __str__(self) -> str:
        allowed = "no ceiling: the claim is not formal" if self.ceiling is None else f"ceiling {self.ceiling:.3f}"
        lines = [f"{self.mode}, n = {self.n}, {self.rows:,} synthetic rows, {self.repetitions} repetitions; {allowed}"]
        for name, each in self.outcomes.items():
            low, high = each.interval()
            lines.append(
                f"{name}: accuracy {each.accuracy:.3f} [{low:.3f}, {high:.3f}], AUC {each.auc:.3f}, "
                f"{each.games} games, {each.unsolved} repetitions unsolved"
            )
        return "\n".join(lines)

    def to_evidence(self, *, delta: float = 0.0, alpha: float = 0.05) -> tuple[Evidence, ...]:
        """Evidence against the claim, one an attack; they share `alpha`, so all hold together.

        Only single-bit games are independent and may carry a verdict. A void claim is judged by its bound.

        Parameters
        ----------
        delta : float, default 0
            δ at which ε is stated.
        alpha : float, default 0.05
            False-alarm rate of all verdicts together.

        Raises
        ------
        InvalidClaim
            If the claim is formal but not about a record replaced by another, and does not imply such a bound.
        """
        return tuple(self._evidence(each, delta, alpha / len(self.outcomes)) for each in self.outcomes.values())

    def _evidence(self, outcome: AttackOutcome, delta: float, alpha: float) -> Evidence:
        lower = outcome.epsilon_lower(delta, alpha)
        low, high = outcome.interval()
        exact = self.mode == "single_bit"
        notes = [
            f"accuracy {outcome.accuracy:.3f}, 95 % interval [{low:.3f}, {high:.3f}], AUC {outcome.auc:.3f}",
            f"{outcome.unsolved} of {self.repetitions} repetitions unsolved, guessed by coins",
        ]
        if self.ceiling is not None:
            notes.append(f"the claim allows an accuracy of {self.ceiling:.3f} at most")
        if not exact:
            notes.append("heuristic: games on one synthetic table were taken for independent")
        if self.claim.void:
            notes.append("the claim is void; its bound was judged all the same")
        return Evidence(
            attack=f"attribute inference, {outcome.attack}",
            metric=f"epsilon lower bound at delta = {delta:g}, one record replaced",
            value=lower,
            interval=(lower, math.inf),
            level=1 - alpha,
            samples=outcome.games,
            claim=self.claim,
            verdict=self._verdict(outcome, lower, delta, alpha) if exact else "inconclusive",
            kind="confidence" if exact else "credible",
            notes=tuple(notes),
        )

    def _verdict(self, outcome: AttackOutcome, lower: float, delta: float, alpha: float) -> Verdict:
        if not isinstance(self.claim.bound, FORMAL):
            return "inconclusive"
        promised = _of_a_replaced_record(self.claim).epsilon_at(delta)
        if lower > promised:
            return "falsified"
        perfect = replace(outcome, guesses=outcome.bits).epsilon_lower(delta, alpha)
        return "consistent" if perfect > promised else "inconclusive"


def _of_a_replaced_record(claim: Claim) -> Claim:
    """The claim under the game's neighbours: to replace is to remove and to add, at twice a pure ε."""
    if claim.neighbours == "replace-one":
        return claim
    if isinstance(claim.bound, PureDP):
        return replace(claim, bound=PureDP(2 * claim.bound.epsilon), neighbours="replace-one")
    raise InvalidClaim('the game replaces a record: state the claim for neighbours="replace-one"')


def gather(name: str, records: list[dict[str, list[float]]], unsolved: int) -> AttackOutcome:
    """Join the repetitions of one attack."""
    bits, guesses, scores = (np.concatenate([each[key] for each in records]) for key in ("bits", "guesses", "scores"))
    return AttackOutcome(name, bits.astype(np.int64), guesses.astype(np.int64), scores.astype(np.float64), unsolved)
