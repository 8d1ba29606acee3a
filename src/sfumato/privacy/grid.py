"""Grid: real values as whole multiples of a power of two, so that their noise can be discrete.

For `Release.laplace` and `Release.gaussian`. A double's low bits tell where it came from (Mironov 2012); a value on
the grid has none that depend on the data beyond what the noise covers.
"""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData

_FINER = 20  # default: 2^20 granules to the noise scale, so rounding costs a millionth of it a coordinate
_LARGEST = 2.0**61  # grid values of this size leave room for the noise in int64


def default_granularity(scale: float) -> float:
    """Return a power of two about a millionth of the noise scale."""
    if not (0 < scale < math.inf):
        raise InvalidClaim(f"scale must be finite and above 0, got {scale:g}")
    return math.ldexp(1.0, math.frexp(scale)[1] - 1 - _FINER)


def to_grid(values: NDArray[np.float64], granularity: float) -> NDArray[np.int64]:
    """Round to the nearest multiple of `granularity`, and return the multiples.

    Raises
    ------
    InvalidClaim
        If the granularity is not a power of two.
    InvalidData
        If a value is NaN, infinite, or beyond 2**61 granules.
    """
    if not (0 < granularity < math.inf) or math.frexp(granularity)[0] != 0.5:
        raise InvalidClaim(f"granularity must be a power of two, got {granularity:g}")
    with np.errstate(over="ignore", invalid="ignore"):
        cells = np.rint(values / granularity)  # a power of two divides exactly
    if not np.all(np.abs(cells) <= _LARGEST):  # also for NaN
        raise InvalidData("values must be finite and at most 2**61 granules from zero")
    return np.asarray(cells, dtype=np.int64)


def from_grid(cells: NDArray[np.int64], granularity: float) -> NDArray[np.float64]:
    """Return cells · granularity: post-processing of integers that are already noisy."""
    return np.asarray(cells * granularity, dtype=np.float64)


def grid_sensitivity(sensitivity: float, granularity: float, dimension: int, norm: Literal["l1", "l2"]) -> Fraction:
    """Sensitivity, in granules, of the rounded values.

    Rounding moves a coordinate by at most half a granule, so it widens the difference of two neighbours by at most
    one granule in each coordinate: by `dimension` in L1 and by its square root in L2 (triangle inequality).

    Parameters
    ----------
    sensitivity : float
        Of the real values, in the same norm.
    granularity : float
        A power of two.
    dimension : int
        Number of coordinates.
    norm : {"l1", "l2"}
    """
    widened = Fraction(dimension) if norm == "l1" else Fraction(math.nextafter(math.sqrt(dimension), math.inf))
    return Fraction(sensitivity) / Fraction(granularity) + widened
