"""Contracts of `sfumato.statistics.counting` and of the engine under attack, `sfumato.attacks.sticky_noise`."""

import numpy as np
import pandas as pd
from contract import Contract

from sfumato.statistics.counting import PrivateCountEngine

COLUMNS = {"age": "number", "town": "text"}
SQL = "SELECT count(*) FROM people WHERE age > 40 AND town <> 'Ayr'"


def people(*rows):
    return pd.DataFrame(rows, columns=["age", "town"]).assign(uid=range(len(rows)))


def engine(data, **parameters):
    return PrivateCountEngine(data, COLUMNS, **{"epsilon_per_query": 1.0, "max_queries": 1, **parameters})


def counting(name, neighbours):
    def drawn(rng):
        return float(rng.integers(30, 50)), str(rng.choice(["Ayr", "Bath", "Cork"]))

    def pair(rng):
        rows = [drawn(rng) for _ in range(int(rng.integers(1, 20)))]
        return people(*rows), people(*(rows[1:] if neighbours == "add-remove" else [drawn(rng), *rows[1:]]))

    def ask(data):  # three questions, adaptive ones at that
        asked = engine(data, max_queries=3, neighbours=neighbours)
        first = asked.query(SQL).count
        asked.query(f"SELECT count(*) FROM people WHERE age <= {first + 40}")
        asked.query("SELECT count(*) FROM people")

    engines = {}  # an audit asks for single outputs too: a table is loaded once

    def outputs(data, n, rng):
        if id(data) not in engines:
            engines[id(data)] = engine(data, max_queries=10**9, neighbours=neighbours)
        return np.array([engines[id(data)].query(SQL).count for _ in range(n)])

    old, away = (60.0, "Bath"), (20.0, "Ayr")
    base = [old, old, away]
    less = base[1:] if neighbours == "add-remove" else [away, *base[1:]]
    far = [away] if neighbours == "add-remove" else [away] * 5
    return Contract(
        PrivateCountEngine,
        name,
        engine(people(*base), neighbours=neighbours).claim,
        ask,
        pair,
        outputs,
        [(people(*base), people(*less))],
        [(people(*[old] * 4, away), people(*far))],
        trials=1000,
    )


CONTRACTS = [counting("pure", "add-remove"), counting("pure-replaced", "replace-one")]

WITHOUT_A_FORMAL_CLAIM = {
    "PrivateCount": "what a release left: it carries the claim of the query that drew it",
    "StickyNoiseEngine": "a target without a claim",
    "AttackReport": "the result of an attack",
    "QueryOnly": "all that an attack gets of an engine",
    "Queryable": "the form of a target",
}
