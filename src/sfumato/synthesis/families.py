"""The families of queries: marginals, half-spaces, prefixes, and any function of rows.

For whoever fits a synthesizer or measures its error. Marginals over bins, half-spaces and prefixes as in Vietri et al.
2022 (RAP++) and Liu, Tang, Vietri and Wu 2023 (Private-GSD).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd

from sfumato.errors import InvalidData, SensitivityError
from sfumato.synthesis.domain import Domain
from sfumato.synthesis.workloads import (
    MOST_CELLS,
    Asked,
    Axis,
    Gate,
    HalfSpace,
    Prefix,
    UserQueries,
    Workload,
    WorkloadSet,
)

_TRIED = 256  # random rows on which a user's query is tried before it sees the table


def marginals(
    domain: Domain,
    k: int = 2,
    *,
    columns: Sequence[str] | None = None,
    resolutions: Sequence[int] = (2, 4, 8, 16, 32),
    max_cells: int = MOST_CELLS,
) -> WorkloadSet:
    """Return all k-way marginals; one with a numeric column comes once for each resolution, and pays for each.

    Parameters
    ----------
    domain : Domain
    k : int, default 2
        Columns of a marginal.
    columns : sequence of str, optional
        Take these columns only.
    resolutions : sequence of int
        Into how many bins numeric columns are cut, all of a marginal alike.
    max_cells : int

    Raises
    ------
    InvalidData, WorkloadTooLarge
    """
    places = _places(domain, columns, "columns")
    bins = _whole_numbers("resolutions", resolutions, least=2)
    _whole_numbers("k", [k], least=1)
    if k > len(places):
        raise InvalidData(f"k must be at most the number of columns, {len(places)}, got {k}")
    found = []
    for chosen in combinations(places, k):
        cuts = bins if any(domain.sizes[c] == 0 for c in chosen) else bins[:1]
        found += [Workload("marginals", tuple(_axis(domain, c, cells) for c in chosen)) for cells in cuts]
    return WorkloadSet(domain, found, max_cells=max_cells)


def halfspaces(
    domain: Domain,
    n: int,
    *,
    targets: Sequence[str] | None = None,
    random_state: int | np.random.Generator | None = None,
    max_cells: int = MOST_CELLS,
) -> WorkloadSet:
    """Return random half-spaces over the numeric columns, each with each target column's categories.

    Directions are normal with variance 1 / (numeric columns), biases standard normal; one that contains all of the
    unit cube or none of it is drawn anew, since it would ask nothing.

    Parameters
    ----------
    domain : Domain
    n : int
        Half-spaces; there are n workloads for each target.
    targets : sequence of str, optional
        Categorical columns; by default those with two categories, and the half-space alone if there is none.
    random_state : int or Generator, optional
        Chooses the queries, which are public.
    max_cells : int

    Raises
    ------
    InvalidData, WorkloadTooLarge
    """
    numeric = _numeric(domain)
    random = np.random.default_rng(random_state)
    gates: list[Gate] = []
    while len(gates) < _whole_numbers("n", [n], least=1)[0]:
        direction = random.normal(size=len(numeric)) / math.sqrt(len(numeric))
        bias = float(random.normal())
        if np.minimum(direction, 0).sum() <= bias < np.maximum(direction, 0).sum():
            gates.append(HalfSpace(numeric, tuple(direction.tolist()), bias))
    return _gated(domain, "half-spaces", gates, targets, max_cells)


def prefixes(
    domain: Domain,
    n: int,
    *,
    k: int = 2,
    targets: Sequence[str] | None = None,
    random_state: int | np.random.Generator | None = None,
    max_cells: int = MOST_CELLS,
) -> WorkloadSet:
    """Return random prefixes: k numeric columns, drawn with replacement, each below a uniform threshold.

    Parameters are those of `halfspaces`.

    Raises
    ------
    InvalidData, WorkloadTooLarge
    """
    numeric = _numeric(domain)
    _whole_numbers("k", [k], least=1)
    random = np.random.default_rng(random_state)
    gates: list[Gate] = [
        Prefix(tuple(random.choice(numeric, size=k).tolist()), tuple(random.random(k).tolist()))
        for _ in range(_whole_numbers("n", [n], least=1)[0])
    ]
    return _gated(domain, "prefixes", gates, targets, max_cells)


def queries(
    domain: Domain,
    function: Callable[[pd.DataFrame], Any],
    partition: Sequence[Sequence[int]],
    *,
    random_state: int | np.random.Generator | None = None,
    max_cells: int = MOST_CELLS,
) -> WorkloadSet:
    """Return workloads of any counting queries: a function of the frame to zeros and ones.

    The function must treat each row by itself; that is what the privacy of a synthesizer that uses it rests on, and
    nobody can check it for all rows. It is tried here on random rows of the domain, forwards, backwards and in parts.

    Parameters
    ----------
    domain : Domain
    function : callable
        Maps a frame of n rows with the domain's columns to an array of 0 and 1, or booleans, of shape (n, m).
    partition : sequence of sequence of int
        The workloads: queries, by number from 0, of which a row answers at most one. Each query in one workload.
    random_state : int or Generator, optional
        Draws the rows on which the function is tried.
    max_cells : int

    Raises
    ------
    SensitivityError
        If a row answers two queries of a workload, or the function does not treat rows one at a time.
    InvalidData, WorkloadTooLarge
    """
    named = [int(q) for workload in partition for q in _whole_numbers("partition", workload, least=0)]
    if sorted(named) != list(range(len(named))):
        raise InvalidData("partition must name each query 0 .. m-1 exactly once")
    asked = UserQueries(function, domain, len(named))
    _try(asked, partition, np.random.default_rng(random_state))
    return WorkloadSet(
        domain, [Workload("queries", asked=Asked(asked, tuple(each))) for each in partition], max_cells=max_cells
    )


def _try(asked: UserQueries, partition: Sequence[Sequence[int]], random: np.random.Generator) -> None:
    rows = asked.domain.draw(_TRIED, random)
    raw = np.asarray(asked.function(asked.domain.decode(rows)))
    answers = asked(rows)
    if raw.dtype.kind not in "biuf" or not np.array_equal(raw, answers):
        raise SensitivityError("a query function must return zeros and ones, or booleans")
    half = _TRIED // 2
    parts = np.concatenate([asked(rows[:half]), asked(rows[half:-1]), asked(rows[-1:])])
    if not (np.array_equal(asked(rows[::-1])[::-1], answers) and np.array_equal(parts, answers)):
        raise SensitivityError("a query function must treat each row by itself: its answers change with other rows")
    for workload in partition:
        if answers[:, list(workload)].sum(axis=1).max() > 1:
            raise SensitivityError(f"a row answers more than one of the queries {tuple(workload)}: split that workload")


def _gated(
    domain: Domain, family: str, gates: Sequence[Gate], targets: Sequence[str] | None, max_cells: int
) -> WorkloadSet:
    if targets is None:
        places = tuple(int(c) for c in np.flatnonzero(domain.sizes == 2))
    else:
        places = _places(domain, targets, "targets")
        if any(domain.sizes[c] == 0 for c in places):
            raise InvalidData("targets must be categorical columns")
    axes: list[tuple[Axis, ...]] = [(_axis(domain, c, 0),) for c in places] or [()]
    found = [Workload(family, axis, gate) for gate, axis in product(gates, axes)]
    return WorkloadSet(domain, found, max_cells=max_cells)


def _axis(domain: Domain, column: int, bins: int) -> Axis:
    size = int(domain.sizes[column])
    return Axis(column, size or bins, binned=size == 0)


def _places(domain: Domain, names: Sequence[str] | None, argument: str) -> tuple[int, ...]:
    if names is None:
        return tuple(range(len(domain)))
    if isinstance(names, str) or not len(names) or len(set(names)) != len(names):
        raise InvalidData(f"{argument} must be a list of different column names")
    return tuple(domain.place(name) for name in names)


def _numeric(domain: Domain) -> tuple[int, ...]:
    places = tuple(int(c) for c in np.flatnonzero(domain.sizes == 0))
    if not places:
        raise InvalidData("the domain has no numeric column")
    return places


def _whole_numbers(name: str, values: Sequence[Any], *, least: int) -> list[int]:
    if not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v >= least for v in values):
        raise InvalidData(f"{name} must be whole numbers, at least {least}, got {values!r}")
    if not len(values):
        raise InvalidData(f"{name} must not be empty")
    return [int(v) for v in values]
