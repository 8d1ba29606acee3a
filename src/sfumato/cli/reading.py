"""Reads the columns of a survival table from CSV or Parquet, or a bundled cohort.

For `sfumato survival`. Whatever is wrong with a value is left to the counting to refuse, by column and rule: no message
here holds a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from sfumato import data
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
    path = Path(file)
    if not path.is_file():
        names = ", ".join(data.names())
        raise InvalidData(f"there is no file {file!r}; bundled data sets are {names}")
    if path.suffix.lower() == ".csv":
        return normalised(_read_csv(path, columns.named()), columns)
    if path.suffix.lower() in (".parquet", ".pq"):
        return normalised(_read_parquet(path, columns.named()), columns)
    raise InvalidData(f"expected a .csv or .parquet file, got {path.suffix or 'no suffix'}")


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
        clean[columns.group] = _text(frame[columns.group])
    if columns.person:
        clean[columns.person] = _text(frame[columns.person])
    return pd.DataFrame(clean)


def _text(column: pd.Series) -> pd.Series:
    """Labels as text: 1.0 reads "1", since a missing value makes floats of integers; an empty text is missing."""

    def label(value: object) -> str | None:
        if value is None or value != value:
            return None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        return str(value).strip() or None

    return pd.Series([label(value) for value in column.astype(object)], index=column.index, dtype=object)


def _read_csv(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Read strictly: a row with a field too many or too few is an error, not a shifted row."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        if path.stat().st_size == 0:
            raise InvalidData("the file is empty")
        options = csv.ParseOptions(newlines_in_values=True)
        with csv.open_csv(path, parse_options=options) as reader:
            _check_columns(names, reader.schema.names)
        texts = csv.ConvertOptions(include_columns=list(names), column_types=dict.fromkeys(names, pa.string()))
        frame: pd.DataFrame = csv.read_csv(path, parse_options=options, convert_options=texts).to_pandas()
    except (pa.ArrowException, UnicodeError, ValueError) as error:
        if isinstance(error, InvalidData):
            raise
        raise InvalidData(
            "the file cannot be read as CSV: a header line, then rows of as many fields, in UTF-8"
        ) from None
    except OSError:
        raise InvalidData("the file cannot be opened") from None
    return frame


def _read_parquet(path: Path, names: Sequence[str]) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        _check_columns(names, pq.read_schema(path).names)
        frame: pd.DataFrame = pq.read_table(path, columns=list(names)).to_pandas()
    except InvalidData:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise InvalidData("the file cannot be read as Parquet") from None
    return frame


def _check_columns(wanted: Sequence[str], present: list[str]) -> None:
    for name in wanted:
        if present.count(name) > 1:
            raise InvalidData(f"the file has several columns {name!r}")
        if name not in present:
            # Without a header line the "columns" are the first person's values: they are not listed.
            raise InvalidData(f"there is no column {name!r} in the file's header")
