"""Contracts of `sfumato.synthesis`: what its rounds of questions let out.

Tables of two columns of zeros and ones, one workload a column; the search, which only reads what was let out, is left
out where a table is asked many times.
"""

import numpy as np
import pandas as pd
import pytest
from contract import Contract
from coupling import captured

from sfumato import Release
from sfumato.synthesis import Column, Domain, WorkloadSet, marginals
from sfumato.synthesis.genetic import GeneticSynthesizer
from sfumato.synthesis.workloads import Workload

DOMAIN = Domain((Column.categorical("a", [0, 1]), Column.categorical("b", [0, 1])))
SINGLES = marginals(DOMAIN, 1)
#: Of two families: the hybrid measures one and chooses in the other.
FAMILIES = SINGLES + WorkloadSet(DOMAIN, [Workload("other", workload.axes) for workload in SINGLES])
ROUNDS = {"rounds": 1, "per_round": 1}


def rows(*pairs):
    return np.array(pairs, dtype=np.int64)


#: The second is nearer to the first rows of the search in one column, and further in the other.
FIRST = rows((0, 0), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1))
SECOND = rows((1, 1), (0, 0), (0, 0), (0, 1), (0, 1), (0, 1))
FEWER = FIRST[1:]


def fit(data, workload, **settings):
    model = GeneticSynthesizer(
        None,
        rho=2.0,
        workload=workload,
        n_synthetic=10,
        population=(2, 2),
        max_generations=1,
        random_state=0,
        **settings,
    )
    return model.fit(pd.DataFrame(data, columns=["a", "b"]), DOMAIN)


def replaced(rng):
    first = rng.integers(0, 2, (int(rng.integers(2, 9)), 2))
    second = first.copy()
    second[int(rng.integers(len(first)))] = rng.integers(0, 2, 2)
    return first, second


def removed(rng):
    first = rng.integers(0, 2, (int(rng.integers(2, 9)), 2))
    return first, first[1:]


def without_search(patch):
    patch.setattr(GeneticSynthesizer, "_search", lambda self, found, rows, random, last: rows)


def copies(data, n, workload, **settings):
    """n independent copies of each draw of one fit that chooses nothing, side by side."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        without_search(patch)

        def draw(self, values, original=Release.discrete_gaussian, **declared):
            many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
            found.append(many.reshape(n, -1))
            return many[0]

        patch.setattr(Release, "discrete_gaussian", draw)
        fit(data, workload, **settings)
    return np.hstack(found).astype(float)


def repeated(data, n, workload, **settings):
    """All that n fits let out, a row a fit."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        without_search(patch)
        for _ in range(n):
            draws = []
            with captured(draws):
                fit(data, workload, **settings)
            found.append(np.concatenate(draws))
    return np.array(found, dtype=float)


def entry(name, outputs, workload, pairs, worst, trials, bug, **settings):
    return Contract(
        GeneticSynthesizer,
        name,
        fit(FIRST, workload, **settings).claim_,
        lambda data: fit(data, workload, **settings),
        pairs,
        lambda data, n, rng: outputs(data, n, workload, **settings),
        [worst],
        [(rows(*[(0, 0)] * 12), rows(*[(1, 1)] * 6))] if pairs is removed else [(FIRST * 0, FIRST * 0 + 1)],
        trials=trials,
        bug=bug,
    )


CONTRACTS = [
    entry("oneshot", copies, SINGLES, replaced, (FIRST, SECOND), 8000, 2),
    entry("add-remove", copies, SINGLES, removed, (FIRST, FEWER), 8000, 2, neighbours="add-remove", delta=1e-6),
    entry("adaptive", repeated, SINGLES, replaced, (FIRST, SECOND), 500, 6, strategy="adaptive", **ROUNDS),
    entry("hybrid", repeated, FAMILIES, replaced, (FIRST, SECOND), 500, 6, strategy="hybrid", **ROUNDS),
]

WITHOUT_A_FORMAL_CLAIM: dict[str, str] = {}
