"""Ways to hand one data set out to several parties: evenly, or so that each holds few of the classes.

For studies and tests of federations. The shards are those of McMahan et al. 2017 (AISTATS), section 3.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData


def split_evenly(size: int, parties: int, *, random_state: int | None = None) -> list[NDArray[np.int64]]:
    """Shuffle `size` rows and deal them out.

    Returns
    -------
    list of ndarray of int64
        Row numbers of each party; their lengths differ by one at most.

    Raises
    ------
    InvalidData
        If there are fewer rows than parties, or no party.
    """
    _check(size, parties)
    order = np.random.default_rng(random_state).permutation(size)
    return [np.sort(part) for part in np.array_split(order, parties)]


def split_by_label(
    labels: ArrayLike, parties: int, *, shards: int = 2, random_state: int | None = None
) -> list[NDArray[np.int64]]:
    """Sort rows by label, cut them into `shards` pieces a party, and deal the pieces out at random.

    Parameters
    ----------
    labels : array_like, shape (n,)
    parties : int
    shards : int
        Pieces each party gets: with many rows a class, about the number of classes that it sees.
    random_state : int, optional

    Returns
    -------
    list of ndarray of int64
        Row numbers of each party.

    Raises
    ------
    InvalidData
        If there are fewer rows than pieces, or no party or piece.
    """
    values = np.asarray(labels)
    if values.ndim != 1:
        raise InvalidData(f"labels must have one dimension, got shape {values.shape}")
    if shards < 1:
        raise InvalidData(f"shards must be at least 1, got {shards}")
    _check(len(values), parties * shards)
    random = np.random.default_rng(random_state)
    # Rows of one label are shuffled first, so that pieces differ between draws.
    order = random.permutation(len(values))
    order = order[np.argsort(values[order], kind="stable")]
    pieces = np.array_split(order, parties * shards)
    dealt = random.permutation(parties * shards).reshape(parties, shards)
    return [np.sort(np.concatenate([pieces[k] for k in row])) for row in dealt]


def _check(size: int, parts: int) -> None:
    if parts < 1:
        raise InvalidData(f"parties must be at least 1, got {parts}")
    if size < parts:
        raise InvalidData(f"{size} rows cannot be dealt out in {parts} parts")
