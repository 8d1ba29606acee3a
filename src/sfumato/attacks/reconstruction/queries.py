"""Marginal queries about people with known quasi-identifiers: who is in each, and what the synthetic rows answer.

For `ReconstructionAttack`. Annamalai, Gadotti and Rocher (USENIX Security 2024), "simple" k-way queries: k-1
attributes with their values, and the secret being 1. A combination of attributes is one integer key a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from sfumato.attacks.reconstruction.encoding import Codes
from sfumato.errors import InvalidData

_LARGEST_KEY = 2**62
_DENSE_CELLS = 2**20  # up to here a table of all cells is counted, above only the cells that occur


@dataclass(frozen=True)
class Queries:
    """Queries that select different sets of users.

    Attributes
    ----------
    radix : tuple of int
        Codes of each attribute, the one for unknown values included.
    columns : tuple of tuple of int
        Combinations of attributes.
    combination, keys : ndarray of int64, shape (q,)
        Which combination a query is about, in rising order, and which cell of it.
    members : scipy.sparse.csr_matrix, shape (q, n)
        1 where a query selects a user.
    """

    radix: tuple[int, ...]
    columns: tuple[tuple[int, ...], ...]
    combination: Codes
    keys: Codes
    members: sparse.csr_matrix

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def sizes(self) -> Codes:
        """Users in each query, shape (q,)."""
        return np.asarray(np.diff(self.members.indptr), dtype=np.int64)

    def answer(self, codes: Codes, bits: Codes) -> tuple[Codes, Codes]:
        """Count the rows that each query matches.

        Parameters
        ----------
        codes : ndarray of int, shape (d, N)
        bits : ndarray of int, shape (N,)
            The secret, 0 or 1.

        Returns
        -------
        matching, with_secret : ndarray of int64, shape (q,)
            Rows in each query, and those of them with the secret 1.
        """
        counts = np.zeros((len(self), 2), dtype=np.int64)
        ends = np.searchsorted(self.combination, np.arange(len(self.columns) + 1))
        for columns, start, stop in zip(self.columns, ends, ends[1:], strict=False):
            if start < stop:
                keys, cells = join_codes(codes, columns, self.radix)
                counts[start:stop] = _tally(2 * keys + bits, cells, self.keys[start:stop])
        return counts.sum(axis=1), counts[:, 1]


def build_queries(
    codes: Codes,
    cardinalities: Sequence[int],
    k: Sequence[int],
    max_queries: int | None,
    rng: np.random.Generator,
) -> Queries:
    """Enumerate the k-way queries that select anybody, and keep one of those that select the same users.

    Sets of users are compared by the sum of 64-bit random words, one a user: q queries that differ are taken for
    equal with probability below q² / 2^65, and then a query is lost, no more.

    Parameters
    ----------
    codes : ndarray of int, shape (d, n)
        Quasi-identifiers of the users.
    cardinalities : sequence of int, length d
    k : sequence of int
        Numbers of attributes in a query, the secret among them; each in 2 .. d + 1.
    max_queries : int, optional
        Keep this many at random.
    rng : numpy.random.Generator

    Raises
    ------
    InvalidData
        If k is out of range, or a combination has too many cells to be numbered.
    """
    d, n = codes.shape
    if not len(k) or not all(2 <= each <= d + 1 for each in k):
        raise InvalidData(f"k must lie in 2 .. {d + 1}: the secret and at most all {d} quasi-identifiers")
    radix = tuple(count + 1 for count in cardinalities)
    columns = tuple(c for each in sorted(set(k)) for c in itertools.combinations(range(d), each - 1))
    words = np.asarray(rng.integers(2**64, size=n, dtype=np.uint64))
    cells = [_cells_of(codes, each, radix, words) for each in columns]
    keys, sizes, hashes = (np.concatenate([each[i] for each in cells]) for i in (0, 1, 2))
    combination = np.repeat(np.arange(len(columns)), [len(each[0]) for each in cells])
    kept = np.sort(np.unique(hashes, return_index=True)[1])
    if max_queries is not None and max_queries < len(kept):
        kept = np.sort(rng.choice(kept, max_queries, replace=False))
    users = np.concatenate([each[3] for each in cells])
    everything = sparse.csr_matrix(
        (np.ones(len(users)), users, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(keys), n)
    )
    return Queries(radix, columns, combination[kept], keys[kept], everything[kept])


def join_codes(codes: Codes, columns: Sequence[int], radix: Sequence[int] | Mapping[int, int]) -> tuple[Codes, int]:
    """One integer for the values of several attributes, shape (rows,), and how many integers there are."""
    cells = math.prod(radix[column] for column in columns)
    if cells > _LARGEST_KEY:
        raise InvalidData("the attributes of a query have too many values together: bin them first")
    keys = codes[columns[0]]
    for column in columns[1:]:
        keys = keys * radix[column] + codes[column]
    return keys, cells


def _cells_of(
    codes: Codes, columns: Sequence[int], radix: Sequence[int], words: npt.NDArray[np.uint64]
) -> tuple[Codes, Codes, npt.NDArray[np.uint64], Codes]:
    """Keys, sizes and hashes of the cells of a combination that hold users, and the users cell by cell."""
    keys, _ = join_codes(codes, columns, radix)
    users = np.argsort(keys, kind="stable")
    ordered = keys[users]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    sizes = np.diff(starts, append=len(users))
    return ordered[starts], sizes, np.add.reduceat(words[users], starts), users


def _tally(keys: Codes, cells: int, wanted: Codes) -> Codes:
    """Rows of each wanted cell by secret, shape (q, 2); a row's key is twice its cell's, plus its secret."""
    pairs = 2 * wanted[:, np.newaxis] + np.array([0, 1])
    if cells <= max(_DENSE_CELLS, len(keys)):
        return np.asarray(np.bincount(keys, minlength=2 * cells)[pairs], dtype=np.int64)
    present, counts = np.unique(keys, return_counts=True)
    place = np.minimum(np.searchsorted(present, pairs), len(present) - 1)
    return np.asarray(np.where(present[place] == pairs, counts[place], 0), dtype=np.int64)
