"""Values as codes: what the attacker has seen of each attribute, and bins for numeric columns.

For the queries, baselines and generators of this package, which count integer codes. Annamalai, Gadotti and Rocher
(USENIX Security 2024) assume such tables.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from sfumato.errors import InvalidData

Codes = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Missing = Literal["error", "category"]


@dataclass(frozen=True)
class Codebook:
    """The values of each attribute; a value's place is its code, and one code more stands for all others.

    Attributes
    ----------
    values : dict of str to pandas.Index
    """

    values: dict[str, pd.Index]

    @classmethod
    def of(cls, frame: pd.DataFrame, *, missing: Missing = "error") -> Codebook:
        """Read the values off a frame; a missing value is refused, or a value like any other.

        Raises
        ------
        InvalidData
            If the frame has no row, no column, a column name twice, or a value is missing and may not be.
        """
        if missing not in ("error", "category"):
            raise InvalidData("missing must be 'error' or 'category'")
        if not isinstance(frame, pd.DataFrame) or not len(frame) or not len(frame.columns):
            raise InvalidData("expected a data frame with rows and columns")
        if not frame.columns.is_unique:
            raise InvalidData("a column name occurs twice")
        values = {}
        for name in frame.columns:
            if missing == "error" and frame[name].isna().any():
                raise InvalidData(f'column {name!r} has missing values: pass missing="category" or fill them')
            values[name] = pd.Index(pd.factorize(_plain(frame[name]), sort=True, use_na_sentinel=False)[1])
        return cls(values)

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Number of values of each attribute."""
        return tuple(len(index) for index in self.values.values())

    def encode(self, frame: pd.DataFrame) -> Codes:
        """Return codes, shape (attributes, rows); a value that is not in the book has the code after the last.

        Raises
        ------
        InvalidData
            If a column is missing, or holds no value of the book at all: its dtype differs, most likely.

        Warns
        -----
        UserWarning
            With the number of unknown values, if there are any.
        """
        absent = [str(name) for name in self.values if name not in frame.columns]
        if absent:
            raise InvalidData(f"the frame lacks the column(s) {', '.join(absent)}")
        codes = np.empty((len(self.values), len(frame)), dtype=np.int64)
        unknown = 0
        for row, (name, index) in enumerate(self.values.items()):
            place = index.get_indexer(pd.Index(_plain(frame[name])))
            strange = place < 0
            if len(frame) and strange.all():
                raise InvalidData(f"column {name!r} holds no known value: are the dtypes of both frames the same?")
            codes[row] = np.where(strange, len(index), place)
            unknown += int(strange.sum())
        if unknown:
            warnings.warn(f"{unknown} values are not among those known; they match nobody", stacklevel=2)
        return codes


def read_bits(frame: pd.DataFrame, secret: str) -> Codes:
    """Return the secret column as 0 and 1, shape (rows,).

    Raises
    ------
    InvalidData
        If the frame has no row or no such column, or the column holds anything but 0 and 1.
    """
    if not isinstance(frame, pd.DataFrame) or not len(frame):
        raise InvalidData("expected a data frame with rows")
    if secret not in frame.columns:
        raise InvalidData(f"the frame lacks the secret column {secret!r}")
    if not frame[secret].isin((0, 1)).all():
        raise InvalidData(f"the secret column {secret!r} must hold only 0 and 1")
    return frame[secret].to_numpy().astype(np.int64)


def discretize(frame: pd.DataFrame, bins: Mapping[str, Sequence[float]]) -> pd.DataFrame:
    """Replace numeric columns by the number of the bin that each value falls in.

    Parameters
    ----------
    frame : pandas.DataFrame
    bins : mapping of str to sequence of float
        Inner edges of each column to bin, increasing: m edges make the bins 0 (below the first), …, m (from the last).
        They should be public; edges taken from the data tell about the data.

    Returns
    -------
    pandas.DataFrame
        A copy; other columns are as they were.

    Raises
    ------
    InvalidData
        If a column is missing or not numeric, holds NaN, or its edges do not increase.
    """
    binned = frame.copy()
    for name, edges in bins.items():
        inner = np.asarray(edges, dtype=np.float64)
        if inner.ndim != 1 or not inner.size or not np.isfinite(inner).all() or (np.diff(inner) <= 0).any():
            raise InvalidData(f"the edges of {name!r} must be finite, increasing numbers")
        if name not in frame.columns or not pd.api.types.is_numeric_dtype(frame[name]):
            raise InvalidData(f"there is no numeric column {name!r} to bin")
        if frame[name].isna().any():
            raise InvalidData(f"column {name!r} has missing values")
        binned[name] = np.searchsorted(inner, frame[name].to_numpy(), side="right")
    return binned


def _plain(column: pd.Series[Any]) -> npt.NDArray[Any]:
    """The values without a categorical's declaration: two frames may declare different categories."""
    return np.asarray(column)
