"""NoisySufficientStatistics: a linear model from XᵀY with noise, the rival of noisy bag means.

For whoever compares mechanisms with the same label-DP claim. Sufficient statistics: Vu and Slavković (2009), Foulds et
al. (2016); here the features are public, so that only XᵀY needs noise. Shrinkage: James and Stein (1961).
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.release import Release
from sfumato.statistics.aggregates.bags import Floats, Integers
from sfumato.statistics.aggregates.comparing import whitening
from sfumato.statistics.aggregates.linear import read_features
from sfumato.statistics.aggregates.private import read_label_budget, read_prior
from sfumato.statistics.aggregates.releasing import GRANULES, check_seed

_FEATURE_STEP = 2.0**-12  # of a standard deviation
_LARGEST = 2**60
_ASSUMPTIONS = (
    "features and bounds are public: only the response is protected",
    "each person has exactly one response",
)


class NoisySufficientStatistics(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Least squares from a noisy XᵀY, shrunk by what its noise is known to be.

    *Label* differential privacy, neighbours replace-one: the data sets differ in one person's response; features are
    public. They are centred, whitened and rounded to whole multiples z_i of 2⁻¹² standard deviations, a 1 is put before
    them, and each response is clipped and rounded to 0 .. G on its own. A replaced response moves Σ z_i y_i, a vector
    of whole numbers, by at most G·max‖z_i‖₁ in L1 and G·max‖z_i‖₂ in L2; the maximum is over public features. All else
    is post-processing.

    With whitened features the noise of the d coefficients is alike, with sum of variances V, and they are multiplied
    by max(0, 1 - V/‖θ̂‖²), but by no more than t/(t + V), t being `prior_t`: where noise is all there is, the first
    says too much by chance.

    Parameters
    ----------
    epsilon : float, optional
        Pure ε-DP; 1.0 if neither it nor `rho_zcdp` is given.
    rho_zcdp : float, optional
    bounds : (float, float)
        Public bounds of the response; required.
    shrink : bool, default True
    prior_t : float, optional
        Public guess of the variance of the predictable part of a response; by default (r/4)²/2, r being the distance
        of the bounds. A wrong one costs accuracy, never privacy.
    granules : int, default 65536
        Grid of the responses, as in `aggregate`.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    claim_ : Claim
    coef_ : ndarray of float, shape (d,)
    intercept_ : float
    shrinkage_ : float

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.aggregates import NoisySufficientStatistics
    >>> X = np.random.default_rng(0).normal(size=(500, 2))
    >>> NoisySufficientStatistics(1.0, bounds=(-4, 4)).fit(X, X @ [1.0, -1.0]).coef_.shape
    (2,)
    """

    def __init__(
        self,
        epsilon: float | None = None,
        *,
        rho_zcdp: float | None = None,
        bounds: tuple[float, float] | None = None,
        shrink: bool = True,
        prior_t: float | None = None,
        granules: int = GRANULES,
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.rho_zcdp = rho_zcdp
        self.bounds = bounds
        self.shrink = shrink
        self.prior_t = prior_t
        self.granules = granules
        self.noise_seed = noise_seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Release a noisy XᵀY and solve for the coefficients.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
            Features; public.
        y : array_like of float, shape (n,)
            Responses.

        Raises
        ------
        InvalidData, InvalidClaim
            On bad parameters or data, before anything is spent.
        BudgetExceeded
            If the active ledger refuses.
        """
        budget = read_label_budget(self.epsilon, self.rho_zcdp, self.bounds, self.granules)
        check_seed(self.noise_seed)
        t = read_prior("prior_t", self.prior_t, budget)
        X, labels = read_features(self, X, y)
        if not isinstance(labels, np.ndarray) or len(labels) != len(X):
            raise InvalidData("y must have one response a person (inconsistent numbers of samples)")
        if len(X) < 2:
            raise InvalidData("n_samples=1: at least 2 people are needed")
        centre, whiten = X.mean(axis=0), whitening(X)
        z = _whole_features((X - centre) @ whiten)
        pure = isinstance(budget.bound, PureDP)
        norms = np.abs(z).sum(axis=1) if pure else (z**2).sum(axis=1)
        # the square root of a whole number, a hair up: never below the true norm
        longest = int(norms.max()) if pure else float(np.sqrt(float(norms.max()))) * (1 + 1e-12)
        sensitivity = budget.granules * longest
        if len(X) * sensitivity > _LARGEST:
            raise InvalidData("XᵀY would overflow 64-bit integers: take fewer granules")
        budget.check_noise(sensitivity)
        statistics = z.T @ budget.quantise(labels)
        with Release(
            budget.claim(_ASSUMPTIONS), purpose=f"XᵀY of {z.shape[1]} features", seed=self.noise_seed
        ) as release:
            noisy = budget.draw(release, statistics, sensitivity)
        self.claim_ = release.claim
        features = np.asarray(z * _FEATURE_STEP, np.float64)
        # the grids are undone: Σ x_i y_i and the variance of its noise
        cross = budget.low * features.sum(axis=0) + noisy * (budget.step * _FEATURE_STEP)
        variance = budget.variance(sensitivity) * (budget.step * _FEATURE_STEP) ** 2
        intercept, slopes = self._solve(features, cross, variance, t)
        self.coef_ = np.asarray(whiten @ slopes, np.float64)
        self.intercept_ = float(intercept - centre @ self.coef_)
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predict the response of each person, shape (n,)."""
        check_is_fitted(self)
        features: Floats = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(features @ self.coef_ + self.intercept_, np.float64)

    def _solve(self, features: Floats, cross: Floats, variance: float, t: float) -> tuple[float, Floats]:
        """Intercept and shrunk slopes of the whitened features, from XᵀY with noise of that variance."""
        inverse = np.asarray(np.linalg.inv(features.T @ features), np.float64)
        solved = np.asarray(inverse @ cross, np.float64)
        slopes = solved[1:]
        noise = variance * float(np.trace((inverse @ inverse)[1:, 1:]))
        length = float(slopes @ slopes)
        seen = max(0.0, 1 - noise / length) if length > 0 else 0.0
        self.shrinkage_ = min(seen, t / (t + noise)) if self.shrink else 1.0
        return float(solved[0]), self.shrinkage_ * slopes


def _whole_features(whitened: Floats) -> Integers:
    with_one = np.column_stack((np.ones(len(whitened)), whitened))
    return np.rint(with_one / _FEATURE_STEP).astype(np.int64)
