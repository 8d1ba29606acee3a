"""GenerativeNetworkSynthesizer: rows made by a network that was trained to answer like the private table; GEM.

For data stewards, and as a baseline. Liu, Vietri and Wu 2021 (arXiv 2106.07153, algorithm 2 and its appendix on the
loss); what is measured, and its privacy, is `Synthesizer`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.synthesis.domain import Rows
from sfumato.synthesis.generator.network import Generator
from sfumato.synthesis.measuring import Measurements, Strategy
from sfumato.synthesis.relaxed.answers import Answers
from sfumato.synthesis.relaxed.checks import check_above_zero, check_relaxable, check_whole
from sfumato.synthesis.relaxed.layout import Layout
from sfumato.synthesis.synthesizer import Synthesizer
from sfumato.synthesis.workloads import WorkloadSet

_BETAS = (0.7, 0.8)  # gradients shrink by orders of magnitude: Adam must forget their size soon
_MEMORY = 0.5  # of the moving average of the largest gap, from round to round


class GenerativeNetworkSynthesizer(Synthesizer):
    """A table made by a network from fixed noise, trained on the noisy answers, then rounded at random.

    The network gives every column as probabilities, a number as those of its bins. `loss="threshold"` is the paper's
    schedule: a round sets a threshold, half of a moving average of the largest gap, and trains on the gaps above it
    until none is left. `loss="squares"` trains on all squared gaps; it fits answers that were all measured at once
    better. A round goes on training the network of the round before.

    Departures as for `RelaxedSynthesizer`; and where the paper sums at most 100 gaps above the threshold, all are here.

    Parameters
    ----------
    epsilon, delta, rho, workload, strategy, rounds, per_round, warm_start, neighbours, unit, clip, journal, \
random_state, noise_seed
        As for `Synthesizer`. Functions of rows (`queries`) cannot be relaxed.
    n_synthetic : int, default 25,000
        Rows of the table; each row of the network is rounded n_synthetic / network_rows times.
    loss : {"squares", "threshold"}
    network_rows : int, default 500
        Rows that the network makes at once.
    noise : int, default 128
        Normal numbers that each is made from.
    hidden : sequence of int, default (256, 256)
        Widths of the network's layers.
    iterations : int, default 300
        Steps of Adam a round, at most.
    learning_rate : float, default 0.003
        It falls to nothing over the steps of a round.
    bins : int, default 32
        For numeric columns that no marginal cuts.
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
        loss: Literal["squares", "threshold"] = "squares",
        network_rows: int = 500,
        noise: int = 128,
        hidden: Sequence[int] = (256, 256),
        iterations: int = 300,
        learning_rate: float = 0.003,
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
        self.loss = loss
        self.network_rows = network_rows
        self.noise = noise
        self.hidden = hidden
        self.iterations = iterations
        self.learning_rate = learning_rate
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
        if self.loss not in ("squares", "threshold"):
            raise InvalidData(f"loss must be squares or threshold, got {self.loss!r}")
        check_whole(self, network_rows=2, noise=1, iterations=1, bins=2)
        check_above_zero(self, "learning_rate")
        if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in self.hidden):
            raise InvalidData(f"hidden must be whole numbers, at least 1, got {self.hidden!r}")
        self._layout = Layout.of(workloads.domain, workloads, "bins", self.bins)
        self._network: Generator | None = None
        self._largest: float | None = None

    def _search(self, found: Measurements, rows: Rows, random: np.random.Generator, *, last: bool) -> Rows:
        if self._network is None or not self.warm_start:
            coins = torch.Generator().manual_seed(int(random.integers(2**63)))
            width = sum(self._layout.widths)
            self._network = Generator(self.network_rows, self.noise, self.hidden, width, coins)
        self._train(found, self._network)
        with torch.no_grad():
            return self._layout.round(self._layout.relax(self._network()), len(rows), random)

    def _train(self, found: Measurements, network: Generator) -> None:
        answers = Answers(self._layout, found.workloads)
        wanted = torch.from_numpy(found.answers.astype(np.float32))
        adam = torch.optim.Adam(network.parameters(), lr=self.learning_rate, betas=_BETAS)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.iterations)
        threshold = 0.0
        for step in range(self.iterations):
            gaps = torch.abs(answers(self._layout.relax(network())) - wanted)
            if self.loss == "threshold":
                if step == 0:
                    threshold = self._threshold(gaps.max().item())
                gaps = gaps[gaps >= threshold]
                if not len(gaps):
                    break
            adam.zero_grad()
            (gaps.mean() if self.loss == "threshold" else torch.sum(gaps**2)).backward()  # type: ignore[no-untyped-call]
            adam.step()
            falling.step()

    def _threshold(self, largest: float) -> float:
        """Half of the moving average, over rounds, of the largest gap that a round begins with."""
        before = largest if self._largest is None else self._largest
        self._largest = _MEMORY * before + (1 - _MEMORY) * largest
        return self._largest / 2
