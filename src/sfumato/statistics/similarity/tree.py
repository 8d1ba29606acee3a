"""Sums of |x - y| over people on an interval, from noisy dyadic levels; many intervals side by side.

For `PrivateDistanceSum`. After Backurs et al. (ICLR 2024), whose tree of counts answers within a factor 1 + α; here the
decomposition is exact: each person is split between the two ends of its node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.statistics.similarity.rows import BOX, Floats, Integers
from sfumato.statistics.similarity.spending import Part

_EXACT = 2**20  # rows summed at once in doubles: sums of so many grid values stay below 2^53


def parts(levels: int, trees: int, replaced: bool) -> list[Part]:
    """Sensitivity and weight of each level, of `trees` trees together; level l has nodes of W = BOX / 2^l steps.

    A person x in the node [a, a + W) adds (a + W - x, x - a) to the node's two entries, non-negative integers of sum W:
    W in L1 and at most W in L2, for each tree. Replaced, two such vectors differ by at most 2 W in L1 and, being
    non-negative, by √2 W in L2.

    The sibling's entries are multiplied by |end - y|/W: for y spread evenly over the node the mean squares are 1/3 and
    7/3, so that a unit of noise enters an answer with (8/3) times 1/BOX² at every level.
    """
    l1, l2 = (2, 2**0.5) if replaced else (1, 1.0)
    width = [BOX >> level for level in range(1, levels + 1)]
    weight = trees * 8 / 3 / BOX**2
    return [Part(l1 * trees * w, l2 * trees**0.5 * w, weight) for w in width]


def split_people(cells: Integers, levels: int) -> list[Integers]:
    """Sum what people add at each level, exactly.

    Parameters
    ----------
    cells : ndarray of int64, shape (n, trees)
        In 0 .. BOX - 1.
    levels : int

    Returns
    -------
    list of ndarray of int64, shape (trees, 2^l, 2), for l = 1 .. levels
    """
    trees, leaves = cells.shape[1], 2**levels
    counts = np.zeros(trees * leaves, np.int64)
    sums = np.zeros(trees * leaves, np.int64)
    place = np.arange(trees) * leaves
    size = min(_EXACT, max(1, 2**22 // trees))
    for start in range(0, len(cells), size):
        part = cells[start : start + size]
        leaf = (part // (BOX // leaves) + place).ravel()
        counts += np.bincount(leaf, minlength=trees * leaves)
        sums += np.bincount(leaf, weights=part.ravel(), minlength=trees * leaves).astype(np.int64)
    return [_ends(counts.reshape(trees, 2**level, -1), sums, BOX >> level) for level in range(1, levels + 1)]


def _ends(counts: Integers, sums: Integers, width: int) -> Integers:
    number, total = counts.sum(-1), sums.reshape(counts.shape).sum(-1)
    left = number * (np.arange(counts.shape[1]) * width)
    return np.stack([left + number * width - total, total - left], axis=-1)


@dataclass(frozen=True)
class Lines:
    """For each tree and leaf a line: Σ|x - y| = intercept + slope·y for y in the leaf; shapes (trees, leaves).

    The interval is [0, 1]. The people of the leaf itself are left out; `in_leaf` is their noisy number.
    """

    intercept: Floats
    slope: Floats
    in_leaf: Floats
    total: Floats  # of the people in each tree, shape (trees,)

    def distances(self, positions: Floats) -> Iterator[tuple[Floats, Floats]]:
        """For each tree: Σ|x - y| and the noisy number of people in y's leaf, for y in [0, 1], shape (q,) each.

        Parameters
        ----------
        positions : ndarray of float, shape (q, trees)
        """
        leaves = self.slope.shape[1]
        for tree in range(self.slope.shape[0]):
            y = np.clip(positions[:, tree], 0.0, 1.0)
            leaf = np.minimum((y * leaves).astype(np.int64), leaves - 1)
            yield self.intercept[tree, leaf] + self.slope[tree, leaf] * y, self.in_leaf[tree, leaf]


def lines(levels: Sequence[Integers]) -> Lines:
    """Add up, from the root down, what the siblings of each node say; post-processing of noisy levels.

    The people of a node are on one side of every y in its sibling, so their entries u and v give their distances
    exactly: u·|a - y| + v·|a + w - y|, a line in y.
    """
    trees = levels[0].shape[0]
    intercept, slope = np.zeros((trees, 1)), np.zeros((trees, 1))
    for ends in levels:
        nodes = ends.shape[1]
        mass = ends * (nodes / BOX)  # in people
        left = np.arange(nodes) / nodes
        sign = np.where(np.arange(nodes) % 2 == 1, 1.0, -1.0)  # a right child lies above its sibling
        pulls = sign * (mass[..., 0] * left + mass[..., 1] * (left + 1 / nodes))
        people = mass.sum(-1)
        intercept = np.repeat(intercept, 2, axis=1) + _siblings(pulls)
        slope = np.repeat(slope, 2, axis=1) - _siblings(sign * people)
    first = (levels[0] * (2 / BOX)).sum((-1, -2))
    return Lines(intercept, slope, people, first)


def _siblings(values: Floats) -> Floats:
    trees, nodes = values.shape
    return values.reshape(trees, nodes // 2, 2)[:, :, ::-1].reshape(trees, nodes)


def noise_of_answer(widths: Sequence[float], scales: Floats) -> tuple[float, float]:
    """Sum of squares and largest of coefficient times noise width, over the entries that any one answer uses.

    Parameters
    ----------
    widths : sequence of float
        Of the noise of each level, in steps.
    scales : ndarray of float, shape (trees,)
        What each tree's distance on [0, 1] is multiplied by in the answer.
    """
    # |a - y| and |a + w - y| over W, times the step 1/BOX: at most 1 and 2 steps, squares at most 1 + 4
    squares = float(5 * np.sum(np.square(widths)) * np.sum(np.square(scales)) / BOX**2)
    return squares, float(2 * max(widths) * np.max(scales) / BOX)


def memory(levels: int, trees: int) -> int:
    """Bytes that the leaves' lines and the levels need while they are drawn."""
    return (trees << levels) * 8 * 12
