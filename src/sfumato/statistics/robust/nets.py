"""Public nets of directions: evenly spread unit vectors that no record had a say in.

For depth scores in two and three dimensions. The lattice on the sphere is Fibonacci's (González 2010).
"""

from __future__ import annotations

import math

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Floats


def half_sphere(d: int, size: int) -> Floats:
    """Unit vectors of R^d, one of each opposite pair.

    Parameters
    ----------
    d : int
        1, 2 or 3.
    size : int
        How many; in one dimension there is one.

    Returns
    -------
    ndarray of float, shape (size, d)

    Raises
    ------
    InvalidData
        If d is larger: an even net would need too many directions.
    """
    if not 1 <= d <= 3:
        raise InvalidData(f"nets of directions cover 1 to 3 dimensions, got {d}")
    if d == 1:
        return np.ones((1, 1))
    steps = np.arange(size) + 0.5
    if d == 2:
        angles = math.pi * steps / size
        return np.column_stack((np.cos(angles), np.sin(angles)))
    height = steps / size
    around = math.pi * (1 + math.sqrt(5)) * steps
    ring = np.sqrt(1 - height**2)
    return np.column_stack((ring * np.cos(around), ring * np.sin(around), height))


def projections(X: Floats, directions: Floats) -> Floats:
    """⟨x, v⟩ for each record and direction, shape (n, m).

    Column by column, not by a matrix product: the sum for a record is the same to the last bit wherever it stands and
    whoever the others are, so that a count of records moves by at most 1 when one is replaced.
    """
    total = np.zeros((len(X), len(directions)))
    with np.errstate(over="ignore", invalid="ignore"):  # a warning would depend on the data
        for column, weights in zip(X.T, directions.T, strict=True):
            total += column[:, np.newaxis] * weights
    return total
