"""Generators of synthetic rows to attack: four without noise or with it, each with the claim that it makes.

For whoever tries the attack or needs a yardstick for a generator. PrivBayes: Zhang et al., "PrivBayes: Private Data
Release via Bayesian Networks" (TODS 2017); the network without noise is that of DataSynthesizer (Ping et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator

from sfumato.attacks.reconstruction.encoding import Codebook, Codes
from sfumato.attacks.reconstruction.networks import Information, Network, Node, conditionals, count_table, grow
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import REPRODUCIBLE, Release

_LARGEST_TABLE = 10_000_000  # cells; a table beyond would be noise alone, and gigabytes of it
_GRID = 8  # steps of mutual information's sensitivity: finer would cost time, coarser would cost choices
_ROUNDING = 1 + 1e-6  # covers the rounding of doubles in mutual information


class Generator(Protocol):
    """What the attribute game attacks.

    The game works on copies. It sets ``random_state`` anew for each repetition if there is such an attribute, and
    ``noise_seed`` if there is one and it is not None.
    """

    @property
    def claim(self) -> Claim:
        """What the synthetic rows promise about a person who is in the data."""
        ...

    def fit(self, frame: pd.DataFrame) -> Any:
        """Learn from the rows."""
        ...

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n synthetic rows with the columns of the frame."""
        ...


class NonPrivate(BaseEstimator):  # type: ignore[misc]
    """Draws the rows themselves, with replacement: what any generator comes to that preserves everything."""

    def __init__(self, *, random_state: int | None = None) -> None:
        self.random_state = random_state

    @property
    def claim(self) -> Claim:
        """None."""
        return Claim(Heuristic("the rows themselves are published"), unit="record", neighbours="replace-one")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Keep the rows."""
        self.frame_ = _checked(frame)
        self.random_ = np.random.default_rng(self.random_state)
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        return self.frame_.iloc[self.random_.integers(len(self.frame_), size=n)].reset_index(drop=True)


class IndependentHistograms(BaseEstimator):  # type: ignore[misc]
    """Draws each attribute from its own histogram: no attribute tells of another."""

    def __init__(self, *, random_state: int | None = None) -> None:
        self.random_state = random_state

    @property
    def claim(self) -> Claim:
        """None that is formal: exact histograms tell about whoever knows all others."""
        return Claim(Heuristic("only one-way counts are kept"), unit="record", neighbours="replace-one")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Keep the columns, each to be drawn from by itself."""
        self.frame_ = _checked(frame)
        self.random_ = np.random.default_rng(self.random_state)
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        rows = len(self.frame_)
        return pd.DataFrame(
            {name: column.to_numpy()[self.random_.integers(rows, size=n)] for name, column in self.frame_.items()}
        )


class BayesianNetwork(BaseEstimator):  # type: ignore[misc]
    """Draws from a Bayesian network with exact counts, its parents chosen greedily by mutual information.

    Parameters
    ----------
    degree : int, default 3
        Parents of an attribute.
    random_state : int, optional
        Chooses the root and draws the rows.
    """

    def __init__(self, degree: int = 3, *, random_state: int | None = None) -> None:
        self.degree = degree
        self.random_state = random_state

    @property
    def claim(self) -> Claim:
        """None that is formal."""
        why = f"only counts of {self.degree + 1} attributes together are kept, without noise"
        return Claim(Heuristic(why), unit="record", neighbours="replace-one")

    def fit(self, frame: pd.DataFrame) -> Self:
        """Grow the network and count its tables.

        Raises
        ------
        InvalidData
            If the frame is empty, has missing values or tables beyond 10 million cells.
        """
        self.codebook_ = Codebook.of(frame)
        sizes = self.codebook_.cardinalities
        _check_degree(self.degree, sizes)
        self.random_ = np.random.default_rng(self.random_state)
        codes = self.codebook_.encode(frame)
        information = Information(codes, sizes)

        def best(candidates: list[Node]) -> int:
            return int(np.argmax([information.of(node) for node in candidates]))

        nodes = grow(len(sizes), self.degree, int(self.random_.integers(len(sizes))), best)
        self.network_ = Network(nodes, tuple(conditionals(count_table(codes, node, sizes)) for node in nodes))
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        return _decode(self.network_.sample(n, self.random_), self.codebook_)


