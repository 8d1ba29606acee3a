"""Domain: what a table may hold, by public knowledge. Nothing here is ever inferred from the table.

For synthesizers: their privacy rests on column types, category lists and numeric bounds known before the data.
After the data model of Liu, Tang, Vietri and Wu 2023 (Private-GSD): codes for categories, [0, 1] for numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, cast, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.errors import DomainError, InvalidData

Kind = Literal["categorical", "ordinal", "numeric"]
Rows = NDArray[np.float64]  # (n, d): codes of categories, numbers scaled to [0, 1]


@dataclass(frozen=True)
class Column:
    """One column of a public domain.

    Parameters
    ----------
    name : str
    kind : {"categorical", "ordinal", "numeric"}
        An ordinal column is a categorical one whose categories are listed in order.
    categories : tuple, optional
        For categorical and ordinal columns: every value that may occur, each once. None among them stands for a
        missing value.
    bounds : (float, float), optional
        For numeric columns: the least and the greatest value.
    integer : bool, default False
        A numeric column of whole numbers; synthetic values are whole too.

    Raises
    ------
    InvalidData
        If the parts do not fit together.
    """

    name: str
    kind: Kind
    categories: tuple[Any, ...] | None = None
    bounds: tuple[float, float] | None = None
    integer: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise InvalidData(f"a column's name must be a text, got {type(self.name).__name__}")
        if self.kind not in get_args(Kind):
            raise InvalidData(f"column {self.name!r}: kind must be one of {get_args(Kind)}, got {self.kind!r}")
        if self.kind == "numeric":
            self._check_numeric()
        else:
            self._check_categories()

    @classmethod
    def categorical(cls, name: str, categories: Iterable[Any]) -> Column:
        """Return a column of categories without an order."""
        return cls(name, "categorical", categories=tuple(categories))

    @classmethod
    def ordinal(cls, name: str, categories: Iterable[Any]) -> Column:
        """Return a column of categories in the order given."""
        return cls(name, "ordinal", categories=tuple(categories))

    @classmethod
    def numeric(cls, name: str, low: float, high: float, *, integer: bool = False) -> Column:
        """Return a column of numbers from low to high."""
        return cls(name, "numeric", bounds=(low, high), integer=integer)

    @property
    def size(self) -> int | None:
        """Number of categories; None for a numeric column."""
        return None if self.categories is None else len(self.categories)

    def encode(self, values: pd.Series, *, clip: bool = False) -> NDArray[np.float64]:
        """Return codes, or numbers scaled to [0, 1]; each from its own value alone.

        Raises
        ------
        DomainError
            If a value lies outside the domain; the message does not hold it.
        """
        return self._encode_numeric(values, clip) if self.kind == "numeric" else self._encode_categories(values)

    def decode(self, codes: NDArray[np.float64]) -> pd.Series:
        """Return values of the column, each from its own code alone."""
        if self.categories is not None:
            values = pd.Series(list(self.categories), dtype=_dtype_of(self.categories))
            taken: pd.Series = values.take(codes.astype(np.int64)).reset_index(drop=True)
            return taken.rename(self.name)
        low, high = cast(tuple[float, float], self.bounds)
        if self.integer:
            whole = low + np.minimum(np.floor(codes * (high - low + 1)), high - low)
            return pd.Series(whole.astype(np.int64), name=self.name)
        return pd.Series(np.clip(low + codes * (high - low), low, high), name=self.name)

    def to_dict(self) -> dict[str, Any]:
        """Return the column as plain values, for YAML and JSON."""
        plain: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.categories is not None:
            return plain | {"categories": list(self.categories)}
        return plain | {"bounds": list(cast(tuple[float, float], self.bounds)), "integer": self.integer}

    @classmethod
    def from_dict(cls, plain: Any) -> Column:
        """Return the column of `to_dict`.

        Raises
        ------
        InvalidData
            If keys are missing, unknown or of the wrong type.
        """
        if not isinstance(plain, Mapping) or not {"name", "kind"} <= set(plain):
            raise InvalidData("each column of a domain needs a name and a kind")
        unknown = set(plain) - {"name", "kind", "categories", "bounds", "integer"}
        if unknown:
            raise InvalidData(f"column {plain['name']!r}: unknown keys {sorted(map(str, unknown))}")
        parts = dict(plain)
        for name in ("categories", "bounds"):
            if parts.get(name) is not None:
                if not isinstance(parts[name], (list, tuple)):
                    raise InvalidData(f"column {plain['name']!r}: {name} must be a list")
                parts[name] = tuple(parts[name])
        return cls(**parts)

    def _check_numeric(self) -> None:
        if self.categories is not None or self.bounds is None or len(self.bounds) != 2:
            raise InvalidData(f"column {self.name!r}: a numeric column has bounds (low, high) and no categories")
        numbers = all(isinstance(b, (int, float, np.number)) and not isinstance(b, bool) for b in self.bounds)
        if not numbers or not all(map(math.isfinite, self.bounds)) or not self.bounds[0] < self.bounds[1]:
            raise InvalidData(f"column {self.name!r}: bounds must be finite numbers, low < high, got {self.bounds}")
        if not math.isfinite(float(self.bounds[1]) - float(self.bounds[0])):
            raise InvalidData(f"column {self.name!r}: the range of the bounds does not fit a float")
        if self.integer and (any(float(b) != int(b) for b in self.bounds) or max(map(abs, self.bounds)) > 2**52):
            raise InvalidData(f"column {self.name!r}: bounds of whole numbers must be whole and below 2^52")

    def _check_categories(self) -> None:
        if self.bounds is not None or self.integer or not self.categories:
            raise InvalidData(f"column {self.name!r}: a {self.kind} column has categories, at least one, and no bounds")
        if any(_missing(value) and value is not None for value in self.categories):
            raise InvalidData(f"column {self.name!r}: write a missing value as None (null), not NaN")
        try:
            distinct = len(set(self.categories))
        except TypeError:
            raise InvalidData(f"column {self.name!r}: categories must be texts, numbers or None") from None
        if distinct != len(self.categories):
            raise InvalidData(f"column {self.name!r}: a category is listed twice (1, 1.0 and True are the same)")

    def _encode_categories(self, values: pd.Series) -> NDArray[np.float64]:
        categories = cast(tuple[Any, ...], self.categories)
        present = [value for value in categories if value is not None]
        places = np.array([k for k, value in enumerate(categories) if value is not None], dtype=np.int64)
        index = pd.Index(present, dtype=object)
        codes = index.get_indexer(pd.Index(values.astype(object)))
        outside = codes < 0
        encoded = places[codes] if len(places) else np.zeros(len(codes), dtype=np.int64)
        if None in categories:
            missing = values.isna().to_numpy()
            encoded[missing] = categories.index(None)
            outside &= ~missing
        if outside.any():
            raise DomainError(
                f"column {self.name!r} holds a value outside its {len(categories)} categories"
                + ("" if None in categories else " (a missing value needs None, null, among them)")
            )
        return encoded.astype(np.float64)

    def _encode_numeric(self, values: pd.Series, clip: bool) -> NDArray[np.float64]:
        if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
            raise DomainError(f"column {self.name!r} must hold numbers, it holds {values.dtype}")
        low, high = cast(tuple[float, float], self.bounds)
        numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
        if np.isnan(numbers).any():
            raise DomainError(f"column {self.name!r} holds a missing number: fill it, or make the column ordinal")
        if clip:
            numbers = np.clip(numbers, low, high)
        elif ((numbers < low) | (numbers > high)).any():
            raise DomainError(f"column {self.name!r} holds a number outside [{low:g}, {high:g}]; clip=True clips")
        if not self.integer:
            return np.clip((numbers - low) / (high - low), 0.0, 1.0)
        if (numbers != np.floor(numbers)).any():
            raise DomainError(f"column {self.name!r} holds a number that is not whole, its domain says integer")
        # each whole number owns an interval of its own width, and stands in its middle
        return (numbers - low + 0.5) / (high - low + 1)


@dataclass(frozen=True)
class Domain:
    """The public columns of a table, in order.

    Parameters
    ----------
    columns : tuple of Column
    drafted : bool, default False
        Written by a program that looked at the data: synthesizers refuse it until a person has confirmed it.

    Raises
    ------
    InvalidData
        If there is no column, or a name occurs twice.

    Examples
    --------
    >>> from sfumato.synthesis import Column, Domain
    >>> domain = Domain((Column.categorical("sex", ["f", "m"]), Column.numeric("age", 0, 99, integer=True)))
    >>> domain.names
    ('sex', 'age')
    """

    columns: tuple[Column, ...]
    drafted: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "columns", tuple(self.columns))
        if not self.columns or not all(isinstance(column, Column) for column in self.columns):
            raise InvalidData("a domain needs at least one Column")
        if len(set(self.names)) != len(self.columns):
            raise InvalidData("a domain's columns need different names")

    def __len__(self) -> int:
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Number of categories a column, 0 for a numeric one; shape (d,)."""
        return np.array([column.size or 0 for column in self.columns], dtype=np.int64)

    @cached_property
    def steps(self) -> NDArray[np.int64]:
        """How many whole numbers a numeric column of whole numbers holds, 0 for any other column; shape (d,)."""
        whole = [column.bounds if column.integer else None for column in self.columns]
        return np.array([0 if bounds is None else bounds[1] - bounds[0] + 1 for bounds in whole], dtype=np.int64)

    def settled(self, rows: Rows) -> Rows:
        """Return rows whose whole numbers stand where `encode` puts them: decoding changes none of their answers."""
        return whole(rows, self.steps)

    def place(self, name: str) -> int:
        """Return a column's place.

        Raises
        ------
        InvalidData
            If there is none of that name.
        """
        if name not in self.names:
            raise InvalidData(f"the domain has no column {name!r}")
        return self.names.index(name)

    def encode(self, frame: pd.DataFrame, *, clip: bool = False) -> Rows:
        """Return the frame's rows as numbers; columns that the domain does not name are not looked at.

        Parameters
        ----------
        frame : DataFrame, n rows
        clip : bool, default False
            Move numbers outside the bounds to the nearest bound.

        Returns
        -------
        ndarray of float64, shape (n, d)

        Raises
        ------
        DomainError
            If a column is missing or a value lies outside the domain.
        """
        if not isinstance(frame, pd.DataFrame):
            raise DomainError(f"expected a pandas data frame, got {type(frame).__name__}")
        for name in self.names:
            if list(frame.columns).count(name) != 1:
                raise DomainError(f"the frame must have one column {name!r}")
        rows = np.empty((len(frame), len(self)), dtype=np.float64, order="F")
        for place, column in enumerate(self.columns):
            rows[:, place] = column.encode(frame[column.name], clip=clip)
        return rows

    def decode(self, rows: Rows) -> pd.DataFrame:
        """Return rows of numbers as a frame of values."""
        return pd.DataFrame({c.name: c.decode(rows[:, place]) for place, c in enumerate(self.columns)})

    def draw(self, n: int, random: np.random.Generator) -> Rows:
        """Draw rows uniformly from the domain: the start of a search, and rows to try queries on.

        Whole numbers stand where `encode` puts them, so that decoding a row changes none of its answers.

        Returns
        -------
        ndarray of float64, shape (n, d)
        """
        rows = np.empty((n, len(self)), dtype=np.float64, order="F")
        for place, column in enumerate(self.columns):
            steps = int(self.steps[place])
            if column.size is not None:
                rows[:, place] = random.integers(column.size, size=n)
            else:
                rows[:, place] = (random.integers(steps, size=n) + 0.5) / steps if steps else random.random(n)
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return the domain as plain values, for YAML and JSON."""
        return {"drafted": self.drafted, "columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, plain: Any) -> Domain:
        """Return the domain of `to_dict`.

        Raises
        ------
        InvalidData
            If it is not one.
        """
        if not isinstance(plain, Mapping) or not isinstance(plain.get("columns"), (list, tuple)):
            raise InvalidData("a domain file needs a list named columns")
        drafted = plain.get("drafted", False)
        if not isinstance(drafted, bool):
            raise InvalidData(f"drafted must be true or false, got {drafted!r}")
        return cls(tuple(Column.from_dict(column) for column in plain["columns"]), drafted=drafted)


def whole(numbers: NDArray[np.float64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Move numbers of [0, 1] to the place of their whole number, in columns that hold `steps` whole numbers.

    Where steps is 0 they stay as they are.
    """
    places = np.minimum(np.floor(numbers * steps), steps - 1)
    return np.where(steps > 0, (places + 0.5) / np.maximum(steps, 1), numbers)


def _missing(value: Any) -> bool:
    return value is None or value != value


def _dtype_of(categories: tuple[Any, ...]) -> Any:
    """Whole numbers and floats keep their dtype, everything else is kept as the objects that were given."""
    for kinds, dtype in (((bool, np.bool_), bool), ((int, np.integer), np.int64), ((float, np.floating), np.float64)):
        if all(isinstance(value, kinds) for value in categories):
            if dtype is np.int64 and any(isinstance(value, bool) for value in categories):
                return object
            return dtype
    return object
