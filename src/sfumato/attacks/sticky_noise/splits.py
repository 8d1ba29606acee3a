"""Splits of known attributes into a common part and one attribute that singles the victim out.

For `CloningAttack`. At random as in Gadotti et al. (USENIX Security 2019), section 4; by bisection is ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.attacks.sticky_noise.asking import Asker, Term, equal_to


@dataclass(frozen=True)
class Split:
    """A set of attributes that many share with the victim, and the attribute in which the victim differs from them."""

    common: tuple[str, ...]
    last: str


class Splits:
    """Proposes splits, none twice, and none that an earlier failure already rules out.

    A larger set of attributes selects fewer users: where many share some attributes, many share fewer of them; where a
    count is suppressed, it is for more attributes. The noisy threshold makes this true nearly always.
    """

    def __init__(
        self, asker: Asker, known: Mapping[str, Any], domain: Mapping[str, Sequence[Any]], rng: np.random.RandomState
    ) -> None:
        self._asker, self._known, self._domain, self._rng = asker, known, domain, rng
        self._names = tuple(known)
        self._shared: list[frozenset[str]] = []
        self._empty: list[frozenset[str]] = []
        self._proposed: set[Split] = set()

    def crowded(self, split: Split) -> None:
        """Remember that several users share all attributes of the split."""
        self._shared.append(frozenset((*split.common, split.last)))

    def deserted(self, split: Split) -> None:
        """Remember that too few users share the common attributes."""
        self._empty.append(frozenset(split.common))

    def random(self) -> Iterator[Split]:
        """Sizes and attributes at random."""
        misses = 0
        while misses < 1000:  # then most of what is left is ruled out
            size = int(self._rng.randint(1, len(self._names)))
            order = [self._names[i] for i in self._rng.permutation(len(self._names))]
            split = Split(tuple(sorted(order[:size])), order[size])
            misses = misses + 1 if self._ruled_out(split) else 0
            if not misses:
                self._proposed.add(split)
                yield split

    def chain(self, sides: Sequence[Term]) -> Iterator[Split]:
        """As many common attributes as the engine still answers for with one of these terms, and a telling last one."""
        misses = 0
        for side in itertools.cycle(sides):
            *order, last = self._order()
            low, high = 0, len(order) + 1  # many share the first `low` attributes, few the first `high`
            while high - low > 1:
                middle = (low + high) // 2
                if self._asker.count([*equal_to(self._known, order[:middle]), side]) is None:
                    high = middle
                else:
                    low = middle
            split = Split(tuple(sorted(order[:low])), last)
            misses = misses + 1 if not low or self._ruled_out(split) else 0
            if not misses:
                self._proposed.add(split)
                yield split
            if misses == 20:
                return

    def _order(self) -> list[str]:
        """Random, but attributes of fewer values rather first: the one that decides then excludes most of the rest."""
        sizes = np.array([max(2, len(self._domain.get(name, ()))) for name in self._names])
        keys = np.log(sizes) + self._rng.uniform(0, 2, len(sizes))
        return [self._names[i] for i in np.argsort(keys)]

    def _ruled_out(self, split: Split) -> bool:
        common = frozenset(split.common)
        return (
            split in self._proposed
            or any(common | {split.last} <= shared for shared in self._shared)
            or any(common >= empty for empty in self._empty)
        )
