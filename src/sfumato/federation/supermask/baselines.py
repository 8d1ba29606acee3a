"""What a supermask is compared with: averaging of dense weights, training alone, votes on gradients, random masks.

For studies; plain loops without messages, whose bytes are counted by formula. McMahan et al. 2017 (FedAvg), Bernstein
et al. 2018 (signSGD), Isik et al. 2023 (FedPM); from memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sfumato.federation.supermask.evaluation import HeldOut, accuracies
from sfumato.federation.supermask.subnetwork import Subnetwork

Silos = Sequence[tuple[torch.Tensor, torch.Tensor]]
History = list[dict[str, float]]

#: ``step(global, silo)`` returns what a silo ends a round with: its own model, and what it uploads.
LocalRound = Callable[[torch.Tensor, int, Any], tuple[torch.Tensor, torch.Tensor]]

_SURE = 1e-3  # FedPM: probabilities are kept this far from 0 and 1, so that scores are finite


@dataclass(frozen=True)
class Baselines:
    """Runs each rival on the same network, silos, rounds and batches.

    Parameters
    ----------
    subnetwork : Subnetwork
        With all weights kept and normal magnitudes for dense rivals; any for FedPM.
    silos : sequence of (x, y)
        Tensors.
    held_out : sequence of (x, y)
    rounds, epochs, batch_size : int
    seed : int
    """

    subnetwork: Subnetwork
    silos: Silos
    held_out: HeldOut
    rounds: int
    epochs: int = 1
    batch_size: int = 32
    seed: int = 0

    def fedavg(self, learning_rate: float = 0.2) -> History:
        """Average dense float32 weights, weighted alike."""

        def local(weights: torch.Tensor, silo: int, order: Any) -> tuple[torch.Tensor, torch.Tensor]:
            trained = self._descend(weights, silo, order, learning_rate)
            return trained, trained

        return self._run(self.subnetwork.values, local, lambda sent, _: sent.mean(0), bits=(32.0, 32.0))

    def alone(self, learning_rate: float = 0.2) -> History:
        """Each silo trains its own dense weights; nothing is sent. The "global" model is the first silo's."""
        own = dict.fromkeys(range(len(self.silos)), self.subnetwork.values)

        def local(_: torch.Tensor, silo: int, order: Any) -> tuple[torch.Tensor, torch.Tensor]:
            own[silo] = self._descend(own[silo], silo, order, learning_rate)
            return own[silo], own[silo]

        return self._run(self.subnetwork.values, local, lambda sent, _: sent[0], bits=(0.0, 0.0))

    def sign_sgd(self, learning_rate: float = 1e-3) -> History:
        """Majority of the signs of one gradient a batch: as many exchanges a round as the longest silo has batches."""
        batches = [self.epochs * -(-len(x) // self.batch_size) for x, _ in self.silos]
        rows = []
        weights, order = self.subnetwork.values, np.random.default_rng([self.seed, 46])
        for number in range(self.rounds):
            began = time.process_time()
            for _ in range(max(batches)):
                votes = torch.stack([self._batch_gradient(weights, silo, order).sign() for silo in self._numbers()])
                weights = weights - learning_rate * votes.sum(0).sign()
            seconds = time.process_time() - began
            found = accuracies(self.subnetwork, weights, dict.fromkeys(self._numbers(), weights), self.held_out)
            rows.append(self._row(number, found, seconds, (float(max(batches)), float(max(batches)))))
        return rows

    def fedpm(self, learning_rate: float = 0.1) -> History:
        """Stochastic {0, 1} masks: a silo trains probabilities and uploads one sample of its mask.

        The server's estimate is the mode of a Beta that starts uniform in each round, which is the mean of the samples.
        Models are evaluated as thresholded masks.
        """
        values = self.subnetwork.values

        def local(probabilities: torch.Tensor, silo: int, order: Any) -> tuple[torch.Tensor, torch.Tensor]:
            generator = torch.Generator().manual_seed(int(order.integers(1 << 62)))
            scores = torch.logit(probabilities.clamp(_SURE, 1 - _SURE)).requires_grad_()
            optimizer = torch.optim.Adam([scores], lr=learning_rate)
            for x, y in self._batches(silo, order):
                shares = torch.sigmoid(scores)
                mask = torch.bernoulli(shares.detach(), generator=generator)
                mask = mask + shares - shares.detach()  # straight through the sample
                (scores.grad,) = torch.autograd.grad(self._loss(values * mask, x, y), scores)
                optimizer.step()
            shares = torch.sigmoid(scores.detach())
            return values * (shares >= 0.5), torch.bernoulli(shares, generator=generator)

        start = torch.full_like(values, 0.5)
        return self._run(
            start,
            local,
            lambda sent, _: sent.mean(0),
            bits=(1.0, float(len(self.silos).bit_length())),
            model=lambda shares: values * (shares >= 0.5),
        )

    def _run(
        self, state: torch.Tensor, local: LocalRound, merge: Any, *, bits: tuple[float, float], model: Any = None
    ) -> History:
        rows = []
        for number in range(self.rounds):
            began = time.process_time()
            own, sent = {}, []
            for silo in self._numbers():
                order = np.random.default_rng([self.seed, number, silo])
                own[silo], upload = local(state, silo, order)
                sent.append(upload)
            state = merge(torch.stack(sent), state)
            seconds = time.process_time() - began
            overall = state if model is None else model(state)
            rows.append(self._row(number, accuracies(self.subnetwork, overall, own, self.held_out), seconds, bits))
        return rows

    def _row(self, number: int, found: dict[str, float], seconds: float, bits: tuple[float, float]) -> dict[str, float]:
        """A row of the history; bits are those a weight, up and down, for each silo."""
        up, down = (each * self.subnetwork.kept / 8 * len(self.silos) for each in bits)
        return {"round": number + 1, **found, "bytes_up": up, "bytes_down": down, "seconds": seconds}

    def _numbers(self) -> range:
        return range(len(self.silos))

    def _batches(self, silo: int, order: Any) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        x, y = self.silos[silo]
        for _ in range(self.epochs):
            rows = torch.from_numpy(order.permutation(len(x)))
            for batch in torch.split(rows, self.batch_size):
                yield x[batch], y[batch]

    def _descend(self, weights: torch.Tensor, silo: int, order: Any, learning_rate: float) -> torch.Tensor:
        leaf = weights.clone().requires_grad_()
        optimizer = torch.optim.SGD([leaf], lr=learning_rate)
        for x, y in self._batches(silo, order):
            (leaf.grad,) = torch.autograd.grad(self._loss(leaf, x, y), leaf)
            optimizer.step()
        return leaf.detach()

    def _batch_gradient(self, weights: torch.Tensor, silo: int, order: Any) -> torch.Tensor:
        x, y = self.silos[silo]
        rows = torch.from_numpy(order.integers(0, len(x), min(self.batch_size, len(x))))
        leaf = weights.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(self._loss(leaf, x[rows], y[rows]), leaf)
        return gradient

    def _loss(self, weights: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(self.subnetwork.logits(weights, x), y)
