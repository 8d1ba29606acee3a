"""Release: the scope in which noise may be drawn, and in which it is paid for.

For every formally private mechanism in sfumato: none draws its noise anywhere else.
Noise: Ghosh, Roughgarden and Sundararajan 2009 (discrete Laplace), Canonne, Kamath and Steinke 2020
(discrete Gaussian), McSherry and Talwar 2007 (exponential mechanism), Warner 1965 (randomized response).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from types import TracebackType
from typing import Any, Literal, NoReturn, Self, TypeAlias, TypeVar

import numpy as np
from dp_accounting import dp_event
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import ClaimViolated, InvalidClaim, InvalidData
from sfumato.privacy import ledger as ledgers
from sfumato.privacy import noise, quantized, unary
from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.bounds import FormalBound
from sfumato.privacy.claim import Claim
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.events import ExponentialMechanismEvent
from sfumato.privacy.grid import default_granularity, from_grid, grid_sensitivity, to_grid

Drawn = TypeVar("Drawn")
Norm: TypeAlias = Literal["linf", "l2"]

REPRODUCIBLE = "the noise is reproducible from a seed"


class Release:
    """The scope of one release: opened, charged, drawn from, closed.

    Opening charges the active ledger, if there is one, with the whole claim, before any noise is drawn.
    Each draw states its `DpEvent`; a draw that would bring the composed events above the claim raises
    `ClaimViolated` *before* the noise exists, so nothing that overspends can leave the scope. An exception
    inside leaves the ledger's charge standing: noise may have been seen.

    A release belongs to whoever holds the object: nested and concurrent releases share nothing but the
    ledger. It cannot be copied or pickled, and a forked process cannot go on with it: the copy's draws would
    be paid for by nobody. A new thread starts without an active ledger (Python gives it an empty context): open
    `ledger.charging(...)` inside the thread, or run it in `contextvars.copy_context()`.

    Parameters
    ----------
    claim : Claim
        What the whole release promises; its bound must be formal.
    purpose : str
        What the ledger's row says: "Kaplan-Meier, 30 intervals". Keep data values out of it.
    seed : int, optional
        For tests and studies only: reproducible noise. The claim is marked void, and a ledger refuses it.

    Raises
    ------
    InvalidClaim
        If the claim is not formal.
    BudgetExceeded
        On entering, if the active ledger's data set has too little left.
    ClaimViolated
        On a draw that costs more than the claim leaves, or outside the scope.

    Examples
    --------
    >>> from sfumato import Claim, PureDP, Release
    >>> with Release(Claim(PureDP(1.0)), purpose="two counts") as release:
    ...     noisy = release.discrete_laplace([120, 80], l1_sensitivity=1, epsilon=1.0)
    >>> noisy.shape
    (2,)
    """

    def __init__(self, claim: Claim, purpose: str, *, seed: int | None = None) -> None:
        if not claim.formal:
            raise InvalidClaim(f"a release needs a formal claim that stands, got: {claim}")
        self.claim = claim if seed is None else replace(claim, void=REPRODUCIBLE)
        self.purpose = purpose
        self.receipt: ledgers.Receipt | None = None
        self.events: list[dp_event.DpEvent | FormalBound] = []
        self._seed = seed
        self._spent = Cost.zero()
        self._entropy: Entropy | None = None
        self._state: Literal["new", "open", "closed"] = "new"
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        if self._state != "new":
            raise ClaimViolated("a release is opened once: its budget is spent once")
        self.receipt = ledgers.charge_active(self.claim, self.purpose)
        self._entropy = Entropy(self._seed)
        self._state = "open"
        self._pid = os.getpid()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._state = "closed"
        self._entropy = None
        if kind is None and not self._spent.fits(self.claim.bound):
            raise ClaimViolated(f"spent more than promised: {self.claim.bound}")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise ClaimViolated("a release cannot be copied or pickled: its draws are paid for once")

    def charge(self, event: dp_event.DpEvent | FormalBound) -> None:
        """State the cost of a mechanism whose proof is its own, before it runs: as an event, or as a bound.

        Raises
        ------
        ClaimViolated
            If it does not fit into what the claim leaves, or the release is not open.
        InvalidClaim
            If no accountant here composes the event under the claim's neighbours.
        """
        with self._lock:
            self.check_open()
            total = self._spent + cost_of(event, self.claim.neighbours)
            if not total.fits(self.claim.bound):
                raise ClaimViolated(
                    f"this draw ({type(event).__name__}) on top of {len(self.events)} earlier ones "
                    f"spends more than the claim promises: {self.claim.bound}"
                )
            self._spent = total
            self.events.append(event)

    def discrete_laplace(
        self, values: ArrayLike, *, l1_sensitivity: int | Fraction, epsilon: float
    ) -> NDArray[np.int64]:
        """Add discrete Laplace noise of scale l1_sensitivity / epsilon to integers.

        Neighbours change `values` by at most `l1_sensitivity` in L1, so every output's probability
        changes by at most e^epsilon.

        Parameters
        ----------
        values : array_like of int, any shape
        l1_sensitivity : int or Fraction
            Positive.
        epsilon : float
            Positive.

        Returns
        -------
        ndarray of int64, same shape
        """
        integers = _integers(values)
        scale = _positive("l1_sensitivity", l1_sensitivity) / _positive("epsilon", epsilon)
        event = dp_event.DiscreteLaplaceDpEvent(float(epsilon), 1)
        return integers + self._draw(event, lambda e: noise.discrete_laplace(scale, integers.shape, e))

    def discrete_gaussian(self, values: ArrayLike, *, l2_sensitivity: float, rho: float) -> NDArray[np.int64]:
        """Add discrete Gaussian noise of variance l2_sensitivity² / (2 rho) to integers.

        Neighbours change `values` by at most `l2_sensitivity` in L2; the noise is rho-zCDP (Canonne, Kamath
        and Steinke 2020, Theorem 14, for vectors).

        Parameters
        ----------
        values : array_like of int, any shape
        l2_sensitivity : float
            Positive.
        rho : float
            Positive.

        Returns
        -------
        ndarray of int64, same shape
        """
        integers = _integers(values)
        sigma2 = _squared_up(l2_sensitivity) / (2 * _positive("rho", rho))
        event = dp_event.ZCDpEvent(float(rho))
        return integers + self._draw(event, lambda e: noise.discrete_gaussian(sigma2, integers.shape, e))

    def laplace(
        self, values: ArrayLike, *, l1_sensitivity: float, epsilon: float, granularity: float | None = None
    ) -> NDArray[np.float64]:
        """Round real values to a grid and add discrete Laplace noise on it.

        Rounding can widen the distance of neighbours; `grid_sensitivity` pays for that, so the noise is a
        little larger than l1_sensitivity / epsilon and no bit of the result depends on the values' low bits.

        Parameters
        ----------
        values : array_like of float, any shape
        l1_sensitivity, epsilon : float
            Positive.
        granularity : float, optional
            A power of two; by default far below the noise.

        Returns
        -------
        ndarray of float64, same shape
            Multiples of the granularity.
        """
        scale = float(_positive("l1_sensitivity", l1_sensitivity) / _positive("epsilon", epsilon))
        step = default_granularity(scale) if granularity is None else granularity
        cells = to_grid(np.asarray(values, dtype=float), step)
        sensitivity = grid_sensitivity(l1_sensitivity, step, cells.size, norm="l1")
        return from_grid(self.discrete_laplace(cells, l1_sensitivity=Fraction(sensitivity), epsilon=epsilon), step)

    def gaussian(
        self, values: ArrayLike, *, l2_sensitivity: float, rho: float, granularity: float | None = None
    ) -> NDArray[np.float64]:
        """Round real values to a grid and add discrete Gaussian noise on it.

        See `laplace` for the grid and `discrete_gaussian` for the guarantee.

        Parameters
        ----------
        values : array_like of float, any shape
        l2_sensitivity, rho : float
            Positive.
        granularity : float, optional
            A power of two; by default far below the noise.

        Returns
        -------
        ndarray of float64, same shape
            Multiples of the granularity.
        """
        sigma = math.sqrt(_squared_up(l2_sensitivity) / (2 * _positive("rho", rho)))
        step = default_granularity(sigma) if granularity is None else granularity
        cells = to_grid(np.asarray(values, dtype=float), step)
        sensitivity = grid_sensitivity(l2_sensitivity, step, cells.size, norm="l2")
        return from_grid(self.discrete_gaussian(cells, l2_sensitivity=float(sensitivity), rho=rho), step)

    def randomized_response(self, categories: ArrayLike, *, k: int, epsilon: float) -> NDArray[np.int64]:
        """Report each person's category, or with probability (k-1)/(e^epsilon + k-1) another one at random.

        One unit owns one entry; replacing it changes each report's probability by at most e^epsilon.

        Parameters
        ----------
        categories : array_like of int, any shape
            In 0 .. k-1.
        k : int
            Number of categories, at least 2.
        epsilon : float
            Positive.

        Returns
        -------
        ndarray of int64, same shape

        Raises
        ------
        InvalidClaim
            Under add-remove neighbours: the number of reports is public, so only "replace-one" can hold.
        """
        if self.claim.neighbours != "replace-one":
            raise InvalidClaim('randomized response shows who answered: claim neighbours="replace-one"')
        integers = _integers(categories)
        _positive("epsilon", epsilon)
        event = dp_event.DiscreteLaplaceDpEvent(float(epsilon), 1)
        return self._draw(event, lambda e: noise.randomized_response(integers, k, epsilon, e))

    def unary_encoding(self, categories: ArrayLike, *, k: int, epsilon: float) -> NDArray[np.uint8]:
        """Report k bits a person: that of their category 1 with probability 1/2, others with 1/(e^epsilon + 1).

        One unit owns one entry. Replacing its category by another changes the laws of two bits, a report's probability
        by factors of at most (1/2) / (1/(e^epsilon + 1)) and (e^epsilon/(e^epsilon + 1)) / (1/2): e^epsilon together.
        Replacing it by -1, which has no bit of its own, changes it by one of the two factors.

        Parameters
        ----------
        categories : array_like of int, shape (n,)
            In -1 .. k-1; -1 is none of them.
        k : int
            Number of categories.
        epsilon : float
            Positive.

        Returns
        -------
        ndarray of uint8, shape (n, ceil(k / 8))
            The bits as `numpy.packbits` packs them.

        Raises
        ------
        InvalidClaim
            Under add-remove neighbours: the number of reports is public, so only "replace-one" can hold.
        """
        if self.claim.neighbours != "replace-one":
            raise InvalidClaim('unary encoding shows who answered: claim neighbours="replace-one"')
        integers = _integers(categories)
        _positive("epsilon", epsilon)
        event = dp_event.DiscreteLaplaceDpEvent(float(epsilon), 1)
        return self._draw(event, lambda e: unary.unary_encoding(integers, k, epsilon, e))

    def choose(self, scores: ArrayLike, *, sensitivity: float, epsilon: float, copies: ArrayLike | None = None) -> int:
        """Choose a candidate with probability proportional to exp(epsilon · score / (2 · sensitivity)).

        Neighbours change each candidate's score by at most `sensitivity`: ε-DP, and ε²/8-zCDP. Candidates that follow
        one another with equal scores may be given as runs, which serves public grids of any size; runs of neighbours
        may differ, as long as the number of candidates and the bound on each one's score hold.

        Parameters
        ----------
        scores : array_like of int, shape (k,)
        sensitivity, epsilon : float
            Positive.
        copies : array_like of int, shape (k,), optional
            Run lengths: score i is that of copies[i] candidates in a row. Of any size, at least 0, not all 0.

        Returns
        -------
        int
            Number of the candidate, from 0 through all runs.
        """
        integers = _integers(scores)
        exact = _positive("sensitivity", sensitivity)
        _positive("epsilon", epsilon)
        event = ExponentialMechanismEvent(float(epsilon))
        return self._draw(event, lambda e: noise.exponential_choice(integers, epsilon, exact, e, copies))

    def prepaid(self, event: dp_event.DpEvent | FormalBound) -> PrepaidNoise:
        """Charge a mechanism whose proof is its own as a whole, and return the noise that it may draw.

        For sparse vector, tree aggregation and sampled training, whose draws cost together what `event` says and
        not what each would cost alone. The proof belongs in the docstring of the mechanism.

        Raises
        ------
        ClaimViolated
            As `charge`.
        """
        with self._lock:
            self.charge(event)
            return PrepaidNoise(self._sample)

    def check_open(self) -> None:
        """Raise ClaimViolated unless the release is open, in the process that opened it."""
        if self._state != "open":
            raise ClaimViolated("noise is drawn inside `with Release(...)` only")
        if os.getpid() != self._pid:
            raise ClaimViolated("a forked process cannot go on with its parent's release: open one of its own")

    def _draw(self, event: dp_event.DpEvent, sample: Callable[[Entropy], Drawn]) -> Drawn:
        # One lock for both: threads that share a release neither overspend nor share a stretch of entropy.
        with self._lock:
            self.charge(event)
            return self._sample(sample)

    def _sample(self, sample: Callable[[Entropy], Drawn]) -> Drawn:
        with self._lock:
            self.check_open()
            assert self._entropy is not None  # as it is open
            return sample(self._entropy)


class PrepaidNoise:
    """Noise of a mechanism that `Release.prepaid` has charged as a whole; drawn while its release is open.

    The sensitivities are not needed for the noise. They are stated so that the contract suite can hold the mechanism
    to them.
    """

    def __init__(self, sample: Callable[[Callable[[Entropy], Any]], Any]) -> None:
        self._sample = sample

    def discrete_laplace(
        self, values: ArrayLike, *, l1_sensitivity: int | Fraction, scale: int | float | Fraction
    ) -> NDArray[np.int64]:
        """Add discrete Laplace noise of that scale to integers.

        Parameters
        ----------
        values : array_like of int, any shape
        l1_sensitivity : int or Fraction
            How far neighbours move `values` in L1; positive.
        scale : int, float or Fraction
            Positive.

        Returns
        -------
        ndarray of int64, same shape
        """
        integers = _integers(values)
        _positive("l1_sensitivity", l1_sensitivity)
        exact = _positive("scale", scale)
        drawn: NDArray[np.int64] = self._sample(lambda e: noise.discrete_laplace(exact, integers.shape, e))
        return integers + drawn

    def discrete_gaussian(
        self, values: ArrayLike, *, l2_sensitivity: float, sigma2: int | float | Fraction
    ) -> NDArray[np.int64]:
        """Add discrete Gaussian noise of variance parameter sigma2 to integers.

        Parameters
        ----------
        values : array_like of int, any shape
        l2_sensitivity : float
            How far neighbours move `values` in L2; positive.
        sigma2 : int, float or Fraction
            Positive.

        Returns
        -------
        ndarray of int64, same shape
        """
        integers = _integers(values)
        _positive("l2_sensitivity", l2_sensitivity)
        exact = _positive("sigma2", sigma2)
        drawn: NDArray[np.int64] = self._sample(lambda e: noise.discrete_gaussian(exact, integers.shape, e))
        return integers + drawn

    def randomized_response(self, categories: ArrayLike, *, k: int, epsilon: float, entries: int) -> NDArray[np.int64]:
        """Report each category, or with probability (k-1)/(e^epsilon + k-1) another one at random.

        One unit may own many entries: what all of its reports cost together was charged.

        Parameters
        ----------
        categories : array_like of int, any shape
            In 0 .. k-1.
        k : int
            Number of categories, at least 2.
        epsilon : float
            Of one report; positive.
        entries : int
            How many categories neighbours may change; positive.

        Returns
        -------
        ndarray of int64, same shape
        """
        integers = _integers(categories)
        _positive("epsilon", epsilon)
        _positive("entries", entries)
        drawn: NDArray[np.int64] = self._sample(lambda e: noise.randomized_response(integers, k, epsilon, e))
        return drawn

    def randomized_quantization(
        self, positions: ArrayLike, *, levels: int, keep: float | Fraction, sensitivity: float, norm: Norm
    ) -> NDArray[np.uint8]:
        """Round positions at random to a level among those that are kept at random; see `privacy.quantized`.

        Parameters
        ----------
        positions : array_like of int, any shape
            2^32 times the place among levels 0 .. levels-1.
        levels : int
            3 .. 256.
        keep : float or Fraction
            Inside (0, 1): the probability of an interior level; a float is taken as the rational number that it is.
        sensitivity : float
            How far neighbours move `positions`, in that norm; positive.
        norm : {"linf", "l2"}

        Returns
        -------
        ndarray of uint8, same shape
        """
        integers, exact = _integers(positions), Fraction(keep)
        _positive("sensitivity", sensitivity)
        drawn: NDArray[np.uint8] = self._sample(lambda e: quantized.randomized_quantization(integers, levels, exact, e))
        return drawn

    def binomial_quantization(
        self, positions: ArrayLike, *, trials: int, sensitivity: float, norm: Norm
    ) -> NDArray[np.uint8]:
        """Count coins of probability position / 2^32, `trials` of them for each position; see `privacy.quantized`.

        Parameters
        ----------
        positions : array_like of int, any shape
            0 .. 2^32.
        trials : int
            1 .. 255.
        sensitivity : float
            How far neighbours move `positions`, in that norm; positive.
        norm : {"linf", "l2"}

        Returns
        -------
        ndarray of uint8, same shape
        """
        integers = _integers(positions)
        _positive("sensitivity", sensitivity)
        drawn: NDArray[np.uint8] = self._sample(lambda e: quantized.binomial_quantization(integers, trials, e))
        return drawn

    def bernoulli(self, p: int | float | Fraction, size: int | tuple[int, ...]) -> NDArray[np.bool_]:
        """Draw coins that fall true with probability exactly p: the secret sample of a sampled mechanism."""
        drawn: NDArray[np.bool_] = self._sample(lambda e: noise.bernoulli(p, size, e))
        return drawn


def _integers(values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind == "u" and array.dtype.itemsize == 8:
        raise InvalidData("expected integers that fit int64, got uint64")
    if array.dtype.kind not in "iub":
        raise InvalidData(f"expected integers, got {array.dtype}: real values go through laplace or gaussian")
    return array.astype(np.int64)


def _positive(name: str, value: Any) -> Fraction:
    number = float(value)
    if not (0 < number < math.inf):
        raise InvalidClaim(f"{name} must be finite and above 0, got {number:g}")
    return value if isinstance(value, Fraction) else Fraction(number)


def _squared_up(sensitivity: float) -> Fraction:
    """The square of a sensitivity, never below that of the real number the float stands for (√2, say)."""
    _positive("l2_sensitivity", sensitivity)
    exact = float(sensitivity).is_integer()
    return Fraction(sensitivity if exact else math.nextafter(sensitivity, math.inf)) ** 2
