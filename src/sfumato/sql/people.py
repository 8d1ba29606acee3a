"""PersonTable: one row a person, and who meets the conditions of a counting query.

For engines that answer analysts. The table is copied into DuckDB; conditions are built from names of our own and
bound parameters, and each is evaluated once for as long as it is remembered.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData, MissingExtra, QueryRejected
from sfumato.sql.grammar import Condition, CountQuery, Grammar, Kind

People = NDArray[np.bool_]

_MEMORY = 2**28  # bytes of remembered conditions
_LARGEST_WHOLE = 2**53  # beyond, doubles do not tell whole numbers apart
_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_CAST = {"number": "DOUBLE", "text": "VARCHAR", "boolean": "BOOLEAN"}


class PersonTable:
    """A table with one row a person, ready to be counted.

    A missing value (NaN among numbers is one) meets no condition, not even `<>`.

    Parameters
    ----------
    data : pandas, Polars or PyArrow frame, or DuckDB relation
        Copied: later changes of it do not show.
    key : str, default "uid"
        The column that identifies people; each once, none missing.
    columns : mapping of str to {"number", "text", "boolean"}, optional
        The columns that may stand in conditions. By default all but the key, their kinds read from the data's types;
        types that are none of the three (dates, lists) are left out.
    name : str, default "people"
        What queries call the table.

    Attributes
    ----------
    grammar : Grammar
    keys : list of str
        The people, in the order of `who`.

    Raises
    ------
    InvalidData
        If the data are no frame, a column is missing or cannot be read as its kind, a person has two rows or none has
        a key, or a whole number is beyond 2**53. The message names the column, never a value.
    """

    def __init__(
        self, data: Any, *, key: str = "uid", columns: Mapping[str, Kind] | None = None, name: str = "people"
    ) -> None:
        self._connection = _database(os.getpid()).cursor()
        self._lock = threading.Lock()
        types = self._take(data)
        if key not in types:
            raise InvalidData(f"there is no column {key!r} to identify people; the table has {', '.join(types)}")
        kinds = _kinds(types, key) if columns is None else dict(columns)
        for column in kinds:
            if column not in types:
                raise InvalidData(f"there is no column {column!r}; the table has {', '.join(types)}")
        self.grammar = Grammar(name, kinds, key)
        self._places = {column: f"c{i}" for i, column in enumerate(self.grammar.columns)}
        self._store(key, kinds, types)
        self.keys: list[str] = self._keys(key)
        self._mask = lru_cache(max(16, _MEMORY // max(1, len(self.keys))))(self._evaluate)

    def __len__(self) -> int:
        return len(self.keys)

    def parse(self, sql: str | CountQuery) -> CountQuery:
        """Read a query; one that was built by hand is checked. Raises QueryRejected."""
        if isinstance(sql, CountQuery):
            return self.grammar.check(sql)
        return self.grammar.parse(sql)

    def condition(self, condition: Condition) -> People:
        """Who meets one condition; read-only, shape (n,)."""
        return self._mask(condition)

    def who(self, query: CountQuery) -> People:
        """Who meets all conditions, shape (n,).

        The work does not depend on who they are: each condition is compared for everybody.

        Raises
        ------
        QueryRejected
            If the query names another table or column; one from `parse` does not.
        """
        if query.table != self.grammar.table:
            raise QueryRejected(f"the only table is {self.grammar.table}")
        selected = np.ones(len(self.keys), dtype=np.bool_)
        for each in query.conditions:
            selected &= self._mask(each)
        return selected

    def _take(self, data: Any) -> dict[str, str]:
        """Register the frame with DuckDB; the columns and their types there."""
        try:
            frame: Any = nw.from_native(data)
        except TypeError:
            raise InvalidData(f"expected a data frame or a DuckDB relation, got {type(data).__name__}") from None
        try:
            arrow = (frame.collect() if isinstance(frame, nw.LazyFrame) else frame).to_arrow()
        except (TypeError, ValueError):  # PyArrow's, for a column of several types; its message holds values
            raise InvalidData("each column must hold values of one type") from None
        if len({name.lower() for name in arrow.column_names}) < len(arrow.column_names):
            raise InvalidData("names of columns must differ by more than case")
        self._connection.register("incoming", arrow)
        described = self._connection.execute("DESCRIBE incoming").fetchall()
        return {column: kind for column, kind, *_ in described}

    def _store(self, key: str, kinds: Mapping[str, Kind], types: Mapping[str, str]) -> None:
        """Copy what is needed, under names of our own, and let go of the frame; no other connection sees the copy."""
        parts = [f"CAST({_quoted(key)} AS VARCHAR) AS key", "row_number() OVER () - 1 AS person"]
        for column, kind in kinds.items():
            if kind == "number" and types[column] in _WHOLE:
                self._check_whole(column)
            cast = f"CAST({_quoted(column)} AS {_CAST[kind]})"
            if kind == "number":
                cast = f"CASE WHEN isnan({cast}) THEN NULL ELSE {cast} END"
            try:
                self._connection.execute(f"SELECT count({cast}) FROM incoming")
            except _duckdb().Error:  # its message holds a value
                raise InvalidData(f"column {column!r} must hold {kind}") from None
            parts.append(f"{cast} AS {self._places[column.lower()]}")
        self._connection.execute(f"CREATE TEMP TABLE people AS SELECT {', '.join(parts)} FROM incoming")
        self._connection.unregister("incoming")

    def _check_whole(self, column: str) -> None:
        wide = f"CAST({_quoted(column)} AS HUGEINT)"
        beyond = f"SELECT count(*) FROM incoming WHERE {wide} > {_LARGEST_WHOLE} OR {wide} < -{_LARGEST_WHOLE}"
        if self._connection.execute(beyond).fetchall()[0][0]:
            raise InvalidData(f"column {column!r} holds numbers beyond 2**53: declare it as text")

    def _keys(self, key: str) -> list[str]:
        rows = self._connection.execute("SELECT key FROM people ORDER BY person").fetchall()
        keys = [value for (value,) in rows]
        if None in keys:
            raise InvalidData(f"column {key!r} must name a person in each row, none missing")
        if len(set(keys)) < len(keys):
            raise InvalidData(f"column {key!r} must name each person once: one row a person")
        return keys

    def _evaluate(self, condition: Condition) -> People:
        # The place and the operator are ours, from fixed lists; the literal is a parameter.
        comparison = f"coalesce({self._places[condition.column]} {condition.operator} ?, false)"
        with self._lock:
            found = self._connection.execute(f"SELECT person, {comparison} AS met FROM people", [condition.value])
            columns = found.fetchnumpy()
        mask = np.zeros(len(self.keys), dtype=np.bool_)
        mask[columns["person"]] = columns["met"]
        mask.flags.writeable = False
        return mask


@lru_cache(maxsize=1)
def _database(process: int) -> Any:
    """One empty database a process, in memory and without access to files or networks."""
    config: dict[str, Any] = {"threads": 1, "enable_external_access": False, "lock_configuration": True}
    return _duckdb().connect(":memory:", config=config)


def _duckdb() -> Any:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise MissingExtra("queries") from None
    return duckdb


def _kinds(types: Mapping[str, str], key: str) -> dict[str, Kind]:
    """The columns that conditions can name, by DuckDB's types."""
    kinds: dict[str, Kind] = {}
    for column, kind in types.items():
        if column == key:
            continue
        if kind in (*_WHOLE, "FLOAT", "DOUBLE") or kind.startswith("DECIMAL"):
            kinds[column] = "number"
        elif kind == "VARCHAR" or kind.startswith("ENUM"):
            kinds[column] = "text"
        elif kind == "BOOLEAN":
            kinds[column] = "boolean"
    return kinds


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
