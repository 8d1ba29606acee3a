"""Data frames in and out: cells counted on a frame's own engine, results as lifelines lays them out.

For the survival estimators; nothing here draws noise or decides anything.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.releasing import Counter


def frame_counter(
    frame: Any,
    *,
    duration_col: str,
    event_col: str,
    group_col: str | None,
    labels: tuple[Hashable, ...] | None,
    person_col: str | None,
    max_records: int | None,
    n_statuses: int = 2,
) -> Counter:
    """Return a function from edges to (groups, n_statuses, m + 1) cells of `frame`."""
    from sfumato.tables import Bins, Categories
    from sfumato.tables import count as count_table

    def count(edges: NDArray[np.float64]) -> NDArray[np.int64]:
        # earliest rows first, events before censorings: the order in which max_records keeps a person's
        axes: list[Bins | Categories] = [
            Bins(duration_col, tuple(edges.tolist())),
            Categories(event_col, (*range(1, n_statuses), 0)),
        ]
        if group_col is not None and labels is not None:
            axes.append(Categories(group_col, labels))
        table = count_table(frame, axes, person=person_col, max_records=max_records)
        shape = (len(edges), n_statuses, 1 if labels is None else len(labels))
        by_group = table.reshape(shape).transpose(2, 1, 0)
        return np.ascontiguousarray(np.roll(by_group, 1, axis=1))

    return count


def by_time(counts: NoisyCounts, values: NDArray[Any]) -> pd.DataFrame:
    """Frame of values (groups, m + 1): index "timeline", a column per group or "KM_estimate"."""
    return pd.DataFrame(values.T, index=_timeline(counts), columns=pd.Index(list(counts.columns)))


def by_group(counts: NoisyCounts, values: Floats) -> float | pd.Series:
    """A number, or a series by group."""
    if counts.group_labels is None:
        return float(values[0])
    return pd.Series(values, index=pd.Index(list(counts.columns)))


def with_interval(counts: NoisyCounts, estimate: Floats, lower: Floats, upper: Floats) -> pd.DataFrame:
    """Frame of estimate, lower and upper, one row per group."""
    values = {"estimate": estimate, "lower": lower, "upper": upper}
    return pd.DataFrame(values, index=pd.Index(list(counts.columns)))


def band_frame(counts: NoisyCounts, lower: Floats, upper: Floats) -> pd.DataFrame:
    """Frame of a band (groups, m + 1): columns lower and upper, below each group label if there are groups."""
    index = _timeline(counts)
    if counts.group_labels is None:
        return pd.DataFrame({"lower": lower[0], "upper": upper[0]}, index=index)
    columns = pd.MultiIndex.from_product([counts.columns, ["lower", "upper"]])
    values = np.stack((lower, upper), axis=1).reshape(-1, len(index))
    return pd.DataFrame(values.T, index=index, columns=columns)


def side_of_band(band: pd.DataFrame, side: str) -> Floats:
    """One side of what `band_frame` made, shape (groups, m + 1)."""
    if isinstance(band.columns, pd.MultiIndex):
        return np.asarray(band.xs(side, axis=1, level=1).to_numpy().T, np.float64)
    return np.asarray(band[[side]].to_numpy().T, np.float64)


def life_table(
    counts: NoisyCounts, survival: Floats, band: pd.DataFrame, risk: Floats, reliable: NDArray[np.bool_]
) -> pd.DataFrame:
    """One row per edge and group: timeline, survival, lower, upper, at_risk, reliable [, group]."""
    lower, upper = side_of_band(band, "lower"), side_of_band(band, "upper")
    parts = []
    for g, label in enumerate(counts.columns):
        part = pd.DataFrame(
            {
                "timeline": counts.edges,
                "survival": survival[g],
                "lower": lower[g],
                "upper": upper[g],
                "at_risk": risk[g],
                "reliable": reliable[g],
            }
        )
        if counts.group_labels is not None:
            part.insert(len(part.columns), "group", [label] * len(part))
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _timeline(counts: NoisyCounts) -> pd.Index:
    return pd.Index(counts.edges, name="timeline")
