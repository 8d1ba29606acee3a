"""AggregateRegressor: a linear model of individual responses from bag means of them.

For an advertiser or health service that receives averages only. Javanmard, Chen, Mirrokni, Badanidiyuru and Fu,
"Learning from Aggregate responses: Instance Level versus Bag Level Loss Functions" (ICLR 2024, arXiv 2401.11081).
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import theory
from sfumato.statistics.aggregates.bags import Bags, Floats
from sfumato.statistics.aggregates.moments import Moments, moments, read_responses
from sfumato.statistics.aggregates.releasing import AggregateResponses, read_labels
from sfumato.statistics.aggregates.signal import Signal, estimate_signal


class AggregateRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Minimises (1-ρ)·bag loss + ρ·instance loss (+ ridge) over linear models, in closed form.

    The bag loss compares mean predictions with mean responses: no bias, but few equations. The instance loss takes the
    bag's mean for each person's own response: it shrinks predictions by about 1/k, however many people there are, and
    has less variance. It is the bag loss plus the variance of predictions within bags, so ρ interpolates, and an
    interior ρ is best. With A the scatter of features between bags and B that within, the coefficients are
    (A + ρB + λΣ)⁻¹ k X̄ᵀȳ.

    It learns from what `aggregate` let out and promises nothing of its own: with noisy means it is post-processing, and
    the claim is `responses.claim`. Bags of unequal size weigh by their sizes; where the noise of the means differs too,
    by the inverse of their variance, estimated from the means.

    Parameters
    ----------
    rho : "auto" or float, default "auto"
        0 is the bag loss, 1 the instance loss; more shrinks further. "auto" minimises the risk of
        `theory.risk`, with the strength of signal and noise estimated from the bag means (see `signal_`).
    ridge : "auto" or float, default 0
        Penalty λ·θᵀΣθ in units of the features' own covariance Σ, so that their scale does not matter. "auto" takes
        λ = d·s2/t, the best for the bag loss, and needs rho "auto" or 0. In theory it does at least as well as any ρ.
    debias : bool, default False
        Divide the coefficients by the shrinkage that the theory expects. No bias for Gaussian features, more variance.
    fit_intercept : bool, default True
        The intercept is never penalised.

    Attributes
    ----------
    coef_ : ndarray of float, shape (d,)
    intercept_ : float
    rho_, ridge_ : float
        As used. ρ has no effect where each bag is one person: `rho_` is 0 then.
    shrinkage_ : float
        Factor by which the theory expects the coefficients to fall short of the truth, before `debias`.
    expected_risk_ : float
        Excess risk by the theory, in units of the response squared; an estimate for Gaussian features.
    signal_ : Signal
        Variance `t` of the predictable part of a response, and `s2` of the rest: posterior means given the bag means.
    rank_ : int
        Of the system that was solved; below d the solution of least norm, in units of the deviations, is taken.

    Warns
    -----
    UserWarning
        If the coefficients are not unique, or `rho` was chosen for bags of one. Both depend on the features and the
        sizes of the bags only, which are public.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.aggregates import AggregateRegressor, aggregate, make_bags
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 3))
    >>> y = X @ [1.0, -2.0, 0.5] + 4
    >>> bag_id = make_bags(600, 4, random_state=0)
    >>> AggregateRegressor(rho=0).fit(X, aggregate(y, bag_id), bag_id=bag_id).coef_.round(6).tolist()
    [1.0, -2.0, 0.5]
    """

    def __init__(
        self,
        rho: float | Literal["auto"] = "auto",
        *,
        ridge: float | Literal["auto"] = 0.0,
        debias: bool = False,
        fit_intercept: bool = True,
    ) -> None:
        self.rho = rho
        self.ridge = ridge
        self.debias = debias
        self.fit_intercept = fit_intercept

    def fit(self, X: ArrayLike, y: AggregateResponses | ArrayLike, *, bag_id: ArrayLike | None = None) -> Self:
        """Fit to bag means.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
            Features of each person.
        y : AggregateResponses, or array_like of float, shape (m,)
            Mean response of each bag.
        bag_id : array_like of int, shape (n,), optional
            Bag of each person, 0 .. m-1, or -1 for none. Without it each person is a bag: ordinary least squares.

        Returns
        -------
        AggregateRegressor

        Raises
        ------
        InvalidData
            On bad parameters or data.
        """
        self._check()
        X, responses = read_features(self, X, y)
        bags, means, noise = read_responses(responses, bag_id, len(X))  # type: ignore[arg-type]
        if not bags.inside.all():
            X = X[bags.inside]
        most = math.inf
        if isinstance(responses, AggregateResponses) and responses.bounds is not None:
            most = (responses.bounds[1] - responses.bounds[0]) ** 2 / 4
        weights = self._weights(X, bags, means, noise, most)
        found = moments(X, bags, means, weights, intercept=self.fit_intercept)
        self.signal_ = self._signal(found, bags, noise, most)
        self._choose(bags, X.shape[1])
        self._solve(found, bags)
        return self

    def predict(self, X: ArrayLike) -> Floats:
        """Predict the response of each person, shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_ + self.intercept_, np.float64)

    def _check(self) -> None:
        for name in ("rho", "ridge"):
            value = getattr(self, name)
            if isinstance(value, str) and value == "auto":
                continue
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not 0 <= value < math.inf:
                raise InvalidData(f'{name} must be "auto" or a finite number, at least 0')
        if self.ridge == "auto" and self.rho not in ("auto", 0):
            raise InvalidData('ridge="auto" is that of the bag loss: leave rho at "auto" or 0')

    def _signal(self, found: Moments, bags: Bags, noise: Floats, most: float) -> Signal:
        floor = float(np.min(noise * bags.sizes))
        return estimate_signal(found, bags.n, len(bags), floor, most=most, intercept=self.fit_intercept)

    def _weights(self, X: Floats, bags: Bags, means: Floats, noise: Floats, most: float) -> Floats:
        """Relative weight of a person by bag: a mean has variance s2/k + v, so it is 1/(s2 + kv).

        Up to a factor; all are 1 where that is the same for each bag.
        """
        scaled = noise * bags.sizes
        even = np.ones(len(bags))
        if np.ptp(scaled) <= 1e-12 * scaled.max():
            return even
        first = moments(X, bags, means, even, intercept=self.fit_intercept)
        own = max(self._signal(first, bags, noise, most).s2 - float(scaled.min()), 0.0)
        weights = 1 / (own + scaled)
        return np.asarray(weights / np.average(weights, weights=bags.sizes))

    def _choose(self, bags: Bags, d: int) -> None:
        n, k, (t, s2) = bags.n, bags.n / len(bags), (self.signal_.t, self.signal_.s2)
        if len(bags) == bags.n and isinstance(self.rho, (int, float)) and self.rho > 0:
            warnings.warn("rho has no effect: each bag is one person", UserWarning, stacklevel=3)
        if len(bags) == bags.n or (self.rho == "auto" and self.ridge == "auto"):
            self.rho_ = 0.0
        elif self.rho == "auto":
            self.rho_ = theory.optimal_rho(n, d, k, t, s2, debias=self.debias)
        else:
            self.rho_ = float(self.rho)
        best = min(theory.optimal_ridge(d, t, s2), theory.LARGEST_RHO * n)
        self.ridge_ = float(best if self.ridge == "auto" else self.ridge)
        self.shrinkage_ = float(theory.shrinkage(n, d, k, self.rho_, ridge=self.ridge_))
        self.expected_risk_ = float(theory.risk(n, d, k, self.rho_, t, s2, ridge=self.ridge_, debias=self.debias))

    def _solve(self, found: Moments, bags: Bags) -> None:
        scatter = found.between + found.within
        system = found.between + self.rho_ * found.within + self.ridge_ / bags.n * scatter
        values, axes = np.linalg.eigh(system)
        kept = values > len(values) * np.finfo(float).eps * max(values[-1], np.finfo(float).tiny)
        self.rank_ = int(kept.sum())
        if self.rank_ < len(values):
            warnings.warn(
                "the coefficients are not unique (fewer bags than features at rho=0, or features that depend on each "
                "other): those of least norm are taken",
                UserWarning,
                stacklevel=3,
            )
        self.coef_ = axes[:, kept] @ (axes[:, kept].T @ found.cross / values[kept]) / found.scale
        if self.debias and math.isfinite(self.shrinkage_) and self.shrinkage_ > 0:
            self.coef_ = self.coef_ / self.shrinkage_
        self.intercept_ = found.response - float(found.features @ self.coef_)


def read_features(estimator: Any, X: Any, y: Any) -> tuple[Floats, AggregateResponses | Floats]:
    """Check features as scikit-learn does, and responses without ever naming one of them."""
    if y is None:
        raise InvalidData(f"{type(estimator).__name__} requires y to be passed, but the target y is None")
    try:
        X = validate_data(estimator, X, dtype=np.float64)
    except ValueError as error:
        raise InvalidData(str(error)) from None
    if isinstance(y, AggregateResponses):
        return X, y
    return X, read_labels(one_dimensional(y))


def one_dimensional(y: Any) -> Any:
    """A vector, or a column with scikit-learn's warning."""
    try:
        return column_or_1d(np.asarray(y), warn=True)
    except ValueError as error:  # it names the shape only
        raise InvalidData(str(error)) from None
