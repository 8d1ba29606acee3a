"""Domain files, and tables read as a domain says: texts become the categories and numbers that it lists.

For `sfumato synth`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from sfumato.cli.files import read_columns
from sfumato.errors import DomainError, InvalidData
from sfumato.synthesis import Column, Domain

DRAFT_HEADER = """\
# A DRAFT of what {file} may hold. It was written from the rows, so it is as private as they are: a category that one
# person has, or an age that one person reaches, is in it.
#
# Put public knowledge in its place: the codebook's categories, bounds from the protocol, all that could occur rather
# than what did. Remove columns that need not be published. Then set drafted to false; until then synth refuses it.
#
# kind: categorical, ordinal (categories in order) or numeric (bounds; integer: true for whole numbers).
# null among the categories stands for a missing value.
"""


def read_domain(path: Path) -> Domain:
    """Read a domain file.

    Raises
    ------
    InvalidData
        If it is missing, no YAML or no domain.
    """
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError):
        raise InvalidData(f"--domain: there is no file {str(path)!r} that can be read") from None
    except yaml.YAMLError:
        raise InvalidData(f"--domain: {str(path)!r} is not YAML") from None
    domain = Domain.from_dict(plain)
    for column in domain.columns:
        listed = column.categories or ()
        if len({_written(value) for value in listed}) < len(listed):
            raise InvalidData(f"column {column.name!r}: two categories are written alike in a file")
    return domain


def domain_text(domain: Domain, file: str) -> str:
    """Return a drafted domain as the text of a file, with what a reader must do about it."""
    text: str = yaml.safe_dump(
        domain.to_dict(), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return DRAFT_HEADER.format(file=Path(file).name) + text


def read_table(file: str, domain: Domain) -> pd.DataFrame:
    """Read the domain's columns of a file. What fits no category or is no number is left for `encode` to refuse.

    Raises
    ------
    InvalidData
        If the file is missing or unreadable, or lacks a column.
    DomainError
        If a value is none of its column's categories.
    """
    frame = read_columns(file, list(domain.names))
    return pd.DataFrame({column.name: _typed(frame[column.name], column) for column in domain.columns})


def typed_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame of texts, as a CSV gives it, with numbers where a whole column is numbers; empty is missing."""
    typed = {}
    for name in frame.columns:
        texts = frame[name]
        if pd.api.types.is_string_dtype(texts) or texts.dtype == object:
            texts = texts.astype(object).where(texts.notna(), None)
            texts = texts.map(lambda text: text.strip() or None if isinstance(text, str) else text)
            numbers = pd.to_numeric(texts, errors="coerce")
            texts = numbers if numbers.notna().equals(texts.notna()) and texts.notna().any() else texts
        typed[name] = texts
    return pd.DataFrame(typed)


def _typed(values: pd.Series, column: Column) -> pd.Series:
    if column.categories is None:
        if pd.api.types.is_bool_dtype(values):
            raise DomainError(f"column {column.name!r} must hold numbers")
        return pd.to_numeric(values, errors="coerce").astype(float)
    known = {_written(value): value for value in column.categories}
    codes, found = pd.factorize(values.astype(object), use_na_sentinel=False)
    translated = []
    for value in found:
        text = _written(value)
        if text not in known:
            size = f"{column.size} categories" + ("" if None in column.categories else ", none of them null")
            raise DomainError(f"column {column.name!r} holds a value outside its {size}")
        translated.append(known[text])
    return pd.Series(pd.Series(translated, dtype=object).to_numpy()[codes], index=values.index, dtype=object)


def _written(value: Any) -> str | None:
    """How a value is written in a CSV: 1 and 1.0 alike, true and True alike, empty and missing alike."""
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    text = str(value).strip()
    return text.lower() if text.lower() in ("true", "false") else text or None
