"""AggregateClassifier: logistic regression of individual labels from the proportions of bags.

For whoever is told shares instead of labels. Javanmard et al. (ICLR 2024, arXiv 2401.11081), with the logistic loss in
place of the squared one.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates.bags import Bags, Floats
from sfumato.statistics.aggregates.linear import one_dimensional, read_features
from sfumato.statistics.aggregates.moments import read_responses
from sfumato.statistics.aggregates.releasing import AggregateResponses

#: Values of ρ among which "auto" chooses by held-out bags.
RHOS = (0.0, 0.03, 0.1, 0.3, 1.0)
_FOLDS = 5
_TINY = 1e-300


class AggregateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Minimises (1-ρ)·bag loss + ρ·instance loss + ridge for a logistic model of a binary label.

    The bag loss is the cross-entropy of the bag's proportion and its mean probability; the instance loss that of the
    proportion and each person's probability, which is convex and, by Jensen's inequality, no smaller. There is no
    closed form: L-BFGS starts from the minimiser at ρ = 1. At ρ < 1 the loss is not convex.

    It learns from what `aggregate` let out and promises nothing of its own. Noisy proportions are clipped to [0, 1],
    which pulls those near an end inwards; noisy labels of bags of one become those of randomized response.

    Parameters
    ----------
    rho : "auto" or float, default "auto"
        In [0, 1]. "auto" holds out every fifth bag in turn and takes the value among 0, .03, .1, .3, 1 whose held-out
        bag loss is least: no label is looked at, and noisy proportions stay post-processing.
    ridge : float, default 1.0
        Penalty ridge·‖coef‖²/2 beside the sum of the losses of people, as 1/C of scikit-learn's LogisticRegression.
    fit_intercept : bool, default True
        The intercept is not penalised.
    max_iter : int, default 1000
    tol : float, default 1e-6
        Largest gradient component at which the optimiser stops.

    Attributes
    ----------
    classes_ : ndarray, shape (2,)
    coef_ : ndarray of float, shape (1, d)
    intercept_ : ndarray of float, shape (1,)
    rho_ : float
    n_iter_ : int

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.aggregates import AggregateClassifier, aggregate, make_bags
    >>> X = np.random.default_rng(0).normal(size=(1000, 1))
    >>> label = (X[:, 0] > 0).astype(int)
    >>> bag_id = make_bags(1000, 5, random_state=0)
    >>> AggregateClassifier().fit(X, aggregate(label, bag_id), bag_id=bag_id).score(X, label) > 0.95
    True
    """

    def __init__(
        self,
        rho: float | Literal["auto"] = "auto",
        *,
        ridge: float = 1.0,
        fit_intercept: bool = True,
        max_iter: int = 1000,
        tol: float = 1e-6,
    ) -> None:
        self.rho = rho
        self.ridge = ridge
        self.fit_intercept = fit_intercept
        self.max_iter = max_iter
        self.tol = tol

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    def fit(self, X: ArrayLike, y: AggregateResponses | ArrayLike, *, bag_id: ArrayLike | None = None) -> Self:
        """Fit to proportions.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
        y : AggregateResponses, or array_like, shape (m,)
            With `bag_id`: each bag's proportion of label 1. Without: each person's label, of two classes.
        bag_id : array_like of int, shape (n,), optional
            Bag of each person, 0 .. m-1, or -1 for none.

        Returns
        -------
        AggregateClassifier

        Raises
        ------
        InvalidData
            On bad parameters or data.
        """
        self._check()
        if bag_id is None and not isinstance(y, AggregateResponses):
            X, y = self._encode(X, y)
        else:
            self.classes_: NDArray[Any] = np.array([0, 1])
        X, responses = read_features(self, X, y)
        bags, means, _ = read_responses(responses, bag_id, len(X))  # type: ignore[arg-type]
        X = X[bags.inside] if not bags.inside.all() else X
        proportions = np.clip(means, 0.0, 1.0)
        self.rho_ = self._choose(X, bags, proportions)
        self._fit(X, bags, proportions, self.rho_)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Logit of the second class, shape (n,)."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(X @ self.coef_[0] + self.intercept_[0], np.float64)

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probability of each class, shape (n, 2)."""
        p = special.expit(self.decision_function(X))
        return np.column_stack((1 - p, p))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likelier class, shape (n,)."""
        positive = self.decision_function(X) > 0
        return np.asarray(self.classes_[positive.astype(int)])

    def _check(self) -> None:
        for name, highest in (("rho", 1.0), ("ridge", math.inf), ("tol", math.inf)):
            value = getattr(self, name)
            if name == "rho" and isinstance(value, str) and value == "auto":
                continue
            number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
            if not number or not 0 <= value <= highest or value == math.inf:
                raise InvalidData(f"{name} must be a finite number, at least 0" + ", at most 1" * (highest == 1))
        if isinstance(self.max_iter, bool) or not isinstance(self.max_iter, (int, np.integer)) or self.max_iter < 1:
            raise InvalidData("max_iter must be a whole number, at least 1")

    def _encode(self, X: Any, y: Any) -> tuple[Any, Floats]:
        """Labels of people as 0 and 1."""
        if y is None:
            raise InvalidData(f"{type(self).__name__} requires y to be passed, but the target y is None")
        labels = one_dimensional(y)
        if labels.dtype.kind == "f" and not np.isfinite(labels).all():
            raise InvalidData("y must be finite: it has NaN or infinite entries")
        try:
            check_classification_targets(labels)
        except ValueError as error:
            raise InvalidData(str(error)) from None
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) > 2:
            raise InvalidData("Only binary classification is supported: y must have two classes")
        if len(self.classes_) < 2:
            raise InvalidData("y must have two classes, got one class")
        return X, codes.astype(np.float64)

    def _choose(self, X: Floats, bags: Bags, proportions: Floats) -> float:
        if self.rho != "auto":
            return float(self.rho)
        if len(bags) == bags.n or len(bags) < _FOLDS:
            return 1.0  # bags of one: both losses are the same; next to no bags: the convex one
        fold = np.arange(len(bags)) % _FOLDS
        losses = np.zeros(len(RHOS))
        for held in range(_FOLDS):
            train, test = _part(bags, fold != held), _part(bags, fold == held)
            start: Floats | None = None
            for i in range(len(RHOS) - 1, -1, -1):  # from the convex end, each the start of the next
                problem = _Problem(X[train[0]], train[1], proportions[fold != held], RHOS[i], self)
                start = problem.solve(start)[0]
                scored = _Problem(X[test[0]], test[1], proportions[fold == held], 0.0, self, scaling=problem)
                losses[i] += scored.loss(start)[0] * test[1].n
        return RHOS[int(np.argmin(losses))]

    def _fit(self, X: Floats, bags: Bags, proportions: Floats, rho: float) -> None:
        convex = _Problem(X, bags, proportions, 1.0, self)
        found, self.n_iter_, done = convex.solve(None)
        if rho < 1 and len(bags) < bags.n:
            problem = _Problem(X, bags, proportions, rho, self)
            found, more, done = problem.solve(found)
            self.n_iter_ += more
        if not done:
            warnings.warn("the optimiser did not converge: raise max_iter", ConvergenceWarning, stacklevel=3)
        coef = found[1:] / convex.scale
        self.coef_ = coef[np.newaxis]
        self.intercept_ = np.array([found[0] - convex.centre @ coef])


