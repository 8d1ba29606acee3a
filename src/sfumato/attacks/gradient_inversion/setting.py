"""What all searches of one attack share: the network, the images' box, where to start, how to search.

For the methods of this package. Images are searched for as the network takes them, standardised if it wants them so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.attacks.gradient_inversion.gradients import Loss
from sfumato.attacks.gradient_inversion.objectives import total_variation
from sfumato.attacks.gradient_inversion.search import (
    Box,
    Found,
    Free,
    Objective,
    best_of,
    by_lbfgs,
    by_signs,
    check_reachable,
)
from sfumato.attacks.gradient_inversion.view import View
from sfumato.errors import InvalidData


@dataclass(frozen=True, eq=False)
class Setting:
    """A view, a private copy of its network, and how to search."""

    view: View
    model: nn.Module
    loss: Loss
    dtype: torch.dtype
    iterations: int
    restarts: int
    rate: float
    tv: float
    generator: torch.Generator

    def check_classifier(self) -> None:
        """Refuse parameters that are not this network's.

        Raises
        ------
        InvalidData
            Naming the one that is missing or has another shape.
        """
        for name, parameter in self.model.named_parameters():
            got = np.shape(self.view.parameters[name]) if name in self.view.parameters else None
            if got != tuple(parameter.shape):
                raise InvalidData(f"parameters[{name!r}] must have shape {tuple(parameter.shape)}, got {got}")

    def noise(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self.generator, dtype=self.dtype)

    def start(self) -> Tensor:
        """Images of noise, shape (batch, channels, height, width)."""
        self.view.needs("shape")
        return self.noise(self.view.batch, *(int(n) for n in self.view.known["shape"]))

    def box(self) -> Box:
        """Where an image of [0, 1] lies, standardised."""
        mean, std = self._standard()
        return -mean / std, (1 - mean) / std

    def images(self, found: Tensor) -> NDArray[np.float64]:
        """Images in [0, 1]."""
        mean, std = self._standard()
        return np.asarray((found.detach() * std + mean).clamp(0, 1).double().numpy())

    def labels(self) -> Tensor | None:
        """Labels, if they are known."""
        known = self.view.known.get("labels")
        return None if known is None else torch.as_tensor(np.asarray(known), dtype=torch.long)

    def signs(self, matching: Objective, start: Callable[[], Free]) -> Found:
        """Search by signs for what matches and is smooth."""
        search = partial(by_signs, iterations=self.iterations, rate=self.rate, box=self.box())
        starts = self._starts(matching, start)
        return best_of(search, lambda free: matching(free) + self.tv * total_variation(free[0]), starts)

    def lbfgs(self, matching: Objective, start: Callable[[], Free]) -> Found:
        """Search by L-BFGS for what matches."""
        return best_of(partial(by_lbfgs, iterations=self.iterations), matching, self._starts(matching, start))

    def _starts(self, matching: Objective, start: Callable[[], Free]) -> list[Free]:
        starts = [start() for _ in range(self.restarts)]
        check_reachable(matching, starts[0])
        return starts

    def _standard(self) -> tuple[Tensor, Tensor]:
        def channels(values: Any) -> Tensor:
            return torch.as_tensor(np.asarray(values, np.float64), dtype=self.dtype).reshape(-1, 1, 1)

        return channels(self.view.known.get("mean", 0.0)), channels(self.view.known.get("std", 1.0))
