"""Workloads as flat arrays, for the compiled search.

A gate is what several workloads share: it is looked at once for all of them. Half-spaces come first among the gates.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Domain
from sfumato.synthesis.workloads import HalfSpace, Prefix, WorkloadSet

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_SLACK = 1e-12  # of the size of a sum: far above what rounding can do to it


class Flat(NamedTuple):
    """Lists of lists are stored one after the other; list i of `x` lies from x_start[i] to x_start[i + 1].

    Attributes
    ----------
    offset : (workloads,)
        Where a workload's cells begin.
    axis_start, axis_column, axis_cells, axis_binned : axes of each workload
    along_start, along : for each column
        Workloads that have an axis on it and whose gate, if any, does not look at it.
    term_start, term_column, term_number : for each gate
        Its columns with their coefficients or thresholds.
    bias, slack : (half-spaces,)
        Cached sums that come nearer to the bias than the slack are computed anew.
    coefficient : (d, half-spaces)
        Of each column; 0 where a half-space does not look at it.
    crossing : (d, half-spaces)
        1 if a workload of the half-space also has an axis on the column.
    sloped : (d,)
        1 if some half-space looks at the column.
    below_start, below, below_threshold : for each column
        Prefixes that look at it, and their lowest threshold there; infinite if a workload of theirs also has an axis on
        the column, so that it is always looked at.
    member_start, member : for each gate
        Its workloads.
    """

    offset: Integers
    axis_start: Integers
    axis_column: Integers
    axis_cells: Integers
    axis_binned: Integers
    along_start: Integers
    along: Integers
    term_start: Integers
    term_column: Integers
    term_number: Floats
    bias: Floats
    slack: Floats
    coefficient: Floats
    crossing: NDArray[np.uint8]
    sloped: NDArray[np.uint8]
    below_start: Integers
    below: Integers
    below_threshold: Floats
    member_start: Integers
    member: Integers


def flatten(workloads: WorkloadSet) -> Flat:
    """Return the workloads, none of which may be a user's function, as arrays."""
    gates = sorted({w.gate: None for w in workloads if w.gate}, key=lambda gate: not isinstance(gate, HalfSpace))
    number = {gate: place for place, gate in enumerate(gates)}
    members: list[list[int]] = [[] for _ in gates]
    along: list[list[int]] = [[] for _ in workloads.domain.names]
    for place, workload in enumerate(workloads):
        if workload.gate:
            members[number[workload.gate]].append(place)
        gated = workload.gate.columns if workload.gate else ()
        for column in {axis.column for axis in workload.axes} - set(gated):
            along[column].append(place)
    # which columns the workloads of a gate have axes on
    axes = [{axis.column for place in each for axis in workloads[place].axes} for each in members]
    axis_start, axis = _lists([workload.axes for workload in workloads], 3)
    along_start, along_list = _lists(along)
    member_start, member_list = _lists(members)
    term_start, terms = _lists([_terms(gate) for gate in gates], 2)
    below_start, below = _lists(_below(workloads.domain, gates, axes), 2)
    return Flat(
        workloads.offsets[:-1],
        axis_start, *axis.astype(np.int64).T.copy(),
        along_start, along_list[:, 0].astype(np.int64),
        term_start, terms[:, 0].astype(np.int64), terms[:, 1].copy(),
        *_slopes(workloads.domain, [gate for gate in gates if isinstance(gate, HalfSpace)], axes),
        below_start, below[:, 0].astype(np.int64), below[:, 1].copy(),
        member_start, member_list[:, 0].astype(np.int64),
    )  # fmt: skip


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


def _slopes(
    domain: Domain, halfspaces: Sequence[HalfSpace], axes: Sequence[set[int]]
) -> tuple[Floats, Floats, Floats, NDArray[np.uint8], NDArray[np.uint8]]:
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
    return np.array([gate.bias for gate in halfspaces]), _SLACK * slack, coefficient, crossing, sloped


def _lists(lists: Sequence[Iterable[Any]], width: int = 1) -> tuple[Integers, Floats]:
    """Where each list begins, and all of them one after the other as rows of `width` numbers."""
    found = [list(each) for each in lists]
    start = np.concatenate([[0], np.cumsum([len(each) for each in found])]).astype(np.int64)
    return start, np.array([each for one in found for each in one], dtype=np.float64).reshape(-1, width)
