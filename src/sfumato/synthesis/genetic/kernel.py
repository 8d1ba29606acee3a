"""The incremental search, one candidate after the other, for a compiler: plain loops over plain arrays.

For `compiled`, which calls it where numba can be imported. Without numba the functions stay Python: right, and slow.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.genetic.flat import Axes, Flat, Floats, Gates, HalfSpaces, Integers, Prefixes
from sfumato.synthesis.genetic.objective import UNIT
from sfumato.synthesis.genetic.proposals import Proposals

Function = TypeVar("Function", bound=Callable[..., object])

try:
    import numba

    COMPILED = True  # whether the functions below are
except ImportError:
    COMPILED = False


def _compiled(function: Function) -> Function:
    return cast(Function, numba.njit(cache=True, nogil=True)(function)) if COMPILED else function


#: What a change of a row does to a gate.
_SAME, _PASSES, _FAILS, _UNSURE = 0, 1, 2, 3


class State(NamedTuple):
    """The best data set, what follows from it, and room for a generation.

    Attributes
    ----------
    rows : (n, d)
    cells : (n, workloads)
        The cell of each row in each workload, numbered through all of them; -1 for none.
    above : (n, half-spaces)
        The sum of coefficient times value, less the bias.
    residuals : (n_cells,)
    values, gains : (size,)
        What the candidates of a generation write, and by how much that moves the objective.
    turned : (gates,)
        What a candidate does to each gate.
    """

    rows: Floats
    cells: NDArray[np.int32]
    above: Floats
    residuals: Integers
    values: Floats
    gains: Integers
    turned: NDArray[np.uint8]


class Elite(NamedTuple):
    """The elite, best first, and what its data sets differ in from the best one: `elite.Elite` in arrays.

    Attributes
    ----------
    behind : (elite,)
        Objectives less that of the best.
    differing : (elite,)
        In how many cells they differ.
    row, column, value : (elite, elite + 1)
        Those cells.
    """

    behind: Integers
    differing: Integers
    row: Integers
    column: Integers
    value: Floats


@_compiled
def search(proposals: Proposals, sizes: Integers, steps: Integers, flat: Flat, state: State, elite: Elite) -> int:
    """Try proposals in generations; return by how much the objective moved, in units of 1 / UNIT."""
    moved, size, start = 0, len(state.values), 0
    while True:
        start = _next_success(start, proposals, sizes, steps, flat, state, elite)
        if start >= len(proposals.row):
            return moved
        for i in range(size):
            if state.gains[i] < elite.behind[-1]:
                _insert(state.gains[i], proposals.row[start + i], proposals.column[start + i], state.values[i], elite)
        if elite.behind[0] < 0:
            moved += elite.behind[0]
            row, column, value = elite.row[0, 0], elite.column[0, 0], elite.value[0, 0]
            _crown(row, column, state.rows[row, column], elite)
            state.rows[row, column] = value
            _follow(row, column, flat, state)
        start += size


@_compiled
def _next_success(
    start: int, proposals: Proposals, sizes: Integers, steps: Integers, flat: Flat, state: State, elite: Elite
) -> int:
    """Find the next generation of which a candidate enters the elite; its values and gains are left in the state."""
    # One long function over plain arrays: nearly all time is spent here, and to pass them on costs more than a gain.
    rows, cells, above, residuals, values, gains, turned = state
    offset, _, _, _, along, axes, halfspaces, prefixes, gates = flat
    axis_start, axis_column, axis_cells, axis_bins = axes
    shared, member, gated = gates.shared, gates.workload, len(turned)
    behind, differing, elite_row, elite_column, elite_value = elite
    size = len(values)
    for generation in range(start, len(proposals.row), size):
        enters = False
        for i in range(size):
            p = generation + i
            row, column, value = proposals.row[p], proposals.column[p], proposals.value[p]
            source, donor = proposals.source[p], proposals.donor[p]
            if source >= 0:
                found = rows[donor, column]
                for k in range(differing[source]):
                    if elite_row[source, k] == donor and elite_column[source, k] == column:
                        found = elite_value[source, k]
                value = _copied(found, value, sizes[column], steps[column])
            before, gain = rows[row, column], 0
            if value != before:
                for k in range(along.start[column], along.start[column + 1]):
                    w, bins = along.workload[k], along.bins[k]
                    step = along.stride[k] * (_code(value, bins) - _code(before, bins))
                    old = cells[row, w]
                    if step != 0 and old >= 0:  # where a gate is closed it stays so
                        gain += 2 * (UNIT - residuals[old] + residuals[old + step])
                if gated:
                    _turn(column, before, value, above[row], halfspaces, prefixes, turned)
                    for g in range(gated):
                        if turned[g] == _SAME:
                            continue
                        if turned[g] == _UNSURE:
                            passed = _passes(g, column, value, rows[row], halfspaces, gates)
                        else:
                            passed = turned[g] == _PASSES
                        for m in range(shared[g], shared[g + 1]):
                            w = member[m]
                            old, new = cells[row, w], -1
                            if passed:
                                new = 0
                                for a in range(axis_start[w], axis_start[w + 1]):
                                    c = axis_column[a]
                                    code = _code(value if c == column else rows[row, c], axis_bins[a])
                                    new = new * axis_cells[a] + code
                                new += offset[w]
                            if old != new:
                                if old >= 0:
                                    gain += UNIT - 2 * residuals[old]
                                if new >= 0:
                                    gain += UNIT + 2 * residuals[new]
            values[i], gains[i] = value, gain
            enters |= gain < behind[-1]
        if enters:
            return generation
    return len(proposals.row)


@_compiled
def _copied(found: float, added: float, size: int, steps: int) -> float:
    """What a crossover writes: `proposals.copied`."""
    if size > 0:
        return found
    number = min(max(found + added, 0.0), 1.0)
    if steps > 0:
        number = (min(math.floor(number * steps), steps - 1.0) + 0.5) / steps
    return number


@_compiled
def _code(value: float, bins: int) -> int:
    """A category's code, or the bin of a number: `workloads._cut`."""
    return min(int(value * bins), bins - 1) if bins > 0 else int(value)


