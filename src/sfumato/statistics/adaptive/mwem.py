"""MWEM: a public histogram that answers a list of queries, known in advance, well.

For releasing many marginals at once over a finite universe. Hardt, Ligett and McSherry, "A Simple and Practical
Algorithm for Differentially Private Data Release" (NIPS 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.adaptive.queries import GRID, Query, Rows, on_grid, try_on
from sfumato.statistics.adaptive.universe import cell_counts

_REPLAYS = 20  # passes over the answers known so far: post-processing, so free


class MWEM(BaseEstimator):  # type: ignore[misc]
    """Multiplicative weights with the exponential mechanism.

    Each round chooses, with probability rising with its error, a query on which the guess is far off; measures it; and
    fits the guess to all measurements so far.

    *Proof.* Replacing a row moves each query's sum, values on the grid 0 .. `GRID`, by `GRID` at most, so each score
    |Σ h r - n <x, r>| too: the choice costs ε / (2 rounds) by the exponential mechanism, the measurement as much by
    discrete Laplace noise; 2·rounds of these compose to ε. The guess is computed from them.

    Parameters
    ----------
    epsilon : float
    rounds : int, default 10
        Each of them shares the budget: too many are as bad as too few.
    universe : array_like, data frame, tuple of them or int
        As of `PrivateMultiplicativeWeights`.
    noise_seed : int, optional
        For tests and studies; voids the claim.

    Attributes
    ----------
    claim_ : Claim
    weights_ : ndarray of float, shape (universe,)
        The mean of the guesses of all rounds: a histogram of the sample, nearly.
    chosen_ : list of int
        Which queries were measured.

    Examples
    --------
    >>> import numpy as np
    >>> sample = np.random.default_rng(0).binomial(7, 0.5, 2000)
    >>> mwem = MWEM(1.0, universe=8, rounds=5).fit(sample, [lambda x, k=k: x >= k for k in range(1, 8)])
    >>> mwem.weights_.shape
    (8,)
    """

    def __init__(self, epsilon: float = 1.0, *, universe: Any, rounds: int = 10, noise_seed: int | None = None) -> None:
        self.epsilon = epsilon
        self.universe = universe
        self.rounds = rounds
        self.noise_seed = noise_seed

    def fit(self, sample: Any, queries: Sequence[Query]) -> Self:
        """Release the histogram. A second fit spends again.

        Parameters
        ----------
        sample : array_like, data frame or tuple of them, n rows
        queries : sequence of callable
            Rows of the universe to values in [0, 1]; public, and never called with the sample.

        Raises
        ------
        InvalidData, InvalidClaim
            Before anything is spent.
        BudgetExceeded
        """
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, (int, np.integer)) or self.rounds < 1:
            raise InvalidData("rounds must be a whole number, at least 1")
        claim = Claim(PureDP(self.epsilon), unit="record", neighbours="replace-one")
        every, counts = cell_counts(sample, self.universe)
        table = _table(queries, every)
        share = float(self.epsilon) / (2 * int(self.rounds))
        n = int(counts.sum())
        sums = table @ counts
        weights = np.full(len(counts), 1 / len(counts))
        guesses, measured, chosen = [], [], []
        with Release(claim, f"MWEM, {self.rounds} rounds", seed=self.noise_seed) as release:
            for _ in range(int(self.rounds)):
                errors = np.abs(sums - np.rint(n * (table @ weights)).astype(np.int64))
                worst = release.choose(errors, sensitivity=GRID, epsilon=share)
                measured.append(release.discrete_laplace(sums[[worst]], l1_sensitivity=GRID, epsilon=share)[0])
                chosen.append(worst)
                weights = _fitted(weights, table[chosen] / GRID, np.clip(np.array(measured) / (n * GRID), 0, 1))
                guesses.append(weights)
        self.claim_ = release.claim
        self.weights_ = np.mean(guesses, axis=0)
        self.chosen_ = chosen
        self._rows = every
        return self

    def predict(self, query: Query) -> float:
        """Answer any query from the released histogram; costs nothing."""
        check_is_fitted(self, "weights_")
        try_on(query, self._rows)
        values = on_grid(query, self._rows)
        if values.ndim != 1:
            raise InvalidData("predict answers one query at a time")
        return float(self.weights_ @ values) / GRID


def _table(queries: Sequence[Query], universe: Rows) -> NDArray[np.int64]:
    """Values of each query on the universe, shape (queries, universe)."""
    if not len(queries):
        raise InvalidData("queries must hold at least one")
    for query in queries:
        try_on(query, universe)
    values = [on_grid(query, universe) for query in queries]
    if any(each.ndim != 1 for each in values):
        raise InvalidData("each query must give one value a row of the universe")
    return np.stack(values)


def _fitted(weights: NDArray[np.float64], table: NDArray[np.float64], answers: Any) -> NDArray[np.float64]:
    for _ in range(_REPLAYS):
        for values, answer in zip(table, answers, strict=True):
            weights = weights * np.exp(values * (answer - values @ weights) / 2)
            weights /= weights.sum()
    return weights
