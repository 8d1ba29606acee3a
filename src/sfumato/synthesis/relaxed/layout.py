"""Layout: where each column of a relaxed row stands, and how relaxed rows become rows of the domain.

For searches by gradient. One-hot blocks by softmax and randomised rounding after Aydöre et al. 2021 (RAP); numbers as
themselves after Vietri et al. 2022 (RAP++).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.synthesis.domain import Domain, Rows
from sfumato.synthesis.workloads import Workload

Numbers = Literal["bins", "values"]


class RelaxedRows(NamedTuple):
    """Rows between the rows of a domain.

    Attributes
    ----------
    blocks : dict of int to Tensor, shape (n, cells)
        For each column that is held as probabilities, those of its cells.
    values : dict of int to Tensor, shape (n,)
        For each column that is held as a number, that number, in [0, 1] or a little outside.
    """

    blocks: dict[int, torch.Tensor]
    values: dict[int, torch.Tensor]


@dataclass(frozen=True)
class Layout:
    """How a domain's rows are laid out as free real numbers.

    Parameters
    ----------
    domain : Domain
    edges : dict of int to ndarray
        For each numeric column held in bins, the edges of the bins from 0 to 1; numeric columns that are not named are
        held as values.
    """

    domain: Domain
    edges: dict[int, NDArray[np.float64]]

    @classmethod
    def of(cls, domain: Domain, workloads: Iterable[Workload], numbers: Numbers, bins: int) -> Layout:
        """Lay out a domain; bins are fine enough for each axis of the workloads to be a sum of them.

        Columns that no axis cuts get `bins` equal bins.
        """
        if numbers == "values":
            return cls(domain, {})
        cuts: dict[int, set[int]] = {column: set() for column in np.flatnonzero(domain.sizes == 0).tolist()}
        for axis in {axis for workload in workloads for axis in workload.axes if axis.binned}:
            cuts[axis.column].add(axis.cells)
        return cls(domain, {column: _refined(cells or {bins}) for column, cells in cuts.items()})

    @property
    def widths(self) -> list[int]:
        """Free numbers a column."""
        held = [len(self.edges[column]) - 1 if column in self.edges else 1 for column in range(len(self.domain))]
        return [int(size) or held[column] for column, size in enumerate(self.domain.sizes)]

    def is_value(self, column: int) -> bool:
        """Whether a column is held as a number."""
        return self.domain.sizes[column] == 0 and column not in self.edges

    def draw(self, n: int, generator: torch.Generator) -> torch.Tensor:
        """Draw free numbers for n rows: standard normal ones for blocks, uniform ones for values.

        Returns
        -------
        Tensor of float32, shape (n, sum of widths)
        """
        parts = [
            torch.rand(n, 1, generator=generator)
            if self.is_value(column)
            else torch.randn(n, width, generator=generator)
            for column, width in enumerate(self.widths)
        ]
        return torch.cat(parts, dim=1)

    def loosened(self, free: torch.Tensor, reach: float) -> torch.Tensor:
        """Return free numbers that gradients move again: no logit far below its block's largest, values in range."""
        parts = [
            part.clamp(0.0, 1.0) if self.is_value(column) else torch.maximum(part, part.amax(1, keepdim=True) - reach)
            for column, part in enumerate(torch.split(free, self.widths, dim=1))
        ]
        return torch.cat(parts, dim=1)

    def relax(self, free: torch.Tensor) -> RelaxedRows:
        """Return the relaxed rows of free numbers: a softmax for each block, values as they are."""
        blocks, values = {}, {}
        for column, part in enumerate(torch.split(free, self.widths, dim=1)):
            if self.is_value(column):
                values[column] = part[:, 0]
            else:
                blocks[column] = torch.softmax(part, dim=1)
        return RelaxedRows(blocks, values)

    def round(self, relaxed: RelaxedRows, n: int, random: np.random.Generator) -> Rows:
        """Round relaxed rows at random, each as often as the others, until there are n.

        Each cell of a row is drawn with its own probabilities; copies of one relaxed row share out the unit interval
        (a Latin square), so that together they keep to those probabilities more closely than if drawn apart.

        Returns
        -------
        ndarray of float64, shape (n, d)
        """
        held = len(next(iter((relaxed.blocks | relaxed.values).values())))
        source, copies = np.arange(n) % held, -(-n // held)
        rows = np.empty((n, len(self.domain)), order="F")
        for column, value in relaxed.values.items():
            rows[:, column] = np.clip(value.detach().double().numpy(), 0.0, 1.0)[source]
        for column, block in relaxed.blocks.items():
            strata = random.permuted(np.tile(np.arange(copies), (held, 1)), axis=1).T.ravel()[:n]
            level = (strata + random.random(n)) / copies
            total = np.cumsum(block.detach().double().numpy(), axis=1)
            total[:, -1] = np.inf  # whatever rounding left off the sum
            codes = (total[source] <= level[:, None]).sum(axis=1)
            rows[:, column] = self._within(column, codes, random) if column in self.edges else codes
        return rows

    def _within(self, column: int, codes: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.float64]:
        """A bin says nothing of where in it a number lies: anywhere."""
        low, high = self.edges[column][codes], self.edges[column][codes + 1]
        return np.minimum(low + random.random(len(codes)) * (high - low), np.nextafter(high, 0.0))


def _refined(cells: set[int]) -> NDArray[np.float64]:
    """All edges of equal bins of several sizes."""
    return np.unique(np.concatenate([np.arange(each + 1) / each for each in sorted(cells)]))
