"""PrivateMultiplicativeWeights: many queries about a histogram over a finite universe, paid for by surprises only.

For question lists far longer than the sample over a universe far larger than it; elsewhere noise on answers or on the
histogram serves better (`choose_mechanism`). Hardt and Rothblum (FOCS 2010), as in Dwork et al. (STOC 2015).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from dp_accounting import dp_event
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.interactive import Interactive
from sfumato.privacy.release import Release
from sfumato.privacy.sparse_vector import AboveThreshold
from sfumato.statistics.adaptive.queries import GRID, Query, on_grid, try_on
from sfumato.statistics.adaptive.transfer import sparse_epsilon, updates_for
from sfumato.statistics.adaptive.universe import cell_counts

Floats = NDArray[np.float64]


class MultiplicativeWeights:
    """The algorithm on an open release: a public guess of the histogram, bettered where it is far off.

    *Proof.* Rows are replaced one by another, so a histogram's sum of values in 0 .. `GRID` moves by `GRID` at most.
    The guess x is a function of answers that were released. Whether |Σ h r - n <x, r>| reaches the threshold is asked
    of an `AboveThreshold` of that sensitivity, for half of the budget; each of its `max_updates` tops gets the sum with
    fresh noise, for the other half. All else is computed from these.

    Parameters
    ----------
    release : Release
        Its claim's bound, PureDP or ZCDP, is spent whole.
    counts : ndarray of int64, shape (universe,)
    alpha : float
        Errors up to about this are left; the step is alpha / 2.
    max_updates : int
    """

    def __init__(self, release: Release, counts: NDArray[np.int64], alpha: float, max_updates: int) -> None:
        self._counts = counts
        self._n = int(counts.sum())
        self._step = alpha / 2
        bound: Any = release.claim.bound
        if isinstance(bound, ZCDP):
            each = bound.rho / (2 * max_updates)
            compare = sparse_epsilon(each) * max_updates
            self._sigma2, self._scale = Fraction(GRID) ** 2 / (2 * Fraction(each)), None
            self._noise = release.prepaid(dp_event.ZCDpEvent(bound.rho / 2))
        else:
            compare = bound.epsilon / 2
            self._scale = Fraction(GRID) * max_updates / Fraction(compare)
            event = dp_event.DiscreteLaplaceDpEvent(compare / max_updates, 1)
            self._noise = release.prepaid(dp_event.SelfComposedDpEvent(event, max_updates))
        self.above = AboveThreshold(
            release,
            compare,
            sensitivity=GRID,
            threshold=round(alpha * self._n * GRID),
            max_tops=max_updates,
        )
        self._logs = np.zeros(len(counts))
        self.weights = np.full(len(counts), 1 / len(counts))

    def answer(self, values: NDArray[np.int64]) -> float:
        """Answer one query, given by its values on the universe in steps of the grid."""
        guess = round(float(self.weights @ values) * self._n)
        truth = int(self._counts @ values)
        if not self.above.ask(abs(truth - guess)):
            return guess / (self._n * GRID)
        noisy = self._noisy(truth)
        self._update(values / GRID, noisy < guess)
        return min(1.0, max(0.0, noisy / (self._n * GRID)))

    def _noisy(self, truth: int) -> int:
        if self._scale is None:
            return int(self._noise.discrete_gaussian(truth, l2_sensitivity=GRID, sigma2=self._sigma2))
        return int(self._noise.discrete_laplace(truth, l1_sensitivity=GRID, scale=self._scale))

    def _update(self, values: Floats, too_high: bool) -> None:
        self._logs -= self._step * (values if too_high else 1 - values)
        self._logs -= self._logs.max()
        weights = np.exp(self._logs)
        self.weights = weights / weights.sum()


class PrivateMultiplicativeWeights(Interactive):
    """Answers queries one after another on one budget, however many, until it was surprised `max_updates` times.

    The guarantee is differential privacy for each row, neighbours replace-one, by the argument in
    `MultiplicativeWeights`. Its error is another matter: where the noise is small enough, all answers are within
    1.25 alpha of the sample's and it never runs out, see `transfer.weights_alpha`; elsewhere it may run out early, and
    says so.

    Parameters
    ----------
    sample : array_like, data frame or tuple of them
        n rows, each of which stands in the universe. With an int for universe: n integers in 0 .. universe - 1.
    universe : array_like, data frame, tuple of them or int
        All rows that there can be, public, without repeats.
    epsilon : float, optional
        Pure DP of all answers.
    rho : float, optional
        zCDP instead: smaller noise for the same number of updates. One of the two is required.
    alpha : float
        In (0, 1].
    max_updates : int, optional
        By default ⌈4 log(universe) / alpha²⌉.
    noise_seed : int, optional
        For tests and studies; voids the claim.

    Attributes
    ----------
    claim_ : Claim
    remaining_ : int
        Updates that are left; when there are none, all is over.
    weights_ : ndarray of float, shape (universe,)
        The guess of the histogram so far: public.

    Raises
    ------
    InvalidData, InvalidClaim
        Before anything is spent.
    BudgetExceeded
        If the active ledger has too little left; from `answer` when there is no update left.

    Examples
    --------
    >>> import numpy as np
    >>> coins = np.random.default_rng(0).integers(0, 2, 5000)
    >>> with PrivateMultiplicativeWeights(coins, 2, rho=0.5, alpha=0.3) as weights:
    ...     share = weights.answer(lambda coin: coin)
    >>> 0.2 < share < 0.8
    True
    """

    def __init__(
        self,
        sample: Any,
        universe: Any,
        *,
        epsilon: float | None = None,
        rho: float | None = None,
        alpha: float,
        max_updates: int | None = None,
        noise_seed: int | None = None,
    ) -> None:
        if (epsilon is None) == (rho is None):
            raise InvalidClaim("give either epsilon or rho")
        if not 0 < alpha <= 1:
            raise InvalidData("alpha must be in (0, 1]")
        self._universe, counts = cell_counts(sample, universe)
        if max_updates is None:
            max_updates = updates_for(len(counts), alpha)
        if isinstance(max_updates, bool) or not isinstance(max_updates, (int, np.integer)) or max_updates < 1:
            raise InvalidData("max_updates must be a whole number, at least 1")
        bound = ZCDP(rho) if rho is not None else PureDP(epsilon or 0.0)
        if not (rho or epsilon):
            raise InvalidClaim("epsilon and rho must be above 0")
        claim = Claim(bound, unit="record", neighbours="replace-one")
        release = Release(claim, f"multiplicative weights, {max_updates} updates", seed=noise_seed).__enter__()
        self._core = MultiplicativeWeights(release, counts, alpha, int(max_updates))
        super().__init__(release.claim, int(max_updates), release)

    def answer(self, query: Query) -> float:
        """Return the mean of a query over the sample, nearly.

        Parameters
        ----------
        query : callable
            Rows of the universe to values in [0, 1], shape (universe,). It is never called with the sample.

        Raises
        ------
        InvalidData
            If the values are not one in [0, 1] a row, before anything is spent.
        BudgetExceeded, ClaimViolated
        """
        try_on(query, self._universe)
        values = on_grid(query, self._universe)
        if values.ndim != 1:
            raise InvalidData("answer one query at a time: an update changes the answers after it")
        with self._turn():
            answer = self._core.answer(values)
            self._left = self._core.above.remaining_
            return answer

    @property
    def weights_(self) -> Floats:
        """The guess of the histogram so far."""
        return self._core.weights.copy()
