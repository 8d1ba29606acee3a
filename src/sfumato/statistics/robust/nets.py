"""Public nets of directions: evenly spread unit vectors that no record had a say in.

For depth scores in two and three dimensions. The lattice on the sphere is Fibonacci's (González 2010).
"""

from __future__ import annotations

import math

import numpy as np

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Floats

#: Directions that serve a minimum over all of them, by dimension.
ENOUGH = {1: 1, 2: 32, 3: 64}


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


def directions(d: int) -> Floats:
    """Family over which depths of points and planes in d dimensions are minima: a net and the axes, shape (m, d)."""
    return np.concatenate((half_sphere(d, ENOUGH[d]), np.eye(d)))


def cap(centre: Floats, angle: float, size: int) -> Floats:
    """Unit vectors within an angle of a centre, evenly spread.

    Parameters
    ----------
    centre : ndarray of float, shape (d,)
        Unit vector of two or three dimensions.
    angle : float
        In (0, π/2].
    size : int

    Returns
    -------
    ndarray of float, shape (size, d)
    """
    steps = (np.arange(size) + 0.5) / size
    if len(centre) == 2:
        turns = math.atan2(centre[1], centre[0]) + angle * (2 * steps - 1)
        return np.column_stack((np.cos(turns), np.sin(turns)))
    along = 1 - steps * (1 - math.cos(angle))
    ring, around = np.sqrt(1 - along**2), math.pi * (1 + math.sqrt(5)) * size * steps
    _, _, axes = np.linalg.svd(centre[np.newaxis])
    return np.asarray(
        along[:, np.newaxis] * centre
        + (ring * np.cos(around))[:, np.newaxis] * axes[1]
        + (ring * np.sin(around))[:, np.newaxis] * axes[2]
    )


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
