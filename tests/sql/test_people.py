"""PersonTable: who meets a query's conditions, on any frame, and what is refused of a table."""

import datetime

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from sfumato.errors import InvalidData
from sfumato.sql import PersonTable

FRAME = pd.DataFrame(
    {
        "uid": [7, 3, 9, 1],
        "age": [30.0, np.nan, 41.0, 30.0],
        "town": ["Ayr", "Bath", None, "O'Hara"],
        "ill": [True, False, True, False],
        "born": pd.to_datetime(["2000-01-01"] * 4),
    }
)


def who(table, where):
    query = table.parse(f"SELECT count(*) FROM people WHERE {where}")
    return {key for key, met in zip(table.keys, table.who(query), strict=True) if met}


def frames():
    relation = duckdb.sql("SELECT * FROM FRAME")
    return {
        "pandas": FRAME,
        "polars": pl.from_pandas(FRAME),
        "lazy": pl.from_pandas(FRAME).lazy(),
        "arrow": pl.from_pandas(FRAME).to_arrow(),
        "duckdb": relation,
    }


@pytest.mark.parametrize("kind", ["pandas", "polars", "lazy", "arrow", "duckdb"])
def test_conditions_select_the_same_people_on_every_frame(kind):
    table = PersonTable(frames()[kind])
    assert len(table) == 4
    assert who(table, "age = 30") == {"7", "1"}
    assert who(table, "age < 41 AND ill = false") == {"1"}
    assert who(table, "town = 'O''Hara'") == {"1"}
    assert "born" not in table.grammar.columns


def test_a_missing_value_meets_no_condition():
    table = PersonTable(FRAME)
    assert who(table, "age <> 30") == {"9"}
    assert who(table, "town <> 'Ayr'") == {"3", "1"}
    floats = PersonTable(pl.DataFrame({"uid": [1, 2], "x": [float("nan"), 1.0]}))
    assert who(floats, "x >= 0") == {"2"}


def test_the_table_is_a_copy_and_what_it_says_cannot_be_changed():
    frame = FRAME.copy()
    table = PersonTable(frame)
    frame["age"] = 99.0
    assert who(table, "age = 99") == set()
    query = table.parse("SELECT count(*) FROM people WHERE age = 30")
    table.who(query)[:] = True
    assert who(table, "age = 30") == {"7", "1"}
    with pytest.raises(ValueError):
        table.condition(query.conditions[0])[0] = True


def test_names_and_values_of_any_text_are_only_names_and_values():
    name = 'a"; DROP TABLE people; --'
    table = PersonTable(pd.DataFrame({"uid": ["x'); --", "y"], name: ["1' OR '1' = '1", "2"]}))
    quoted = '"' + name.replace('"', '""') + '"'
    assert who(table, f"{quoted} = '1'' OR ''1'' = ''1'") == {"x'); --"}
    assert who(table, f"{quoted} <> '2' AND {quoted} <> '3'") == {"x'); --"}


def test_declared_kinds_rule_over_the_data_s():
    table = PersonTable(FRAME, columns={"age": "text", "ill": "number"})
    assert who(table, "ill = 1") == {"7", "9"}
    assert who(table, "age = '41.0'") == {"9"}
    assert set(table.grammar.columns) == {"age", "ill"}


def test_nobody_is_a_table_too():
    table = PersonTable(FRAME.iloc[:0], columns={"age": "number", "town": "text"})
    assert len(table) == 0
    assert who(table, "age = 1 AND town = 'a'") == set()


@pytest.mark.parametrize(
    ("data", "change", "match"),
    [
        (5, {}, "data frame"),
        (FRAME, {"key": "id"}, "'id'"),
        (FRAME.assign(uid=[1, 1, 2, 3]), {}, "once"),
        (FRAME.assign(uid=[1, None, 2, 3]), {}, "none missing"),
        (FRAME.assign(AGE=1), {}, "case"),
        (FRAME.assign(town=["a", 5, None, "b"]), {}, "one type"),
        (FRAME, {"columns": {"weight": "number"}}, "'weight'"),
        (FRAME, {"columns": {"town": "number"}}, "'town' must hold number"),
        (FRAME.assign(age=[2**60, 1, 2, 3]), {}, "beyond"),
        (FRAME, {"columns": {"age": datetime.date}}, "kind"),
    ],
)
def test_a_table_that_is_none_is_refused_without_a_value_in_the_message(data, change, match):
    with pytest.raises(InvalidData, match=match) as caught:
        PersonTable(data, **change)
    assert not any(value in str(caught.value) for value in ("Ayr", "Bath", "Hara", str(2**60)))
