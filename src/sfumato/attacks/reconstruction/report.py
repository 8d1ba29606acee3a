"""What an attribute game found: accuracy of each attack beside what the generator's claim allows.

For the team that decides on a release and for its reviewer. Annamalai, Gadotti and Rocher (USENIX Security 2024);
what a claim allows is in `sfumato.attacks.coins`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from sfumato.attacks.coins import AttackOutcome, accuracy_ceiling
from sfumato.evidence import Evidence
from sfumato.privacy.claim import Claim

Mode = Literal["single_bit", "all_bits"]


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
        """Largest accuracy that the claim allows any attack on a fair coin; None if the claim is not formal."""
        return accuracy_ceiling(self.claim)

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
            verdict=outcome.verdict(self.claim, delta, alpha) if exact else "inconclusive",
            kind="confidence" if exact else "credible",
            notes=tuple(notes),
        )


def gather(name: str, records: list[dict[str, list[float]]], unsolved: int) -> AttackOutcome:
    """Join the repetitions of one attack."""
    bits, guesses, scores = (np.concatenate([each[key] for each in records]) for key in ("bits", "guesses", "scores"))
    return AttackOutcome(name, bits.astype(np.int64), guesses.astype(np.int64), scores.astype(np.float64), unsolved)
