"""Queries a second of both engines on 30,000 people, beside DuckDB given the analyst's text as it is.

For owners who size an engine and attackers who size an attack. In processor time of one core, so that a busy machine
changes it little; the peer counts without noise, without a grammar and without remembering conditions; all in one run.
"""

import time

import duckdb
import numpy as np
import pytest

from sfumato.attacks.sticky_noise import StickyNoiseEngine
from sfumato.data.tabular import ADULT, synthetic_census
from sfumato.sql import PersonTable
from sfumato.statistics.counting import PrivateCountEngine

PEOPLE = synthetic_census(30_000, ADULT, 0).assign(uid=range(30_000))
NAMES = [name for name in ADULT if name != "income"]


def queries(n, h):
    """Distinct texts of h conditions, as an attack asks them."""
    rng = np.random.default_rng(h)
    for _ in range(n):
        person = PEOPLE.iloc[rng.integers(len(PEOPLE))]
        chosen = rng.permutation(NAMES)[: h - 1]
        yield "SELECT count(*) FROM people WHERE " + " AND ".join(
            [*(f"{name} {rng.choice(['=', '<>'])} {person[name]}" for name in chosen), "income = 0"]
        )


def a_second(ask, texts):
    for text in texts[:200]:
        ask(text)
    start = time.process_time()
    for text in texts:
        ask(text)
    return len(texts) / (time.process_time() - start)


@pytest.mark.parametrize("h", [3, 6])
def test_queries_a_second(h, capsys):
    texts = list(queries(3000, h))
    table = PersonTable(PEOPLE)
    sticky = StickyNoiseEngine(table, salt=b"sixteen bytes ok")
    private = PrivateCountEngine(
        PEOPLE, dict.fromkeys([*NAMES, "income"], "number"), epsilon_per_query=1e-4, max_queries=10**6
    )
    for text in texts:  # both remember the conditions that they have met: an attack meets few
        sticky.query(text)
        private.query(text)
    connection = duckdb.connect(config={"threads": 1})
    people = PEOPLE  # noqa: F841  DuckDB finds it by its name
    connection.execute("CREATE TABLE people AS SELECT * FROM people")
    peer = a_second(lambda text: connection.execute(text).fetchall(), texts[:1000])
    ours, paid = a_second(sticky.query, texts), a_second(private.query, texts)
    with capsys.disabled():
        print(
            f"\n{h} conditions, queries a second: sticky {ours:,.0f}, private {paid:,.0f}, DuckDB's own text "
            f"{peer:,.0f}: {ours / peer:.1f} and {paid / peer:.1f} times as many"
        )
    assert sticky.n_queries > 0


def test_loading_and_a_new_condition(capsys):
    start = time.process_time()
    table = PersonTable(PEOPLE)
    loaded = time.process_time() - start
    texts = [f"SELECT count(*) FROM people WHERE age <> {i}" for i in range(100, 400)]
    start = time.process_time()
    for text in texts:
        table.who(table.parse(text))
    with capsys.disabled():
        each = (time.process_time() - start) / len(texts)
        print(f"\nloading 30,000 people {loaded * 1e3:.0f} ms; a condition not met before {each * 1e3:.2f} ms")
    assert len(table) == 30_000
