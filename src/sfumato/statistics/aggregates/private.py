"""PrivateAggregateRegressor: bags, noisy means and the linear fit to them, as one estimator with one claim.

For the holder of the responses who publishes a model under label differential privacy. Javanmard et al. (ICLR 2024,
arXiv 2401.11081); the choice of bag size is derived for this library.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.statistics.aggregates import theory
from sfumato.statistics.aggregates.bags import Floats, make_bags, read_bags
from sfumato.statistics.aggregates.comparing import compare_mechanisms, feature_norm, ridge_risk, sufficient_risk
from sfumato.statistics.aggregates.linear import AggregateRegressor, read_features
from sfumato.statistics.aggregates.releasing import GRANULES, LabelBudget, check_seed, read_budget, release_means

_LEAST_GAIN = 0.01


class PrivateAggregateRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Forms random bags, releases their noisy mean responses once, and fits `AggregateRegressor` to them.

    *Label* differential privacy, neighbours replace-one: the data sets differ in one person's response. One `Release`
    lets out the noisy bag means (`aggregate` has the proof); all else here is computed from them and from features,
    assignment and parameters, which are public. A second fit spends again. Features, and who took part, are not
    protected.

    Whether to aggregate at all: `comparison_` puts the expected risk beside that of other mechanisms with the same
    claim. Where one holder has all responses, bags of one with `ridge="auto"` are never worse in theory; bags serve
    where only averages may leave, or where the fit must not be ridge's.

    Parameters
    ----------
    epsilon : float, optional
        Pure ε-DP; 1.0 if neither it nor `rho_zcdp` is given.
    rho_zcdp : float, optional
        ρ-zCDP by Gaussian noise, instead of `epsilon`.
    bounds : (float, float)
        What a response can be, by public knowledge. Required: bounds read from the data would break the claim.
    bag_size : "auto" or int, default "auto"
        "auto" takes `theory.optimal_bag_size` from public numbers: n, d, the bounds, the budget and the priors.
    rho : "auto" or float, default "auto"
        Interpolation, as in `AggregateRegressor`. "auto" follows the priors if both are given, else the noisy means.
    ridge, debias, fit_intercept
        As in `AggregateRegressor`.
    prior_t, prior_s2 : float, optional
        Public guesses of the variance of the predictable part of a response and of the rest. By default (r/4)²/2 each,
        r being the distance of the bounds. Wrong ones cost accuracy, never privacy.
    granules : int, default 65536
        Grid of the responses, as in `aggregate`.
    random_state : int, RandomState or None
        Forms the bags; public.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    claim_ : Claim
    responses_ : AggregateResponses
        The release.
    bag_id_ : ndarray of int64, shape (n,)
    bag_size_ : int
    coef_, intercept_, rho_, ridge_, shrinkage_, expected_risk_
        As in `AggregateRegressor`.
    comparison_ : DataFrame
        From `compare_mechanisms`, computed from public numbers: noisy sufficient statistics beside bags and ridge.

    Warns
    -----
    UserWarning
        If the priors and the budget leave less than 1 % of the signal: nothing to be learned at this budget. It depends
        on public numbers only.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.aggregates import PrivateAggregateRegressor
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(5000, 2))
    >>> y = X @ [1.0, -1.0] + rng.normal(size=5000)
    >>> fit = PrivateAggregateRegressor(epsilon=1.0, bounds=(-5, 5)).fit(X, y)
    >>> fit.claim_.bound
    PureDP(epsilon=1.0)
    """

    def __init__(
        self,
        epsilon: float | None = None,
        *,
        rho_zcdp: float | None = None,
        bounds: tuple[float, float] | None = None,
        bag_size: int | Literal["auto"] = "auto",
        rho: float | Literal["auto"] = "auto",
        ridge: float | Literal["auto"] = 0.0,
        debias: bool = False,
        fit_intercept: bool = True,
        prior_t: float | None = None,
        prior_s2: float | None = None,
        granules: int = GRANULES,
        random_state: int | np.random.RandomState | None = None,
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.rho_zcdp = rho_zcdp
        self.bounds = bounds
        self.bag_size = bag_size
        self.rho = rho
        self.ridge = ridge
        self.debias = debias
        self.fit_intercept = fit_intercept
        self.prior_t = prior_t
        self.prior_s2 = prior_s2
        self.granules = granules
        self.random_state = random_state
        self.noise_seed = noise_seed

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:
        """Release the noisy bag means of y and fit to them.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
            Features; public.
        y : array_like of float, shape (n,)
            Responses.

        Returns
        -------
        PrivateAggregateRegressor

        Raises
        ------
        InvalidData, InvalidClaim
            On bad parameters or data, before anything is spent.
        BudgetExceeded
            If the active ledger refuses.
        """
        budget = read_label_budget(self.epsilon, self.rho_zcdp, self.bounds, self.granules)
        budget.check_noise(budget.granules)
        check_seed(self.noise_seed)
        t, s2 = read_prior("prior_t", self.prior_t, budget), read_prior("prior_s2", self.prior_s2, budget)
        X, labels = read_features(self, X, y)
        if not isinstance(labels, np.ndarray) or len(labels) != len(X):
            raise InvalidData("y must have one response a person (inconsistent numbers of samples)")
        n, d = X.shape
        if n < 2:
            raise InvalidData("n_samples=1: at least 2 people are needed")
        terms = _terms(budget)
        k = self._bag_size(n, d, t, s2, terms)
        inner = AggregateRegressor(
            self._rho(n, d, k, t, s2, terms), ridge=self.ridge, debias=self.debias, fit_intercept=self.fit_intercept
        )
        inner._check()
        seed = check_random_state(self.random_state).randint(2**31)
        self.bag_id_ = make_bags(n, k, remainder="larger", random_state=seed)
        norm = feature_norm(X, l1=isinstance(budget.bound, PureDP))
        self._public = {"n": n, "d": d, "t": t, "s2": s2, "feature_norm": norm, **terms}
        self._warn_without_signal(norm)
        self.bag_size_ = k
        self.responses_ = release_means(labels, read_bags(self.bag_id_), budget, self.noise_seed)
        self.claim_ = self.responses_.claim
        inner.fit(X, self.responses_, bag_id=self.bag_id_)
        for name in ("coef_", "intercept_", "rho_", "ridge_", "shrinkage_", "expected_risk_"):
            setattr(self, name, getattr(inner, name))
        return self

    @property
    def comparison_(self) -> pd.DataFrame:
        """Expected risks of other mechanisms with the same claim, from public numbers."""
        check_is_fitted(self)
        return compare_mechanisms(**self._public)

    def predict(self, X: ArrayLike) -> Floats:
        """Predict the response of each person, shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_ + self.intercept_, np.float64)

    def _warn_without_signal(self, norm: float) -> None:
        p = self._public
        budget = p.get("epsilon"), p.get("rho_zcdp")
        noisy = p["s2"] + theory.label_noise(p["response_range"], epsilon=budget[0], rho_zcdp=budget[1])
        reached = min(
            ridge_risk(p["n"], p["d"], p["t"], noisy),
            sufficient_risk(p["n"], p["d"], p["t"], p["s2"], norm * p["response_range"], *budget),
        )
        if reached > (1 - _LEAST_GAIN) * p["t"]:
            warnings.warn(
                "no signal at this budget: by the priors, every mechanism predicts hardly better than the mean",
                UserWarning,
                stacklevel=3,
            )

    def _bag_size(self, n: int, d: int, t: float, s2: float, terms: dict[str, Any]) -> int:
        if self.bag_size == "auto":
            return theory.optimal_bag_size(n, d, t=t, s2=s2, **terms).k
        if isinstance(self.bag_size, bool) or not isinstance(self.bag_size, (int, np.integer)):
            raise InvalidData('bag_size must be "auto" or a whole number')
        if not 1 <= self.bag_size <= n:
            raise InvalidData("bag_size must be from 1 to the number of people")
        return int(self.bag_size)

    def _rho(self, n: int, d: int, k: int, t: float, s2: float, terms: dict[str, Any]) -> Any:
        if self.rho != "auto" or self.ridge == "auto" or self.prior_t is None or self.prior_s2 is None:
            return self.rho
        return theory.optimal_rho(n, d, k, t, s2 + theory.label_noise(**terms) / k, debias=self.debias)


def read_label_budget(epsilon: Any, rho_zcdp: Any, bounds: Any, granules: Any) -> LabelBudget:
    """As `read_budget`, with ε = 1 where no budget is named."""
    return read_budget(1.0 if epsilon is None and rho_zcdp is None else epsilon, rho_zcdp, bounds, granules)


def read_prior(name: str, value: Any, budget: LabelBudget) -> float:
    """A public guess of a variance; half of (r/4)² where none is named."""
    if value is None:
        return ((budget.high - budget.low) / 4) ** 2 / 2
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
    if not number or not 0 < value < np.inf:
        raise InvalidData(f"{name} must be finite and above 0")
    return float(value)


def _terms(budget: LabelBudget) -> dict[str, Any]:
    """What `theory` needs to know of a budget."""
    name = "epsilon" if isinstance(budget.bound, PureDP) else "rho_zcdp"
    value = budget.bound.epsilon if isinstance(budget.bound, PureDP) else budget.bound.rho
    return {"response_range": budget.high - budget.low, name: value}
