"""Thresholdout: a holdout set that can be asked again and again.

For whoever tunes models on one holdout. Dwork, Feldman, Hardt, Pitassi, Reingold and Roth, "The reusable holdout"
(Science 349, 2015) and "Generalization in Adaptive Data Analysis and Holdout Reuse" (NIPS 2015), Figure 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal, get_args

import numpy as np
from dp_accounting import dp_event
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData
from sfumato.privacy.accounting import pure_to_zcdp
from sfumato.privacy.bounds import ZCDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.interactive import Interactive
from sfumato.privacy.release import Release
from sfumato.privacy.sparse_vector import AboveThreshold
from sfumato.statistics.adaptive.queries import GRID, ROW_BY_ROW, Query, Rows, on_grid, plain, try_on
from sfumato.statistics.adaptive.transfer import transfer

Bound = Literal["pure", "zcdp"]


class Thresholdout(Interactive):
    """Answers with the training set's mean where the holdout agrees with it, else with a noisy mean of the holdout.

    *Proof*, for the holdout, neighbours replace-one; the training set is not protected and counts as public. In steps
    of the grid the holdout's sum moves by `GRID` at most, so |sum - training mean · n| too. Whether it reaches the
    threshold is asked of an `AboveThreshold` with scales 2σ for the threshold and 4σ for each query, 1/(σn)-DP an
    overfit event; the answer then carries fresh noise of scale σ, 1/(σn)-DP again. `budget` events B compose to
    2B/(σn), or to 2B times the zCDP of 1/(σn), with the same noise. Queries that agree cost nothing.

    What it promises about the population follows from that by the transfer theorem, `half_width`; at the sizes of the
    paper's experiment it is nothing (1), and what is seen there is not proved. In particular one event a feature soon
    spends everything: ask it about models.

    Parameters
    ----------
    train, holdout : array_like, data frame or tuple of them
        Rows in one form, (X, y) say; a query is called with the parts. n are the rows of the holdout.
    threshold : float or "auto"
        T in (0, 1]; 4/√n by default, as in the paper's experiment.
    sigma : float or "auto"
        1/√n by default.
    budget : int
        B: overfit events after which all is over.
    bound : {"pure", "zcdp"}
        In which terms the claim is stated.
    check : bool, default True
        Try each query on the training set first, as `queries.try_on` does: its range, and that it answers row by row.
    indices : tuple of two array_like, optional
        Where the rows of the two come from: refused if they overlap.
    noise_seed : int, optional
        For tests and studies; voids the claim.

    Attributes
    ----------
    claim_ : Claim
    remaining_ : int
        Overfit events that are left.

    Raises
    ------
    InvalidData
        On a bad argument; nothing is spent.
    BudgetExceeded
        If the active ledger has too little left, and from `query` and `score` after the last event.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> train, holdout = rng.integers(0, 2, (2, 1000))
    >>> with Thresholdout(train, holdout, budget=5) as reusable:
    ...     share = reusable.query(lambda coin: coin)
    >>> 0.3 < share < 0.7
    True
    """

    def __init__(
        self,
        train: Any,
        holdout: Any,
        *,
        threshold: float | Literal["auto"] = "auto",
        sigma: float | Literal["auto"] = "auto",
        budget: int,
        bound: Bound = "pure",
        check: bool = True,
        indices: tuple[ArrayLike, ArrayLike] | None = None,
        noise_seed: int | None = None,
    ) -> None:
        self._train = Rows.of("train", train, least=2)
        self._holdout = Rows.of("holdout", holdout, least=2)
        _check_apart(self._train, self._holdout, indices)
        n = len(self._holdout)
        self.threshold_ = _number("threshold", min(1.0, 4 / math.sqrt(n)) if threshold == "auto" else threshold, 1.0)
        self.sigma_ = _number("sigma", 1 / math.sqrt(n) if sigma == "auto" else sigma)
        if isinstance(budget, bool) or not isinstance(budget, (int, np.integer)) or budget < 1:
            raise InvalidData("budget must be a whole number, at least 1")
        if bound not in get_args(Bound):
            raise InvalidData('bound must be "pure" or "zcdp"')
        self._check = check
        self._budget = int(budget)
        each = 1 / (self.sigma_ * n)
        total = 2 * self._budget
        stated = PureDP(total * each) if bound == "pure" else ZCDP(total * pure_to_zcdp(each))
        claim = Claim(stated, unit="record", neighbours="replace-one", assumptions=(ROW_BY_ROW,))
        release = Release(claim, f"reusable holdout, {budget} overfit events", seed=noise_seed).__enter__()
        self._above = AboveThreshold(
            release,
            self._budget * each,
            sensitivity=GRID,
            threshold=round(self.threshold_ * n * GRID),
            max_tops=self._budget,
        )
        event = dp_event.DiscreteLaplaceDpEvent(each, 1)
        self._noise = release.prepaid(dp_event.SelfComposedDpEvent(event, self._budget))
        self._scale = Fraction(GRID) / Fraction(each)
        super().__init__(release.claim, self._budget, release)

    @property
    def size_(self) -> int:
        """Rows of the holdout."""
        return len(self._holdout)

    def query(self, query: Query) -> Any:
        """Return the mean of a query, or of several in their order.

        Parameters
        ----------
        query : callable
            Rows to values in [0, 1], shape (n,), or (n, k) for k queries.

        Returns
        -------
        float or ndarray of float, shape (k,)
            NaN for queries after the last overfit event.

        Raises
        ------
        InvalidData
            If it fails on the training set, or has not one number a row; nothing is spent.
        BudgetExceeded
            If no overfit event is left.
        ClaimViolated
            If this is closed, or was carried into another process.
        """
        self._check_usable()
        if self._check:
            try_on(query, self._train)
        trained = np.atleast_1d(on_grid(query, self._train).mean(axis=0))
        sums = np.atleast_1d(on_grid(query, self._holdout).sum(axis=0))
        if trained.shape != sums.shape:
            raise InvalidData("a query must give as many answers on the holdout as on the training set")
        n = len(self._holdout)
        with self._turn():
            over = self._above.ask(np.abs(sums - np.rint(trained * n).astype(np.int64)))
            self._left = self._above.remaining_
            answers = trained / GRID
            answers[len(over) :] = math.nan
            seen = np.flatnonzero(over)
            if seen.size:
                drawn = self._noise.discrete_laplace(
                    sums[seen], l1_sensitivity=GRID * int(seen.size), scale=self._scale
                )
                answers[seen] = np.clip(drawn / (n * GRID), 0.0, 1.0)
            return plain(answers)

    def score(self, estimator: Any, metric: Callable[[Any, Any], Any] | None = None) -> float:
        """Return a fitted model's score, by default its accuracy; train and holdout must be pairs (X, y).

        Parameters
        ----------
        estimator : object with `predict`
        metric : callable, optional
            ``metric(y, predicted)``: one value in [0, 1] for each row, not their mean.
        """
        if len(self._train.parts) != 2:
            raise InvalidData("score needs train and holdout as pairs (X, y)")
        measure = metric or _agreement
        return float(self.query(lambda rows, labels: measure(labels, estimator.predict(rows))))

    def half_width(self, queries: int, *, beta: float = 0.05) -> float:
        """What is proved about the population: all of so many answers are this near to it, with probability 1 - beta.

        An answer is off the holdout's mean by the threshold and its noise at most: T + 2σ log(3(B + 1)/b) +
        4σ log(3m/b) with probability 1 - b. The rest is the transfer theorem. 1 promises nothing.
        """
        if isinstance(queries, bool) or not isinstance(queries, (int, np.integer)) or queries < 1:
            raise InvalidData("queries must be a whole number, at least 1")
        rho = 2 * self._budget * pure_to_zcdp(1 / (self.sigma_ * len(self._holdout)))

        def error(_: float, b: float) -> float:
            if b <= 0:
                return math.inf
            noise = 2 * math.log(3 * (self._budget + 1) / b) + 4 * math.log(3 * queries / b)
            return self.threshold_ + self.sigma_ * noise + 2 / GRID

        return transfer(error, rho, beta, spend_all=True)[0]


def _agreement(labels: Any, predicted: Any) -> NDArray[np.bool_]:
    return np.asarray(np.asarray(labels) == np.asarray(predicted))


def _number(name: str, value: Any, most: float = math.inf) -> float:
    if isinstance(value, (bool, str)) or not 0 < value <= most or math.isinf(value):
        raise InvalidData(f'{name} must be "auto" or a number above 0' + (f", at most {most:g}" if most == 1 else ""))
    return float(value)


def _check_apart(train: Rows, holdout: Rows, indices: tuple[ArrayLike, ArrayLike] | None) -> None:
    if any(a is b for a, b in zip(train.parts, holdout.parts, strict=False)):
        raise InvalidData("train and holdout are the same object: split the rows first")
    if len(train.parts) != len(holdout.parts):
        raise InvalidData("train and holdout must have the same parts")
    if indices is not None and np.intersect1d(*indices).size:
        raise InvalidData("holdout overlaps train: a row may stand in one of them only")
