"""The generator: a perceptron from noise to the free numbers of relaxed rows.

For `GenerativeNetworkSynthesizer`. Its residual layers are those of CTGAN's generator, as GEM's authors use them.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn


class Generator(nn.Module):
    """Noise, through layers that hand on their input beside their output, to free numbers.

    The noise is drawn once and stays: the network is the table.

    Parameters
    ----------
    rows : int
        Rows that it makes.
    noise : int
        Normal numbers that each row is made from.
    hidden : sequence of int
        Width of each layer.
    width : int
        Free numbers a row.
    coins : torch.Generator
        Draws the noise and the first weights.
    """

    def __init__(self, rows: int, noise: int, hidden: Sequence[int], width: int, coins: torch.Generator) -> None:
        super().__init__()
        self.noise = torch.randn(rows, noise, generator=coins)
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        entering = noise
        for size in hidden:
            self.layers.append(_linear(entering, size, coins))
            self.norms.append(nn.BatchNorm1d(size))
            entering += size
        self.last = _linear(entering, width, coins)

    def forward(self) -> torch.Tensor:
        """Return the free numbers of all rows, shape (rows, width)."""
        found = self.noise
        for layer, norm in zip(self.layers, self.norms, strict=True):
            found = torch.cat([torch.relu(norm(layer(found))), found], dim=1)
        free: torch.Tensor = self.last(found)
        return free


def _linear(entering: int, leaving: int, coins: torch.Generator) -> nn.Linear:
    layer = nn.Linear(entering, leaving)
    with torch.no_grad():
        layer.weight.normal_(0.0, entering**-0.5, generator=coins)
        layer.bias.zero_()
    return layer
