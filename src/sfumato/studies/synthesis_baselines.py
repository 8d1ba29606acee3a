"""RAP, RAP++ and GEM held to what their own papers show, before anything is compared with them.

For the study of card 24: a baseline that is weak here would make any search look strong. Aydöre et al. 2021, Vietri et
al. 2022, Liu, Vietri and Wu 2021; on a made-up public table, since only the direction is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sfumato.studies.study import Row
from sfumato.synthesis import Column, Domain, WorkloadSet, halfspaces, marginals, prefixes

_N = 20_000
_DOMAIN = Domain(
    (
        Column.categorical("colour", [0, 1, 2]),
        Column.categorical("flag", [0, 1]),
        Column.ordinal("grade", [0, 1, 2, 3]),
        Column.numeric("x", 0, 1),
        Column.numeric("y", 0, 1),
    )
)


def published_behaviour(seed: int) -> Iterator[Row]:
    """What each paper shows, at a small scale: some twenty seconds of one core.

    Parameters
    ----------
    seed : int
        Of table, queries, searches and noise: the table is public, and its rows should come out alike every time.

    Yields
    ------
    Row
    """
    table = _table(np.random.default_rng(seed))
    pairs = marginals(_DOMAIN, resolutions=(8,))
    thresholds = halfspaces(_DOMAIN, 60, random_state=seed) + prefixes(_DOMAIN, 60, random_state=seed)
    for name in ("rap", "gem"):
        low, high, exact = (
            _error(_search(name, seed), table, pairs, epsilon=e, noise_seed=seed) for e in (0.05, 1.0, 1000.0)
        )
        yield Row(
            f"{name}: error of two-way marginals falls with ε, to nearly nothing",
            "it does, in all figures of Aydöre et al. 2021 and Liu et al. 2021",
            f"mean {low:.5f} at ε = 0.05, {high:.5f} at 1, {exact:.5f} at 1000",
            low > high > exact and exact < 0.001,
        )
    for name in ("rap", "gem"):
        few, many = (
            _error(
                _search(name, seed),
                table,
                pairs,
                epsilon=10.0,
                strategy="adaptive",
                rounds=t,
                per_round=1,
                noise_seed=seed,
            )
            for t in (1, 8)
        )
        yield Row(
            f"{name}: more adaptive rounds, less error, while there is budget",
            "it is so, up to some T that ε sets",
            f"mean {few:.5f} after 1 round, {many:.5f} after 8",
            many < few,
        )
    rap, gem = (
        np.mean([_error(_search(n, seed), table, pairs, epsilon=0.5, noise_seed=seed + k) for k in range(3)])
        for n in ("rap", "gem")
    )
    yield Row(
        "gem beside rap on two-way marginals, ε = 0.5",
        "comparable or better (Liu et al. 2021); here: at most a quarter worse",
        f"mean {gem:.5f} and {rap:.5f}",
        gem < 1.25 * rap,
    )
    values, bins = (
        _error(_search(name, seed), table, thresholds, epsilon=10.0, noise_seed=seed) for name in ("rap++", "rap")
    )
    yield Row(
        "rap++ beside rap on half-spaces and prefixes, ε = 10",
        "better (Vietri et al. 2022); rap's half-spaces here are ours",
        f"mean {values:.5f} and {bins:.5f}",
        values < bins,
    )


def _search(name: str, seed: int) -> Any:
    if name == "gem":
        from sfumato.synthesis.generator import GenerativeNetworkSynthesizer

        return GenerativeNetworkSynthesizer(
            network_rows=100, hidden=(64, 64), noise=32, random_state=seed, noise_seed=seed
        )
    from sfumato.synthesis.relaxed import RelaxedSynthesizer

    return RelaxedSynthesizer(method=name, relaxed_rows=200, bins=8, random_state=seed, noise_seed=seed)


def _error(search: Any, table: pd.DataFrame, workloads: WorkloadSet, **parameters: Any) -> float:
    """Mean error of all queries, against the true answers: of a public table."""
    search.set_params(workload=workloads, iterations=200, n_synthetic=20_000, **parameters).fit(table, _DOMAIN)
    wanted = workloads.counts(_DOMAIN.encode(table)) / len(table)
    return float(np.abs(workloads.counts(search.rows_) / len(search.rows_) - wanted).mean())


def _table(random: np.random.Generator) -> pd.DataFrame:
    x = random.beta(2, 5, _N)
    flag = (x + random.normal(0, 0.15, _N) > 0.3).astype(int)
    drawn = random.random(_N)
    colour = np.where(flag == 1, (drawn > 0.7).astype(int) + (drawn > 0.9), (drawn > 0.1).astype(int) + (drawn > 0.3))
    y = np.clip(np.where(colour == 0, 0.75, 0.25) + random.normal(0, 0.1, _N), 0, 1)
    return pd.DataFrame({"colour": colour, "flag": flag, "grade": np.minimum((x * 5).astype(int), 3), "x": x, "y": y})
