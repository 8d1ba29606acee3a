"""Finite universes: which of all possible rows each row of a sample is.

For the mechanisms that keep a histogram. A universe is public; a row outside it is an error of the declaration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.statistics.adaptive.queries import Rows
from sfumato.statistics.adaptive.transfer import LARGEST_UNIVERSE


def read_universe(universe: Any) -> Rows:
    """Read a universe: rows, or the number of rows of integers from 0 on.

    Raises
    ------
    InvalidData
        If it is empty, has more than 10^7 rows, or repeats one.
    """
    if isinstance(universe, (int, np.integer)) and not isinstance(universe, bool):
        if not 1 <= universe <= LARGEST_UNIVERSE:
            raise InvalidData(f"universe must have 1 to {LARGEST_UNIVERSE:,} rows")
        return Rows((np.arange(universe),))
    rows = Rows.of("universe", universe)
    if len(rows) > LARGEST_UNIVERSE:
        raise InvalidData(f"universe must have 1 to {LARGEST_UNIVERSE:,} rows")
    if len(set(_keys(rows))) < len(rows):
        raise InvalidData("universe repeats a row")
    return rows


def cell_counts(sample: Any, universe: Any) -> tuple[Rows, NDArray[np.int64]]:
    """Count the sample by rows of the universe; shape (universe,).

    Raises
    ------
    InvalidData
        If the sample has fewer than 2 rows, or one that is not in the universe.
    """
    every = read_universe(universe)
    rows = Rows.of("sample", sample, least=2)
    place = {key: i for i, key in enumerate(_keys(every))}
    found = [place.get(key, -1) for key in _keys(rows)]
    if min(found) < 0:
        raise InvalidData("the sample has rows outside the universe: declare all rows that there can be")
    return every, np.bincount(found, minlength=len(every)).astype(np.int64)


def _keys(rows: Rows) -> list[Any]:
    """Each row as something to look up."""
    columns = [np.asarray(part) for part in rows.parts]
    flat = [each.tolist() if each.ndim == 1 else list(map(tuple, each.tolist())) for each in columns]
    return list(zip(*flat, strict=True))
