"""Contributions: what one user adds to the statistics that leave a silo, and how far one user can move them.

For `FedLinUCB` and its protocol. Joint sensitivity of Gram matrix and bias vector: our proof, below; the official code
of Zhou and Chowdhury ("On Differentially Private Federated Linear Contextual Bandits", ICLR 2024) has none.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Adjacency: TypeAlias = Literal["replace-one", "add-remove"]


def length_of(d: int) -> int:
    """Numbers in a contribution: the upper triangle of the Gram matrix and the bias vector, d(d+3)/2."""
    return d * (d + 3) // 2


def sensitivity(adjacency: Adjacency) -> float:
    """Largest L2 distance of two neighbouring users' contributions: √4.5 for replacement, √2 for an empty step.

    A user with features φ, ‖φ‖ ≤ 1, and reward y, |y| ≤ 1, contributes (φφ', yφ), the matrix in the Frobenius norm.

    *Add-remove* (a step whose user is rejected contributes zeros): ‖φ‖⁴ + y²‖φ‖² ≤ 2.

    *Replace-one*: with a = ‖p‖, b = ‖q‖ and c the cosine between p and q, the squared distance of (pp', yp) and
    (qq', zq) is a⁴ + b⁴ - 2a²b²c² + ‖yp - zq‖². The last term is convex in (y, z), so it is largest at a corner; with
    y = -z or y = z, whichever suits the sign of c, it is a² + b² + 2ab|c|. Put t = b|c| ≤ 1. The derivative in a is
    4a³ + 2a - 4at² + 2t ≥ 4a³ + 2a + 2t(1 - 2a), since t² ≤ t. For a ≤ 1/2 that is not negative; for a > 1/2 it is
    least at t = 1, where 4a³ - 2a + 2 > 0. So the distance grows with a, and by symmetry with b; at a = b = 1 it is
    4 - 2c² + 2|c| ≤ 4.5, attained at |c| = 1/2.
    """
    return math.sqrt(4.5) if adjacency == "replace-one" else math.sqrt(2)


def clip(features: Floats, rewards: Floats, reward_bound: float) -> tuple[Floats, Floats, Integers]:
    """Bring users into the unit ball and rewards into [-1, 1], in units of the bound.

    Parameters
    ----------
    features : ndarray of float, shape (..., d)
    rewards : ndarray of float, shape (...)
    reward_bound : float

    Returns
    -------
    features, rewards : ndarray of float
        A user with a value that is not finite becomes zeros: an empty step.
    changed : ndarray of int64, shape (2,)
        How many were clipped, how many were rejected. For the silo alone: no claim covers these counts.
    """
    finite = np.isfinite(features).all(axis=-1) & np.isfinite(rewards)
    features = np.where(finite[..., np.newaxis], features, 0.0)
    scaled = np.where(finite, rewards, 0.0) / reward_bound
    norms = np.sqrt(np.square(features).sum(axis=-1))
    beyond = (norms > 1 + 1e-12) | (np.abs(scaled) > 1 + 1e-12)
    clipped = features / np.maximum(norms, 1.0)[..., np.newaxis]
    return clipped, np.clip(scaled, -1.0, 1.0), np.array([beyond.sum(), (~finite).sum()], np.int64)


def pack(gram: Floats, bias: Floats) -> Floats:
    """Write Gram matrices and bias vectors as vectors whose Euclidean norm is the joint norm.

    Entries above the diagonal count twice in the Frobenius norm, so they are multiplied by √2. Noise of variance σ² on
    the packed vector is then the noise of (G + G')/2 with iid entries of variance σ².

    Parameters
    ----------
    gram : ndarray of float, shape (..., d, d)
    bias : ndarray of float, shape (..., d)

    Returns
    -------
    ndarray of float, shape (..., d(d+3)/2)
    """
    rows, columns, weights = _triangle(bias.shape[-1])
    return np.concatenate([gram[..., rows, columns] * weights, bias], axis=-1)


def unpack(vector: Floats, d: int) -> tuple[Floats, Floats]:
    """Undo `pack`: symmetric matrix of shape (d, d) and vector of shape (d,)."""
    rows, columns, weights = _triangle(d)
    gram = np.zeros((d, d))
    gram[rows, columns] = gram[columns, rows] = vector[:-d] / weights
    return gram, vector[-d:].copy()


@lru_cache(maxsize=16)
def _triangle(d: int) -> tuple[Integers, Integers, Floats]:
    rows, columns = np.triu_indices(d)
    return rows, columns, np.where(rows == columns, 1.0, math.sqrt(2))
