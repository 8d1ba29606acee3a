"""A draft of a domain, for a person to correct: it looks at the table, so it is not public and nothing may rest on it.

For the steward who begins with a table and no list of what it may hold.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from sfumato.errors import DomainError
from sfumato.synthesis.domain import Column, Domain

_FEW = 20  # whole numbers with no more distinct values than this are listed rather than bounded


def draft_domain(frame: pd.DataFrame, *, most_categories: int = 200) -> tuple[Domain, dict[str, str]]:
    """Return a drafted domain of the columns that can be described, and why the others cannot.

    Numbers are bounded by round numbers outside their range, everything else is listed. Both come from the rows: a
    category that one person has, or an age that one person reaches, is in the draft. Synthesizers refuse it until
    `drafted` is set to False, by somebody who has put public knowledge in its place.

    Parameters
    ----------
    frame : DataFrame
    most_categories : int, default 200
        Columns with more are left out: names, free text, identifiers.

    Returns
    -------
    domain : Domain
        With `drafted` set.
    left_out : dict of str to str
        Column to reason.

    Raises
    ------
    DomainError
        If no column can be described.
    """
    columns: list[Column] = []
    left_out: dict[str, str] = {}
    for name in map(str, frame.columns):
        try:
            columns.append(_drafted(name, frame[name], most_categories))
        except DomainError as error:
            left_out[name] = str(error)
    if not columns:
        raise DomainError("no column of the table can be described by categories or bounds")
    return Domain(tuple(columns), drafted=True), left_out


def _drafted(name: str, values: pd.Series, most: int) -> Column:
    present = values.dropna()
    missing = len(present) < len(values)
    numeric = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    numbers = present.to_numpy(dtype=np.float64) if numeric else np.zeros(0)
    if numeric and not np.isfinite(numbers).all():
        raise DomainError("holds infinite numbers")
    whole = numeric and bool((numbers == np.floor(numbers)).all()) and bool((np.abs(numbers) < 2**52).all())
    if numeric and len(numbers) and not (whole and len(np.unique(numbers)) <= _FEW):
        if missing:
            raise DomainError("holds numbers and missing values: fill them, or cut it into ordered categories")
        low, high = _round_outward(float(numbers.min()), float(numbers.max()), whole)
        return Column.numeric(name, low, high, integer=whole)
    distinct: list[Any] = sorted(int(v) for v in np.unique(numbers)) if whole else _distinct(present, most)
    if not distinct and not missing:
        raise DomainError("is empty")
    if len(distinct) > most:
        raise DomainError(f"holds more than {most} categories: free text, or an identifier")
    categories = [*distinct, None] if missing else distinct
    return Column.ordinal(name, categories) if whole and not missing else Column.categorical(name, categories)


def _distinct(values: pd.Series, most: int) -> list[Any]:
    found = values.unique()
    if len(found) > most:
        raise DomainError(f"holds more than {most} categories: free text, or an identifier")
    plain = [value.item() if isinstance(value, np.generic) else value for value in found]
    if not all(isinstance(value, (str, bool, int, float)) for value in plain):
        raise DomainError(f"holds {type(plain[0]).__name__} values: write them as texts or numbers first")
    return sorted(plain, key=lambda value: (type(value).__name__, value))


def _round_outward(low: float, high: float, whole: bool) -> tuple[float, float]:
    """The nearest multiples outside of the power of ten below the range."""
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = max(1.0, step) if whole else step
    # dividing and multiplying may round inward
    bounds = min(low, math.floor(low / step) * step), max(high, math.ceil(high / step) * step)
    if bounds[0] == bounds[1]:
        bounds = bounds[0], bounds[0] + max(step, abs(bounds[0]))
    return (int(bounds[0]), int(bounds[1])) if whole else bounds
