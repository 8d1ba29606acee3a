"""The grammar of one counting query: text in, canonical conditions out, everything else refused.

For engines that answer analysts. `SELECT count(*) FROM people WHERE a = 1 AND b <> 'x'`: the queries of Diffix that
Gadotti et al. (USENIX Security 2019) attack, with order comparisons of numbers added.
"""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from sfumato.errors import InvalidData, MissingExtra, QueryRejected

Kind: TypeAlias = Literal["number", "text", "boolean"]
Operator: TypeAlias = Literal["=", "<>", "<", "<=", ">", ">="]
Value: TypeAlias = float | str | bool

LONGEST = 10_000  # characters of a query
MOST_CONDITIONS = 64
_MOST_TOKENS = 1000
_HEAD_TOKENS = 8  # SELECT count ( DISTINCT uid ) FROM people
_CONDITION_TOKENS = 4  # column, operator, sign, literal: nothing nests, so no text can exhaust the parser's stack
_REMEMBERED = 2**16

#: By the key of sqlglot's nodes, which names their class.
_OPERATORS: dict[str, Operator] = {"eq": "=", "neq": "<>", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
_PLAIN = re.compile(r'[\w\s<>=!."-]+', re.ASCII)
_WHERE, _AND = (re.compile(rf"\b{word}\b", re.IGNORECASE | re.ASCII) for word in ("where", "and"))
_FORM = "a query is SELECT count(*) FROM table WHERE column = literal AND …"


@dataclass(frozen=True)
class Condition:
    """One comparison of a column with a literal.

    Attributes
    ----------
    column : str
        In lower case.
    operator : {"=", "<>", "<", "<=", ">", ">="}
    value : float, str or bool
        A number is a double: 32, 32.0 and 3.2e1 are one literal.
    """

    column: str
    operator: Operator
    value: Value

    @cached_property
    def text(self) -> str:
        """Canonical text: equal for all spellings of the condition, and different for different conditions."""
        return f"{self.column} {self.operator} {self.value!r}"


@dataclass(frozen=True)
class CountQuery:
    """How many people meet all of some conditions.

    Attributes
    ----------
    table : str
    conditions : tuple of Condition
        Each once, ordered by their text, however they were given.
    """

    table: str
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        distinct = sorted(set(self.conditions), key=operator.attrgetter("text"))
        object.__setattr__(self, "conditions", tuple(distinct))


@dataclass(frozen=True)
class Answer:
    """What an engine says: a count, or that it suppresses it.

    Attributes
    ----------
    count : int or None
        None where it is suppressed.
    n_conditions : int
        Distinct conditions of the query.
    """

    count: int | None
    n_conditions: int

    @property
    def suppressed(self) -> bool:
        """Whether there is no count."""
        return self.count is None


class Grammar:
    """Reads counting queries about one table.

    Accepted: one `count(*)` or `count(distinct key)`, one table, and a conjunction of comparisons of a column with a
    literal of its kind; parentheses round a conjunction, one closing semicolon. Refused: all else, among it OR, NOT,
    IN, LIKE, BETWEEN, NULL, functions, arithmetic, aliases, joins, subqueries, grouping, comments, a second
    statement, the key in a condition.

    The text is cut into tokens and at each AND; each piece is parsed by itself, has four tokens at most and must be
    one comparison. So no text nests deeply enough to harm the parser, and conditions met before cost no parsing.

    Parameters
    ----------
    table : str
    columns : mapping of str to {"number", "text", "boolean"}
        What may stand in a condition.
    key : str
        The column that identifies people.

    Raises
    ------
    InvalidData
        If a name is empty, a kind unknown, or two columns differ in their case only.
    """

    def __init__(self, table: str, columns: Mapping[str, Kind], key: str) -> None:
        names = [table, key, *columns]
        if not all(isinstance(name, str) and name for name in names):
            raise InvalidData("table, key and columns must be named by nonempty text")
        if any(kind not in get_args(Kind) for kind in columns.values()):
            raise InvalidData(f"the kind of a column must be one of {', '.join(get_args(Kind))}")
        self.table = table.lower()
        self.key = key.lower()
        self.columns = {name.lower(): kind for name, kind in columns.items()}
        if len(self.columns) < len(columns) or self.key in self.columns:
            raise InvalidData("names of columns must differ by more than case, and the key is none of them")
        self._head = lru_cache(_REMEMBERED)(self._read_head)
        self._condition = lru_cache(_REMEMBERED)(self._read_condition)

    def parse(self, sql: str) -> CountQuery:
        """Read a query.

        Raises
        ------
        QueryRejected
            If it is not in the grammar; with the reason and the position in the text.
        """
        if not isinstance(sql, str):
            raise QueryRejected(_FORM)
        if len(sql) > LONGEST:
            raise QueryRejected(f"a query has at most {LONGEST} characters", LONGEST)
        head, *conditions = _cut_plain(sql) or _cut(sql)
        _at(head, self._head)
        if len(conditions) > MOST_CONDITIONS:
            raise QueryRejected(f"a query has at most {MOST_CONDITIONS} conditions", conditions[MOST_CONDITIONS].start)
        return CountQuery(self.table, tuple(_at(piece, self._condition) for piece in conditions))

    def check(self, query: CountQuery) -> CountQuery:
        """Return a query that was built by hand, if it is one that `parse` could have returned.

        Raises
        ------
        QueryRejected
            If not.
        """
        if query.table != self.table:
            raise QueryRejected(f"the only table is {self.table}")
        for each in query.conditions:
            self._check_names(each.column, each.operator)
            if type(each.value) is not {"number": float, "text": str, "boolean": bool}[self.columns[each.column]]:
                raise QueryRejected(f"column {each.column} is compared with a {self.columns[each.column]}")
            _check_literal(each.value)
        return query

    def _read_head(self, text: str) -> None:
        select: Any = _parsed(text) if len(_tokens(text)) <= _HEAD_TOKENS else None
        if _key(select) != "select" or not _only(select, "expressions", "from") or len(select.expressions) != 1:
            raise QueryRejected(_FORM)
        counted = select.expressions[0]
        if _key(counted) != "count" or not _only(counted, "this", "big_int"):
            raise QueryRejected("the only thing to select is count(*), or count(distinct key)", len("select "))
        if _key(counted.this) != "star" or not _only(counted.this):
            distinct = counted.this
            plain = _key(distinct) == "distinct" and _only(distinct, "expressions")
            inner = distinct.expressions if plain else []
            if len(inner) != 1 or _column(inner[0]) != self.key:
                raise QueryRejected(f"what is counted is * or distinct {self.key}", len("select "))
        table = next((node for node in select.walk() if _key(node) == "table"), None)
        if table is None or not _only(table, "this") or _key(table.this) != "identifier":
            raise QueryRejected(f"a query is about one table, by its plain name: {self.table}")
        if table.name.lower() != self.table:
            raise QueryRejected(f"the only table is {self.table}", table.this.meta.get("start"))

    def _read_condition(self, text: str) -> Condition:
        if len(_tokens(text)) > _CONDITION_TOKENS:
            raise QueryRejected("a condition is one column, one comparison and one literal")
        comparison = _parsed(text)
        if comparison is None:
            raise QueryRejected("a condition is one column, one comparison and one literal")
        sign = _OPERATORS.get(comparison.key)
        name = _column(comparison.this) if sign is not None else None
        if sign is None or name is None:
            raise QueryRejected("a condition compares a column, to its left, by =, <>, <, <=, > or >=")
        self._check_names(name, sign)
        return Condition(name, sign, _literal(comparison.expression, name, self.columns[name]))

    def _check_names(self, column: str, sign: str) -> None:
        if column == self.key:
            raise QueryRejected(f"the key {self.key} stands in no condition")
        if column not in self.columns:
            raise QueryRejected(f"there is no such column; the table has {', '.join(self.columns)}")
        if sign not in _OPERATORS.values():
            raise QueryRejected("a condition compares by =, <>, <, <=, > or >=")
        if sign not in ("=", "<>") and self.columns[column] != "number":
            raise QueryRejected(f"column {column} holds {self.columns[column]}: only = and <> compare it")


class _Piece(NamedTuple):
    """A part of a query's text, and where it starts in it."""

    start: int
    text: str


def _at(piece: _Piece, read: Callable[[str], Any]) -> Any:
    """Read a piece; what is wrong in it is placed in the whole text."""
    try:
        return read(piece.text)
    except QueryRejected as error:
        raise QueryRejected(error.reason, piece.start + (error.position or 0)) from None


def _piece(sql: str, start: int, end: int) -> _Piece:
    text = sql[start:end].lstrip()
    return _Piece(end - len(text), text.rstrip())


def _cut_plain(sql: str) -> list[_Piece] | None:
    """Cut at WHERE and at each AND where the text alone shows them; None where it takes the tokens to tell.

    In words, numbers, comparisons and double quotes, without comments, an AND with an even number of quotes before it
    is a token of its own. Each piece goes through sqlglot all the same.
    """
    where = _WHERE.search(sql)
    if where is None or not _PLAIN.fullmatch(sql, where.end()) or "--" in sql:
        return None
    bounds = [0, where.start(), where.end()]
    for each in _AND.finditer(sql, where.end()):
        bounds += each.span()
    bounds.append(len(sql))
    pieces = [_piece(sql, a, b) for a, b in zip(bounds[::2], bounds[1::2], strict=True)]
    return None if any(piece.text.count('"') % 2 or not piece.text for piece in pieces) else pieces


def _cut(sql: str) -> list[_Piece]:
    """Cut at WHERE and at each AND by tokens, out of any parentheses that enclose whole conjunctions."""
    tokens = _tokens(sql)
    if tokens and tokens[-1].token_type.name == "SEMICOLON":
        tokens = tokens[:-1]
    if not tokens or tokens[0].token_type.name != "SELECT":
        raise QueryRejected(_FORM, 0)
    if len(tokens) > _MOST_TOKENS:
        raise QueryRejected(f"a query has at most {_MOST_TOKENS} words and signs", tokens[_MOST_TOKENS].start)
    second = next((token for token in tokens if token.token_type.name == "SEMICOLON"), None)
    if second is not None:
        raise QueryRejected("a query is one statement", second.start)
    where = next((i for i, token in enumerate(tokens) if token.token_type.name == "WHERE"), len(tokens))
    parts: list[Sequence[Any]] = [tokens[:where]]
    if where < len(tokens):
        parts += _pieces(tokens[where + 1 :], tokens[where].end)
    return [_Piece(part[0].start, sql[part[0].start : part[-1].end + 1]) for part in parts]


def _tokens(sql: str) -> list[Any]:
    """Cut into tokens, none of them a comment."""
    sqlglot = _sqlglot()
    try:
        tokens: list[Any] = sqlglot.tokenize(sql, read="duckdb")
    except sqlglot.errors.SqlglotError:
        raise QueryRejected("this text cannot be read as SQL: a quote that does not close?", 0) from None
    commented = next((token for token in tokens if token.comments), None)
    if commented is not None:
        raise QueryRejected("a query has no comments", commented.start)
    return tokens


def _pieces(tokens: Sequence[Any], end: int) -> list[Sequence[Any]]:
    """Split a conjunction at each AND, however it is nested."""
    pieces: list[Sequence[Any]] = []
    waiting = [(tokens, end)]
    while waiting:
        part, end = waiting.pop()
        for piece in reversed(_split(part, end)):
            if piece[0].token_type.name == "L_PAREN" and piece[-1].token_type.name == "R_PAREN":
                waiting.append((piece[1:-1], piece[0].end))
            else:
                pieces.append(piece)
    return pieces


def _split(tokens: Sequence[Any], end: int) -> list[Sequence[Any]]:
    """Split at each AND outside parentheses; `end` is where the text before these tokens ends."""
    change = {"L_PAREN": 1, "R_PAREN": -1}
    depths = list(itertools.accumulate(change.get(token.token_type.name, 0) for token in tokens))
    if depths and (min(depths) < 0 or depths[-1] != 0):
        raise QueryRejected("parentheses must match", tokens[0].start)
    ands = [i for i, t in enumerate(tokens) if t.token_type.name == "AND" and depths[i] == 0]
    bounds = [-1, *ands, len(tokens)]
    pieces = [tokens[a + 1 : b] for a, b in itertools.pairwise(bounds)]
    for piece, before in zip(pieces, bounds, strict=False):
        if not piece:
            raise QueryRejected("a condition is missing", tokens[before].start if before >= 0 else end)
    return pieces


def _parsed(text: str) -> Any:
    """The one statement or expression that a text is, or None."""
    sqlglot = _sqlglot()
    try:
        statements = sqlglot.parse(text, read="duckdb")
    except sqlglot.errors.SqlglotError:
        return None
    return statements[0] if len(statements) == 1 else None


def _sqlglot() -> Any:
    try:
        import sqlglot
    except ModuleNotFoundError:
        raise MissingExtra("queries") from None
    return sqlglot


def _key(node: Any) -> str | None:
    """The class of a node, as sqlglot names it; None for what is no node."""
    return getattr(node, "key", None)


def _only(node: Any, *allowed: str) -> bool:
    """Whether a node has nothing but these arguments; older versions write from for from_."""
    return all(name.rstrip("_") in allowed for name, value in node.args.items() if value)


def _column(node: Any) -> str | None:
    """The name of a plain column in lower case, or None."""
    if _key(node) != "column" or not _only(node, "this") or _key(node.this) != "identifier":
        return None
    return str(node.name).lower()


def _literal(node: Any, column: str, kind: Kind) -> Value:
    """Read the literal of a condition as its column's kind."""
    value: Value | None = None
    if kind == "boolean" and _key(node) == "boolean":
        value = bool(node.this)
    elif kind == "text" and _key(node) == "literal" and node.is_string:
        value = str(node.this)
    elif kind == "number":
        negative = _key(node) == "neg"
        number = node.this if negative else node
        if _key(number) == "literal" and not number.is_string:
            value = _number(str(number.this), negative)
    if value is None:
        raise QueryRejected(f"column {column} holds {kind}: it is compared with a literal of that kind")
    _check_literal(value)
    return value


def _number(text: str, negative: bool) -> float:
    try:
        number = float(text)
    except ValueError:
        raise QueryRejected("a number is written in decimal digits") from None
    return (-number if negative else number) + 0.0  # no negative zero


def _check_literal(value: Value) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise QueryRejected("a number must be finite")
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise QueryRejected("text must be valid Unicode") from None
