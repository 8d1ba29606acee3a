"""Read a gradient out of the scalars of zeroth-order tuning, whose directions are public.

For whoever is about to send "just one byte". Each scalar is z·g: as many as there are parameters are a linear system.
Attacked: Zelikman et al. 2023 (arXiv 2306.10015), whose scalars are said to show less than a gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import linalg, special

from sfumato.errors import AttackNotApplicable, InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.claim import Claim

__all__ = ["GradientFromScalars", "cosine"]

Floats: TypeAlias = NDArray[np.float64]
#: ``direction(i)`` returns the public direction of scalar i, shape (p,).
Directions: TypeAlias = Callable[[int], NDArray[np.floating]]

_CHUNK = 512


@dataclass(frozen=True)
class GradientFromScalars:
    """Least squares on a log of scalars: weights that hardly moved, directions that everybody can draw.

    Parameters
    ----------
    ridge : float, default 0
        Added to the diagonal of the normal equations, over the number of scalars: for noisy scalars, the noise's
        variance over the squared length of the gradient, times p over the number of scalars, is best.

    Raises
    ------
    InvalidData
        If `ridge` is negative or not finite.

    Examples
    --------
    >>> z = np.random.default_rng(0).normal(size=(40, 20))
    >>> gradient = np.arange(20.0)
    >>> found = GradientFromScalars().reconstruct(lambda i: z[i], z @ gradient)
    >>> bool(np.allclose(found, gradient))
    True
    """

    ridge: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.ridge < np.inf:
            raise InvalidData("ridge must be finite, at least 0")

    def reconstruct(self, direction: Directions, scalars: ArrayLike) -> Floats:
        """Return the gradient that explains the scalars best, shape (p,).

        With fewer scalars than parameters, it is the shortest such: its projection on the directions.

        Parameters
        ----------
        direction : callable
        scalars : array_like of float, shape (n,)
            NaN for one that was skipped.

        Raises
        ------
        InvalidData
            If a direction is not a vector, or scalars are not.
        AttackNotApplicable
            If no scalar is left.
        """
        values = np.asarray(scalars, np.float64)
        if values.ndim != 1:
            raise InvalidData(f"scalars must have one dimension, got shape {values.shape}")
        kept = np.flatnonzero(np.isfinite(values))
        if not kept.size:
            raise AttackNotApplicable("every scalar was skipped: there is nothing to solve")
        size = len(np.atleast_1d(direction(int(kept[0]))))
        if len(kept) < size:
            rows = _rows(direction, kept, size)
            gram = rows @ rows.T
            gram[np.diag_indices_from(gram)] += self.ridge * len(kept)
            return np.asarray(rows.T @ linalg.solve(gram, values[kept], assume_a="pos"), np.float64)
        normal, right = np.zeros((size, size)), np.zeros(size)
        for start in range(0, len(kept), _CHUNK):
            places = kept[start : start + _CHUNK]
            rows = _rows(direction, places, size)
            normal += rows.T @ rows
            right += rows.T @ values[places]
        normal[np.diag_indices_from(normal)] += self.ridge * len(kept)
        return np.asarray(linalg.solve(normal, right, assume_a="pos", overwrite_a=True), np.float64)

    def attack(
        self, direction: Directions, scalars: ArrayLike, gradient: ArrayLike, claim: Claim, *, level: float = 0.95
    ) -> Evidence:
        """Reconstruct, and say how well it went.

        Parameters
        ----------
        direction, scalars
            As in `reconstruct`.
        gradient : array_like of float, shape (p,)
            The truth.
        claim : Claim
            Of the scalars. A gradient is of many examples, and no claim about one of them forbids that it is found: the
            verdict is "inconclusive", whatever the cosine.
        level : float, default 0.95

        Returns
        -------
        Evidence
            Its value is the cosine between what was found and the truth; its interval, Fisher's for a correlation
            over p coordinates. A note says what a guess at random reaches.
        """
        truth = np.asarray(gradient, np.float64)
        found = self.reconstruct(direction, scalars)
        if truth.shape != found.shape:
            raise InvalidData(f"gradient must have shape {found.shape}, got {truth.shape}")
        value = cosine(found, truth)
        width = float(special.ndtri((1 + level) / 2)) / np.sqrt(max(1, len(truth) - 3))
        center = np.arctanh(np.clip(value, -1 + 1e-12, 1 - 1e-12))
        return Evidence(
            attack="gradient from a log of scalars",
            metric="cosine with the true gradient",
            value=value,
            interval=(float(np.tanh(center - width)), max(value, float(np.tanh(center + width)))),
            level=level,
            samples=int(np.isfinite(np.asarray(scalars, np.float64)).sum()),
            claim=claim,
            verdict="inconclusive",
            notes=(f"a direction at random has a cosine of about ±{1 / np.sqrt(len(truth)):.2g}",),
        )


def cosine(a: ArrayLike, b: ArrayLike) -> float:
    """Cosine of the angle between two vectors; 0 if one of them is 0."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    lengths = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / lengths if lengths > 0 else 0.0


def _rows(direction: Directions, places: NDArray[np.int64], size: int) -> Floats:
    rows = np.empty((len(places), size))
    for row, place in zip(rows, places, strict=True):
        z = np.asarray(direction(int(place)))
        if z.shape != (size,):
            raise InvalidData(f"each direction must have shape ({size},), got {z.shape}")
        row[:] = z
    return rows
