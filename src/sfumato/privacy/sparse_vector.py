"""Sparse vector: which of many queries exceed a threshold, at a price for those that do and not for the others.

For mechanisms that answer long sequences of questions of which few matter. Dwork, Naor, Reingold, Rothblum and Vadhan
2009; the form proved here is Algorithm 1 of Lyu, Su and Li (VLDB 2017), with discrete noise.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from dp_accounting import dp_event
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.interactive import Interactive
from sfumato.privacy.release import Release, _positive

_LARGEST = 2**61  # leaves room for the noise in int64


class AboveThreshold(Interactive):
    """Tells whether integer queries reach a threshold, until it has said so `max_tops` times.

    *Proof.* Let neighbours, in the sense of the release's claim, move each query by at most Δ, `sensitivity`, and let
    one epoch be the answers up to a top. Its threshold carries discrete Laplace noise of scale 2Δ/ε', each query fresh
    noise of scale 4Δ/ε', where ε' = ε / `max_tops`. Take neighbours D and D', fix the noise of all queries of the epoch
    but the last, and let g(D) be the largest noisy query before the last. The epoch ends with a top exactly if
    g(D) < T̂ ≤ f(D) + ν. Moving T̂ by g(D') - g(D), at most Δ, and ν by g(D') - g(D) + f(D) - f(D'), at most 2Δ, maps
    the noise that does so on D one to one, integers to integers, to noise that does so on D'; the probability of the
    first changes by at most e^(ε'/2), that of the second too. An epoch without a top needs the first shift only. So an
    epoch is ε'-DP however many answers it has, and its end is decided by its own noise, so the epochs compose
    adaptively: ε in all, or `max_tops` times the zCDP of ε' where the release claims that.

    `monotone=True` halves the noise of the queries. It is for queries that neighbours move all in one direction, each
    by at most Δ, such as counts under add-remove: g(D') - g(D) and f(D) - f(D') have opposite signs then, so that ν
    moves by at most Δ (Lyu, Su and Li, Theorem 4).

    Parameters
    ----------
    release : Release
        Open; it is charged here, once for all answers.
    epsilon : float
        Of all answers together.
    sensitivity : int or Fraction
        Δ, how far neighbours move any query.
    threshold : int
        Public.
    max_tops : int, default 1
    monotone : bool, default False

    Raises
    ------
    InvalidClaim
        If a parameter is out of range.
    ClaimViolated
        If the release's claim leaves less than this costs.

    Examples
    --------
    >>> from sfumato import Claim, PureDP, Release
    >>> with Release(Claim(PureDP(1.0)), purpose="the first busy day") as release:
    ...     busy = AboveThreshold(release, 1.0, sensitivity=1, threshold=500)
    ...     answers = [bool(busy.ask(count)) for count in (3, 8, 10_000)]
    >>> answers
    [False, False, True]
    """

    def __init__(
        self,
        release: Release,
        epsilon: float,
        *,
        sensitivity: int | Fraction = 1,
        threshold: int,
        max_tops: int = 1,
        monotone: bool = False,
    ) -> None:
        each = _positive("epsilon", epsilon) / _counted("max_tops", max_tops)
        self._delta = _positive("sensitivity", sensitivity)
        self._threshold = _whole(np.asarray(threshold))
        self._threshold_scale = 2 * self._delta / each
        self._query_scale = (2 if monotone else 4) * self._delta / each
        event = dp_event.DiscreteLaplaceDpEvent(float(each), 1)
        self._noise = release.prepaid(dp_event.SelfComposedDpEvent(event, int(max_tops)))
        self._noisy_threshold: int | None = None
        claim = release.claim
        own = Claim(PureDP(float(epsilon)), claim.unit, claim.neighbours, claim.trust, claim.assumptions, claim.void)
        super().__init__(own, int(max_tops))
        self._parent = release

    def ask(self, values: ArrayLike) -> NDArray[np.bool_]:
        """Answer one query, or several in their order.

        Parameters
        ----------
        values : array_like of int, shape () or (k,)
            The queries on the data.

        Returns
        -------
        ndarray of bool, shape () or (up to k,)
            Shorter than `values` if the last top that is paid for comes before the end.

        Raises
        ------
        BudgetExceeded
            If there were `max_tops` tops before.
        ClaimViolated
            If the release is closed, or this is another process.
        InvalidData
            If the values are not integers, or too large.
        """
        queries = _whole(np.asarray(values))
        if queries.ndim > 1:
            raise InvalidData("values must be an integer or a sequence of integers")
        with self._turn():
            line = np.atleast_1d(queries)
            noisy = self._noise.discrete_laplace(
                line, l1_sensitivity=self._delta * max(1, line.size), scale=self._query_scale
            )
            answers = np.zeros(line.size, dtype=np.bool_)
            at = 0
            while self._left and at < line.size:
                top = np.flatnonzero(noisy[at:] >= self._current_threshold())
                if not top.size:
                    at = line.size
                    break
                at += int(top[0]) + 1
                answers[at - 1] = True
                self._left -= 1
                self._noisy_threshold = None
            return answers[:at].reshape(queries.shape) if queries.ndim == 0 else answers[:at]

    def _current_threshold(self) -> int:
        if self._noisy_threshold is None:  # at the start of each epoch
            drawn = self._noise.discrete_laplace(
                self._threshold, l1_sensitivity=self._delta, scale=self._threshold_scale
            )
            self._noisy_threshold = int(drawn)
        return self._noisy_threshold

    def _check_usable(self) -> None:
        super()._check_usable()
        self._parent.check_open()


class NumericSparse(Interactive):
    """`AboveThreshold` that also gives the value of each query that reaches the threshold.

    *Proof.* Half of ε pays for the comparisons as in `AboveThreshold`; each top's value carries fresh discrete Laplace
    noise of scale 2Δ·`max_tops`/ε, which is ε / (2·`max_tops`)-DP. The noise of the comparison is never shown: to
    print it is one of the published mistakes (variant 3 of Lyu, Su and Li).

    Parameters
    ----------
    release, epsilon, sensitivity, threshold, max_tops, monotone
        As of `AboveThreshold`; `epsilon` is of comparisons and values together.
    """

    def __init__(
        self,
        release: Release,
        epsilon: float,
        *,
        sensitivity: int | Fraction = 1,
        threshold: int,
        max_tops: int = 1,
        monotone: bool = False,
    ) -> None:
        half = _positive("epsilon", epsilon) / 2
        self._above = AboveThreshold(
            release,
            float(half),
            sensitivity=sensitivity,
            threshold=threshold,
            max_tops=max_tops,
            monotone=monotone,
        )
        self._delta = _positive("sensitivity", sensitivity)
        self._scale = self._delta * int(max_tops) / half
        event = dp_event.DiscreteLaplaceDpEvent(float(half / int(max_tops)), 1)
        self._noise = release.prepaid(dp_event.SelfComposedDpEvent(event, int(max_tops)))
        claim = self._above.claim_
        own = Claim(PureDP(float(epsilon)), claim.unit, claim.neighbours, claim.trust, claim.assumptions, claim.void)
        super().__init__(own, int(max_tops))

    def ask(self, value: int) -> int | None:
        """Return the noisy value if it reaches the threshold, else None. Errors as of `AboveThreshold.ask`."""
        query = _whole(np.asarray(value))
        if query.ndim:
            raise InvalidData("value must be one integer")
        with self._turn():
            if not self._above.ask(query):
                return None
            self._left -= 1
            return int(self._noise.discrete_laplace(query, l1_sensitivity=self._delta, scale=self._scale))


def _whole(values: NDArray[Any]) -> NDArray[np.int64]:
    if values.dtype.kind not in "iub":
        raise InvalidData(f"expected integers, got {values.dtype}: put real values on a public grid first")
    if values.size and (int(values.max()) > _LARGEST or int(values.min()) < -_LARGEST):
        raise InvalidData("integers must be at most 2**61 from zero")
    return values.astype(np.int64)


def _counted(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise InvalidClaim(f"{name} must be a whole number, at least 1")
    return int(value)
