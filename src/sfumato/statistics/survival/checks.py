"""Checks of what a caller states in public: labels, records per person, levels, the horizon.

For the survival estimators, before any data are counted and anything is spent.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.survival.cells import check_labels


def declared_labels(name: str, groups: Any, group_labels: Sequence[Hashable] | None) -> tuple[Hashable, ...] | None:
    """Return the public labels; groups without declared labels, or the reverse, raise InvalidData."""
    if groups is None and group_labels is None:
        return None
    if group_labels is None:
        raise InvalidData(f"group_labels must be given with {name}: the labels must be public")
    if groups is None:
        raise InvalidData(f"{name} must be given with group_labels")
    return check_labels(group_labels)


def records_per_person(person_col: str | None, max_records: int | None) -> int | None:
    """Return how many records a person may add, None if one is assumed; see `fit_frame`."""
    if max_records is not None:
        if isinstance(max_records, bool) or not isinstance(max_records, int) or max_records < 1:
            raise InvalidData("max_records must be an integer of at least 1")
        if person_col is None:
            raise InvalidData("person_col must be given with max_records")
        return max_records
    return None if person_col is None else 1


def warn_if_horizon_is_largest(horizon: float, largest: float) -> None:
    """Warn the custodian that the horizon may have been read from the data."""
    if horizon == largest:
        warnings.warn(
            "horizon equals the largest duration. Is it public? If it was read from the data, the claim does "
            "not hold. (This warning depends on the data: keep it out of published logs.)",
            UserWarning,
            stacklevel=3,
        )


def check_level(level: float) -> None:
    """Raise InvalidData unless `level` is in (0, 1)."""
    if isinstance(level, bool) or not isinstance(level, (int, float, np.floating)) or not 0 < level < 1:
        raise InvalidData("level must be in (0, 1)")
