"""Small domains, tables and workloads for the tests of this room."""

import numpy as np
from hypothesis import strategies as st

from sfumato.synthesis import Column, Domain, halfspaces, marginals, prefixes, queries

DOMAIN = Domain(
    (
        Column.categorical("sex", ["f", "m"]),
        Column.ordinal("grade", [1, 2, 3]),
        Column.numeric("age", 0, 99, integer=True),
        Column.numeric("share", -1.0, 1.0),
        Column.categorical("town", ["Ur", "Uruk", None]),
    )
)


def old_or_young(frame):
    """Two queries of which a row answers one or none."""
    return np.stack([frame["age"] > 60, frame["age"] < 20], axis=1)


def all_families(domain=DOMAIN, seed=0):
    """A workload of every family over the domain."""
    return (
        marginals(domain, 2, resolutions=(2, 5))
        + halfspaces(domain, 3, random_state=seed)
        + prefixes(domain, 3, targets=["town"], random_state=seed)
        + queries(domain, old_or_young, [[0, 1]])
    )


def tables(domain=DOMAIN, *, least=1, most=30):
    """Random encoded tables, the ends of the numeric range among them."""

    def edged(seed, n):
        random = np.random.default_rng(seed)
        rows = domain.draw(n, random)
        for column in np.flatnonzero(domain.sizes == 0):
            extreme = random.random(n) < 0.2
            rows[extreme, column] = random.integers(0, 5, extreme.sum()) / 4
        return rows

    return st.builds(edged, st.integers(0, 2**32 - 1), st.integers(least, most))
