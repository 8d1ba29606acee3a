"""Random Fourier features in whole numbers: cosines and sines from a public table, summed without rounding.

For `PrivateKDE` and `SimilarityClassifier`. Rahimi and Recht 2007, on integers, so that one person's features are that
person's alone to the last bit, and the sensitivity of their sum is read off the table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from sfumato.statistics.similarity.kernels import Kernel, uniform_points
from sfumato.statistics.similarity.projection import Rotation, draw_rotation
from sfumato.statistics.similarity.rows import Floats, Integers, blocks
from sfumato.statistics.similarity.spending import Part

ANGLES = 2**16  #: angles in a turn that the table knows
ONE = 2**15 - 1  #: what 1 is in the table
_FINE = 2**14  # steps of a row to a bandwidth
_PITCH = 2**16  # steps of a frequency to one turn a bandwidth
_FARTHEST = 2**14  # bandwidths from the origin beyond which a coordinate is clipped
_FASTEST = 2**10  # turns a bandwidth beyond which a frequency is clipped
_SHIFT = 1.5 * 2.0**52  # adding it rounds a double to an integer, which is then in its lowest bits

_COSINE = np.rint(ONE * np.cos(2 * np.pi * np.arange(ANGLES) / ANGLES)).astype(np.int16)
_SINE = np.roll(_COSINE, ANGLES // 4)
_COSINES, _SINES = _COSINE.astype(np.float64), _SINE.astype(np.float64)


def _table_norms() -> tuple[int, int]:
    cosine, sine = _COSINE.astype(np.int64), _SINE.astype(np.int64)
    return int((np.abs(cosine) + np.abs(sine)).max()), int((cosine**2 + sine**2).max())


LARGEST_L1, LARGEST_SQUARE = _table_norms()  #: of one (cosine, sine) of the table


def part(features: int, replaced: bool) -> Part:
    """Sensitivity of the summed features, and what their noise does to a sum of similarities.

    A person adds, for each frequency, one pair of the table, so at most `features` times the largest L1 norm of a pair
    and √features times its largest L2 norm; replaced, twice that, since a pair may become its opposite. An answer is
    Σ (F·cos + G·sin) / (features·ONE): a unit of noise in each of the entries gives it a variance of 1/(features·ONE²).
    """
    times = 2 if replaced else 1
    l2 = times * (features * LARGEST_SQUARE) ** 0.5 * (1 + 1e-12)  # a hair up, for the root's rounding
    return Part(times * features * LARGEST_L1, l2, 1 / (features * ONE**2))


@dataclass(frozen=True)
class FourierFeatures:
    """Public frequencies, and where the columns are many a public projection before them.

    The projection rotates all columns and gives k of them to each block of frequencies, others to each as long as there
    are any. One projection to k columns moves all similarities by √(2/k) or so together; over many blocks this averages
    out, and what is left is the mean: e^(-s/2) grows by a share s²/(4k) at squared distance s, 0.6/k at most.

    Attributes
    ----------
    frequencies : ndarray of float, shape (k, D)
        Integers, in units of 1/2^16 turns a bandwidth.
    rotation : Rotation or None
    """

    frequencies: Floats
    rotation: Rotation | None = None

    @property
    def count(self) -> int:
        """Number D of frequencies; the features are twice as many."""
        return int(self.frequencies.shape[1])

    @cached_property
    def farthest(self) -> float:
        """Largest coordinate kept, in steps: every sum of products in `angles` stays below 2^53 steps squared."""
        columns = 1 if self.rotation is None else self.rotation.columns
        busiest = float(np.abs(self.frequencies).sum(axis=0).max(initial=1.0)) * columns
        return float(min(_FARTHEST * _FINE, 2**53 // max(busiest, columns)))

    def steps(self, rows: Floats, bandwidth: float) -> Floats:
        """Rows in whole steps of 1/2^14 bandwidths; what lies too far out is clipped."""
        with np.errstate(over="ignore"):
            steps = np.asarray(rows / bandwidth)
            steps *= _FINE
        np.rint(steps, out=steps)
        return np.clip(steps, -self.farthest, self.farthest, out=steps)

    def angles(self, steps: Floats) -> NDArray[np.uint16]:
        """⟨w, x⟩ in 1/2^16 turns, modulo a turn, shape (n, D).

        The matrix products are of whole numbers and their sums stay below 2^53, so they are exact, and the same
        however they are blocked: a row's angles do not depend on the rows beside it.
        """
        if self.rotation is None:
            phases = steps @ self._turns
        else:
            near, k = self.rotation.rotate(steps), len(self.frequencies)
            phases = np.empty((len(steps), self.count))
            parts = np.array_split(np.arange(self.count), max(1, min(self.count, self.rotation.columns // k)))
            for i, part in enumerate(parts):
                mine = slice(part[0], part[-1] + 1)
                phases[:, mine] = near[:, i * k : (i + 1) * k] @ self._turns[:, mine]
        phases += _SHIFT
        return np.asarray(phases.view(np.int64), np.uint16)

    @cached_property
    def _turns(self) -> Floats:
        return self.frequencies * (ANGLES / (_FINE * _PITCH))  # a power of two: exact

    def _blocks(self, steps: Floats) -> Iterator[slice]:
        return blocks(len(steps), max(self.count, 1 if self.rotation is None else self.rotation.columns))

    def total(self, steps: Floats) -> Integers:
        """Sum of all rows' features, cosines and then sines, in units of 1/ONE, shape (2 D,)."""
        cosines, sines = np.zeros(self.count, np.int64), np.zeros(self.count, np.int64)
        for block in self._blocks(steps):
            angles = self.angles(steps[block])
            cosines += _COSINE.take(angles).sum(axis=0, dtype=np.int64)
            sines += _SINE.take(angles).sum(axis=0, dtype=np.int64)
        return np.concatenate([cosines, sines])

    def similarity(self, steps: Floats, sums: Integers) -> Floats:
        """Answer each row: the sum of its similarities to the people behind each of some sums, shape (n, groups).

        The sums are first rounded so that their products with the table add up below 2^53: then doubles add them
        exactly, in any order, and the same question has the same answer to the last bit, alone or among others.

        Parameters
        ----------
        steps : ndarray of float, shape (n, d)
        sums : ndarray of int64, shape (groups, 2 D)
        """
        largest = max(float(np.abs(sums).sum(axis=1, dtype=np.float64).max(initial=1.0)), 1.0)
        unit = 2.0 ** (52 - 15 - np.ceil(np.log2(largest) + 1e-9))
        weights = np.rint(sums.T * unit)
        answers = np.empty((len(steps), len(sums)))
        for block in self._blocks(steps):
            angles = self.angles(steps[block])
            answers[block] = _COSINES.take(angles) @ weights[: self.count]
            answers[block] += _SINES.take(angles) @ weights[self.count :]
        return np.asarray(answers / (unit * self.count * float(ONE) ** 2))


def draw_features(
    kernel: Kernel, d: int, count: int, project: int | None, random: np.random.RandomState
) -> FourierFeatures:
    """Draw frequencies, and the rotation of a projection to `project` columns; all public, none from data."""
    rotation = None if project is None else draw_rotation(d, random)
    columns = d if rotation is None or project is None else min(project, rotation.columns)
    drawn = kernel.frequencies(uniform_points(count, columns + kernel.extra, random))
    if rotation is not None:
        drawn = drawn / np.sqrt(columns)
    turns = np.clip(drawn / (2 * np.pi), -_FASTEST, _FASTEST)
    return FourierFeatures(np.ascontiguousarray(np.rint(turns * _PITCH).T), rotation)
