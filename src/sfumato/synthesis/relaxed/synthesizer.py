"""RelaxedSynthesizer: rows found by gradient descent on relaxed rows, the method RAP or RAP++.

For data stewards, and as a baseline. Aydöre et al. 2021 (arXiv 2103.06641, algorithms 2 and 3) and Vietri et al. 2022
(arXiv 2209.07400, algorithm 2: annealed sigmoids); what is measured, and its privacy, is `Synthesizer`'s.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.synthesis.domain import Rows
from sfumato.synthesis.measuring import Measurements, Strategy
from sfumato.synthesis.relaxed.answers import Answers
from sfumato.synthesis.relaxed.checks import check_above_zero, check_relaxable, check_whole
from sfumato.synthesis.relaxed.layout import Layout, Numbers
from sfumato.synthesis.synthesizer import Synthesizer
from sfumato.synthesis.workloads import WorkloadSet

_BETAS = (0.7, 0.8)  # gradients shrink by orders of magnitude: Adam must forget their size soon
_SLOWER = 0.1  # how fast a number in [0, 1] moves beside a logit
_WIDE = 128.0
_REACH = 4.0  # of logits below the largest of their block when a round begins

#: 2³ to 2¹¹.
STAGES = (8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0)

Gap = Callable[[torch.Tensor, float], torch.Tensor]


class RelaxedSynthesizer(Synthesizer):
    """A table fitted to noisy answers by Adam on relaxed rows, then rounded at random.

    RAP holds every column as probabilities, a number as those of its bins. RAP++ holds numbers as numbers and replaces
    their thresholds by sigmoids, steeper from stage to stage, and clips them to their range after every step, as its
    authors' code does (a penalty let answers be fitted from out of range, which rounding undid). Both minimise
    the squared gaps to all noisy answers so far. A round goes on from the relaxed rows of the round before.

    Two departures: a half-space of RAP's bins is answered as if the sum of independent bins were normal (RAP itself has
    none); and adaptive rounds choose what the *rounded* rows answer worst, since that is what `Synthesizer` sees.

    Parameters
    ----------
    epsilon, delta, rho, workload, strategy, rounds, per_round, warm_start, neighbours, unit, clip, journal, \
random_state, noise_seed
        As for `Synthesizer`. Functions of rows (`queries`) cannot be relaxed.
    n_synthetic : int, default 25,000
        Rows of the table; each relaxed row is rounded n_synthetic / relaxed_rows times.
    method : {"rap++", "rap"}
    relaxed_rows : int, default 1000
    iterations : int, default 450
        Steps of Adam a round, shared by the stages of RAP++.
    learning_rate : float, default 0.2
        For the logits of a softmax; numbers of RAP++ move at a tenth of it, and slower where sigmoids are steep.
    temperatures : sequence of float
        Steepness of the sigmoids in each stage of RAP++: from 2³ to 2¹¹. The paper begins at 1 or 2, which only took
        longer here.
    bins : int, default 32
        Of RAP: for numeric columns that no marginal cuts.
    """

    def __init__(
        self,
        epsilon: float | None = 1.0,
        delta: float | None = None,
        *,
        rho: float | None = None,
        workload: WorkloadSet | Literal["marginals"] = "marginals",
        strategy: Strategy = "oneshot",
        rounds: int = 25,
        per_round: int = 10,
        n_synthetic: int = 25_000,
        method: Literal["rap++", "rap"] = "rap++",
        relaxed_rows: int = 1000,
        iterations: int = 450,
        learning_rate: float = 0.2,
        temperatures: Sequence[float] = STAGES,
        bins: int = 32,
        warm_start: bool = True,
        neighbours: Neighbours = "replace-one",
        unit: Literal["record", "person"] = "record",
        clip: bool = False,
        journal: str | Path | None = None,
        random_state: int | None = None,
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.delta = delta
        self.rho = rho
        self.workload = workload
        self.strategy = strategy
        self.rounds = rounds
        self.per_round = per_round
        self.n_synthetic = n_synthetic
        self.method = method
        self.relaxed_rows = relaxed_rows
        self.iterations = iterations
        self.learning_rate = learning_rate
        self.temperatures = temperatures
        self.bins = bins
        self.warm_start = warm_start
        self.neighbours = neighbours
        self.unit = unit
        self.clip = clip
        self.journal = journal
        self.random_state = random_state
        self.noise_seed = noise_seed

    def _check_search(self, workloads: WorkloadSet) -> None:
        check_relaxable(workloads)
        if self.method not in ("rap", "rap++"):
            raise InvalidData(f"method must be rap or rap++, got {self.method!r}")
        check_whole(self, relaxed_rows=1, iterations=1, bins=2)
        check_above_zero(self, "learning_rate")
        if not len(self.temperatures) or not all(0 < each < math.inf for each in self.temperatures):
            raise InvalidData(f"temperatures must be finite numbers above 0, got {self.temperatures!r}")
        numbers: Numbers = "bins" if self.method == "rap" else "values"
        self._layout = Layout.of(workloads.domain, workloads, numbers, self.bins)
        self._free: torch.Tensor | None = None

    def _search(self, found: Measurements, rows: Rows, random: np.random.Generator, *, last: bool) -> Rows:
        free = self._free
        if free is None or not self.warm_start:
            generator = torch.Generator().manual_seed(int(random.integers(2**63)))
            free = self._layout.draw(self.relaxed_rows, generator)
        self._free = self._project(found, self._layout.loosened(free, _REACH))
        return self._layout.round(self._layout.relax(self._free), len(rows), random)

    def _project(self, found: Measurements, free: torch.Tensor) -> torch.Tensor:
        """Return the end of the stage whose answers, with true thresholds, are nearest to the noisy ones."""
        answers = Answers(self._layout, found.workloads)
        wanted = torch.from_numpy(found.answers.astype(np.float32))
        stages = self.temperatures if self.method == "rap++" else (math.inf,)

        def gap(free: torch.Tensor, temperature: float = math.inf) -> torch.Tensor:
            return torch.sum((answers(self._layout.relax(free), temperature) - wanted) ** 2)

        with torch.no_grad():
            best, least = free, float(gap(free))
        for temperature in stages:
            free = self._descend(free, gap, temperature, max(1, self.iterations // len(stages)))
            with torch.no_grad():
                reached = float(gap(free))
            if reached < least:
                best, least = free, reached
        return best

    def _descend(self, free: torch.Tensor, gap: Gap, temperature: float, steps: int) -> torch.Tensor:
        """Adam, its rate falling to nothing: a stage that is broken off early ends in mid-leap."""
        parts = [part.clone().requires_grad_() for part in torch.split(free, self._layout.widths, dim=1)]
        # a number cannot step further than a sigmoid is wide
        slower = _SLOWER * min(1.0, _WIDE / temperature)
        groups = [
            {"params": [part], "lr": self.learning_rate * (slower if self._layout.is_value(column) else 1)}
            for column, part in enumerate(parts)
        ]
        adam = torch.optim.Adam(groups, betas=_BETAS)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, steps)
        for _ in range(steps):
            adam.zero_grad()
            loss = gap(torch.cat(parts, dim=1), temperature)
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
            with torch.no_grad():
                for column, part in enumerate(parts):
                    if self._layout.is_value(column):
                        part.clamp_(0.0, 1.0)
            falling.step()
        return torch.cat([part.detach() for part in parts], dim=1)
