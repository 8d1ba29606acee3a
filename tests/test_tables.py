"""Counting: every engine gives the reference's counts, exactly at the edges, and says what is wrong without values."""

import os
import subprocess
import sys
import textwrap

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.errors import InvalidData
from sfumato.tables import Bins, Categories, count

ENGINES = {
    "pandas": lambda frame: frame,
    "pandas-pyarrow": lambda frame: frame.convert_dtypes(dtype_backend="pyarrow"),
    "polars": pl.from_pandas,
    "polars-lazy": lambda frame: pl.from_pandas(frame).lazy(),
    "pyarrow": lambda frame: pa.Table.from_pandas(frame, preserve_index=False),
    "duckdb": lambda frame: duckdb.connect().from_df(frame),
}
EDGES = (0.0, 0.1, 0.30000000000000004, 1.0, 7.0)
AXES = (Categories("group", ("a", "b")), Categories("event", (0, 1)), Bins("time", EDGES))

engines = pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES.keys())


def reference(frame):
    table = np.zeros((2, 2, len(EDGES)), dtype=np.int64)
    for group, event, time in zip(frame["group"], frame["event"], frame["time"], strict=True):
        place = max(0, int(np.searchsorted(EDGES, time, side="left")) - 1)
        table["ab".index(group), int(event), place] += 1
    return table


rows = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 1),
        st.one_of(st.sampled_from(EDGES), st.floats(0, 10), st.sampled_from([1e300, 5e-324])),
    ),
    min_size=1,
    max_size=30,
)


def frame_of(drawn):
    return pd.DataFrame(drawn, columns=["group", "event", "time"])


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(rows)
def test_every_engine_agrees_with_the_reference_at_the_edges_too(drawn):
    frame = frame_of(drawn)
    expected = reference(frame)
    for name, engine in ENGINES.items():
        np.testing.assert_array_equal(count(engine(frame), AXES), expected, err_msg=name)


@settings(max_examples=50, deadline=None)
@given(rows, st.data())
def test_one_person_more_changes_one_cell_by_one(drawn, data):
    frame = frame_of(drawn)
    gone = data.draw(st.integers(0, len(frame) - 1))
    difference = count(frame, AXES) - count(frame.drop(index=gone), AXES)
    assert difference.sum() == 1
    assert np.abs(difference).sum() == 1


@engines
def test_booleans_integers_and_categories_count_as_declared(engine):
    frame = pd.DataFrame({"event": [True, False, True], "sex": [1, 2, 2]})
    table = count(engine(frame), [Categories("event", (0, 1)), Categories("sex", (1, 2))])
    np.testing.assert_array_equal(table, [[0, 1], [1, 1]])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -987654.321])
@engines
def test_an_invalid_number_names_the_column_and_the_rule_only(engine, bad):
    frame = pd.DataFrame({"time": [1.0, bad, 2.0]})
    with pytest.raises(InvalidData, match="'time' must hold finite numbers") as caught:
        count(engine(frame), [Bins("time", EDGES)])
    assert "987654" not in str(caught.value)


@engines
def test_an_undeclared_or_missing_category_names_the_column_only(engine):
    for bad in ("SECRET", None):
        frame = pd.DataFrame({"group": ["a", bad]})
        with pytest.raises(InvalidData, match="'group' must hold only the declared values a, b") as caught:
            count(engine(frame), [Categories("group", ("a", "b"))])
        assert "SECRET" not in str(caught.value)


@engines
def test_a_missing_column_and_a_wrong_kind_are_named(engine):
    frame = engine(pd.DataFrame({"time": ["SECRET", "x"], "group": [1, 2]}))
    with pytest.raises(InvalidData, match="no column 'days'"):
        count(frame, [Bins("days", EDGES)])
    with pytest.raises(InvalidData, match="'time' must hold numbers") as caught:
        count(frame, [Bins("time", EDGES)])
    assert "SECRET" not in str(caught.value)
    with pytest.raises(InvalidData, match="'group' must hold text"):
        count(frame, [Categories("group", ("a", "b"))])


