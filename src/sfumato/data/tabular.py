"""Tables of people with several attributes: two real ones that statsmodels ships, and generated censuses.

For studies of attacks on queries and on synthetic data. The generated tables have the attributes and cardinalities
of well-known census extracts and a dependence between them from a random Bayesian network; they hold nobody.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from sfumato.errors import InvalidData, MissingExtra

#: American Community Survey, the extract of Annamalai et al. (2024); SEX is the secret there.
ACS: Mapping[str, int] = {
    "MIG": 4, "RAC1P": 9, "CIT": 5, "RELP": 18, "ESP": 5, "DIS": 2, "SCHL": 25, "DEYE": 2, "MAR": 5, "ANC": 5,
    "MIL": 5, "NATIVITY": 2, "DREM": 3, "DEAR": 2, "AGEP": 10, "SEX": 2,
}  # fmt: skip

#: UCI Adult, eleven attributes; income is the secret there.
ADULT: Mapping[str, int] = {
    "age": 74, "workclass": 9, "education": 16, "marital_status": 7, "occupation": 15, "relationship": 6, "race": 5,
    "sex": 2, "hours_per_week": 40, "native_country": 42, "income": 2,
}  # fmt: skip

_PARENTS = 2
_MOST_TABLE = 2000  # cells of parents beyond which one parent is dropped: a table nobody could fill says nothing


def load_table(name: str) -> pd.DataFrame:
    """Load a real table by name: "fair" (6,366 people, 9 attributes) or "randhie" (20,190 people, 10 attributes).

    Raises
    ------
    InvalidData
        If there is no table of that name.
    MissingExtra
        If statsmodels, which ships them, is not installed.
    """
    if name not in ("fair", "randhie"):
        raise InvalidData(f"no table {name!r}; there are fair, randhie")
    try:
        from statsmodels import datasets
    except ModuleNotFoundError:
        raise MissingExtra("tabular") from None
    frame: pd.DataFrame = getattr(datasets, name).load_pandas().data
    return frame.copy()


def synthetic_census(n: int, cardinalities: Mapping[str, int], random_state: int | None = None) -> pd.DataFrame:
    """Draw people from a random Bayesian network.

    Each attribute depends on up to two before it; its distribution given theirs is drawn from a Dirichlet
    distribution around a skewed one, so that a few values are common, most are rare and attributes go together.

    Parameters
    ----------
    n : int
        Number of people.
    cardinalities : mapping of str to int
        Attributes in order, and how many values each has: `ACS`, `ADULT` or another.
    random_state : int, optional
        Decides the network and the people.

    Returns
    -------
    pandas.DataFrame
        Shape (n, len(cardinalities)); values are codes 0, 1, ….
    """
    if n < 1 or not cardinalities or min(cardinalities.values()) < 2:
        raise InvalidData("a census needs people, and attributes of at least two values")
    rng = np.random.default_rng(random_state)
    columns: dict[str, np.ndarray[Any, np.dtype[np.int64]]] = {}
    for name, k in cardinalities.items():
        chosen = list(rng.permutation(list(columns)))[:_PARENTS]
        while np.prod([cardinalities[p] for p in chosen], initial=1.0) * k > _MOST_TABLE and len(chosen) > 1:
            chosen.pop()
        state = np.zeros(n, np.int64)
        for parent in chosen:
            state = state * cardinalities[parent] + columns[parent]
        marginal = 1 / np.arange(1, k + 1) ** 0.7
        given = rng.dirichlet(4 * rng.permutation(marginal / marginal.sum()) + 0.02, int(state.max()) + 1)
        edges = np.cumsum(given, axis=1)[state]
        columns[name] = np.minimum((rng.random(n)[:, np.newaxis] > edges).sum(1), k - 1)
    return pd.DataFrame(columns)
