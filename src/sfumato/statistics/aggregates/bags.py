"""Bags: disjoint groups of people of whom only the mean response is told, made without looking at a response.

For whoever forms the groups, and for the estimators that learn from them. Javanmard, Chen, Mirrokni, Badanidiyuru and
Fu, "Learning from Aggregate responses" (ICLR 2024, arXiv 2401.11081).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from sfumato.errors import InvalidData

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
Remainder: TypeAlias = Literal["larger", "drop"]

#: The bag of a person who is left out.
NO_BAG = -1


def make_bags(
    n: int,
    k: int,
    *,
    groups: ArrayLike | None = None,
    remainder: Remainder | None = None,
    random_state: int | np.random.Generator | None = None,
) -> Integers:
    """Put n people into random bags of k, within public groups if there are any.

    The assignment is public, and no response is looked at: that is what the claim of `aggregate` rests on. Its
    randomness need not be secret.

    Parameters
    ----------
    n, k : int
        1 ≤ k ≤ n.
    groups : array_like, shape (n,), optional
        Public labels; a bag holds people of one group only.
    remainder : {"larger", "drop"}, optional
        What becomes of people who do not fill a bag: they join the last bag (of their group), or are in no bag. It
        must be said where k does not divide the number of people.
    random_state : int or Generator, optional

    Returns
    -------
    ndarray of int64, shape (n,)
        Bags 0, 1, …; -1 for people left out.

    Raises
    ------
    InvalidData
        If k is not in 1 .. n (or exceeds a group that would be larger), or people remain and nobody said what to do.

    Examples
    --------
    >>> from sfumato.statistics.aggregates import make_bags
    >>> bag_id = make_bags(6, 3, random_state=0)
    >>> sorted(bag_id.tolist())
    [0, 0, 0, 1, 1, 1]
    """
    n, k = _whole("n", n), _whole("k", k)
    if k > n:
        raise InvalidData("k must be at most n")
    if remainder not in (None, "larger", "drop"):
        raise InvalidData('remainder must be "larger" or "drop"')
    rng = np.random.default_rng(random_state)
    bag_id = np.full(n, NO_BAG, np.int64)
    start = 0
    for people in _by_group(n, groups):
        start += _fill(bag_id, rng.permutation(people), k, start, remainder)
    if start == 0:
        raise InvalidData("k exceeds every group: there would be no bag")
    return bag_id


def _fill(bag_id: Integers, people: Integers, k: int, start: int, remainder: Remainder | None) -> int:
    """Put people, in their order, into bags numbered from `start`; return how many bags that made."""
    bags, left = divmod(len(people), k)
    if left and remainder is None:
        raise InvalidData('k does not divide the number of people: say remainder="larger" or remainder="drop"')
    if left and remainder == "larger" and bags == 0:
        raise InvalidData('a group has fewer than k people: remainder="larger" cannot hold, "drop" would leave it out')
    place = np.arange(len(people)) // k
    if remainder == "larger":
        place = np.minimum(place, bags - 1)
    inside = place < bags
    bag_id[people[inside]] = start + place[inside]
    return bags


def _by_group(n: int, groups: ArrayLike | None) -> list[Integers]:
    if groups is None:
        return [np.arange(n)]
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise InvalidData("groups must hold one label a person, shape (n,)")
    codes = np.unique(labels, return_inverse=True)[1]
    return [np.flatnonzero(codes == code) for code in range(codes.max() + 1)]


@dataclass(frozen=True, eq=False)
class Bags:
    """A partition of people that was read from `bag_id`.

    Attributes
    ----------
    of : ndarray of int64, shape (n,)
        The bag of each person who is in one.
    inside : ndarray of bool, shape (N,)
        Which of all N people are in a bag.
    sizes : ndarray of int64, shape (m,)
    """

    of: Integers
    inside: NDArray[np.bool_]
    sizes: Integers

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def n(self) -> int:
        """Number of people in bags."""
        return len(self.of)

    def sums(self, values: NDArray[Any]) -> NDArray[Any]:
        """Sums over each bag of one or several values a person, shape (m,) or (m, d); integers stay exact."""
        if values.ndim == 1 and values.dtype.kind == "f":
            return np.bincount(self.of, weights=values, minlength=len(self))
        if values.ndim == 1:
            total = np.zeros(len(self), values.dtype)
            np.add.at(total, self.of, values)
            return total
        member = sparse.csr_array((np.ones(self.n), (self.of, np.arange(self.n))), shape=(len(self), self.n))
        return np.asarray(member @ values)

    def means(self, values: NDArray[Any]) -> Floats:
        """Mean over each bag of one or several values a person."""
        total = self.sums(values)
        return np.asarray(total / self.sizes.reshape(-1, *(1,) * (total.ndim - 1)), np.float64)


def read_bags(bag_id: ArrayLike, n: int | None = None) -> Bags:
    """Check a partition: an integer a person, bags 0 .. m-1 without a gap, -1 for people left out.

    Raises
    ------
    InvalidData
        If it is none. Bags are public, so the message may name them.
    """
    ids = np.asarray(bag_id)
    if ids.ndim != 1 or not ids.size:
        raise InvalidData("bag_id must be a nonempty vector: one bag a person")
    if n is not None and len(ids) != n:
        raise InvalidData("bag_id must have one entry a person, as many as there are rows")
    if ids.dtype.kind == "f":
        if not np.isfinite(ids).all():
            raise InvalidData("bag_id has missing entries")
        if (ids != np.rint(ids)).any():
            raise InvalidData("bag_id must be whole numbers")
    elif ids.dtype.kind not in "iu":
        raise InvalidData("bag_id must be whole numbers")
    ids = ids.astype(np.int64)
    if ids.min() < NO_BAG:
        raise InvalidData("bag_id must be 0, 1, …, or -1 for people left out")
    inside = ids != NO_BAG
    of = ids[inside]
    if not of.size:
        raise InvalidData("bag_id leaves everybody out")
    if of.max() >= of.size:
        raise InvalidData("a bag has nobody in it: bags must be numbered 0 .. m-1 without a gap")
    sizes = np.bincount(of)
    if (sizes == 0).any():
        raise InvalidData("a bag has nobody in it: bags must be numbered 0 .. m-1 without a gap")
    return Bags(of, inside, sizes)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidData(f"{name} must be a whole number, at least 1")
    return int(value)
