"""Attacks to compare with: a forest on the synthetic rows, the nearest synthetic row, and other people's data.

For judging `ReconstructionAttack`, as Annamalai, Gadotti and Rocher (USENIX Security 2024) do: Adv_infer is that of
Stadler, Oprisanu and Troncoso (USENIX Security 2022).
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import pairwise_distances_argmin_min

from sfumato.attacks.reconstruction.encoding import Codebook, Codes, Floats, read_bits


class AttributeAttack(Protocol):
    """What the attribute game lets guess.

    If it leaves ``solved_`` False after `score`, its guesses are coins and are counted.
    """

    def fit(self, quasi: pd.DataFrame) -> Any:
        """Take in everybody's quasi-identifiers."""
        ...

    def score(self, synthetic: pd.DataFrame, secret: str) -> Floats:
        """Score each person's secret in [0, 1]: higher where it looks like 1."""
        ...


class InferenceForest(BaseEstimator):  # type: ignore[misc]
    """Learns the secret from the synthetic rows by a random forest, and asks it about each person (Adv_infer).

    Parameters
    ----------
    n_estimators : int, default 100
    random_state : int, optional
    """

    def __init__(self, n_estimators: int = 100, *, random_state: int | None = None) -> None:
        self.n_estimators = n_estimators
        self.random_state = random_state

    def fit(self, quasi: pd.DataFrame) -> Self:
        """Take in everybody's quasi-identifiers."""
        self.codebook_ = Codebook.of(quasi)
        self.codes_ = self.codebook_.encode(quasi)
        return self

    def score(self, synthetic: pd.DataFrame, secret: str) -> Floats:
        """Return the forest's probability of each person's secret being 1, shape (n,)."""
        forest = RandomForestClassifier(self.n_estimators, random_state=self.random_state)
        return _learn_and_ask(forest, self.codebook_.encode(synthetic), read_bits(synthetic, secret), self.codes_)


class PopulationForest(BaseEstimator):  # type: ignore[misc]
    """Learns the secret from real records of other people and never looks at the synthetic rows.

    What it finds is true of the population. In the game the bit is a coin, so its accuracy is ½ whatever it knows.

    Parameters
    ----------
    records : pandas.DataFrame
        With the quasi-identifiers and the secret.
    n_estimators : int, default 100
    random_state : int, optional
    """

    def __init__(self, records: pd.DataFrame, n_estimators: int = 100, *, random_state: int | None = None) -> None:
        self.records = records
        self.n_estimators = n_estimators
        self.random_state = random_state

    def fit(self, quasi: pd.DataFrame) -> Self:
        """Take in everybody's quasi-identifiers."""
        book = Codebook.of(pd.concat([quasi, self.records[list(quasi.columns)]]))
        self.codes_, self.known_ = book.encode(quasi), book.encode(self.records)
        return self

    def score(self, synthetic: pd.DataFrame, secret: str) -> Floats:
        """Return the forest's probability of each person's secret being 1, shape (n,)."""
        forest = RandomForestClassifier(self.n_estimators, random_state=self.random_state)
        return _learn_and_ask(forest, self.known_, read_bits(self.records, secret), self.codes_)


class NearestRecord(BaseEstimator):  # type: ignore[misc]
    """Compares the Euclidean distances of (person, 0) and (person, 1) to the nearest synthetic row (Adv_dcr).

    The score is d0 / (d0 + d1); where both are 0, it is the share of 1 among the exact copies. Distances are those of
    codes, as in the paper.
    """

    def fit(self, quasi: pd.DataFrame) -> Self:
        """Take in everybody's quasi-identifiers."""
        self.codebook_ = Codebook.of(quasi)
        self.codes_ = self.codebook_.encode(quasi)
        return self

    def score(self, synthetic: pd.DataFrame, secret: str) -> Floats:
        """Return each person's score, shape (n,)."""
        bits = read_bits(synthetic, secret)
        rows, copies = np.unique(np.vstack([self.codebook_.encode(synthetic), bits]).T, axis=0, return_counts=True)
        people = self.codes_.shape[1]
        nearest = [
            pairwise_distances_argmin_min(np.column_stack([self.codes_.T, np.full(people, bit)]), rows)
            for bit in (0, 1)
        ]
        (place0, d0), (place1, d1) = nearest
        exact = (d0 == 0) & (d1 == 0)
        zero, one = np.where(exact, copies[place1], d0), np.where(exact, copies[place0], d1)
        return np.asarray(zero / (zero + one), dtype=np.float64)


def _learn_and_ask(forest: RandomForestClassifier, rows: Codes, bits: Codes, people: Codes) -> Floats:
    if bits.min() == bits.max():
        return np.full(people.shape[1], float(bits[0]))
    return np.asarray(forest.fit(rows.T, bits).predict_proba(people.T)[:, 1], dtype=np.float64)
