"""How scalars move weights: each along a direction of its own, or along one of a pool of K directions.

For `SharedRandomnessTuner`. The pool is FedKSeed's (Qin et al. 2024, "Federated Full-Parameter Tuning of Billion-Sized
Language Models with Communication Cost under 18 Kilobytes"): scalars of one seed are summed, so weights cost K
directions however many scalars there were.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.federation.shared_randomness.randomness import Address, Directions, Vector

State: TypeAlias = NDArray[Any]
Move: TypeAlias = tuple[Address, float]  # whose scalar, and how far it goes


class Walk:
    """Every scalar has a direction of its own: weights are the state.

    Parameters
    ----------
    base : ndarray of float32, shape (p,)
    directions : Directions
    """

    def __init__(self, base: Vector, directions: Directions) -> None:
        self.state: State = base.copy()
        self._base = base
        self._directions = directions

    @property
    def weights(self) -> Vector:
        """The weights, shape (p,): not a copy."""
        return self.state

    def direction(self, address: Address) -> Vector:
        """Return the direction of a scalar."""
        return self._directions.draw(*address, size=len(self._base))

    def add(self, moves: Sequence[Move]) -> None:
        """Move on, in the order given."""
        self._directions.subtract(self.state, moves)

    def restore(self, state: State | None = None) -> None:
        """Go to a state that was kept, or to the base weights."""
        self.state = self._base.copy() if state is None else _like(state, self.state)


class Pool:
    """Every scalar has one of K directions: the sum of the scalars of each is the state, whatever the model's size.

    Weights are made anew from the base, by K directions in one order, so they depend on the sums and not on when they
    were made. A machine's scalars of a step begin at a place of the pool that the run's seed chooses, and take
    successive ones: up to K scalars they are distinct.

    Parameters
    ----------
    base : ndarray of float32, shape (p,)
    directions : Directions
    size : int
        K.
    """

    def __init__(self, base: Vector, directions: Directions, size: int) -> None:
        self.state: State = np.zeros(size)
        self.weights = base.copy()
        self._base = base
        self._directions = directions

    def direction(self, address: Address) -> Vector:
        """Return the direction of a scalar."""
        return self._directions.draw(0, 0, self.place(address), size=len(self._base))

    def place(self, address: Address) -> int:
        """Return the place of a scalar's direction in the pool."""
        step, machine, sample = address
        start = int.from_bytes(self._directions.key(step, machine, 0), "little")
        return (start + sample) % len(self.state)

    def add(self, moves: Sequence[Move]) -> None:
        """Add to the sums, in the order given, and make the weights of them."""
        for address, length in moves:
            self.state[self.place(address)] += length
        self._make()

    def restore(self, state: State | None = None) -> None:
        """Go to a state that was kept, or to the base weights."""
        self.state = np.zeros_like(self.state) if state is None else _like(state, self.state)
        self._make()

    def _make(self) -> None:
        self.weights = self._base.copy()
        sums = [((0, 0, int(k)), float(self.state[k])) for k in np.flatnonzero(self.state)]
        self._directions.subtract(self.weights, sums)


def _like(state: State, now: State) -> State:
    if state.shape != now.shape or state.dtype != now.dtype:
        raise InvalidData(f"the state must be {now.dtype} of shape {now.shape}, got {state.dtype} of {state.shape}")
    return state.copy()