def test_mixed_types_and_foreign_objects_are_refused():
    with pytest.raises(InvalidData, match="'time' must hold numbers"):
        count(pd.DataFrame({"time": [1.0, "SECRET"]}), [Bins("time", EDGES)])
    with pytest.raises(InvalidData, match="frame"):
        count([1, 2, 3], [Bins("time", EDGES)])


@pytest.mark.parametrize("edges", [(0.0,), (0.0, 0.0), (1.0, 0.0), (0.0, np.inf), (np.nan, 1.0)])
def test_edges_must_increase(edges):
    with pytest.raises(InvalidData, match="edges"):
        Bins("time", edges)


def test_an_empty_frame_counts_nothing():
    assert count(pd.DataFrame({"time": np.array([], dtype=float)}), [Bins("time", EDGES)]).sum() == 0


@engines
def test_a_person_with_several_rows_is_an_error_unless_bounded(engine):
    frame = engine(pd.DataFrame({"who": [1, 1, 1, 2], "time": [0.5, 5.0, 0.05, 5.0]}))
    with pytest.raises(InvalidData, match="several rows"):
        count(frame, [Bins("time", EDGES)], person="who")
    np.testing.assert_array_equal(count(frame, [Bins("time", EDGES)], person="who", max_records=2), [1, 0, 1, 1, 0])
    np.testing.assert_array_equal(count(frame, [Bins("time", EDGES)], person="who", max_records=9), [1, 0, 1, 2, 0])


@engines
def test_a_row_without_a_person_is_an_error(engine):
    frame = engine(pd.DataFrame({"who": ["x", None], "time": [0.5, 5.0]}))
    with pytest.raises(InvalidData, match="'who' must name a person"):
        count(frame, [Bins("time", EDGES)], person="who")
    with pytest.raises(InvalidData, match="max_records must be at least 1"):
        count(frame, [Bins("time", EDGES)], person="who", max_records=0)
    with pytest.raises(InvalidData, match="identifies people"):
        count(frame, [Bins("time", EDGES)], max_records=1)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 10)), min_size=1, max_size=25), st.integers(1, 3))
def test_bounded_people_change_the_table_by_no_more_than_the_bound(drawn, most):
    frame = pd.DataFrame(drawn, columns=["who", "time"])
    full = count(frame, [Bins("time", EDGES)], person="who", max_records=most)
    for who in frame["who"].unique():
        rest = count(frame[frame["who"] != who], [Bins("time", EDGES)], person="who", max_records=most)
        assert np.abs(full - rest).sum() <= most
    for name, engine in ENGINES.items():
        other = count(engine(frame), [Bins("time", EDGES)], person="who", max_records=most)
        np.testing.assert_array_equal(other, full, err_msg=name)


def test_a_parquet_file_larger_than_duckdbs_memory_is_counted_without_loading_it(tmp_path):
    """20 million rows of incompressible doubles: 160 MB of values, DuckDB allowed 64 MB, address space watched."""
    script = textwrap.dedent(
        f"""
        import duckdb, resource
        from sfumato.tables import Bins, count
        path = {str(tmp_path / "big.parquet")!r}
        duckdb.sql(f"COPY (SELECT random() * 1000 AS time FROM range(20000000)) TO '{{path}}' (ROW_GROUP_SIZE 100000)")
        import os
        size = os.path.getsize(path)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        connection = duckdb.connect(config={{"memory_limit": "64MB", "threads": 1}})
        table = count(connection.sql(f"SELECT * FROM '{{path}}'"), [Bins("time", tuple(range(0, 501, 50)))])
        after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(size, int(table.sum()), (after - before) * 1024)
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=os.environ)
    assert done.returncode == 0, done.stderr
    size, total, grown = map(int, done.stdout.split())
    assert size > 64_000_000
    assert total == 20_000_000
    assert grown < size
