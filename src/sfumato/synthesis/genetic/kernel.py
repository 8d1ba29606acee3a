"""The incremental search, one candidate after the other, for a compiler: plain loops over plain arrays.

For `compiled`, which calls it where numba can be imported. Without numba the functions stay Python: right, and slow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.genetic.flat import Flat, Floats, Integers
from sfumato.synthesis.genetic.objective import UNIT
from sfumato.synthesis.genetic.proposals import Proposals

Function = TypeVar("Function", bound=Callable[..., object])

try:
    from numba import njit
except ImportError:
    njit = None


def _compiled(function: Function) -> Function:
    return function if njit is None else cast(Function, njit(cache=True, nogil=True)(function))


class State(NamedTuple):
    """What the search changes.

    Attributes
    ----------
    rows : (n, d)
        The best data set.
    cells : (n, workloads)
        The cell of each row within each workload; -1 for none.
    sums : (n, half-spaces)
        Of coefficient times value, without the bias.
    residuals : (n_cells,)
    behind : (elite,)
        Objectives of the elite less that of the best.
    differing : (elite,)
        In how many cells each data set of the elite differs from the best.
    row, column, value : (elite, elite + 1)
        Those cells.
    which, entered : (workloads,)
        Room for the workloads in which a candidate changes cells, and the cells.
    turned : (half-spaces,)
        Room for whether a half-space may be entered or left.
    values : (size,)
        Room for the candidates of a generation.
    """

    rows: Floats
    cells: NDArray[np.int32]
    sums: Floats
    residuals: Integers
    behind: Integers
    differing: Integers
    row: Integers
    column: Integers
    value: Floats
    which: Integers
    entered: Integers
    turned: NDArray[np.uint8]
    values: Floats


@_compiled
def search(proposals: Proposals, size: int, sizes: Integers, steps: Integers, flat: Flat, state: State) -> int:
    """Try proposals, `size` of them a generation; return by how much the objective moved, in units of 1 / UNIT."""
    moved = 0
    for start in range(0, len(proposals.row), size):
        for i in range(size):
            state.values[i] = _value(start + i, proposals, sizes, steps, state)
        for i in range(size):
            row, column, value = proposals.row[start + i], proposals.column[start + i], state.values[i]
            gain = _gain(row, column, value, flat, state)
            if gain < state.behind[-1]:
                _insert(gain, row, column, value, state)
        if state.behind[0] < 0:
            moved += state.behind[0]
            row, column, value = state.row[0, 0], state.column[0, 0], state.value[0, 0]
            _crown(row, column, state.rows[row, column], state)
            _apply(row, column, value, flat, state)
    return moved


@_compiled
def _value(i: int, proposals: Proposals, sizes: Integers, steps: Integers, state: State) -> float:
    """What a proposal writes."""
    source, column, donor = proposals.source[i], proposals.column[i], proposals.donor[i]
    value = proposals.value[i]
    if source < 0:
        return value
    found = state.rows[donor, column]
    for k in range(state.differing[source]):
        if state.row[source, k] == donor and state.column[source, k] == column:
            found = state.value[source, k]
    if sizes[column] > 0:
        return found
    found = min(max(found + value, 0.0), 1.0)
    if steps[column] > 0:
        return (min(np.floor(found * steps[column]), steps[column] - 1.0) + 0.5) / steps[column]
    return found


@_compiled
def _gain(row: int, column: int, value: float, flat: Flat, state: State) -> int:
    gain = 0
    for k in range(_changes(row, column, value, flat, state)):
        w = state.which[k]
        old, new = state.cells[row, w], state.entered[k]
        if old >= 0:
            gain += UNIT - 2 * state.residuals[flat.offset[w] + old]
        if new >= 0:
            gain += UNIT + 2 * state.residuals[flat.offset[w] + new]
    return gain


@_compiled
def _changes(row: int, column: int, value: float, flat: Flat, state: State) -> int:
    """Write the workloads in which the row changes cells, and the cells; return how many."""
    count = 0
    if state.rows[row, column] == value:
        return count
    for k in range(flat.along_start[column], flat.along_start[column + 1]):
        w = flat.along[k]
        old = state.cells[row, w]
        if old >= 0:  # or else its gate is closed, and stays so
            new = _cell(w, row, column, value, flat, state)
            if new != old:
                state.which[count] = w
                state.entered[count] = new
                count += 1
    if flat.sloped[column]:
        by = value - state.rows[row, column]
        for g in range(len(flat.bias)):
            old_sum = state.sums[row, g]
            new_sum = old_sum + by * flat.coefficient[column, g]
            state.turned[g] = (
                ((old_sum > flat.bias[g]) != (new_sum > flat.bias[g]))
                | (abs(new_sum - flat.bias[g]) < flat.slack[g])
                | (flat.crossing[column, g] != 0)
            )
        for g in range(len(flat.bias)):
            if state.turned[g]:
                count = _members(g, count, row, column, value, flat, state)
    for k in range(flat.below_start[column], flat.below_start[column + 1]):
        threshold = flat.below_threshold[k]
        if threshold == np.inf or (state.rows[row, column] < threshold) != (value < threshold):
            count = _members(flat.below[k], count, row, column, value, flat, state)
    return count


@_compiled
def _members(g: int, count: int, row: int, column: int, value: float, flat: Flat, state: State) -> int:
    """Go on with `_changes` for the workloads of a gate."""
    passed = _passes(g, row, column, value, flat, state)
    for m in range(flat.member_start[g], flat.member_start[g + 1]):
        w = flat.member[m]
        new = _cell(w, row, column, value, flat, state) if passed else -1
        if new != state.cells[row, w]:
            state.which[count] = w
            state.entered[count] = new
            count += 1
    return count


@_compiled
def _cell(w: int, row: int, column: int, value: float, flat: Flat, state: State) -> int:
    """The cell of the row with the value in the column, if it passes the gate."""
    cell = 0
    for a in range(flat.axis_start[w], flat.axis_start[w + 1]):
        c = flat.axis_column[a]
        at = value if c == column else state.rows[row, c]
        if flat.axis_binned[a]:
            code = min(int(at * flat.axis_cells[a]), flat.axis_cells[a] - 1)
        else:
            code = int(at)
        cell = cell * flat.axis_cells[a] + code
    return cell


@_compiled
def _passes(g: int, row: int, column: int, value: float, flat: Flat, state: State) -> bool:
    """Whether the row with the value in the column passes; sums run in the order of `workloads.passes`."""
    half = g < len(flat.bias)
    total = 0.0
    for t in range(flat.term_start[g], flat.term_start[g + 1]):
        c = flat.term_column[t]
        at = value if c == column else state.rows[row, c]
        if half:
            total += flat.term_number[t] * at
        elif not at < flat.term_number[t]:
            return False
    return not half or total > flat.bias[g]


@_compiled
def _apply(row: int, column: int, value: float, flat: Flat, state: State) -> None:
    for k in range(_changes(row, column, value, flat, state)):
        w = state.which[k]
        old, new = state.cells[row, w], state.entered[k]
        if old >= 0:
            state.residuals[flat.offset[w] + old] -= UNIT
        if new >= 0:
            state.residuals[flat.offset[w] + new] += UNIT
        state.cells[row, w] = new
    state.rows[row, column] = value
    if flat.sloped[column]:
        add_up(row, flat, state)


@_compiled
def add_up(row: int, flat: Flat, state: State) -> None:
    """Compute the sums of a row anew, so that rounding does not pile up."""
    for g in range(len(flat.bias)):
        total = 0.0
        for t in range(flat.term_start[g], flat.term_start[g + 1]):
            total += flat.term_number[t] * state.rows[row, flat.term_column[t]]
        state.sums[row, g] = total


@_compiled
def _insert(gain: int, row: int, column: int, value: float, state: State) -> None:
    """Let an offspring of the best into the elite, after its equals; the last data set falls out."""
    place = len(state.behind) - 1
    while place > 0 and state.behind[place - 1] > gain:
        _move(place - 1, place, state)
        place -= 1
    state.behind[place] = gain
    state.differing[place] = 1
    state.row[place, 0], state.column[place, 0], state.value[place, 0] = row, column, value


@_compiled
def _move(source: int, target: int, state: State) -> None:
    state.behind[target] = state.behind[source]
    state.differing[target] = state.differing[source]
    for k in range(state.differing[source]):
        state.row[target, k] = state.row[source, k]
        state.column[target, k] = state.column[source, k]
        state.value[target, k] = state.value[source, k]


@_compiled
def _crown(row: int, column: int, old: float, state: State) -> None:
    """Make the first of the elite the best, and state the others relative to it: `Elite.crown`."""
    gain = state.behind[0]
    for e in range(1, len(state.behind)):
        state.behind[e] -= gain
        known = False
        for k in range(state.differing[e]):
            known |= state.row[e, k] == row and state.column[e, k] == column
        if not known:
            last = state.differing[e]
            state.row[e, last], state.column[e, last], state.value[e, last] = row, column, old
            state.differing[e] = last + 1
    state.behind[0] = 0
    state.differing[0] = 0
