"""Private regression by depth: the line that no tilt improves for most records, dense or sparse.

For analysts of few coefficients, or of a few out of many. Regression depth: Rousseeuw and Hubert 1999; sparse
candidates: Asi, Ullman and Zakynthinou (ICML 2023).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from itertools import combinations, islice
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.depth import Sides, regression_depth
from sfumato.statistics.robust.finite import MOST_CANDIDATES, choose_candidate
from sfumato.statistics.robust.grids import Floats, Integers
from sfumato.statistics.robust.nets import ENOUGH, half_sphere, projections
from sfumato.statistics.robust.transform import public_ends

_MOST_PARAMETERS = 3


@dataclass(eq=False, repr=False)
class DPDepthRegression(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """Deepest regression line on a public grid, with pure differential privacy.

    Parameters
    ----------
    epsilon : float, default 1.0
    X_bounds : (lower, upper)
        Public ranges of the features, numbers or one for each. They lay the grid; records may lie beyond.
    y_bounds : (lower, upper)
        Public range of the target: the middle of the plane lies in it, and a feature changes the target over its whole
        range by at most the width of this one.
    n_nonzero_coefs : int, optional
        Sparse regression: choose that many features too. By default all. With the intercept at most 3 coefficients.
    grid_size : int, default 41
        Values of each coefficient on the grid.
    fit_intercept : bool, default True
        If False, the plane passes the middle of both ranges.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    coef_ : ndarray of float, shape (d,)
    intercept_ : float
    claim_ : Claim
    n_candidates_ : int
    n_features_in_ : int

    Notes
    -----
    A candidate's score is its `regression_depth` over a public net of directions of its own features and the axes of
    all features: about half of the records for a plane round which residuals are balanced everywhere, 0 for one that
    can be moved to fit every record better. The price of not knowing which features matter is the logarithm of their
    number. Only signs count, so a wild record harms no more than any other, and nothing is clipped.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import DPDepthRegression
    >>> rng = np.random.default_rng(0)
    >>> x = rng.uniform(0, 10, (1000, 1))
    >>> y = 5 + 3 * x[:, 0] + rng.normal(size=1000)
    >>> line = DPDepthRegression(1.0, X_bounds=(0, 10), y_bounds=(0, 40)).fit(x, y)
    >>> bool(2 < line.coef_[0] < 4)
    True
    """

    epsilon: float = 1.0
    _: KW_ONLY
    X_bounds: Any = None
    y_bounds: Any = None
    n_nonzero_coefs: int | None = None
    grid_size: int = 41
    fit_intercept: bool = True
    noise_seed: int | None = None

    def fit(self, X: Any, y: Any) -> Self:
        """Choose a line. A second fit spends again.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
        y : array_like of float, shape (n,)

        Raises
        ------
        InvalidData
            On bad data or parameters, too many coefficients or candidates, before anything is spent.
        InvalidClaim, BudgetExceeded
            As `DPTrimmedMean.fit`.
        """
        checks.bound(self.epsilon)
        seed = checks.seed(self.noise_seed)
        records = checks.matrix(self, X)
        n, d = records.shape
        target = checks.vector(y, n)
        grid = self._grid(d)
        chosen, self.claim_ = choose_candidate(
            grid.scores(records, target),
            self.epsilon,
            purpose=f"regression on {grid.n_nonzero} of {d} features",
            assumptions=("the bounds and the number of records are public",),
            noise_seed=seed,
        )
        self.n_candidates_ = grid.candidates
        self.intercept_, self.coef_ = grid.plane(chosen)
        return self

    def predict(self, X: Any) -> Floats:
        """Values of the line, shape (n,)."""
        check_is_fitted(self)
        return np.asarray(checks.matrix(self, X, reset=False) @ self.coef_ + self.intercept_)

    def _grid(self, d: int) -> _Planes:
        k = checks.whole("n_nonzero_coefs", d if self.n_nonzero_coefs is None else self.n_nonzero_coefs, 1, d)
        size = checks.whole("grid_size", self.grid_size, 2, MOST_CANDIDATES)
        if not isinstance(self.fit_intercept, (bool, np.bool_)):
            raise InvalidData("fit_intercept must be True or False")
        parameters = k + int(self.fit_intercept)
        if parameters > _MOST_PARAMETERS:
            raise InvalidData(
                f"{parameters} coefficients asked for, {_MOST_PARAMETERS} offered, the intercept included: choose "
                f"fewer of the {d} features by n_nonzero_coefs"
            )
        candidates = math.comb(d, k) * size**parameters
        if candidates > MOST_CANDIDATES:
            raise InvalidData(f"{candidates} candidates, at most {MOST_CANDIDATES}: lower grid_size or n_nonzero_coefs")
        features, (target,) = np.array(public_ends(self.X_bounds, d)), public_ends(self.y_bounds, 1)
        return _Planes(features, target, k, size, intercept=bool(self.fit_intercept))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.noise_seed is None
        tags.regressor_tags.poor_score = True
        return tags


class _Planes:
    """The public candidates, in units in which features and target lie in [-1, 1]."""

    def __init__(
        self, features: Floats, target: tuple[float, float], n_nonzero: int, size: int, *, intercept: bool
    ) -> None:
        self._centre, self._half = features.mean(axis=1), np.ptp(features, axis=1) / 2
        self._middle, self._reach = sum(target) / 2, (target[1] - target[0]) / 2
        self._intercept, self._d, self.n_nonzero = int(intercept), len(features), n_nonzero
        parameters = n_nonzero + self._intercept
        steps = np.linspace(-1, 1, size)
        self._values = np.stack(np.meshgrid(*[steps] * parameters, indexing="ij"), axis=-1).reshape(-1, parameters)
        self._net = half_sphere(parameters, ENOUGH[parameters])
        self.candidates = math.comb(self._d, n_nonzero) * len(self._values)

    def scores(self, X: Floats, y: Floats) -> Integers:
        """Depth of every candidate, support by support."""
        with np.errstate(over="ignore"):  # a warning would depend on the data
            standard, target = (X - self._centre) / self._half, (y - self._middle) / self._reach
        axes = Sides.of(standard)
        return np.concatenate([self._depths(standard, target, axes, support) for support in self._supports()])

    def plane(self, chosen: int) -> tuple[float, Floats]:
        """Intercept and coefficients of a candidate, in the units of the data."""
        block, row = divmod(chosen, len(self._values))
        support = list(next(islice(self._supports(), block, None)))
        values = self._values[row] * self._reach
        slopes = np.zeros(self._d)
        slopes[support] = values[self._intercept :] / self._half[support]
        level = self._middle + (values[0] if self._intercept else 0.0)
        return float(level - slopes @ self._centre), slopes

    def _supports(self) -> Iterator[tuple[int, ...]]:
        return combinations(range(self._d), self.n_nonzero)

    def _depths(self, standard: Floats, target: Floats, axes: Sides, support: tuple[int, ...]) -> Integers:
        own = np.concatenate((np.ones((len(target), self._intercept)), standard[:, support]), axis=1)
        return regression_depth(own, target, self._values, Sides.of(projections(own, self._net)), axes)
