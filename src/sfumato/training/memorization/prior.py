"""The frequency-prior model: how often a point that was seen ℓ times will be asked for, and what not fitting it costs.

For a model owner who must say how much memorisation a task needs. Feldman, "Does Learning Require Memorization?" (STOC
2020, arXiv 1906.05271), and its bound for private learners.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Self, TypeAlias

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData
from sfumato.training.memorization.cost import cost_of_privacy, log_choose, whole

Floats: TypeAlias = npt.NDArray[np.float64]
RandomState: TypeAlias = int | np.random.Generator | None


class FrequencyPrior:
    """A prior of how frequent the points (or subpopulations) of a domain are.

    Each of the N points draws a weight from the list, independently of the others; its frequency is its weight over the
    sum of all. A sample is n draws from those frequencies.

    Parameters
    ----------
    values : array of float, shape (k,)
        The weights that a point may have, at least 0.
    probabilities : array of float, shape (k,), optional
        How probable each is; uniform by default.
    n_points : int, optional
        N; the length of the list by default.

    Raises
    ------
    InvalidData
        If a weight is negative or not finite, all are 0, the probabilities are not probabilities, or N is below 2.

    Notes
    -----
    τ_ℓ is the mean frequency of a point given that it was seen ℓ times. The paper has it for every sample
    with ℓ copies of the point. For a list of weights that is not exact: the sum of all weights ties a point's frequency
    to the others' counts (with three points of weight 1 or 9 and n = 3, an unseen point has mean frequency .157 where
    one other was seen three times, and .165 where two were seen). It is exact on average over samples. So
    `excess_error` is exact for errors that depend on a point's own count and label, and `privacy_cost` is a lower bound
    for every private learner; for other learners `excess_error` is off by as much as that sum varies, relatively, which
    vanishes as N grows.
    """

    def __init__(
        self, values: npt.ArrayLike, *, probabilities: npt.ArrayLike | None = None, n_points: int | None = None
    ) -> None:
        self.values = np.asarray(values, dtype=np.float64)
        if self.values.ndim != 1 or not len(self.values) or not np.isfinite(self.values).all() or self.values.min() < 0:
            raise InvalidData("values must be a list of finite weights, at least 0")
        if self.values.sum() <= 0:
            raise InvalidData("values must not all be 0: a prior needs a positive total")
        size = len(self.values)
        given = np.full(size, 1 / size) if probabilities is None else np.asarray(probabilities, dtype=np.float64)
        if given.shape != self.values.shape or not np.isfinite(given).all() or given.min() < 0 or given.sum() <= 0:
            raise InvalidData(f"probabilities must be {size} numbers, at least 0, with a positive sum")
        self.probabilities = given / given.sum()
        self.n_points = size if n_points is None else n_points
        if self.n_points != int(self.n_points) or self.n_points < 2:
            raise InvalidData(f"n_points must be a whole number, at least 2, got {self.n_points}")

    @classmethod
    def from_list(cls, values: npt.ArrayLike) -> Self:
        """Take a list of N weights, one a point."""
        return cls(values)

    @classmethod
    def zipf(cls, n_points: int, exponent: float = 1.0) -> Self:
        """Weights 1, 2^-s, 3^-s, …: a long tail for s about 1."""
        return cls(np.arange(1, whole(n_points) + 1, dtype=np.float64) ** -exponent)

    @classmethod
    def geometric(cls, n_points: int, ratio: float = 0.99) -> Self:
        """Weights 1, r, r², …: a tail that carries little, for r in (0, 1)."""
        if not 0 < ratio < 1:
            raise InvalidData(f"ratio must be in (0, 1), got {ratio}")
        return cls(ratio ** np.arange(whole(n_points), dtype=np.float64))

    @classmethod
    def empirical(cls, counts: npt.ArrayLike) -> Self:
        """Weights as observed counts; `fit_prior` also corrects them for chance."""
        return cls(counts)

    def sample(self, random_state: RandomState = None) -> Floats:
        """Draw the frequencies of all points, shape (n_points,), summing to 1."""
        rng = np.random.default_rng(random_state)
        weights = self.values[rng.choice(len(self.values), size=self.n_points, p=self.probabilities)]
        total = weights.sum()
        if total <= 0 or weights.max() >= total:
            raise InvalidData("one point drew all of the frequency: the prior needs more points of weight above 0")
        return np.asarray(weights / total)

    def tau(self, n: int, max_multiplicity: int = 20, draws: int = 20, random_state: RandomState = None) -> Floats:
        """Mean frequency τ_ℓ of a point that was seen ℓ times among n, for ℓ = 0, …, `max_multiplicity`.

        Parameters
        ----------
        n : int
            Size of the sample.
        max_multiplicity : int
            At most n.
        draws : int
            Draws of all frequencies that the expectation is taken over; each costs O(n_points · max_multiplicity).
        random_state : int or Generator, optional

        Returns
        -------
        ndarray of float, shape (max_multiplicity + 1,)
        """
        moments = self._log_moments(n, max_multiplicity, draws, random_state)
        return np.asarray(np.exp(moments[1] - moments[0]))

    def expected_multiplicities(
        self, n: int, max_multiplicity: int = 20, draws: int = 20, random_state: RandomState = None
    ) -> Floats:
        """Expected number of points that occur exactly ℓ times among n, for ℓ = 0, …, `max_multiplicity`."""
        moments = self._log_moments(n, max_multiplicity, draws, random_state)
        return np.asarray(np.exp(moments[0] + log_choose(n, np.arange(max_multiplicity + 1))) / draws)

    def _log_moments(self, n: int, largest: int, draws: int, random_state: RandomState) -> Floats:
        """Logarithms of Σ α^ℓ (1-α)^(n-ℓ) and of Σ α^(ℓ+1) (1-α)^(n-ℓ) over points and draws."""
        n, largest = whole(n), whole(largest, least=0)
        if largest > n:
            raise InvalidData(f"max_multiplicity must be at most n = {n}, got {largest}")
        found = np.full((2, largest + 1), -np.inf)
        for alpha in self._draws(draws, random_state):
            positive = alpha[alpha > 0]
            log, rest = np.log(positive), np.log1p(-positive)
            for multiplicity in range(largest + 1):
                terms = multiplicity * log + (n - multiplicity) * rest
                if multiplicity == 0:  # 0^0: a point of frequency 0 is never seen
                    absent = math.log(len(alpha) - len(positive)) if len(positive) < len(alpha) else -math.inf
                    found[0, 0] = np.logaddexp(found[0, 0], absent)
                found[0, multiplicity] = np.logaddexp(found[0, multiplicity], _log_sum(terms))
                found[1, multiplicity] = np.logaddexp(found[1, multiplicity], _log_sum(terms + log))
        return found

    def _draws(self, draws: int, random_state: RandomState) -> Iterator[Floats]:
        rng = np.random.default_rng(random_state)
        for _ in range(whole(draws)):
            yield self.sample(rng)

    def weight(self, low: float, high: float, draws: int = 20, random_state: RandomState = None) -> float:
        """How heavy a part of the tail is: the share of all samples that points of frequency `low` to `high` get."""
        if not 0 <= low <= high:
            raise InvalidData("low and high must be in this order, at least 0")
        shares = [a[(a >= low) & (a <= high)].sum() for a in self._draws(draws, random_state)]
        return float(np.mean(shares))

    def excess_error(
        self,
        n: int,
        errors_by_multiplicity: Mapping[int, float],
        draws: int = 20,
        random_state: RandomState = None,
    ) -> float:
        """Error above the least possible, from how many seen points are not fitted: Σ τ_ℓ · errn(ℓ).

        Parameters
        ----------
        n : int
            Size of the training sample.
        errors_by_multiplicity : mapping of int to float
            For ℓ ≥ 1: expected number of points that occur exactly ℓ times in the sample and are mislabelled.

        Notes
        -----
        The central theorem of Feldman 2020; equality for a learner that does what it can on unseen points.
        """
        if not errors_by_multiplicity or min(errors_by_multiplicity) < 1:
            raise InvalidData("errors_by_multiplicity must map multiplicities of at least 1 to numbers of errors")
        if min(errors_by_multiplicity.values()) < 0:
            raise InvalidData("errors_by_multiplicity must hold numbers of at least 0")
        tau = self.tau(n, max(errors_by_multiplicity), draws, random_state)
        return float(sum(tau[multiplicity] * count for multiplicity, count in errors_by_multiplicity.items()))

    def privacy_cost(
        self,
        n: int,
        epsilon: float,
        delta: float = 0.0,
        n_classes: int = 10,
        draws: int = 20,
        random_state: RandomState = None,
    ) -> float:
        """Least error above the optimum that an (ε, δ)-private learner pays, labels being uniform on `n_classes`.

        Without the ℓ examples of a point its label cannot be named with probability above 1/K, hence with them not
        with more than min(1, e^(ℓε)/K + δ(e^(ℓε) - 1)/(e^ε - 1)). Points that were not seen cost every learner alike.
        The unit is one example, replaced or left out.
        """
        drawn = self._draws(draws, random_state)
        return float(np.mean([cost_of_privacy(alpha, n, epsilon, delta, n_classes) for alpha in drawn]))


def _log_sum(logs: Floats) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))