@_compiled
def _cell(w: int, column: int, value: float, x: Floats, axes: Axes) -> int:
    """The cell within the workload of a row with the value in the column, if it passes the gate."""
    cell = 0
    for a in range(axes.start[w], axes.start[w + 1]):
        at = value if axes.column[a] == column else x[axes.column[a]]
        cell = cell * axes.cells[a] + _code(at, axes.bins[a])
    return cell


@_compiled
def _turn(
    column: int,
    before: float,
    value: float,
    above: Floats,
    halfspaces: HalfSpaces,
    prefixes: Prefixes,
    turned: NDArray[np.uint8],
) -> None:
    """Tell which gates a row may enter or leave. The first loop has no branch, so that it runs on vectors."""
    turned[:] = _SAME
    if halfspaces.sloped[column]:
        coefficient, slack, crossing = halfspaces.coefficient[column], halfspaces.slack, halfspaces.crossing[column]
        by = value - before
        for g in range(len(above)):
            then = above[g] + by * coefficient[g]
            new = ((above[g] > 0) != (then > 0)) | crossing[g]
            turned[g] = _UNSURE if abs(then) < slack[g] else new * (_PASSES if then > 0 else _FAILS)
    for k in range(prefixes.start[column], prefixes.start[column + 1]):
        threshold = prefixes.threshold[k]
        if value >= threshold:
            turned[prefixes.gate[k]] = _FAILS if before < threshold else _SAME
        elif before >= threshold or threshold == np.inf:
            turned[prefixes.gate[k]] = _UNSURE


@_compiled
def _above(g: int, column: int, value: float, x: Floats, halfspaces: HalfSpaces, gates: Gates) -> float:
    """By how much a row with the value in the column passes a half-space; its sign is that of `workloads.passes`."""
    total = 0.0
    for t in range(gates.start[g], gates.start[g + 1]):
        total += gates.number[t] * (value if gates.column[t] == column else x[gates.column[t]])
    return float(total - halfspaces.bias[g])


@_compiled
def _passes(g: int, column: int, value: float, x: Floats, halfspaces: HalfSpaces, gates: Gates) -> bool:
    """Whether a row with the value in the column passes a gate."""
    if g < len(halfspaces.bias):
        return _above(g, column, value, x, halfspaces, gates) > 0
    for t in range(gates.start[g], gates.start[g + 1]):
        if not (value if gates.column[t] == column else x[gates.column[t]]) < gates.number[t]:
            return False
    return True


@_compiled
def _follow(row: int, column: int, flat: Flat, state: State) -> None:
    """Bring sums, cells and residuals up to date with a row of which a column has changed."""
    x, cells, residuals = state.rows[row], state.cells[row], state.residuals
    if flat.halfspaces.sloped[column]:
        add_up(x, state.above[row], flat.halfspaces, flat.gates)
    for t in range(flat.touched_start[column], flat.touched_start[column + 1]):
        w = flat.touched[t]
        g, passed = flat.gate[w], True
        if g >= len(flat.halfspaces.bias):
            passed = _passes(g, column, x[column], x, flat.halfspaces, flat.gates)
        elif g >= 0:
            passed = state.above[row, g] > 0
        old, new = cells[w], flat.offset[w] + _cell(w, column, x[column], x, flat.axes) if passed else -1
        if old >= 0:
            residuals[old] -= UNIT
        if new >= 0:
            residuals[new] += UNIT
        cells[w] = new


@_compiled
def add_up(x: Floats, above: Floats, halfspaces: HalfSpaces, gates: Gates) -> None:
    """Compute the sums of a row anew, so that rounding does not pile up."""
    for g in range(len(above)):
        above[g] = _above(g, 0, x[0], x, halfspaces, gates)


@_compiled
def _insert(gain: int, row: int, column: int, value: float, elite: Elite) -> None:
    """Let an offspring of the best in, after its equals; the last data set falls out."""
    place = len(elite.behind) - 1
    while place > 0 and elite.behind[place - 1] > gain:
        elite.behind[place] = elite.behind[place - 1]
        elite.differing[place] = elite.differing[place - 1]
        for k in range(elite.differing[place]):
            elite.row[place, k] = elite.row[place - 1, k]
            elite.column[place, k] = elite.column[place - 1, k]
            elite.value[place, k] = elite.value[place - 1, k]
        place -= 1
    elite.behind[place] = gain
    elite.differing[place] = 1
    elite.row[place, 0], elite.column[place, 0], elite.value[place, 0] = row, column, value


@_compiled
def _crown(row: int, column: int, old: float, elite: Elite) -> None:
    """Make the first the best, and state the others relative to it: `Elite.crown`."""
    gain = elite.behind[0]
    for e in range(1, len(elite.behind)):
        elite.behind[e] -= gain
        last = elite.differing[e]
        known = False
        for k in range(last):
            known |= elite.row[e, k] == row and elite.column[e, k] == column
        if not known:
            elite.row[e, last], elite.column[e, last], elite.value[e, last] = row, column, old
            elite.differing[e] = last + 1
    elite.behind[0] = 0
    elite.differing[0] = 0
