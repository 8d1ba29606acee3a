"""Reads the columns of a survival table from CSV or Parquet, or a bundled cohort.

For `sfumato survival`. Whatever is wrong with a value is left to the counting to refuse, by column and rule: no message
here holds a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sfumato import data
from sfumato.cli.files import as_text, read_columns
from sfumato.errors import InvalidData

_EVENTS = {"0": 0, "1": 1, "false": 0, "true": 1, "0.0": 0, "1.0": 1}
_UNREADABLE = -1  # no declared event code, so the counting refuses it


@dataclass(frozen=True)
class Columns:
    """Which column is what."""

    duration: str
    event: str
    group: str | None = None
    person: str | None = None

    def named(self) -> list[str]:
        """All columns that are read, each once."""
        return list(dict.fromkeys(name for name in (self.duration, self.event, self.group, self.person) if name))


def bundled(file: str) -> data.SurvivalData | None:
    """Return the bundled cohort of that name, unless a file has it."""
    return data.load(file) if file in data.names() and not Path(file).exists() else None


def read(file: str, columns: Columns) -> pd.DataFrame:
    """Return the named columns of a file: durations as numbers, events as 0/1, labels as text.

    Raises
    ------
    InvalidData
        If the file is missing, unreadable or empty, or lacks a column.
    """
    if not Path(file).is_file():
        names = ", ".join(data.names())
        raise InvalidData(f"there is no file {file!r}; bundled data sets are {names}")
    return normalised(read_columns(file, columns.named()), columns)


def normalised(frame: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Bring a frame's columns to numbers, 0/1 and text; what does not fit becomes missing or undeclared."""
    if len(frame) == 0:
        raise InvalidData("the table has no rows")
    if len(set(columns.named())) < 2 + (columns.group is not None) + (columns.person is not None):
        raise InvalidData("duration, event, group and person must be different columns")
    durations, events = frame[columns.duration], frame[columns.event]
    numeric = pd.api.types.is_numeric_dtype(durations) and not pd.api.types.is_bool_dtype(durations)
    if not (numeric or pd.api.types.is_object_dtype(durations) or pd.api.types.is_string_dtype(durations)):
        raise InvalidData(f"column {columns.duration!r} must hold times as numbers, it holds {durations.dtype}")
    clean = {
        columns.duration: pd.to_numeric(durations, errors="coerce").astype(float),
        columns.event: events.astype(str).str.strip().str.lower().map(_EVENTS).fillna(_UNREADABLE).astype(int),
    }
    if columns.group:
        clean[columns.group] = as_text(frame[columns.group])
    if columns.person:
        clean[columns.person] = as_text(frame[columns.person])
    return pd.DataFrame(clean)
