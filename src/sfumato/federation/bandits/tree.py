"""Tree: private prefix sums of a stream of batches; each node's noise is drawn once, whatever prefixes use the node.

For `FedLinUCB` and any statistic that is released again and again as data come in. The binary mechanism of Chan, Shi
and Song ("Private and Continual Release of Statistics", 2011) and Dwork et al. 2010, over one or many silos.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import HorizonExceeded, InvalidData
from sfumato.federation.bandits.contributions import Integers
from sfumato.federation.bandits.design import Calibrated
from sfumato.privacy.interactive import Interactive
from sfumato.privacy.release import PrepaidNoise, Release


def level_of(number: int) -> int:
    """Level of the node that batch `number`, from 1, completes: the index of its lowest set bit."""
    return (number & -number).bit_length() - 1


def close_node(partial: Integers, number: int, batch: Integers) -> tuple[Integers, Integers]:
    """Add batch `number` to the exact sums that a silo keeps.

    Parameters
    ----------
    partial : ndarray of int64, shape (levels, ...)
        Sums of the nodes that are complete and wait for their sibling; zeros elsewhere.
    number : int
        From 1.
    batch : ndarray of int64, shape (...)

    Returns
    -------
    node : ndarray of int64, shape (...)
        Sum of the last 2^level batches: what is released, once.
    partial : ndarray of int64
        For the next batch.
    """
    level = level_of(number)
    after = partial.copy()
    node: Integers = batch + partial[:level].sum(axis=0)
    after[:level] = 0
    after[level] = node
    return node, after


def add_node(released: Integers, number: int, node: Integers) -> tuple[Integers, Integers]:
    """Add a released node to those that the server keeps; return the prefix sum of all batches, and what is kept.

    A prefix is the sum of the nodes at the set bits of its number: at most floor(log2 batches) + 1 of them.
    """
    level = level_of(number)
    after = released.copy()
    after[:level] = 0
    after[level] = node
    prefix: Integers = after.sum(axis=0)
    return prefix, after


class TreePrefixSum(Interactive):
    """Prefix sums of the silos' batch vectors, in one process.

    *Privacy.* A user lies in one batch, and a batch in at most κ = floor(log2 K) + 1 nodes of K batches. Each node is
    released once, with fresh noise that makes it ρ/κ-zCDP for a change of one user; a prefix is a sum of nodes already
    released, so nothing is drawn for it. The batches of a later push may depend on earlier prefixes (the actions of a
    bandit do): zCDP composes adaptively. All together is ρ-zCDP. For silo noise that holds for the nodes of every
    single silo, for summed noise only for their sums.

    Parameters
    ----------
    mechanism : Calibrated
        From ``SiloLDP(...).calibrate(design)`` and the like.
    noise_seed : int, optional
        For tests and studies: reproducible noise, and no guarantee.

    Attributes
    ----------
    claim_ : Claim
        Charged to the active ledger, if any, when the object is made.
    released_ : int
        Batches pushed so far.
    """

    def __init__(self, mechanism: Calibrated, *, noise_seed: int | None = None) -> None:
        release = (
            Release(mechanism.claim, "prefix sums of batches", seed=noise_seed) if mechanism.claim.formal else None
        )
        self.mechanism = mechanism
        self._noise: PrepaidNoise | None = None
        if release is not None:
            release.__enter__()
            self._noise = release.prepaid(mechanism.claim.bound)
        super().__init__(mechanism.claim if release is None else release.claim, mechanism.design.batches, release)
        shape = (mechanism.design.silos, mechanism.design.length)
        self._partial: Integers = np.zeros((mechanism.design.levels, *shape), np.int64)
        self._kept: Integers = np.zeros((mechanism.design.levels, shape[1]), np.int64)
        self.released_ = 0

    def push(self, batch: ArrayLike) -> NDArray[np.float64]:
        """Add one batch of each silo and release the sum of all batches so far.

        Parameters
        ----------
        batch : array_like of float, shape (silos, length)
            One user moves one row by at most the sensitivity that the mechanism was calibrated to.

        Returns
        -------
        ndarray of float, shape (length,)

        Raises
        ------
        HorizonExceeded
            After the number of batches that the noise was calibrated to.
        InvalidData
            If the batch has another shape or is not finite.
        """
        design = self.mechanism.design
        values = np.asarray(batch, dtype=np.float64)
        if values.shape != (design.silos, design.length):
            raise InvalidData(f"batch must have shape {(design.silos, design.length)}, got {values.shape}")
        if self.released_ == design.batches:
            raise HorizonExceeded(f"the noise was calibrated to {design.batches} batches, and all are released")
        cells = self.mechanism.to_cells(values)
        with self._turn(1):
            self.released_ += 1
            node, self._partial = close_node(self._partial, self.released_, cells)
            noisy = self.mechanism.perturb(self._noise, node, level_of(self.released_))
            prefix, self._kept = add_node(self._kept, self.released_, noisy.sum(axis=0))
        return self.mechanism.to_real(prefix)
