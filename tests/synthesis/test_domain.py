"""The public domain: what it takes, what it refuses, and that nothing is lost on the way there and back."""

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from small_tables import DOMAIN, tables

from sfumato.errors import DomainError, InvalidData
from sfumato.synthesis import Column, Domain


@given(tables())
def test_decoded_rows_encode_to_rows_that_decode_alike(rows):
    frame = DOMAIN.decode(rows)
    again = DOMAIN.decode(DOMAIN.encode(frame))
    pd.testing.assert_frame_equal(frame, again, check_exact=False, rtol=1e-12)


@given(st.lists(st.integers(0, 99), min_size=1))
def test_whole_numbers_come_back_exactly(ages):
    column = Column.numeric("age", 0, 99, integer=True)
    codes = column.encode(pd.Series(ages))
    assert ((codes > 0) & (codes < 1)).all()
    assert column.decode(codes).tolist() == ages


def test_a_uniform_code_gives_every_whole_number_the_same_chance():
    values = Column.numeric("n", 1, 4, integer=True).decode((np.arange(400) + 0.5) / 400)
    assert values.value_counts().tolist() == [100] * 4
    assert Column.numeric("n", 1, 4, integer=True).decode(np.array([0.0, 1.0])).tolist() == [1, 4]


def test_categories_keep_their_values_and_types():
    frame = DOMAIN.decode(np.array([[0, 2, 0.5, 0.5, 2.0], [1, 0, 0.0, 1.0, 0.0]]))
    assert frame["sex"].tolist() == ["f", "m"]
    assert frame["grade"].dtype == np.int64
    assert frame["grade"].tolist() == [3, 1]
    assert frame["town"].tolist() == [None, "Ur"]
    assert frame["share"].tolist() == [0.0, 1.0]


def test_a_missing_value_is_a_category_only_where_the_domain_says_so():
    frame = pd.DataFrame({"town": ["Ur", None, np.nan]})
    town = Domain((DOMAIN.columns[4],))
    assert town.encode(frame)[:, 0].tolist() == [0, 2, 2]
    with pytest.raises(DomainError, match="None, null, among them"):
        Domain((Column.categorical("town", ["Ur"]),)).encode(frame)


def test_categorical_dtypes_are_read_like_their_values():
    frame = pd.DataFrame({"sex": pd.Categorical(["m", "f"]), "grade": pd.array([3, 1], dtype="Int64")})
    domain = Domain(DOMAIN.columns[:2])
    assert domain.encode(frame).tolist() == [[1, 2], [0, 0]]


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (Column.categorical("c", ["a", "b"]), ["a", "secret"]),
        (Column.numeric("c", 0, 10), [0.0, 10.5]),
        (Column.numeric("c", 0, 10), [0.0, np.inf]),
        (Column.numeric("c", 0, 10), [0.0, np.nan]),
        (Column.numeric("c", 0, 10), ["1", "2"]),
        (Column.numeric("c", 0, 10), [True, False]),
        (Column.numeric("c", 0, 10, integer=True), [0.0, 1.5]),
    ],
)
def test_values_outside_the_domain_are_refused_without_being_named(column, values):
    with pytest.raises(DomainError, match="column 'c'") as refused:
        Domain((column,)).encode(pd.DataFrame({"c": values}))
    assert "secret" not in str(refused.value)
    assert "10.5" not in str(refused.value)


def test_clip_moves_numbers_to_the_bounds():
    domain = Domain((Column.numeric("c", 0, 10), Column.numeric("n", 0, 3, integer=True)))
    frame = pd.DataFrame({"c": [-5.0, 99.0], "n": [-1, 7]})
    assert domain.decode(domain.encode(frame, clip=True)).to_numpy().tolist() == [[0, 0], [10, 3]]


def test_a_frame_must_have_each_column_once():
    with pytest.raises(DomainError, match="one column 'sex'"):
        DOMAIN.encode(pd.DataFrame({"grade": [1]}))
    with pytest.raises(DomainError, match="one column 'sex'"):
        DOMAIN.encode(pd.DataFrame([["f", "m"]], columns=["sex", "sex"]))
    with pytest.raises(DomainError, match="pandas data frame"):
        DOMAIN.encode([1, 2])


def test_columns_that_the_domain_does_not_name_are_not_looked_at():
    frame = DOMAIN.decode(DOMAIN.draw(5, np.random.default_rng(0)))
    frame["free text"] = [object()] * 5
    assert DOMAIN.encode(frame).shape == (5, 5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "", "kind": "numeric", "bounds": (0, 1)},
        {"name": "a", "kind": "text", "categories": ("x",)},
        {"name": "a", "kind": "categorical"},
        {"name": "a", "kind": "categorical", "categories": ()},
        {"name": "a", "kind": "categorical", "categories": ("x", "x")},
        {"name": "a", "kind": "categorical", "categories": (1, True)},
        {"name": "a", "kind": "categorical", "categories": (["x"],)},
        {"name": "a", "kind": "categorical", "categories": ("x", float("nan"))},
        {"name": "a", "kind": "categorical", "categories": ("x",), "bounds": (0, 1)},
        {"name": "a", "kind": "numeric"},
        {"name": "a", "kind": "numeric", "bounds": (1, 1)},
        {"name": "a", "kind": "numeric", "bounds": (0, float("inf"))},
        {"name": "a", "kind": "numeric", "bounds": (-1.7e308, 1.7e308)},
        {"name": "a", "kind": "numeric", "bounds": ("0", "1")},
        {"name": "a", "kind": "numeric", "bounds": (0, 1.5), "integer": True},
        {"name": "a", "kind": "numeric", "bounds": (0, 1), "categories": ("x",)},
    ],
)
def test_columns_whose_parts_do_not_fit_are_refused(arguments):
    with pytest.raises(InvalidData):
        Column(**arguments)


def test_domains_need_columns_with_different_names():
    with pytest.raises(InvalidData, match="at least one"):
        Domain(())
    with pytest.raises(InvalidData, match="different names"):
        Domain((DOMAIN.columns[0], DOMAIN.columns[0]))


def test_a_domain_survives_yaml():
    assert Domain.from_dict(yaml.safe_load(yaml.safe_dump(DOMAIN.to_dict(), allow_unicode=True))) == DOMAIN


@pytest.mark.parametrize(
    "plain",
    [
        None,
        [],
        {},
        {"columns": "all"},
        {"columns": [1]},
        {"columns": [{"name": "a"}]},
        {"columns": [{"name": "a", "kind": "categorical", "categories": "xy"}]},
        {"columns": [{"name": "a", "kind": "numeric", "bounds": [0, 1], "colour": 1}]},
        {"columns": [{"name": "a", "kind": "numeric", "bounds": [0, 1]}], "drafted": "no"},
    ],
)
def test_files_that_are_no_domain_are_refused(plain):
    with pytest.raises(InvalidData):
        Domain.from_dict(plain)
