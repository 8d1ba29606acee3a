"""Answering all three-way queries from synthetic rows, beside the same by pandas' groupby.

For whoever attacks large synthetic tables. The peer counts one set of attributes after another; both in one run.
"""

import itertools
import time

import numpy as np

from sfumato.attacks.reconstruction import ReconstructionAttack
from sfumato.data.tabular import ACS, synthetic_census

ROWS = 1_000_000


def test_answers_beside_groupby(capsys):
    people = synthetic_census(1000, ACS, 0)
    rows = people.iloc[np.random.default_rng(0).integers(1000, size=ROWS)].reset_index(drop=True)
    quasi = people.drop(columns="SEX")
    attack = ReconstructionAttack(3).fit(quasi)
    codes, bits = attack.codebook_.encode(rows), rows["SEX"].to_numpy()
    start = time.perf_counter()
    attack.queries_.answer(codes, bits)
    ours = time.perf_counter() - start
    start = time.perf_counter()
    for pair in itertools.combinations(quasi.columns, 2):
        rows.groupby(list(pair))["SEX"].agg(["size", "sum"])
    peer = time.perf_counter() - start
    with capsys.disabled():
        print(
            f"\n{len(attack.queries_):,} queries on 10^6 rows: {ours:.2f} s; groupby {peer:.2f} s, "
            f"{peer / ours:.1f} times as long"
        )
    assert ours < peer
