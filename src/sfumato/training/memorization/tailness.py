"""How much a test record lies in the tail: the memorisation of the training record nearest to it, or most influential.

For grouping test records where no attribute says who is rare. Feldman and Zhang (NeurIPS 2020, arXiv 2008.03703).
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from sfumato.errors import InvalidData

Floats: TypeAlias = npt.NDArray[np.float64]


def memorization_nearest(memorization: npt.ArrayLike, X: Floats, X_test: Floats) -> Floats:
    """Memorisation of the nearest training record (Euclidean) of each test record, shape (m,).

    Parameters
    ----------
    memorization : array of float, shape (n,)
    X, X_test : array of float, shapes (n, d) and (m, d)
    """
    values = np.asarray(memorization, dtype=np.float64)
    if values.shape != (len(X),):
        raise InvalidData(f"memorization must have one score for each of {len(X)} training records")
    nearest = NearestNeighbors(n_neighbors=1).fit(X).kneighbors(X_test, return_distance=False)[:, 0]
    return np.asarray(values[nearest])


def memorization_of_most_influential(
    memorization: npt.ArrayLike, influence: sparse.csr_array | npt.NDArray[np.float32]
) -> Floats:
    """Memorisation of the training record with the largest influence on each test record, shape (m,).

    0 for a test record that no training record influences as much as the threshold that `influence` was cut at.

    Parameters
    ----------
    memorization : array of float, shape (n,)
    influence : csr_array or ndarray, shape (n, m)
        `MemorizationEstimator.influence_`.
    """
    values = np.asarray(memorization, dtype=np.float64)
    columns = sparse.csc_array(np.nan_to_num(influence) if isinstance(influence, np.ndarray) else influence)
    if columns.shape[0] != len(values):
        raise InvalidData(f"influence must have a row for each of {len(values)} training records")
    found = np.zeros(columns.shape[1])
    for test, (first, last) in enumerate(zip(columns.indptr[:-1], columns.indptr[1:], strict=True)):
        strengths = columns.data[first:last]
        if len(strengths) and strengths.max() > 0:
            found[test] = values[columns.indices[first + int(strengths.argmax())]]
    return found
