"""Attacks on private synthetic tables, beside what the tables are good for: the second half of the study of system 24.

Secrets by linear reconstruction (system 10) and membership by marginals, across ε and across numbers of people.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import pandas as pd

from sfumato.attacks.coins import AttackOutcome, accuracy_ceiling
from sfumato.attacks.reconstruction import AttributeGame, InferenceForest, ReconstructionAttack
from sfumato.attacks.record_membership import MembershipGame, marginal_score, nearest_score
from sfumato.data.tabular import load_table
from sfumato.privacy.accounting import Cost
from sfumato.privacy.bounds import ZCDP, ApproxDP
from sfumato.privacy.budget import largest_rho
from sfumato.privacy.claim import Claim
from sfumato.studies.study import Row, Scale
from sfumato.synthesis import Column, Domain, GeneticSynthesizer, marginals

SECRET = "affair"
DELTA = 1e-6
NO_NOISE = float("inf")

_ROWS = 1000
_FORBIDS_NOTHING = 0.999
_PAIRS = {"smoke": 20, "small": 100, "full": 100}
_GRID: dict[str, list[tuple[float, int]]] = {
    "smoke": [(1.0, 200), (NO_NOISE, 200)],
    "small": [(e, n) for n in (300, 1000, 3000) for e in (0.3, 1.0, 3.0, 10.0, 100.0, NO_NOISE)],
    "full": [(e, n) for n in (300, 1000, 3000) for e in (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, NO_NOISE)],
}
_REPETITIONS = {"smoke": 1, "small": 3, "full": 20}


@dataclass
class Published:
    """A private table from all three-way marginals, as the games want a generator: fitted on a frame alone.

    At infinite ε the noise is below one half of a count: the answers are exact.
    """

    domain: Domain
    epsilon: float
    random_state: int = 0

    @property
    def rho(self) -> float:
        """What it spends."""
        return 1e9 if self.epsilon == NO_NOISE else largest_rho(ApproxDP(self.epsilon, DELTA), Cost.zero())

    @property
    def claim(self) -> Claim:
        """What the rows promise."""
        return Claim(ZCDP(self.rho), unit="record", neighbours="replace-one")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Fit, and keep the rows."""
        synthesizer = GeneticSynthesizer(
            None,
            rho=self.rho,
            workload=marginals(self.domain, 3),
            n_synthetic=_ROWS,
            random_state=self.random_state,
        )
        self.rows = synthesizer.fit(frame, self.domain).sample()
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Return the rows that were fitted, the first n: nothing else of the table is published."""
        return self.rows.iloc[:n]


class Point(NamedTuple):
    """One ε and one number of people: what the rows are good for, and what they betray."""

    epsilon: float
    n: int
    error: float
    secrets: dict[str, AttackOutcome]
    members: dict[str, AttackOutcome]
    ceiling: float


def people() -> tuple[pd.DataFrame, Domain]:
    """Return the real table fair as categories, with its secret, and its public domain."""
    table = load_table("fair")
    frame = table.drop(columns="affairs").astype(int).assign(**{SECRET: (table["affairs"] > 0).astype(int)})
    domain = Domain(tuple(Column.categorical(str(name), sorted(frame[name].unique().tolist())) for name in frame))
    return frame, domain


def measure(scale: Scale, seed: int) -> list[Point]:
    """Play both games at each ε and n."""
    frame, domain = people()
    return [_point(frame, domain, epsilon, n, scale, seed) for epsilon, n in _GRID[scale]]


def _point(frame: pd.DataFrame, domain: Domain, epsilon: float, n: int, scale: Scale, seed: int) -> Point:
    repetitions = _REPETITIONS[scale]
    generator = Published(domain, epsilon, seed)
    sample = frame.sample(n, random_state=seed).reset_index(drop=True)
    queries = marginals(domain, 3)
    true, made = (queries.counts(domain.encode(each)) for each in (sample, generator.fit(sample).sample(_ROWS)))
    attribute = AttributeGame(
        generator, frame, SECRET, n=n, rows=_ROWS, repetitions=repetitions, mode="all_bits", random_state=seed
    )
    membership = MembershipGame(
        generator, frame, n=n, pairs=_PAIRS[scale], rows=_ROWS, repetitions=repetitions, random_state=seed
    )
    ceiling = accuracy_ceiling(generator.claim)
    assert ceiling is not None
    return Point(
        epsilon,
        n,
        float(np.abs(true / n - made / _ROWS).mean()),
        attribute.run({"linear": ReconstructionAttack(3), "forest": InferenceForest()}).outcomes,
        membership.run({"marginals": marginal_score(3), "nearest": nearest_score}),
        ceiling,
    )


def rows(points: list[Point]) -> Iterator[Row]:
    """A row for each point, and whether every attack stays below what the claim allows."""
    for point in points:
        epsilon = "no noise" if point.epsilon == NO_NOISE else f"ε = {point.epsilon:g}"
        found = {**point.secrets, **point.members}
        yield Row(
            f"fair, n = {point.n}, {epsilon}: mean error of three-way marginals; secrets read; members told",
            f"at most {point.ceiling:.3f} by the claim",
            f"error {point.error:.4f}; secrets: {_said(point.secrets)}; members: {_said(point.members)}",
            # a ceiling of 1 forbids nothing, so no attack could fail it
            None
            if point.ceiling > _FORBIDS_NOTHING
            else all(each.interval(0.9999)[0] <= point.ceiling for each in found.values()),
        )


def _said(outcomes: dict[str, AttackOutcome]) -> str:
    return ", ".join(f"{name} {each.accuracy:.3f}" for name, each in outcomes.items())


def picture(points: list[Point]) -> Any:
    """Draw utility and the best attacks over ε, a panel for each n."""
    from matplotlib.figure import Figure

    sizes = sorted({point.n for point in points})
    figure = Figure(figsize=(4 * len(sizes), 3.6), layout="constrained")
    for axes, n in zip(np.atleast_1d(figure.subplots(1, len(sizes), sharey=True)), sizes, strict=True):
        mine = sorted((point for point in points if point.n == n), key=lambda point: point.epsilon)
        places = range(len(mine))
        axes.plot(places, [point.ceiling for point in mine], color="0.6", linestyle="--", label="allowed by the claim")
        for label, outcomes, colour in (("secrets", "secrets", "#8a5a2b"), ("members", "members", "#22201d")):
            best = [max(each.accuracy for each in getattr(point, outcomes).values()) for point in mine]
            axes.plot(places, best, marker="o", color=colour, label=f"best attack on {label}")
        axes.set(title=f"n = {n}", xlabel="ε", ylim=(0.45, 1.02))
        axes.set_xticks(places, ["none" if point.epsilon == NO_NOISE else f"{point.epsilon:g}" for point in mine])
        errors = axes.twinx()
        errors.plot(places, [point.error for point in mine], marker="s", color="#2b6a8a", label="mean error")
        errors.set_ylim(bottom=0)
        errors.set_ylabel("mean error of three-way marginals", color="#2b6a8a")
    figure.axes[0].set_ylabel("share of right guesses")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=8)
    return figure