class PrivBayes(BaseEstimator):  # type: ignore[misc]
    """Draws from a Bayesian network whose structure and counts were released with ε-differential privacy.

    Half of ε goes to the structure: d - 1 choices by the exponential mechanism, ε / (2 (d - 1)) each. The other half
    goes to the counts: d tables with discrete Laplace noise, ε / (2 d) each. Sampling is post-processing, and the
    root is chosen without the data.

    *Counts.* Replacing a record takes 1 from one cell of a table and adds 1 to another: L1 sensitivity 2.

    *Structure.* The score is mutual information I in bits. With φ(c) = c log₂ c and the counts c of the joint
    table and of both margins, n I = φ(n) + Σφ(joint) - Σφ(margin of X) - Σφ(margin of the parents). Take the n - 1
    records that both data sets share. Adding a record whose cell then has j records, in margins of x and p, changes
    the sums by -g with g = ψ(x) + ψ(p) - ψ(j), where ψ(c) = φ(c) - φ(c - 1). Since the two data sets add a record to
    the same n - 1, their I differ by at most (max g - min g) / n.
    ψ increases from ψ(1) = 0 and j ≤ min(x, p), so g ≥ 0. By inclusion and exclusion x + p - j ≤ n. ψ is concave
    (ψ'(c) = log₂(c / (c - 1)) decreases), so for a given j, g is at most 2 ψ((n + j) / 2) - ψ(j); its derivative in
    j is ψ'((n + j) / 2) - ψ'(j) ≤ 0, so j = 1 gives the most: g ≤ 2 ψ((n + 1) / 2). Hence
    |ΔI| ≤ (2/n) log₂((n + 1) / 2) + ((n - 1)/n) log₂((n + 1) / (n - 1)),
    which is the bound of Zhang et al. for general domains; it holds for binary ones too.
    The scores are rounded down to eighths of that bound, widened by a millionth for the rounding of doubles: rounding
    down keeps a difference of at most 8 steps at most 8 steps.

    Parameters
    ----------
    epsilon : float
    domain : mapping of str to sequence
        The public values of each attribute, in the columns' order; all columns, the secret among them.
    degree : int, default 3
        Parents of an attribute.
    random_state : int, optional
        Chooses the root and draws the rows; never the noise.
    noise_seed : int, optional
        For tests and studies: reproducible noise. It voids the claim.
    """

    def __init__(
        self,
        epsilon: float,
        domain: Mapping[str, Sequence[Any]],
        *,
        degree: int = 3,
        random_state: int | None = None,
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.domain = domain
        self.degree = degree
        self.random_state = random_state
        self.noise_seed = noise_seed

    @property
    def claim(self) -> Claim:
        """ε-differential privacy of a record, replaced by another."""
        return replace(self._promise(), void="" if self.noise_seed is None else REPRODUCIBLE)

    def fit(self, frame: pd.DataFrame) -> Self:
        """Release the structure and the counts.

        Raises
        ------
        InvalidData
            If the columns are not those of the domain, a value lies outside it, there are fewer than two records or
            attributes, or a table might have more than 10 million cells. Nothing is spent then.
        InvalidClaim
            If epsilon is not positive.
        BudgetExceeded
            If the active ledger refuses.
        """
        promise = self._promise()
        codes = self._read(frame)
        sizes = self.codebook_.cardinalities
        d, n = codes.shape
        information = Information(codes, sizes)
        step = _ROUNDING * information_sensitivity(n) / _GRID
        self.random_ = np.random.default_rng(self.random_state)
        root = int(self.random_.integers(d))
        with Release(promise, purpose=f"PrivBayes, {d} attributes", seed=self.noise_seed) as release:

            def choose(candidates: list[Node]) -> int:
                scores = np.floor([information.of(node) / step for node in candidates]).astype(np.int64)
                return release.choose(scores, sensitivity=_GRID, epsilon=self.epsilon / (2 * (d - 1)))

            nodes = grow(d, self.degree, root, choose)
            tables = [
                release.discrete_laplace(
                    count_table(codes, node, sizes), l1_sensitivity=2, epsilon=self.epsilon / (2 * d)
                )
                for node in nodes
            ]
        self.network_ = Network(nodes, tuple(conditionals(table) for table in tables))
        return self

    def sample(self, n: int) -> pd.DataFrame:
        """Draw n rows."""
        return _decode(self.network_.sample(n, self.random_), self.codebook_)

    def _promise(self) -> Claim:
        return Claim(
            PureDP(self.epsilon),
            unit="record",
            neighbours="replace-one",
            assumptions=("the number of records is public", "the values that each attribute can have are public"),
        )

    def _read(self, frame: pd.DataFrame) -> Codes:
        _checked(frame)
        if list(frame.columns) != list(self.domain):
            raise InvalidData("the frame's columns must be those of the domain, in its order")
        if len(frame) < 2 or len(self.domain) < 2:
            raise InvalidData("PrivBayes needs at least two records and two attributes")
        self.codebook_ = Codebook({name: pd.Index(list(values)) for name, values in self.domain.items()})
        for name, values in self.codebook_.values.items():
            if not values.is_unique or not frame[name].isin(values).all():
                raise InvalidData(f"column {name!r} holds a value outside its domain, or the domain has one twice")
        _check_degree(self.degree, self.codebook_.cardinalities)
        return self.codebook_.encode(frame)


def information_sensitivity(n: int) -> float:
    """How far replacing one of n ≥ 2 records can move mutual information, in bits; proof in `PrivBayes`."""
    return 2 / n * math.log2((n + 1) / 2) + (n - 1) / n * math.log2((n + 1) / (n - 1))


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    if not isinstance(frame, pd.DataFrame) or not len(frame) or not len(frame.columns):
        raise InvalidData("expected a data frame with rows and columns")
    return frame


def _check_degree(degree: int, cardinalities: Sequence[int]) -> None:
    if isinstance(degree, bool) or not isinstance(degree, (int, np.integer)) or degree < 1:
        raise InvalidData("degree must be a whole number, at least 1")
    if math.prod(sorted(cardinalities)[-degree - 1 :]) > _LARGEST_TABLE:
        raise InvalidData(f"a table could have more than {_LARGEST_TABLE:,} cells: lower the degree or bin the values")


def _decode(codes: Codes, book: Codebook) -> pd.DataFrame:
    return pd.DataFrame({name: values[codes[row]] for row, (name, values) in enumerate(book.values.items())})
