"""Reads columns of a CSV or Parquet file strictly, and turns values into the texts that they would be in a CSV.

For the commands that take a table. No message here holds a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sfumato.errors import InvalidData


def read_columns(file: str, names: Sequence[str] | None) -> pd.DataFrame:
    """Return the named columns of a file, or all: texts from CSV, values from Parquet.

    Raises
    ------
    InvalidData
        If the file is missing, unreadable or empty, or lacks a column.
    """
    path = Path(file)
    if not path.is_file():
        raise InvalidData(f"there is no file {file!r}")
    if path.suffix.lower() == ".csv":
        return _read_csv(path, names)
    if path.suffix.lower() in (".parquet", ".pq"):
        return _read_parquet(path, names)
    raise InvalidData(f"expected a .csv or .parquet file, got {path.suffix or 'no suffix'}")


def as_text(column: pd.Series) -> pd.Series:
    """Labels as text: 1.0 reads "1", since a missing value makes floats of integers; an empty text is missing."""

    def label(value: object) -> str | None:
        if value is None or value != value:
            return None
        if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
            return str(int(value))
        return str(value).strip() or None

    return pd.Series([label(value) for value in column.astype(object)], index=column.index, dtype=object)


def _read_csv(path: Path, names: Sequence[str] | None) -> pd.DataFrame:
    """Read strictly: a row with a field too many or too few is an error, not a shifted row."""
    import pyarrow as pa
    from pyarrow import csv

    try:
        if path.stat().st_size == 0:
            raise InvalidData("the file is empty")
        options = csv.ParseOptions(newlines_in_values=True)
        with csv.open_csv(path, parse_options=options) as reader:
            names = _checked(names, reader.schema.names)
        texts = csv.ConvertOptions(include_columns=names, column_types=dict.fromkeys(names, pa.string()))
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


def _read_parquet(path: Path, names: Sequence[str] | None) -> pd.DataFrame:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        names = _checked(names, pq.read_schema(path).names)
        frame: pd.DataFrame = pq.read_table(path, columns=names).to_pandas()
    except InvalidData:
        raise
    except (pa.ArrowException, OSError, ValueError):
        raise InvalidData("the file cannot be read as Parquet") from None
    return frame


def _checked(wanted: Sequence[str] | None, present: list[str]) -> list[str]:
    for name in present if wanted is None else wanted:
        if present.count(name) > 1:
            raise InvalidData(f"the file has several columns {name!r}")
        if name not in present:
            # Without a header line the "columns" are the first person's values: they are not listed.
            raise InvalidData(f"there is no column {name!r} in the file's header")
    return list(present if wanted is None else wanted)
