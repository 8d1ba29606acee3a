"""Depth scores: how many records one can keep, as minima over fixed families of counts.

For means, regression with few coefficients and principal directions. Tukey 1975, Rousseeuw and Hubert 1999; as scores
of sensitivity 1 for the mechanism of Asi, Ullman and Zakynthinou (ICML 2023).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.statistics.robust.grids import Floats, Integers
from sfumato.statistics.robust.nets import projections

_BLOCK = 2**22  # numbers held at once


@dataclass(frozen=True)
class Sides:
    """Which records lie on the positive and the negative side of each direction, as zeros and ones, twice.

    Attributes
    ----------
    same, other : ndarray of float32, shape (2n, m)
        (positive, negative) and (negative, positive), one above the other.
    """

    same: NDArray[np.float32]
    other: NDArray[np.float32]

    @classmethod
    def of(cls, projected: Floats) -> Sides:
        """From the projections of n records on m directions, shape (n, m)."""
        positive, negative = (projected > 0).astype(np.float32), (projected < 0).astype(np.float32)
        return cls(np.concatenate((positive, negative)), np.concatenate((negative, positive)))


def regression_depth(X: Floats, y: Floats, coefficients: Floats, *families: Sides) -> Integers:
    """Fewest records on one side: over directions u, of those whose residual has the sign of ⟨u, x⟩, or the other one.

    A residual or projection of 0 counts on both sides. Each count is a sum over records of a yes or no that depends on
    that record alone, so a replaced record moves every count, and their minimum, by at most 1.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
        Records, with a column of ones if there is an intercept.
    y : ndarray of float, shape (n,)
    coefficients : ndarray of float, shape (k, d)
        Candidates.
    *families : Sides
        Of public directions, in these or other columns.

    Returns
    -------
    ndarray of int64, shape (k,)
        At most n.
    """
    n = len(X)
    depth = np.empty(len(coefficients), np.int64)
    block = max(1, _BLOCK // max(n, 1))
    for start in range(0, len(coefficients), block):
        with np.errstate(over="ignore", invalid="ignore"):  # a warning would depend on the data
            residuals = y[:, np.newaxis] - projections(X, coefficients[start : start + block])
        signs = np.concatenate((residuals > 0, residuals < 0)).astype(np.float32).T
        # sums of zeros and ones below 2^24 are exact in any order
        against = [(signs @ each).max(axis=1) for family in families for each in (family.same, family.other)]
        depth[start : start + block] = n - np.rint(np.max(against, axis=0)).astype(np.int64)
    return depth


def halfspace_depth(X: Floats, points: Floats, directions: Floats) -> Integers:
    """Fewest records on one side of a point: over directions v, of those with ⟨v, x⟩ ≥ ⟨v, t⟩, or with ≤.

    Tukey's depth over a fixed family. Each count is a sum over records of a yes or no that depends on that record
    alone, so a replaced record moves every count, and their minimum, by at most 1.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
        Records.
    points : ndarray of float, shape (k, d)
    directions : ndarray of float, shape (m, d)
        Public; one of each opposite pair.

    Returns
    -------
    ndarray of int64, shape (k,)
        At most n.
    """
    n = len(X)
    depth = np.full(len(points), n, np.int64)
    for direction in directions[:, np.newaxis]:
        records = np.sort(projections(X, direction)[:, 0])
        places = projections(points, direction)[:, 0]
        above = n - np.searchsorted(records, places, side="left")  # NaN, of infinite records, sorts last: above
        below = np.searchsorted(records, places, side="right")
        np.minimum(depth, np.minimum(above, below), out=depth)
    return depth


def direction_depth(X: Floats, candidates: Floats, net: Floats, separation: float) -> Integers:
    """For each direction v, the fewest records that lie along v more than along another direction u.

    The minimum is over the u of a net with |⟨u, v⟩| ≤ separation; nearer ones are no rivals. Each count is a sum over
    records of a yes or no, so a replaced record moves the minimum by at most 1.

    Parameters
    ----------
    X : ndarray of float, shape (n, d)
        Centred at a public point.
    candidates : ndarray of float, shape (k, d)
    net : ndarray of float, shape (m, d)
        Public; rivals of each candidate are among them.
    separation : float
        In (0, 1).

    Returns
    -------
    ndarray of int64, shape (k,)
    """
    # Whose projection is longer is asked often: the ranks of a record's own projections answer it in two bytes.
    m, tried = len(net), np.concatenate((net, candidates))
    order = np.argsort(np.abs(projections(X, tried)), axis=1, kind="stable")
    ranks = np.empty((len(tried), len(X)), np.int16)
    np.put_along_axis(ranks, order.T, np.arange(len(tried), dtype=np.int16)[:, np.newaxis], axis=0)
    rivals = np.abs(candidates @ net.T) <= separation
    return np.array(
        [(ranks[:m][rivals[v]] <= ranks[m + v]).sum(axis=1).min() for v in range(len(candidates))], np.int64
    )


def check_sensitivity(
    score: Callable[[Any], Any],
    neighbours: Callable[[np.random.Generator], tuple[Any, Any]],
    trials: int = 1000,
    random_state: int | None = None,
) -> int:
    """Largest observed change of any candidate's score between random neighbours.

    More than 1 disproves a sensitivity of 1; 1 proves nothing, and a proof remains due.

    Parameters
    ----------
    score : callable
        From data to the integer scores of all candidates, always in one order.
    neighbours : callable
        From a random generator to two data sets that differ in one record.
    trials : int, default 1000
    random_state : int, optional

    Returns
    -------
    int
    """
    rng = np.random.default_rng(random_state)
    worst = 0
    for _ in range(trials):
        first, second = (np.asarray(score(data)) for data in neighbours(rng))
        if first.dtype.kind not in "iu" or first.shape != second.shape:
            raise InvalidData("score must return integers, as many for all data")
        worst = max(worst, int(np.abs(first.astype(np.int64) - second.astype(np.int64)).max(initial=0)))
    return worst
