"""Proposals: changes of one cell of one row, drawn in blocks before anything is known of how good they are.

For the engines, which try them in order. The operators are those of Liu, Tang, Vietri and Wu 2023 (Private-GSD), as
in the code that went with the paper.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.synthesis.domain import Domain, whole

OPERATORS = ("mutate", "cross")


class Proposals(NamedTuple):
    """Changes to try, in order; arrays of one length.

    Attributes
    ----------
    row, column : ndarray of int64
        Which cell.
    value : ndarray of float64
        Of a mutation: the new value. Of a crossover: what is added to a number after it was copied; 0 for categories.
    source : ndarray of int64
        The place of the elite data set that a crossover copies from; -1 for a mutation.
    donor : ndarray of int64
        The row there.
    """

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    value: NDArray[np.float64]
    source: NDArray[np.int64]
    donor: NDArray[np.int64]

    def part(self, start: int, stop: int) -> Proposals:
        """Return those from start to stop."""
        row, column, value, source, donor = self
        which = slice(start, stop)
        return Proposals(row[which], column[which], value[which], source[which], donor[which])


def propose(
    random: np.random.Generator, domain: Domain, n: int, generations: int, sizes: Mapping[str, int], elite: int
) -> Proposals:
    """Draw generations of candidates; in each, the operators come in the order of `sizes`.

    Parameters
    ----------
    random : Generator
    domain : Domain
    n : int
        Rows of a data set.
    generations : int
    sizes : mapping of str to int
        Candidates of each operator in a generation.
    elite : int
        Data sets that a crossover may copy from.
    """
    parts = [_OPERATORS[name](random, domain, n, (generations, size), elite) for name, size in sizes.items()]
    return Proposals(*(np.concatenate(each, axis=1).ravel() for each in zip(*parts, strict=True)))


def _mutate(random: np.random.Generator, domain: Domain, n: int, shape: tuple[int, int], elite: int) -> Proposals:
    column = random.integers(len(domain), size=shape)
    return Proposals(
        row=random.integers(n, size=shape),
        column=column,
        value=_uniform(random.random(shape), domain.sizes[column], domain.steps[column]),
        source=np.full(shape, -1),
        donor=np.zeros(shape, dtype=np.int64),
    )


def _cross(random: np.random.Generator, domain: Domain, n: int, shape: tuple[int, int], elite: int) -> Proposals:
    column = random.integers(len(domain), size=shape)
    noise = random.standard_normal(shape) if (domain.sizes == 0).any() else np.zeros(shape)
    return Proposals(
        row=random.integers(n, size=shape),
        column=column,
        value=np.where(domain.sizes[column] == 0, noise, 0.0),
        source=random.integers(elite, size=shape),
        donor=random.integers(n, size=shape),
    )


_OPERATORS = {"mutate": _mutate, "cross": _cross}


def _uniform(fractions: NDArray[np.float64], sizes: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.float64]:
    """Turn uniform numbers of [0, 1) into categories, whole numbers or numbers, each uniform in its column."""
    categories = np.minimum(np.floor(fractions * sizes), sizes - 1)
    return np.where(sizes > 0, categories, whole(fractions, steps))


def copied(
    found: NDArray[np.float64], added: NDArray[np.float64], sizes: NDArray[np.int64], steps: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return what a crossover writes: the category as it was, or the number with noise, kept within its bounds."""
    return np.where(sizes > 0, found, whole(np.minimum(np.maximum(found + added, 0.0), 1.0), steps))
