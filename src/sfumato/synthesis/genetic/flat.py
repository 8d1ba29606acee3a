"""Workloads as flat arrays, for the compiled search.

A gate is what several workloads share: it is looked at once for all of them. Half-spaces come first among the gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Domain
from sfumato.synthesis.workloads import HalfSpace, Prefix, Workload, WorkloadSet

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_SLACK = 1e-12  # of the size of a sum: far above what rounding can do to it


class Axes(NamedTuple):
    """The axes of each workload: those of workload w lie from start[w] to start[w + 1].

    A number is cut into `bins`, 0 for a category.
    """

    start: Integers
    column: Integers
    cells: Integers
    bins: Integers


class Along(NamedTuple):
    """For each column c, from start[c] to start[c + 1], workloads with an axis on it, and no gate that looks at it.

    A step on the axis is `stride` cells; a number is cut into `bins`, 0 for a category.
    """

    start: Integers
    workload: Integers
    stride: Integers
    bins: Integers


class HalfSpaces(NamedTuple):
    """The gates that are half-spaces.

    Attributes
    ----------
    bias, slack : (half-spaces,)
        Cached sums that come nearer to the bias than the slack are computed anew.
    coefficient : (d, half-spaces)
        Of each column; 0 where a half-space does not look at it.
    crossing : (d, half-spaces)
        1 if a workload of the half-space also has an axis on the column.
    sloped : (d,)
        1 if some half-space looks at the column.
    """

    bias: Floats
    slack: Floats
    coefficient: Floats
    crossing: NDArray[np.uint8]
    sloped: NDArray[np.uint8]


class Prefixes(NamedTuple):
    """For each column c, from start[c] to start[c + 1], the gates that are prefixes and look at it.

    The threshold is their lowest there; infinite if a workload of theirs also has an axis on the column, so that it is
    always looked at.
    """

    start: Integers
    gate: Integers
    threshold: Floats


class Gates(NamedTuple):
    """Of gate g, half-spaces first: its terms, and the workloads that share it.

    A term is a column with its coefficient or threshold. The terms lie from start[g] to start[g + 1], the workloads
    from shared[g] to shared[g + 1].
    """

    start: Integers
    column: Integers
    number: Floats
    shared: Integers
    workload: Integers


class Flat(NamedTuple):
    """All that the compiled search knows of workloads.

    Attributes
    ----------
    offset : (workloads,)
        Where a workload's cells begin.
    gate : (workloads,)
        Or -1.
    touched_start, touched : for each column
        Workloads whose cells depend on it.
    """

    offset: Integers
    gate: Integers
    touched_start: Integers
    touched: Integers
    along: Along
    axes: Axes
    halfspaces: HalfSpaces
    prefixes: Prefixes
    gates: Gates


def flatten(workloads: WorkloadSet) -> Flat:
    """Return the workloads as arrays; all of them must be `flattenable`."""
    gates = sorted({w.gate: None for w in workloads if w.gate}, key=lambda gate: not isinstance(gate, HalfSpace))
    number = {gate: place for place, gate in enumerate(gates)}
    members: list[list[int]] = [[] for _ in gates]
    touched: list[list[int]] = [[] for _ in workloads.domain.names]
    along: list[list[tuple[int, int, int]]] = [[] for _ in workloads.domain.names]
    for place, workload in enumerate(workloads):
        if workload.gate:
            members[number[workload.gate]].append(place)
        gated, stride = workload.gate.columns if workload.gate else (), 1
        for column in workload.columns:
            touched[column].append(place)
        for axis in reversed(workload.axes):
            if axis.column not in gated:
                along[axis.column].append((place, stride, axis.cells * axis.binned))
            stride *= axis.cells
    # which columns the workloads of a gate have axes on
    axes = [{axis.column for place in each for axis in workloads[place].axes} for each in members]
    touched_start, touched_list = _lists(touched)
    axis_start, axis_list = _lists([[(a.column, a.cells, a.cells * a.binned) for a in w.axes] for w in workloads], 3)
    along_start, along_list = _lists(along, 3)
    member_start, member_list = _lists(members)
    term_start, terms = _lists([_terms(gate) for gate in gates], 2)
    below_start, below = _lists(_below(workloads.domain, gates, axes), 2)
    halfspaces = [gate for gate in gates if isinstance(gate, HalfSpace)]
    return Flat(
        workloads.offsets[:-1],
        np.array([number[workload.gate] if workload.gate else -1 for workload in workloads], dtype=np.int64),
        touched_start,
        _whole(touched_list[:, 0]),
        Along(along_start, *(_whole(each) for each in along_list.T)),
        Axes(axis_start, *(_whole(each) for each in axis_list.T)),
        _slopes(workloads.domain, halfspaces, axes),
        Prefixes(below_start, _whole(below[:, 0]), below[:, 1].copy()),
        Gates(term_start, _whole(terms[:, 0]), terms[:, 1].copy(), member_start, _whole(member_list[:, 0])),
    )


def flattenable(workload: Workload) -> bool:
    """Whether a workload is of axes, no two on one column, and a gate: and not of a user's function."""
    return not workload.asked and len({axis.column for axis in workload.axes}) == len(workload.axes)


def _terms(gate: HalfSpace | Prefix) -> list[tuple[float, float]]:
    numbers = gate.coefficients if isinstance(gate, HalfSpace) else gate.thresholds
    return list(zip(gate.columns, numbers, strict=True))


def _below(domain: Domain, gates: Sequence[Any], axes: Sequence[set[int]]) -> list[list[tuple[int, float]]]:
    below: list[list[tuple[int, float]]] = [[] for _ in domain.names]
    for place, gate in enumerate(gates):
        if isinstance(gate, Prefix):
            for column in set(gate.columns):
                lowest = min(t for c, t in _terms(gate) if c == column)
                below[column].append((place, np.inf if column in axes[place] else lowest))
    return below


def _slopes(domain: Domain, halfspaces: Sequence[HalfSpace], axes: Sequence[set[int]]) -> HalfSpaces:
    coefficient = np.zeros((len(domain), len(halfspaces)))
    slack = np.zeros(len(halfspaces))
    crossing = np.zeros(coefficient.shape, dtype=np.uint8)
    sloped = np.zeros(len(domain), dtype=np.uint8)
    for place, gate in enumerate(halfspaces):
        slack[place] = 1 + abs(gate.bias)
        for column, number in _terms(gate):
            coefficient[int(column), place] += number
            slack[place] += abs(number) * max(1, domain.sizes[int(column)])
            crossing[int(column), place] = column in axes[place]
            sloped[int(column)] = 1
    return HalfSpaces(np.array([gate.bias for gate in halfspaces]), _SLACK * slack, coefficient, crossing, sloped)


def _whole(numbers: Floats) -> Integers:
    return numbers.astype(np.int64)


def _lists(lists: Sequence[Iterable[Any]], width: int = 1) -> tuple[Integers, Floats]:
    """Where each list begins, and all of them one after the other as rows of `width` numbers."""
    found = [list(each) for each in lists]
    start = np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int64)
    return start, np.array([each for one in found for each in one], dtype=np.float64).reshape(-1, width)
