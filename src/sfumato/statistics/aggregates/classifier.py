"""AggregateClassifier: logistic regression of individual labels from the proportions of classes in bags.

For whoever is told shares instead of labels. Javanmard et al. (ICLR 2024, arXiv 2401.11081), with the logistic loss in
place of the squared one.
"""

from __future__ import annotations

import math
import warnings
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates.bags import Bags, Floats
from sfumato.statistics.aggregates.linear import one_dimensional, read_features
from sfumato.statistics.aggregates.logistic import Fitting, Problem, Scaling, log_probabilities
from sfumato.statistics.aggregates.moments import read_responses
from sfumato.statistics.aggregates.proportions import AggregateProportions, on_simplex
from sfumato.statistics.aggregates.randomized import RandomizedLabels
from sfumato.statistics.aggregates.releasing import AggregateResponses

Told: TypeAlias = AggregateResponses | AggregateProportions | RandomizedLabels

#: Values of ρ among which "auto" chooses by held-out bags.
RHOS = (0.0, 0.03, 0.1, 0.3, 1.0)
_FOLDS = 5


class AggregateClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Minimises (1-ρ)·bag loss + ρ·instance loss + ridge for a logistic model of a label of two or more classes.

    The bag loss is the cross-entropy of the bag's proportions and its mean probabilities; the instance loss that of the
    proportions and each person's probabilities, which is convex and, by Jensen's inequality, no smaller. There is no
    closed form: L-BFGS starts from the minimiser at ρ = 1. At ρ < 1 the loss is not convex.

    It learns from what `aggregate`, `aggregate_labels` or `randomize_labels` let out and promises nothing of its own.
    Noisy proportions are taken to the nearest ones that can be (for two classes: clipped to [0, 1]), which pulls those
    near an end inwards; noisy labels of bags of one become those of randomized response. The corrected labels of
    `randomize_labels` stay as they are: the logistic loss with them is right on average, convex, and with a ridge above
    0 bounded below.

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
    classes_ : ndarray, shape (C,)
    coef_ : ndarray of float, shape (1, d) for two classes, else (C, d)
    intercept_ : ndarray of float, shape (1,) or (C,)
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

    def fit(self, X: ArrayLike, y: Told | ArrayLike, *, bag_id: ArrayLike | None = None) -> Self:
        """Fit to proportions.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
        y : AggregateResponses, AggregateProportions, RandomizedLabels, or array_like, shape (m,) or (m, C)
            With `bag_id`: each bag's proportion of label 1, or of each of C classes. Without: each person's label, or
            what `randomize_labels` told of it.
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
        X, bags, targets = self._read(X, y, bag_id)
        X = X[bags.inside] if not bags.inside.all() else X
        self.rho_ = self._choose(X, bags, targets)
        self._fit(X, bags, targets, self.rho_)
        return self

    def decision_function(self, X: ArrayLike) -> Floats:
        """Logit of the second of two classes, shape (n,), or of each of more, shape (n, C)."""
        logits = self._logits(X)
        return logits[0] if len(logits) == 1 else logits.T

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Probability of each class, shape (n, C)."""
        return np.exp(log_probabilities(self._logits(X))).T

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The likeliest class, shape (n,)."""
        logits = self._logits(X)
        best = logits[0] > 0 if len(logits) == 1 else logits.argmax(axis=0)
        return np.asarray(self.classes_[best.astype(int)])

    def _logits(self, X: ArrayLike) -> Floats:
        check_is_fitted(self)
        rows: Floats = validate_data(self, X, reset=False, dtype=np.float64)
        return np.asarray(self.coef_ @ rows.T + self.intercept_[:, np.newaxis], np.float64)

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

    def _read(self, X: ArrayLike, y: Any, bag_id: ArrayLike | None) -> tuple[Floats, Bags, Floats]:
        """Features, bags, and targets of shape (m, C) with rows of sum 1."""
        if isinstance(y, RandomizedLabels):
            return self._read_randomized(X, y, bag_id)
        if isinstance(y, AggregateProportions):
            X, _ = read_features(self, X, np.zeros(1))
            self.classes_: NDArray[Any] = y.classes
            bags = _bags_of(y.proportions, bag_id, len(X))
            if not np.array_equal(y.sizes, bags.sizes):
                raise InvalidData("y was aggregated over other bags: their sizes are not those of bag_id")
            return X, bags, on_simplex(y.proportions)
        if bag_id is not None and not isinstance(y, AggregateResponses) and np.ndim(y) == 2 and np.shape(y)[1] > 1:
            proportions = _read_proportions(y)
            X, _ = read_features(self, X, np.zeros(1))
            self.classes_ = np.arange(proportions.shape[1])
            return X, _bags_of(proportions, bag_id, len(X)), on_simplex(proportions)
        if bag_id is None and not isinstance(y, AggregateResponses):
            X, codes = read_features(self, X, self._encode(y))
            targets = np.eye(len(self.classes_))[np.asarray(codes, np.int64)]
            return X, _bags_of(targets, None, len(X)), targets
        self.classes_ = np.array([0, 1])
        X, responses = read_features(self, X, y)
        bags, means, _ = read_responses(responses, bag_id, len(X))  # type: ignore[arg-type]
        share = np.clip(means, 0.0, 1.0)
        return X, bags, np.column_stack((1 - share, share))

    def _read_randomized(self, X: ArrayLike, y: RandomizedLabels, bag_id: Any) -> tuple[Floats, Bags, Floats]:
        if bag_id is not None:
            raise InvalidData("bag_id must be left out with randomized labels: there is one a person")
        if self.ridge == 0:
            raise InvalidData("ridge must be above 0 with randomized labels: their loss may have no minimum without")
        X, _ = read_features(self, X, np.zeros(1))
        self.classes_ = y.classes
        return X, _bags_of(y.corrected, None, len(X)), y.corrected

    def _encode(self, y: Any) -> Floats:
        """Labels of people as 0, 1, …"""
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
        if len(self.classes_) < 2:
            raise InvalidData("y must have two classes or more, got one class")
        return codes.astype(np.float64)

    @property
    def _fitting(self) -> Fitting:
        return Fitting(self.ridge, self.fit_intercept, self.max_iter, self.tol)

    def _choose(self, X: Floats, bags: Bags, targets: Floats) -> float:
        if self.rho != "auto":
            return float(self.rho) if len(bags) < bags.n else 1.0
        if len(bags) == bags.n or len(bags) < _FOLDS:
            return 1.0  # bags of one: both losses are the same; next to no bags: the convex one
        fold = np.arange(len(bags)) % _FOLDS
        losses = np.zeros(len(RHOS))
        for held in range(_FOLDS):
            train, test = _part(bags, fold != held), _part(bags, fold == held)
            scaling = Scaling.of(X[train[0]], fit_intercept=self.fit_intercept)
            start: Floats | None = None
            for i in range(len(RHOS) - 1, -1, -1):  # from the convex end, each the start of the next
                told = targets[fold != held]
                start = Problem(X[train[0]], train[1], told, RHOS[i], self._fitting, scaling).solve(start)[0]
                scored = Problem(X[test[0]], test[1], targets[fold == held], 0.0, self._fitting, scaling)
                losses[i] += scored.loss(start)[0] * test[1].n
        return RHOS[int(np.argmin(losses))]

    def _fit(self, X: Floats, bags: Bags, targets: Floats, rho: float) -> None:
        convex = Problem(X, bags, targets, 1.0, self._fitting)
        found, self.n_iter_, done = convex.solve(None)
        if rho < 1 and len(bags) < bags.n:
            found, more, done = Problem(X, bags, targets, rho, self._fitting, convex.scaling).solve(found)
            self.n_iter_ += more
        if not done:
            warnings.warn("the optimiser did not converge: raise max_iter", ConvergenceWarning, stacklevel=3)
        self.coef_, self.intercept_ = convex.scaling.undo(found)


def _bags_of(told: Floats, bag_id: ArrayLike | None, n: int) -> Bags:
    """The bags of what was told, one row each; each person one without `bag_id`."""
    return read_responses(told[:, 0], bag_id, n)[0]  # type: ignore[arg-type]


def _read_proportions(y: Any) -> Floats:
    try:
        proportions = np.asarray(y, np.float64)
    except (TypeError, ValueError):
        raise InvalidData("y must be numbers: proportions of classes, one row a bag") from None
    if not np.isfinite(proportions).all():
        raise InvalidData("y must be finite: it has NaN or infinite entries")
    return proportions


def _part(bags: Bags, chosen: NDArray[np.bool_]) -> tuple[NDArray[np.bool_], Bags]:
    """The people of some bags, and these bags numbered anew."""
    number = np.cumsum(chosen) - 1
    people = chosen[bags.of]
    of = number[bags.of[people]]
    return people, Bags(of, np.ones(len(of), np.bool_), bags.sizes[chosen])
