"""Answers of relaxed rows to workloads, as functions that can be differentiated.

For searches by gradient. Marginals as products of probabilities after Aydöre et al. 2021 (RAP); thresholds as sigmoids
of a rising temperature after Vietri et al. 2022 (RAP++).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.synthesis.relaxed.layout import Layout, RelaxedRows
from sfumato.synthesis.workloads import Axis, HalfSpace, Prefix, Workload, WorkloadSet

Factor = Axis | HalfSpace | Prefix | None  # of a query: its indicator is a product of these; None is 1
Key = tuple[Factor, ...]


class Answers:
    """The answers of relaxed rows to workloads.

    A cell's indicator is a product of factors: its gate, and one cell of each axis. Each factor is relaxed by itself
    to a number between 0 and 1, and a row's answer is their product: exact in expectation over randomised rounding
    where columns are held as probabilities and no two factors share one. All workloads of at most two factors are
    answered by one matrix product of the (rows, left factors) with the (rows, right factors); one of more factors
    multiplies all but its last out first.

    Parameters
    ----------
    layout : Layout
    workloads : WorkloadSet
        Without functions of a user.
    """

    def __init__(self, layout: Layout, workloads: WorkloadSet) -> None:
        pairs = [_halves(workload) for workload in workloads]
        self._factors = _Factors(layout, {factor for left, right in pairs for factor in (*left, right)})
        met: dict[Key, list[Factor]] = {}
        for left, right in pairs:
            # single factors stand together in one matrix, and meet all that stand to the right of any of them
            met.setdefault(left if len(left) > 1 else (), []).append(right)
        singles = _distinct(left[0] for left, _ in pairs if len(left) == 1)
        self._products = [_Product(self._factors, key or singles, bool(key), _distinct(f)) for key, f in met.items()]
        starts = np.cumsum([0, *(product.size for product in self._products)])
        tables: dict[tuple[Key, Factor], NDArray[np.int64]] = {}
        for start, product in zip(starts, self._products, strict=False):
            tables |= {pair: start + places for pair, places in product.places().items()}
        self._index = torch.from_numpy(np.concatenate([tables[pair].ravel() for pair in pairs]))

    def __call__(self, rows: RelaxedRows, temperature: float = math.inf) -> torch.Tensor:
        """Answer.

        Parameters
        ----------
        rows : RelaxedRows, n of them
        temperature : float
            Steepness of the sigmoids of columns that are held as values; infinite for true thresholds.

        Returns
        -------
        Tensor, shape (n_cells,)
            Fractions of rows.
        """
        factors = self._factors(rows, temperature)
        return torch.cat([product(factors) for product in self._products])[self._index]


class _Product:
    """The mean over rows of each left cell times each right cell; left factors beside one another or multiplied out."""

    def __init__(self, factors: _Factors, left: Key, multiplied: bool, right: Key) -> None:
        self._left, self._multiplied, self._right = left, multiplied, right
        beside = [left] if not multiplied else [(factor,) for factor in left]
        self._parts = [factors.columns(key) for key in beside]
        self._met = factors.columns(right)
        self.size = math.prod(map(len, self._parts)) * len(self._met)

    def __call__(self, factors: torch.Tensor) -> torch.Tensor:
        left = _outer([factors[:, part] for part in self._parts])
        return (left.T @ factors[:, self._met]).reshape(-1) / len(factors)

    def places(self) -> dict[tuple[Key, Factor], NDArray[np.int64]]:
        """Where in the product each cell of a pair stands, shape (left cells, right cells)."""
        whole = np.arange(self.size).reshape(-1, len(self._met))
        bands = [(self._left, slice(None))]
        if not self._multiplied:
            bands = list(zip([(f,) for f in self._left], _spans(map(_size, self._left)), strict=True))
        spans = list(zip(self._right, _spans(map(_size, self._right)), strict=True))
        return {(key, factor): whole[band, span] for key, band in bands for factor, span in spans}


class _Factors:
    """The cells of all factors, side by side, shape (rows, cells); gates of one kind are worked out together."""

    def __init__(self, layout: Layout, factors: set[Factor]) -> None:
        self._layout = layout
        self._axes = sorted(factor for factor in factors if isinstance(factor, Axis))
        self._merge = {axis: self._merging(axis) for axis in self._axes if axis.column in layout.edges}
        self._halfspaces = sorted(factor for factor in factors if isinstance(factor, HalfSpace))
        self._prefixes = sorted(factor for factor in factors if isinstance(factor, Prefix))
        self._directions = _matrix(self._halfspaces, "coefficients", sum)
        self._thresholds = _matrix(self._prefixes, "thresholds", min)
        order: Key = (None, *self._axes, *self._halfspaces, *self._prefixes)
        self._spans = dict(zip(order, _spans(map(_size, order)), strict=True))

    def columns(self, key: Key) -> torch.Tensor:
        """Columns in which these factors' cells stand, one factor after the other."""
        return torch.cat([torch.arange(self._spans[f].start, self._spans[f].stop) for f in key])

    def __call__(self, rows: RelaxedRows, temperature: float) -> torch.Tensor:
        example = next(iter((rows.blocks | rows.values).values()))
        found = [example.new_ones(len(example), 1), *(self._axis(axis, rows, temperature) for axis in self._axes)]
        if self._halfspaces:
            found.append(self._beyond(rows, temperature))
        if self._prefixes:
            found.append(self._below(rows, temperature))
        return torch.cat(found, dim=1)

    def _axis(self, axis: Axis, rows: RelaxedRows, temperature: float) -> torch.Tensor:
        if axis in self._merge:
            return rows.blocks[axis.column] @ self._merge[axis]
        if not axis.binned:
            return rows.blocks[axis.column]
        value = rows.values[axis.column]
        inner = torch.arange(1, axis.cells, dtype=value.dtype) / axis.cells
        above = 1 - _step(inner - value[:, None], temperature)  # an edge belongs to the bin above it
        ends = (above.new_ones(len(above), 1), above.new_zeros(len(above), 1))
        return torch.cat([ends[0], above], dim=1) - torch.cat([above, ends[1]], dim=1)

    def _merging(self, axis: Axis) -> torch.Tensor:
        """Which fine bins make up which bin of the axis, shape (fine, cells)."""
        edges = self._layout.edges[axis.column]
        coarse = np.floor((edges[:-1] + edges[1:]) / 2 * axis.cells).astype(np.int64)
        return torch.from_numpy(np.eye(axis.cells, dtype=np.float32)[coarse])

    def _beyond(self, rows: RelaxedRows, temperature: float) -> torch.Tensor:
        """Half-spaces: of values by the sigmoid of the distance; of bins as if a sum of independent ones were normal.

        The normal sum is ours: bins, as RAP and GEM hold them, cannot tell a half-space exactly.
        """
        bias = torch.tensor([gate.bias for gate in self._halfspaces])
        columns, directions = list(self._directions), torch.stack(list(self._directions.values()))
        if columns[0] in rows.values:
            return _step(torch.stack([rows.values[c] for c in columns], dim=1) @ directions - bias, temperature)
        means, variances = zip(*(self._moments(column, rows) for column in columns), strict=True)
        spread = torch.sqrt(torch.stack(variances, dim=1) @ directions**2 + 1e-12)
        passing: torch.Tensor = torch.special.ndtr((torch.stack(means, dim=1) @ directions - bias) / spread)
        return passing

    def _moments(self, column: int, rows: RelaxedRows) -> tuple[torch.Tensor, torch.Tensor]:
        edges = torch.from_numpy(self._layout.edges[column].astype(np.float32))
        middle, width = (edges[1:] + edges[:-1]) / 2, edges[1:] - edges[:-1]
        mean = rows.blocks[column] @ middle
        return mean, torch.relu(rows.blocks[column] @ (middle**2 + width**2 / 12) - mean**2)

    def _below(self, rows: RelaxedRows, temperature: float) -> torch.Tensor:
        """Prefixes: of values by sigmoids; of bins by how much of each lies below the threshold."""
        passing: Any = 1.0
        for column, threshold in self._thresholds.items():
            if column in rows.values:
                below = _step(threshold - rows.values[column][:, None], temperature)
            else:
                edges = torch.from_numpy(self._layout.edges[column].astype(np.float32))[:, None]
                covered = (threshold - edges[:-1]) / (edges[1:] - edges[:-1])
                below = rows.blocks[column] @ covered.clamp(0.0, 1.0)
            passing = passing * below
        return torch.as_tensor(passing)


