"""Public random projections: unit vectors whose mean |⟨q, z⟩| gives ‖z‖, and a rotation whose parts keep distances.

For `PrivateDistanceSum` with metric "l2" and for kernels in many dimensions. Johnson and Lindenstrauss 1984; rotation:
Ailon and Chazelle 2006; ℓ2 into ℓ1 as in Backurs et al. (ICLR 2024). A projection is exact, so it is its row's alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import hadamard
from scipy.special import gammaln

from sfumato.statistics.similarity.rows import BALL, Floats

_UNIT = 2**20  #: steps of the grid on which unit vectors lie
_CLIPPED = 1e-12  # chance that a given person is clipped on a given direction


@dataclass(frozen=True)
class Directions:
    """Random unit vectors, as whole multiples of 1/2^20.

    Attributes
    ----------
    steps : ndarray of float, shape (d, k)
        Integers.
    """

    steps: Floats

    @property
    def count(self) -> int:
        """Number k of directions."""
        return int(self.steps.shape[1])

    @property
    def factor(self) -> float:
        """ν / k, where ν·E|⟨q, z⟩| = ‖z‖ for q uniform on the sphere: ν = √π Γ((d+1)/2) / Γ(d/2)."""
        d = self.steps.shape[0]
        return math.sqrt(math.pi) * math.exp(float(gammaln((d + 1) / 2) - gammaln(d / 2))) / self.count

    @property
    def reach(self) -> float:
        """Largest |⟨q, x⟩| kept, for ‖x‖ = 1: beyond it lies a share 1e-12 of the sphere at most (2 e^(-d t²/2))."""
        return min(1.0, math.sqrt(2 * math.log(2 / _CLIPPED) / self.steps.shape[0]))

    def project(self, steps: NDArray[Any]) -> Floats:
        """⟨q, x⟩ for rows of integers x in units of 1/BALL, in units of the radius, shape (n, k).

        Rows in the ball give sums of at most 2^44, by Cauchy and Schwarz the partial ones too: doubles add them without
        rounding, in whatever order a matrix product takes them. So do queries within 2^8 radii.
        """
        return np.asarray((steps @ self.steps) / (BALL * _UNIT))

    def distortion(self, beta: float) -> float:
        """Return α with |answer - truth| ≤ α·truth, apart from the noise, with probability 1 - beta.

        The mean of |⟨q_i, z⟩| over a block of b orthonormal vectors is Lipschitz in the rotated z with constant 1/√b,
        so it is sub-Gaussian about its mean with variance proxy 1/(b(d-1)) on the unit sphere (Ledoux 2001, Theorem
        2.3); over independent blocks 1/(k(d-1)). A weighted mean over people keeps it (Jensen).
        """
        d, k = self.steps.shape
        if d == 1:
            return 0.0
        return float(self.factor * k * math.sqrt(2 * math.log(2 / beta) / (k * (d - 1))))


def draw_directions(d: int, count: int, random: np.random.RandomState) -> Directions:
    """Draw unit vectors, uniform on the sphere, in blocks of d that are orthogonal; one if d is 1."""
    if d == 1:
        return Directions(np.full((1, 1), float(_UNIT)))
    drawn = []
    for start in range(0, count, d):
        gaussian = random.normal(size=(d, d))
        rotation, triangle = np.linalg.qr(gaussian)
        rotation = rotation * np.sign(np.diag(triangle))
        drawn.append(rotation[:, : min(d, count - start)])
    return Directions(np.trunc(np.hstack(drawn) * _UNIT))


@dataclass(frozen=True)
class Rotation:
    """A random rotation, √w times too long, of which any few columns keep distances: √(w/k) times k of them, or so.

    Random signs, a Hadamard matrix of size w, the least power of two that is at least d, and a random order. It is of
    whole numbers, and takes two small matrix products where a dense one would take a large one.

    Attributes
    ----------
    flips : ndarray of float, shape (d,)
        Signs.
    order : ndarray of int, shape (w,)
    """

    flips: Floats
    order: NDArray[np.int64]

    @property
    def columns(self) -> int:
        """The number w of columns that come out."""
        return len(self.order)

    def rotate(self, steps: Floats) -> Floats:
        """Rotate rows of whole numbers, shape (n, d); shape (n, w), exactly while sums stay below 2^53."""
        n, d = steps.shape
        inner = 2 ** ((self.columns.bit_length() - 1) // 2)
        outer = self.columns // inner
        padded = np.zeros((n, self.columns))
        np.multiply(steps, self.flips, out=padded[:, :d])
        half = (padded.reshape(n * outer, inner) @ _hadamard(inner)).reshape(n, outer, inner)
        return np.asarray(np.matmul(_hadamard(outer), half).reshape(n, -1).take(self.order, axis=1))


@lru_cache(maxsize=32)
def _hadamard(size: int) -> Floats:
    return np.asarray(hadamard(size), np.float64)


def draw_rotation(d: int, random: np.random.RandomState) -> Rotation:
    """Draw signs and order."""
    columns = 1 << (d - 1).bit_length()
    return Rotation(random.choice(np.array([-1.0, 1.0]), size=d), random.permutation(columns).astype(np.int64))
