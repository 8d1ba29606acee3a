"""How well synthetic rows preserve three-way counts: the other side of the trade with the attack.

For the study and for whoever weighs a release. Annamalai, Gadotti and Rocher (USENIX Security 2024): 3-TVD, MRE>10.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from sfumato.attacks.reconstruction.encoding import Codebook
from sfumato.attacks.reconstruction.queries import join_codes
from sfumato.errors import InvalidData

_FEW = 10  # cells with at most this many people are left out of the relative error


def utility(
    real: pd.DataFrame, synthetic: pd.DataFrame, *, triples: int = 100, random_state: int | None = None
) -> dict[str, float]:
    """Compare the three-way counts of two tables on random triples of attributes.

    Parameters
    ----------
    real, synthetic : pandas.DataFrame
        Categorical, with the same columns, at least three.
    triples : int, default 100
        As many triples as there are, if there are fewer.
    random_state : int, optional

    Returns
    -------
    dict
        ``tvd3``: mean total variation distance, in [0, 1]. ``mre10``: mean relative error of counts above 10, with
        synthetic counts scaled to the real size; NaN if there is no such count.

    Raises
    ------
    InvalidData
        If there are fewer than three columns, columns differ, or a table is empty.
    """
    if len(real.columns) < 3 or set(real.columns) != set(synthetic.columns):
        raise InvalidData("both tables need the same columns, at least three")
    if not len(synthetic):
        raise InvalidData("synthetic has no rows")
    book = Codebook.of(pd.concat([real, synthetic[list(real.columns)]]), missing="category")
    ours, theirs = book.encode(real), book.encode(synthetic)
    every = list(itertools.combinations(range(len(ours)), 3))
    rng = np.random.default_rng(random_state)
    distances, errors = [], []
    for place in rng.choice(len(every), min(triples, len(every)), replace=False):
        a, b = (join_codes(codes, every[place], book.cardinalities)[0] for codes in (ours, theirs))
        keys, where = np.unique(np.concatenate([a, b]), return_inverse=True)
        counts = np.bincount(where[: len(a)], minlength=len(keys))
        scaled = np.bincount(where[len(a) :], minlength=len(keys)) * (len(a) / len(b))
        distances.append(np.abs(counts - scaled).sum() / (2 * len(a)))
        large = counts > _FEW
        errors.append(np.abs(counts - scaled)[large] / counts[large])
    relative = np.concatenate(errors)
    return {"tvd3": float(np.mean(distances)), "mre10": float(relative.mean()) if relative.size else float("nan")}
