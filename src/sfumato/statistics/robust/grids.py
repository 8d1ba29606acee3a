"""Public grids: where records are rounded to, one by one, and where answers lie.

For the private estimators of one number. A finite public range makes the exponential mechanism exact, and no low bit of
an answer tells where it came from (Mironov 2012).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]

_FINER = 16  # cells to the resolution
_LARGEST = 2.0**62  # sums of n cells must fit int64
_LARGEST_SCALE_CELL = 2**50


class Grid(Protocol):
    """Cells for records, points for answers; both public."""

    @property
    def radius(self) -> int:
        """Cells from the centre to the bounds."""

    @property
    def points(self) -> int:
        """Number of possible answers."""

    @property
    def ratio(self) -> float:
        """Half the range over the resolution: R/ρ."""

    def cells(self, x: Floats) -> Integers:
        """Round and clip each record to a cell in -radius .. radius, without looking at the others."""

    def ends(self, low: Integers, high: Integers, divisor: int) -> tuple[Integers, Integers]:
        """First and last point within the resolution of [low, high] / divisor, in cells; monotone in both."""

    def value(self, point: int) -> float:
        """Answer that a point stands for."""


def _power_of_two_below(x: float) -> float:
    return math.ldexp(1.0, math.frexp(x)[1] - 1)


def _rounded(x: Floats, pitch: float, radius: int) -> Integers:
    return np.rint(np.clip(x, -radius * pitch, radius * pitch) / pitch).astype(np.int64)


@dataclass(frozen=True)
class Line:
    """Multiples of a power of two round the centre of [lower, upper].

    Attributes
    ----------
    centre, pitch : float
    radius : int
        Cells from the centre to the bounds.
    margin : int
        Cells to the resolution ρ; the answers reach that far beyond the bounds.
    """

    centre: float
    pitch: float
    radius: int
    margin: int

    @classmethod
    def between(cls, lower: float, upper: float, resolution: float, n: int) -> Line:
        """Lay the line for n records.

        Raises
        ------
        InvalidData
            If the resolution is too fine for that range and so many records.
        """
        pitch = _power_of_two_below(resolution / _FINER)
        half = (upper - lower) / 2
        if not (pitch > 0 and 4 * max(n, 1) * (half / pitch + 2 * _FINER) < _LARGEST):
            raise InvalidData("resolution is too fine for these bounds and so many records")
        return cls(lower + half, pitch, math.ceil(half / pitch), math.ceil(resolution / pitch))

    @property
    def points(self) -> int:
        """Number of possible answers."""
        return 2 * (self.radius + self.margin) + 1

    @property
    def ratio(self) -> float:
        """R/ρ."""
        return self.radius / self.margin

    def cells(self, x: Floats) -> Integers:
        """Nearest cell of each record, records beyond the bounds moved to them, NaN to the centre."""
        with np.errstate(over="ignore"):  # a warning would depend on the data
            moved = np.where(np.isnan(x), 0.0, x - self.centre)
        return _rounded(moved, self.pitch, self.radius)

    def ends(self, low: Integers, high: Integers, divisor: int) -> tuple[Integers, Integers]:
        """First and last point of each interval, widened by the margin; whole-number arithmetic."""
        shift = self.radius + self.margin
        return -(-low // divisor) - self.margin + shift, high // divisor + self.margin + shift

    def value(self, point: int) -> float:
        """Answer that a point stands for."""
        return self.centre + (point - self.radius - self.margin) * self.pitch


@dataclass(frozen=True)
class Ladder:
    """Answers in equal ratios between two positive bounds; records on a line without bounds of their own.

    Attributes
    ----------
    lower, upper : float
        Smallest and largest answer.
    resolution : float
        Relative: 0.02 is 2 %.
    factor : float
        From the statistic to the answer.
    """

    lower: float
    upper: float
    resolution: float
    factor: float
    radius: int = _LARGEST_SCALE_CELL

    @property
    def points(self) -> int:
        """Number of possible answers."""
        return len(self._values)

    @property
    def ratio(self) -> float:
        """Half the range over the resolution, in logarithms."""
        return self._logs / (2 * self.resolution)

    def cells(self, x: Floats) -> Integers:
        """Nearest multiple of a power of two that is far below the smallest answer; of NaN, 0."""
        return _rounded(np.where(np.isnan(x), 0.0, x), self._pitch, self.radius)

    def ends(self, low: Integers, high: Integers, divisor: int) -> tuple[Integers, Integers]:
        """First and last rung of each interval, widened by the resolution."""
        unit = self._pitch * self.factor / divisor
        last = self.points - 1
        first = np.minimum(np.searchsorted(self._values, low * unit, side="left"), last)
        final = np.maximum(np.searchsorted(self._values, high * unit, side="right") - 1, 0)
        return np.maximum(first - _FINER, 0), np.minimum(final + _FINER, last)

    def value(self, point: int) -> float:
        """Answer that a point stands for."""
        return float(self._values[point])

    @property
    def _logs(self) -> float:
        return math.log(self.upper) - math.log(self.lower)

    @property
    def _pitch(self) -> float:
        return _power_of_two_below(self.lower / 256)

    @cached_property
    def _values(self) -> Floats:
        rungs = math.ceil(_FINER * self._logs / self.resolution) + 1
        return np.geomspace(self.lower, self.upper, rungs)
