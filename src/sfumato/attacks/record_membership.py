"""MembershipGame: which of two people is in the table behind these synthetic rows?

For a team about to publish synthetic data. The statistic is that of Homer et al. (PLoS Genetics 2008) on marginals, as
query-based attacks on synthetic data use it (Houssiau et al., TAPAS, 2022); the nearest record is the usual yardstick.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TypeAlias

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.attacks.coins import AttackOutcome
from sfumato.attacks.reconstruction.encoding import Codebook
from sfumato.attacks.reconstruction.targets import Generator
from sfumato.errors import InvalidData

Codes: TypeAlias = NDArray[np.int64]  # (people, attributes)
Floats: TypeAlias = NDArray[np.float64]

#: ``score(people, synthetic, others)``: how much each of some people looks like one of the table; codes throughout.
Scorer: TypeAlias = Callable[[Codes, Codes, Codes], Floats]

_FEWEST = (
    0.5  # counts added to a cell of the others, so that a cell that nobody else is in weighs much and not infinitely
)


def marginal_score(k: int = 2) -> Scorer:
    """Return the score that adds up, over all k-way marginals, how far a person's cell is above its expectation.

    The expectation is the other people's; each cell is divided by its variance, which is about its size. For two people
    whose cells differ in the table by one count each, under noise of that variance, the difference of their scores is
    the likelihood ratio.
    """

    def score(people: Codes, synthetic: Codes, others: Codes) -> Floats:
        total = np.zeros(len(people))
        for columns in combinations(range(people.shape[1]), k):
            mine, drawn, known = _cells([codes[:, columns] for codes in (people, synthetic, others)])
            size = 1 + max(int(cells.max(initial=0)) for cells in (mine, drawn, known))
            expected = (np.bincount(known, minlength=size) + _FEWEST) / (len(others) + _FEWEST)
            seen = np.bincount(drawn, minlength=size) / len(synthetic)
            total += ((seen - expected) / expected)[mine]
        return total

    return score


def nearest_score(people: Codes, synthetic: Codes, others: Codes) -> Floats:
    """Return minus the number of attributes in which the nearest synthetic row differs."""
    return -np.array([(synthetic != person).sum(axis=1).min() for person in people], dtype=np.float64)


@dataclass(frozen=True)
class MembershipGame:
    """Plays the game of two people against a generator.

    A repetition samples people and puts some of them into pairs. A coin decides which one of a pair is in the table;
    all others are in it. The generator is fitted and its synthetic rows are handed to each attack, with both people of
    every pair and with everybody else. The better one of a pair is the guess, so that no threshold has to be learned,
    and whoever knows the others only is right half of the time.

    The two tables of a coin differ in one record that is replaced: what a claim allows is
    `coins.accuracy_ceiling`. Pairs of one repetition share its synthetic rows, so that with more than one the intervals
    of the outcomes are estimates.

    Parameters
    ----------
    generator : Generator
        Copied and fitted anew in each repetition; ``random_state`` is set anew if it has one.
    data : pandas.DataFrame
        People with categorical attributes.
    n : int, default 1000
        Rows of a table.
    pairs : int, default 1
        At most n.
    rows : int, default 10 000
        Synthetic rows.
    repetitions : int, default 200
    random_state : int, optional
        Decides everything but noise that comes from the system.

    Raises
    ------
    InvalidData
        If a parameter is out of range, or data has fewer than n + pairs people or a missing value.
    """

    generator: Generator
    data: pd.DataFrame
    n: int = 1000
    pairs: int = 1
    rows: int = 10_000
    repetitions: int = 200
    random_state: int | None = None

    def __post_init__(self) -> None:
        for name in ("n", "pairs", "rows", "repetitions"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        if self.pairs > self.n:
            raise InvalidData("pairs must be at most n: one of each is in the table")
        if len(self.data) < self.n + self.pairs:
            raise InvalidData(f"data has fewer than n + pairs = {self.n + self.pairs} people")
        Codebook.of(self.data)

    def run(self, attacks: Mapping[str, Scorer]) -> dict[str, AttackOutcome]:
        """Play all repetitions; return the outcome of each attack.

        Raises
        ------
        InvalidData
            If there is no attack, or a generator's rows lack a column.
        """
        if not attacks:
            raise InvalidData("attacks must hold at least one attack")
        sequence = np.random.SeedSequence(self.random_state)
        played = [self._play(attacks, np.random.default_rng(seed)) for seed in sequence.spawn(self.repetitions)]
        bits = np.concatenate([coins for coins, _ in played])
        outcomes = {}
        for name in attacks:
            scores = np.concatenate([found[name] for _, found in played])
            outcomes[name] = AttackOutcome(name, bits, (scores > 0).astype(np.int64), scores, 0)
        return outcomes

    def _play(
        self, attacks: Mapping[str, Scorer], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], dict[str, Floats]]:
        drawn = self.data.iloc[rng.permutation(len(self.data))[: self.n + self.pairs]]
        first, second = drawn.iloc[: self.pairs], drawn.iloc[self.pairs : 2 * self.pairs]
        others = drawn.iloc[2 * self.pairs :]
        coins = rng.integers(2, size=self.pairs)
        inside = pd.concat([first[coins == 1], second[coins == 0], others])
        generator = copy.deepcopy(self.generator)
        if hasattr(generator, "random_state"):
            generator.random_state = int(rng.integers(2**31))
        generator.fit(inside.iloc[rng.permutation(self.n)].reset_index(drop=True))
        synthetic = generator.sample(self.rows)
        missing = [name for name in self.data if name not in synthetic]
        if missing:
            raise InvalidData(f"the generator's rows lack the column {missing[0]!r}")
        encoded = _codes([first, second, synthetic[list(self.data)], others])
        scores = {}
        for name, score in attacks.items():
            gap = score(encoded[0], *encoded[2:]) - score(encoded[1], *encoded[2:])
            # a tie is broken by a coin: always guessing the same would be right as often, and look like a finding
            ties = gap == 0
            gap[ties] = rng.choice([-1e-300, 1e-300], size=ties.sum())
            scores[name] = gap
        return coins, scores


def _codes(frames: list[pd.DataFrame]) -> list[Codes]:
    """The frames as codes that mean the same in all of them."""
    whole = pd.concat(frames, ignore_index=True)
    codes = np.column_stack([pd.factorize(whole[name])[0] for name in whole]).astype(np.int64)
    return np.split(codes, np.cumsum([len(frame) for frame in frames])[:-1])


def _cells(tables: list[Codes]) -> list[Codes]:
    """Each row's cell, numbered alike in all tables."""
    sizes = 1 + np.max([codes.max(axis=0, initial=0) for codes in tables], axis=0)
    return [np.ravel_multi_index(tuple(codes.T), tuple(sizes)) for codes in tables]
