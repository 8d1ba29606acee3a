"""Bayesian networks over coded attributes: mutual information, growth attribute by attribute, tables, sampling.

For the generators in `targets`. The growth is that of PrivBayes (Zhang et al., TODS 2017) and DataSynthesizer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from sfumato.attacks.reconstruction.encoding import Codes, Floats
from sfumato.attacks.reconstruction.queries import join_codes

#: An attribute and its parents.
Node = tuple[int, tuple[int, ...]]


class Information:
    """Mutual information between an attribute and a set of others in coded rows, in bits.

    Parameters
    ----------
    codes : ndarray of int, shape (d, n)
    cardinalities : sequence of int, length d
    """

    def __init__(self, codes: Codes, cardinalities: Sequence[int]) -> None:
        self._codes, self._cardinalities = codes, cardinalities
        self._entropies: dict[frozenset[int], float] = {}

    def of(self, node: Node) -> float:
        """I(X; parents) = H(X) + H(parents) - H(X, parents)."""
        x, parents = node
        return (
            self._entropy(frozenset((x,))) + self._entropy(frozenset(parents)) - self._entropy(frozenset((x, *parents)))
        )

    def _entropy(self, attributes: frozenset[int]) -> float:
        if attributes not in self._entropies:
            keys, _ = join_codes(self._codes, sorted(attributes), self._cardinalities)
            counts = np.unique(keys, return_counts=True)[1]
            n = len(keys)
            self._entropies[attributes] = float(np.log2(n) - (counts * np.log2(counts)).sum() / n)
        return self._entropies[attributes]


@dataclass(frozen=True)
class Network:
    """Attributes in order of sampling, and for each a table of conditional probabilities, shape (states, values)."""

    nodes: tuple[Node, ...]
    tables: tuple[Floats, ...]

    def sample(self, n: int, rng: np.random.Generator) -> Codes:
        """Draw n rows, shape (d, n)."""
        codes = np.empty((len(self.nodes), n), dtype=np.int64)
        radix: dict[int, int] = {x: table.shape[1] for (x, _), table in zip(self.nodes, self.tables, strict=True)}
        for (x, parents), table in zip(self.nodes, self.tables, strict=True):
            states = join_codes(codes, parents, radix)[0] if parents else np.zeros(n, dtype=np.int64)
            # One search for all states: state s owns the stretch [s, s + 1) of the line.
            ends = np.cumsum(table, axis=1)
            ends[:, -1] = 1.0
            line = (ends + np.arange(len(ends))[:, np.newaxis]).ravel()
            place = np.searchsorted(line, states + rng.random(n), side="right")
            codes[x] = np.clip(place - states * radix[x], 0, radix[x] - 1)
        return codes


def grow(d: int, degree: int, root: int, choose: Callable[[list[Node]], int]) -> tuple[Node, ...]:
    """Place attributes one by one, each with `degree` parents among those placed before (fewer at first).

    `choose` returns the index of one of the candidates, d - 1 times in all.
    """
    nodes: list[Node] = [(root, ())]
    while len(nodes) < d:
        placed = sorted(x for x, _ in nodes)
        rest = [x for x in range(d) if x not in placed]
        sets = list(itertools.combinations(placed, min(degree, len(placed))))
        candidates = [(x, parents) for x in rest for parents in sets]
        nodes.append(candidates[choose(candidates)])
    return tuple(nodes)


def count_table(codes: Codes, node: Node, cardinalities: Sequence[int]) -> Codes:
    """Rows of each value of an attribute (columns) in each state of its parents (rows)."""
    x, parents = node
    states = math.prod(cardinalities[p] for p in parents)
    keys, cells = join_codes(codes, (*parents, x), cardinalities)
    return np.bincount(keys, minlength=cells).reshape(states, cardinalities[x])


def conditionals(counts: Codes) -> Floats:
    """Normalise counts row by row; negative ones are 0, and a state that nobody is in has the uniform distribution."""
    kept = np.maximum(counts, 0).astype(np.float64)
    kept[kept.sum(axis=1) == 0] = 1.0
    return np.asarray(kept / kept.sum(axis=1, keepdims=True), dtype=np.float64)