class _Problem:
    """The penalised loss of standardised features, as a function of (intercept, coefficients)."""

    def __init__(
        self,
        X: Floats,
        bags: Bags,
        proportions: Floats,
        rho: float,
        model: AggregateClassifier,
        scaling: _Problem | None = None,
    ) -> None:
        self.centre: Floats
        self.scale: Floats
        self.centre, self.scale = _scaling(X, model) if scaling is None else (scaling.centre, scaling.scale)
        self.Z = (X - self.centre) / self.scale
        self.bags, self.targets, self.rho, self.model = bags, proportions, rho, model

    def solve(self, start: Floats | None) -> tuple[Floats, int, bool]:
        first = np.zeros(self.Z.shape[1] + 1) if start is None else start
        found = optimize.minimize(
            self._objective,
            first,
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": self.model.max_iter, "gtol": self.model.tol, "ftol": 0.0, "maxcor": 20},
        )
        # a line search that finds nothing better has arrived as well
        return found.x, max(1, int(found.nit)), int(found.status) != 1

    def _objective(self, parameters: Floats) -> tuple[float, Floats]:
        loss, gradient = self.loss(parameters)
        coef = parameters[1:] / self.scale
        strength = self.model.ridge / self.bags.n
        gradient[1:] += strength * coef / self.scale
        return loss + strength / 2 * float(coef @ coef), gradient

    def loss(self, parameters: Floats) -> tuple[float, Floats]:
        """Mean loss over people without the penalty, and its gradient."""
        f = self.Z @ parameters[1:] + parameters[0]
        own = self.targets[self.bags.of]
        p, q = special.expit(f), special.expit(-f)
        total, slope = 0.0, np.zeros_like(f)
        if self.rho > 0:
            total += self.rho * float(np.sum(np.logaddexp(0, f) - own * f))
            slope += self.rho * (p - own)
        if self.rho < 1:
            yes, no = np.maximum(self.bags.means(p), _TINY), np.maximum(self.bags.means(q), _TINY)
            each = self.targets * np.log(yes) + (1 - self.targets) * np.log(no)
            total -= (1 - self.rho) * float(self.bags.sizes @ each)
            pull = (1 - self.targets) / no - self.targets / yes
            slope += (1 - self.rho) * pull[self.bags.of] * p * q
        gradient = np.concatenate(([slope.sum() if self.model.fit_intercept else 0.0], self.Z.T @ slope))
        return total / self.bags.n, gradient / self.bags.n


def _scaling(X: Floats, model: AggregateClassifier) -> tuple[Floats, Floats]:
    """Centre and scale of each feature, for the optimiser's sake; without an intercept nothing may be shifted."""
    deviation = X.std(axis=0)
    centre = X.mean(axis=0) if model.fit_intercept else np.zeros(X.shape[1])
    return centre, np.where(deviation > 0, deviation, 1.0)


def _part(bags: Bags, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Bags]:
    """The people of some bags, and these bags numbered anew."""
    number = np.cumsum(chosen) - 1
    people = chosen[bags.of]
    of = number[bags.of[people]]
    return people, Bags(of, np.ones(len(of), np.bool_), bags.sizes[chosen])
