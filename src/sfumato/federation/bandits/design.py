"""Design: the public numbers of a run, on which all noise depends, and a mechanism calibrated to them.

For the mechanisms of this package and the tree that uses them. Nothing here is ever read from data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias, get_args

import numpy as np

from sfumato.errors import InvalidData
from sfumato.federation.bandits.contributions import Adjacency, Floats, Integers, length_of, sensitivity
from sfumato.privacy.claim import Claim
from sfumato.privacy.grid import from_grid, to_grid
from sfumato.privacy.release import PrepaidNoise

#: Adds noise to the silos' nodes of a level: (noise, nodes of shape (m, length), level) to cells of shape (m or 1,
#: length), whose sum over the first axis is what counts.
Perturb: TypeAlias = Callable[[PrepaidNoise | None, Integers, int], Integers]


@dataclass(frozen=True)
class Design:
    """What everybody knows before the first user comes.

    Parameters
    ----------
    n_features : int
        Dimension d of φ.
    silos : int
        M.
    horizon : int
        Users of each silo.
    batch : int
        Users of each silo between two synchronisations. Users after the last full batch are never sent.
    adjacency : {"replace-one", "add-remove"}
        Whether a user is exchanged for another, or for nobody (an empty step): the number of steps is public.

    Raises
    ------
    InvalidData
        If a number is not an integer of at least 1, or the horizon is shorter than a batch.
    """

    n_features: int
    silos: int
    horizon: int
    batch: int
    adjacency: Adjacency = "replace-one"

    def __post_init__(self) -> None:
        for name in ("n_features", "silos", "horizon", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be an integer of at least 1, got {value!r}")
        if self.horizon < self.batch:
            raise InvalidData(f"horizon must hold at least one batch of {self.batch} users, got {self.horizon}")
        if self.adjacency not in get_args(Adjacency):
            raise InvalidData(f"adjacency must be one of {', '.join(get_args(Adjacency))}")

    @property
    def batches(self) -> int:
        """Synchronisations, floor(horizon / batch)."""
        return self.horizon // self.batch

    @property
    def levels(self) -> int:
        """Nodes of the tree that a user can lie in, κ = floor(log2 batches) + 1."""
        return self.batches.bit_length()

    @property
    def length(self) -> int:
        """Numbers in a silo's message, d(d+3)/2."""
        return length_of(self.n_features)

    @property
    def sensitivity(self) -> float:
        """L2 distance of two neighbours' contributions."""
        return sensitivity(self.adjacency)

    def cells_apart(self, granule: float) -> float:
        """Sensitivity of batch sums rounded to multiples of `granule`, counted in them.

        Rounding a batch's sum moves a coordinate by half a cell at most, so it widens the distance by one cell each.
        """
        return float(np.nextafter(self.sensitivity / granule + self.length**0.5, np.inf))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A mechanism whose noise fits a design.

    Attributes
    ----------
    design : Design
    claim : Claim
    granule : float
        Batch sums are whole multiples of this power of two.
    sigma : float
        Standard deviation of the noise of a coordinate in one node, summed over all silos.
    perturb : callable
    """

    design: Design
    claim: Claim
    granule: float
    sigma: float
    perturb: Perturb

    @property
    def sigma_total(self) -> float:
        """Standard deviation of the noise of a coordinate in a prefix of the most nodes, √κ · sigma."""
        return float(self.design.levels**0.5 * self.sigma)

    def to_cells(self, values: Floats) -> Integers:
        """Round batch sums to the grid."""
        return to_grid(values, self.granule)

    def to_real(self, cells: Integers) -> Floats:
        """Undo `to_cells`, for noisy sums."""
        return from_grid(cells, self.granule)
