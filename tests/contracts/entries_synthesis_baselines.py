"""Contracts of `sfumato.synthesis.relaxed` and `.generator`: two adaptive rounds on a tiny table, searches of one step.

What they promise is `Synthesizer`'s; this shows that a search by gradient neither draws nor looks at anything more.
Neighbours replace a row.
"""

import numpy as np
import pandas as pd
import pytest
from contract import Contract
from coupling import captured

from sfumato.synthesis import Column, Domain, marginals
from sfumato.synthesis.generator import GenerativeNetworkSynthesizer
from sfumato.synthesis.relaxed import RelaxedSynthesizer

DOMAIN = Domain(tuple(Column.categorical(name, [0, 1]) for name in "abc"))
ROWS = 6


def frame(rows):
    return pd.DataFrame(rows, columns=list("abc"))


def neighbours(rng):
    rows = rng.integers(0, 2, (ROWS, 3))
    other = rows.copy()
    other[rng.integers(ROWS)] = rng.integers(0, 2, 3)
    return frame(rows), frame(other)


def entry(kind, name, **parameters):
    """Coupled runs search between their rounds; what counted runs count was let out before the search."""
    chosen = {"workload": marginals(DOMAIN, 1), "strategy": "adaptive", "per_round": 1, "n_synthetic": 10}
    search = kind(None, rho=0.5, iterations=2, random_state=0, rounds=2, **chosen, **parameters)
    still = kind(None, rho=0.5, random_state=0, rounds=1, **chosen, **parameters)

    def outputs(data, n, rng):
        found = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "_search", lambda self, measured, rows, random, last: rows)
            for _ in range(n):
                with captured(each := []):
                    still.fit(data, DOMAIN)
                found.append(np.concatenate(each).astype(float))
        return np.array(found)

    nobody = np.zeros((ROWS, 3), dtype=int)
    one, all_of_them = nobody.copy(), nobody + 1
    one[0] = 1
    return Contract(
        kind,
        name,
        still.fit(frame(nobody), DOMAIN).claim_,
        lambda data: search.fit(data, DOMAIN),
        neighbours,
        outputs,
        [(frame(one), frame(nobody))],
        [(frame(all_of_them), frame(nobody))],
        trials=300,
        bug=10,
    )


CONTRACTS = [
    entry(RelaxedSynthesizer, "rap++", relaxed_rows=4, temperatures=(8.0,)),
    entry(GenerativeNetworkSynthesizer, "gem", network_rows=4, noise=2, hidden=(4,)),
]

WITHOUT_A_FORMAL_CLAIM: dict[str, str] = {}