def _halves(workload: Workload) -> tuple[Key, Factor]:
    factors: Key = (*([workload.gate] if workload.gate else []), *workload.axes)
    return (factors[:-1] or (None,), factors[-1]) if factors else ((None,), None)


def _size(factor: Factor) -> int:
    return factor.cells if isinstance(factor, Axis) else 1


def _distinct(factors: Iterable[Factor]) -> Key:
    return tuple(dict.fromkeys(factors))


def _spans(sizes: Iterable[int]) -> list[slice]:
    ends = np.cumsum([0, *sizes]).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _outer(parts: list[torch.Tensor]) -> torch.Tensor:
    """Row by row, all products of one number of each part; the last part runs fastest."""
    product = parts[0]
    for part in parts[1:]:
        product = (product[:, :, None] * part[:, None, :]).flatten(1)
    return product


def _step(distance: torch.Tensor, temperature: float) -> torch.Tensor:
    if math.isinf(temperature):
        return (distance > 0).to(distance.dtype)
    return torch.sigmoid(distance * temperature)


def _matrix(gates: list[Any], numbers: str, joined: Any) -> dict[int, torch.Tensor]:
    """For each column that a gate names, its number in each gate: 0 or ∞ where it has no say."""
    absent = 0.0 if joined is sum else math.inf
    columns = sorted({column for gate in gates for column in gate.columns})
    found = {column: torch.full((len(gates),), absent) for column in columns}
    for place, gate in enumerate(gates):
        for column in set(gate.columns):
            same = [x for c, x in zip(gate.columns, getattr(gate, numbers), strict=True) if c == column]
            found[column][place] = joined(same)
    return found
