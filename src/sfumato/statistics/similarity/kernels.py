"""Kernels, the random frequencies whose mean cosine they are, and their integrals.

For `PrivateKDE` and `SimilarityClassifier`. Bochner's theorem as in Rahimi and Recht 2007; the two smooth kernels of
Backurs et al. (ICLR 2024) are mixtures over u ~ Exp(1) of exp(-u r) and exp(-u r²), so that a random u for each
frequency serves for them what a sum of exponentials does in the paper.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from scipy.special import gammaln, ndtri

from sfumato.errors import InvalidData
from sfumato.statistics.similarity.rows import Floats

KernelName: TypeAlias = Literal["gaussian", "laplacian", "exponential", "inverse", "inverse_quadratic"]


@dataclass(frozen=True)
class Kernel:
    """A kernel of z = (x - y)/bandwidth.

    Attributes
    ----------
    value : callable
        ``value(z)`` for z of shape (..., d).
    extra : int
        Uniform numbers that a frequency takes beyond one for each column.
    frequencies : callable
        Turns uniform numbers, shape (k, d + extra), into frequencies, shape (k, d): the kernel is E cos⟨w, z⟩.
    log_integral : callable or None
        Log of the kernel's integral over d columns; None where it is infinite.
    euclidean : bool
        Whether it depends on ‖z‖ alone, so that columns may be projected.
    """

    value: Callable[[Floats], Floats]
    extra: int
    frequencies: Callable[[Floats], Floats]
    log_integral: Callable[[int], float] | None
    euclidean: bool = True


def kernel(name: str) -> Kernel:
    """Return the kernel of that name, or raise InvalidData."""
    if name not in get_args(KernelName):
        raise InvalidData(f"kernel must be one of {', '.join(get_args(KernelName))}")
    return _KERNELS[name]


def uniform_points(count: int, columns: int, random: np.random.RandomState) -> Floats:
    """Draw points that are each uniform on the unit cube and, together, spread more evenly than chance.

    As many as fit are jittered: one in each cell of a regular grid (Haber 1966). They are independent and their mean
    over the grid is uniform, so that Hoeffding's bound holds as it does for a plain sample.

    Returns
    -------
    ndarray of float, shape (count, columns), strictly between 0 and 1
    """
    points = random.uniform(size=(count, columns))
    side = round(count ** (1 / columns))
    side -= side**columns > count
    if side > 1:
        cells = np.stack(np.meshgrid(*[np.arange(side)] * columns, indexing="ij"), axis=-1).reshape(-1, columns)
        points[: len(cells)] = (cells + points[: len(cells)]) / side
    return np.asarray(np.clip(points, 2.0**-53, 1 - 2.0**-53))


def _norm(z: Floats) -> Floats:
    return np.asarray(np.sqrt((z**2).sum(-1)))


def _cauchy(u: Floats) -> Floats:
    return np.tan(np.pi * (u - 0.5))


def _exponential(u: Floats) -> Floats:
    """Multivariate Cauchy: a Gaussian vector over an independent |z|."""
    return np.asarray(ndtri(u[:, 1:]) / np.abs(ndtri(u[:, :1])))


_KERNELS: dict[str, Kernel] = {
    "gaussian": Kernel(
        lambda z: np.exp(-(z**2).sum(-1) / 2),
        0,
        lambda u: np.asarray(ndtri(u)),
        lambda d: d / 2 * math.log(2 * math.pi),
    ),
    "laplacian": Kernel(lambda z: np.exp(-np.abs(z).sum(-1)), 0, _cauchy, lambda d: d * math.log(2), euclidean=False),
    "exponential": Kernel(
        lambda z: np.exp(-_norm(z)),
        1,
        _exponential,
        # surface of the sphere times Γ(d)
        lambda d: float(math.log(2) + d / 2 * math.log(math.pi) - gammaln(d / 2) + gammaln(d)),
    ),
    "inverse": Kernel(lambda z: 1 / (1 + _norm(z)), 2, lambda u: -np.log(u[:, :1]) * _exponential(u[:, 1:]), None),
    "inverse_quadratic": Kernel(
        lambda z: 1 / (1 + (z**2).sum(-1)),
        1,
        lambda u: np.sqrt(-2 * np.log(u[:, :1])) * ndtri(u[:, 1:]),
        lambda d: math.log(math.pi) if d == 1 else math.inf,
    ),
}
