"""Queries: who is in each and what rows answer, against plain pandas; encoding of values; bins."""

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.attacks.reconstruction import Codebook, ReconstructionAttack, build_queries, discretize
from sfumato.attacks.reconstruction import queries as module
from sfumato.data.tabular import ACS, synthetic_census
from sfumato.errors import InvalidData

CENSUS = synthetic_census(4000, ACS, 3)
PEOPLE, ROWS = CENSUS.iloc[:300].reset_index(drop=True), CENSUS.iloc[1000:4000]
QUASI = PEOPLE.drop(columns="SEX")
NAMES = list(QUASI.columns)


def queries_of(frame, k=(3,), most=None, seed=0):
    book = Codebook.of(frame)
    return book, build_queries(book.encode(frame), book.cardinalities, k, most, np.random.default_rng(seed))


def values_of(queries, book, place):
    """Attributes and values that a query asks for, decoded the slow way."""
    columns, key = queries.columns[queries.combination[place]], int(queries.keys[place])
    values = []
    for column in reversed(columns):
        key, code = divmod(key, queries.radix[column])
        values.append((NAMES[column], book.values[NAMES[column]][code]))
    return values


@pytest.mark.parametrize("dense", [module._DENSE_CELLS, -1], ids=["all cells", "cells that occur"])
def test_queries_and_answers_are_those_of_pandas(dense, monkeypatch):
    monkeypatch.setattr(module, "_DENSE_CELLS", dense)
    rows = ROWS if dense > 0 else ROWS.iloc[:20]  # few rows, so that there are fewer of them than cells
    book, queries = queries_of(QUASI, k=(2, 3, 4))
    with pytest.warns(UserWarning, match="match nobody") if dense > 0 else _no_warning():
        codes = book.encode(rows)
    matching, with_secret = queries.answer(codes, rows["SEX"].to_numpy())
    for place in np.random.default_rng(1).choice(len(queries), 200, replace=False):
        asked = values_of(queries, book, place)
        in_query = np.logical_and.reduce([QUASI[name] == value for name, value in asked])
        row_matches = np.logical_and.reduce([rows[name] == value for name, value in asked])
        assert sorted(queries.members[place].indices) == np.flatnonzero(in_query).tolist()
        assert queries.sizes[place] == in_query.sum()
        assert matching[place] == row_matches.sum()
        assert with_secret[place] == (row_matches & (rows["SEX"] == 1)).sum()


class _no_warning:  # noqa: N801 - stands where a context manager does
    def __enter__(self):
        return self

    def __exit__(self, *error):
        return False


def test_queries_differ_in_the_users_they_select_and_none_is_lost():
    _, queries = queries_of(QUASI)
    found = {tuple(sorted(queries.members[i].indices)) for i in range(len(queries))}
    expected = {
        tuple(group)
        for pair in itertools.combinations(NAMES, 2)
        for group in QUASI.groupby(list(pair)).indices.values()
    }
    assert len(found) == len(queries)
    assert found == {tuple(sorted(each)) for each in expected}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=1, max_size=12))
def test_no_two_queries_select_the_same_users_whatever_the_table(table):
    frame = pd.DataFrame(table, columns=["a", "b", "c"])
    _, queries = queries_of(frame, k=(2, 3, 4))
    rows = queries.members.toarray()
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert rows.sum(axis=1).min() >= 1


def test_a_random_part_of_the_queries():
    _, everything = queries_of(QUASI)
    _, some = queries_of(QUASI, most=100)
    assert len(some) == 100 < len(everything)
    assert np.all(np.diff(some.combination) >= 0)


def test_unknown_values_match_nobody_and_are_counted():
    book = Codebook.of(pd.DataFrame({"a": ["x", "y"], "b": [1, 2]}))
    with pytest.warns(UserWarning, match="^1 values"):
        codes = book.encode(pd.DataFrame({"b": [1, 1], "a": ["z", "y"]}))
    assert codes.tolist() == [[2, 1], [0, 0]]


def test_categories_declared_differently_mean_the_same_values():
    people = pd.DataFrame({"a": pd.Categorical(["x", "y"], categories=["y", "x"]), "b": [0, 1]})
    rows = pd.DataFrame({"a": pd.Categorical(["y", "x"], categories=["x", "y", "w"]), "b": [1.0, 0.0]})
    book = Codebook.of(people)
    assert book.encode(rows).tolist() == book.encode(people)[:, ::-1].tolist()


def test_missing_values_are_refused_or_a_category():
    frame = pd.DataFrame({"a": [1.0, np.nan, 1.0, 2.0]})
    with pytest.raises(InvalidData, match="missing"):
        Codebook.of(frame)
    book = Codebook.of(frame, missing="category")
    assert book.cardinalities == (3,)
    codes = book.encode(frame)[0]
    assert codes[0] == codes[2]
    assert len(set(codes)) == 3


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (pd.DataFrame(), "rows and columns"),
        (pd.DataFrame({"a": []}), "rows and columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "occurs twice"),
        ("frame", "data frame"),
    ],
)
def test_a_frame_that_is_none_is_refused(frame, said):
    with pytest.raises(InvalidData, match=said):
        ReconstructionAttack().fit(frame)


@pytest.mark.parametrize("k", [1, 17, (2, 99), ()])
def test_k_counts_the_secret_and_at_most_all_attributes(k):
    with pytest.raises(InvalidData, match="k must lie in 2"):
        ReconstructionAttack(k=k).fit(QUASI)


def test_too_many_values_to_number_are_refused():
    wide = pd.DataFrame({f"c{i}": np.arange(100_000) for i in range(4)})
    with pytest.raises(InvalidData, match="bin them"):
        queries_of(wide, k=(5,))


def test_bins():
    frame = pd.DataFrame({"age": [0, 17, 18, 64.5, 65, 99], "name": list("abcdef")})
    binned = discretize(frame, {"age": [18, 65]})
    assert binned["age"].tolist() == [0, 0, 1, 1, 2, 2]
    assert frame["age"].iloc[3] == 64.5
    assert binned["name"].tolist() == list("abcdef")


@pytest.mark.parametrize(
    ("bins", "said"),
    [
        ({"age": []}, "increasing"),
        ({"age": [2, 1]}, "increasing"),
        ({"age": [np.inf]}, "finite"),
        ({"town": [1]}, "no numeric column"),
        ({"name": [1]}, "no numeric column"),
        ({"hole": [1]}, "missing"),
    ],
)
def test_bad_bins(bins, said):
    frame = pd.DataFrame({"age": [1.0, 2.0], "name": ["a", "b"], "hole": [1.0, np.nan]})
    with pytest.raises(InvalidData, match=said):
        discretize(frame, bins)
