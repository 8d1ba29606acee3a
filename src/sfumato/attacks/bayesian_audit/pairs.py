"""Pairs of neighbouring inputs that are worth trying, for inputs of the usual kinds.

For whoever audits a mechanism and knows its input's kind, not its weak spot. Vector patterns after StatDP (Ding
et al. 2018) and DP-Sniper (Bichsel et al. 2021); rows at the ends of their declared bounds for tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours

Floats = npt.NDArray[np.float64]


def vector_pairs(d: int, *, step: float = 1.0, moves: str = "all") -> list[tuple[Floats, Floats]]:
    """Pairs of vectors of d query answers, each in both orders.

    Parameters
    ----------
    d : int
        Length.
    step : float, default 1.0
        By how much one person can move an answer.
    moves : {"all", "one"}
        "all": a person can move every answer at once (queries of sensitivity `step`); "one": only one of them, as in
        a histogram.

    Returns
    -------
    list of (ndarray, ndarray)
        Without repeats.
    """
    if d < 1 or step <= 0 or moves not in ("all", "one"):
        raise InvalidData("expected d of at least 1, a positive step, and moves 'all' or 'one'")
    base, first, half = np.ones(d), np.eye(d)[0], np.arange(d) < (d + 1) // 2
    patterns = [first]
    if moves == "all":
        patterns += [-first, 2 * first - 1, 1 - 2 * first, np.where(half, 1.0, -1.0), np.ones(d), -np.ones(d)]
    pairs = [(base * step, (base + pattern) * step) for pattern in patterns]
    if moves == "all" and d > 1:
        crossed = np.where(half, 1.0, 0.0)
        pairs.append((crossed * step, (1 - crossed) * step))
    both = [ordered for a, b in pairs for ordered in ((a, b), (b, a))]
    unique = {(a.tobytes(), b.tobytes()): (a, b) for a, b in both}
    return list(unique.values())


def local_pairs(values: Sequence[Any], *, most: int = 20, random_state: int | None = None) -> list[tuple[Any, Any]]:
    """All ordered pairs of one user's values: in local privacy any two are neighbours.

    Of more than `most` values, those at the ends and a random choice between are paired.
    """
    kept = list(values)
    if len(kept) < 2:
        raise InvalidData("local privacy needs at least two values that a user may have")
    if len(kept) > most:
        inner = np.random.default_rng(random_state).choice(np.arange(1, len(kept) - 1), most - 2, replace=False)
        kept = [kept[0], *(kept[i] for i in np.sort(inner)), kept[-1]]
    return list(permutations(kept, 2))


def table_pairs(
    frame: pd.DataFrame, bounds: dict[str, Sequence[Any]], neighbours: Neighbours = "add-remove"
) -> list[tuple[pd.DataFrame, pd.DataFrame]]:
    """Tables that differ by one row at the ends of what is declared, each pair in both orders.

    Parameters
    ----------
    frame : DataFrame
        A typical table; public or made up. Its first row is the one removed or replaced.
    bounds : dict of str to sequence
        The public values of each column: both ends of its range, or its categories.
    neighbours : {"add-remove", "replace-one"}

    Returns
    -------
    list of (DataFrame, DataFrame)
        The table without or with: its first row again, an extreme row, any row at all (one person, nobody).
    """
    if frame.empty or set(bounds) != set(frame.columns):
        raise InvalidData("bounds must name each column of a table with at least one row")
    found = list(_row_changes(frame, bounds, neighbours))
    return [ordered for a, b in found for ordered in ((a, b), (b, a))]


def _row_changes(
    frame: pd.DataFrame, bounds: dict[str, Sequence[Any]], neighbours: Neighbours
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame]]:
    rest, row = frame.iloc[1:], frame.iloc[:1]
    ends = [pd.DataFrame({name: [values[end]] for name, values in bounds.items()}) for end in (0, -1)]
    extremes = [end.astype(dict(frame.dtypes)) for end in ends]
    if neighbours == "replace-one":
        for extreme in extremes:
            yield frame, _join(extreme, rest)
        yield _join(extremes[0], rest), _join(extremes[1], rest)
        yield extremes[0], extremes[1]
        return
    yield frame, rest.reset_index(drop=True)
    yield frame, _join(row, frame)
    for extreme in extremes:
        yield frame, _join(extreme, frame)
        yield extreme, extreme.iloc[:0]


def _join(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([first, second], ignore_index=True)
