"""SimilarityClassifier: the class whose people are most similar, from one noisy sum for each class.

For whoever labels data by closeness to private examples. After Backurs, Lin, Mahabadi, Silwal and Tarnawski,
"Efficiently Computing Similarities to Private Datasets" (ICLR 2024, arXiv 2403.08917), whose features come from a
public encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.statistics.similarity import features
from sfumato.statistics.similarity.chunks import InChunks
from sfumato.statistics.similarity.features import FourierFeatures, draw_features
from sfumato.statistics.similarity.kde import BANDWIDTH_IS_PUBLIC, FEATURES_ARE_PUBLIC
from sfumato.statistics.similarity.kernels import KernelName, kernel
from sfumato.statistics.similarity.planning import MOST
from sfumato.statistics.similarity.rows import BALL, Floats, Integers, in_ball, largest_l1, read_rows
from sfumato.statistics.similarity.spending import Noise, Part, Plan, Terms, positive, read_terms, whole

Method: TypeAlias = Literal["centroid", "kernel"]

SHARE_FOR_COUNTS = 0.1  #: of the budget of "centroid"
BANDWIDTHS_IN_BALL = 2  #: default bandwidth: the norm bound over this


@dataclass(frozen=True)
class _Sums:
    """Exact sums so far, by class: of features or of rows, and of people."""

    terms: Terms
    plan: Plan
    declared: NDArray[Any]
    drawn: FourierFeatures | None
    total: Integers
    counts: Integers


class SimilarityClassifier(InChunks, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classification by average similarity, at the price of one release.

    Each class is a sum over its people. A person is in one class, so all classes together move as one of them does:
    every class has the whole budget (parallel composition), and any number of points is then labelled for nothing. Rows
    come in one `fit` or in chunks (`partial_fit`, then `finalize`).

    *Method "kernel"*: for each class the summed random Fourier features of its people, as in `PrivateKDE`; a point goes
    to the class with the largest sum of similarities, which weighs classes by their size as Bayes' rule does.
    *Neighbours add-remove*: one class moves by D entries of the public table.

    *Method "centroid"*: for each class the sum of its rows, of norm at most C each, and the number of its people; a
    point goes to the nearest mean. One class moves by at most C in L2 (√d·C in L1) and by 1. What the noise adds to
    the squared norm of a mean is known, and taken off.

    *Neighbours replace-one*: twice that in both norms: a row may turn into its opposite, or change its class.

    Classes, norm bound and bandwidth are public parameters, and the claim says so. So must the encoder be that made
    the columns; if it was trained on these people, that training must be accounted for on its own.

    Parameters
    ----------
    method : {"kernel", "centroid"}
    epsilon : float, optional
        Pure ε-DP by Laplace noise, or with `delta` (ε, δ)-DP. 1.0 if neither `epsilon` nor `rho` is given.
    classes : array_like
        The public labels. Which classes occur is private, so they are declared, never read from `y`.
    norm_bound : float
        Public radius C; longer rows are scaled down to it. Subtract a public centre first.
    delta : float, optional
    rho : float, optional
        ρ-zCDP by Gaussian noise, instead of `epsilon`.
    kernel : {"gaussian", "laplacian", "exponential", "inverse", "inverse_quadratic"}
    bandwidth : float, optional
        Public; half the norm bound if it is not given. For "centroid" it only shapes `predict_proba`.
    n_features : int
        Number of frequencies for "kernel". Pure ε wants few: noise grows with their root.
    noise : {"auto", "laplace", "gaussian"}
    neighbours : {"add-remove", "replace-one"}
    random_state : int, RandomState or None
        Draws the frequencies, which are public.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    claim_ : Claim
    classes_ : ndarray, shape (k,)
        The declared labels, sorted.

    Examples
    --------
    >>> from sfumato.statistics.similarity import SimilarityClassifier
    >>> rows, labels = [[0.9, 0.1], [0.1, 0.8]], ["cat", "dog"]
    >>> fitted = SimilarityClassifier("centroid", epsilon=1.0, classes=["cat", "dog"], norm_bound=1.0).fit(rows, labels)
    >>> fitted.predict([[1.0, 0.0]]).shape
    (1,)
    """

    def __init__(
        self,
        method: Method = "kernel",
        epsilon: float | None = None,
        *,
        classes: ArrayLike | None = None,
        norm_bound: float | None = None,
        delta: float | None = None,
        rho: float | None = None,
        kernel: KernelName = "gaussian",
        bandwidth: float | None = None,
        n_features: int = 500,
        noise: Noise | Literal["auto"] = "auto",
        neighbours: Neighbours = "add-remove",
        random_state: Any = None,
        noise_seed: int | None = None,
    ) -> None:
        self.method = method
        self.epsilon = epsilon
        self.classes = classes
        self.norm_bound = norm_bound
        self.delta = delta
        self.rho = rho
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.n_features = n_features
        self.noise = noise
        self.neighbours = neighbours
        self.random_state = random_state
        self.noise_seed = noise_seed

    def partial_fit(self, X: ArrayLike, y: Any = None, classes: ArrayLike | None = None) -> Self:
        """Add a chunk of labelled rows; nothing is released or spent before `finalize`.

        Parameters
        ----------
        X : array_like of float, shape (n, d)
        y : array_like, shape (n,)
        classes : array_like, optional
            As scikit-learn's callers pass them; must be the declared ones.
        """
        if classes is not None and not np.array_equal(_declared(classes), _declared(self.classes)):
            raise InvalidData("classes must be those that were declared")
        return super().partial_fit(X, y)

    def decision_function(self, X: ArrayLike) -> Floats:
        """Log of each class's weight, up to a constant; the largest is predicted.

        "kernel": the sum of similarities s, as log(1 + e^(s/σ)) with the noise's standard deviation σ: s/σ where it
        stands out of the noise, and positive where noise took it below 0. "centroid": minus the squared distance to
        the mean over twice the squared bandwidth, as if each class were a Gaussian cloud.

        Parameters
        ----------
        X : array_like of float, shape (q, d)

        Returns
        -------
        ndarray of float, shape (q, k); for two classes (q,), the second's lead over the first, as in scikit-learn
        """
        weights = self._log_weights(X)
        return weights[:, 1] - weights[:, 0] if weights.shape[1] == 2 else weights

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Label of each point, shape (q,)."""
        best = self._log_weights(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> Floats:
        """Each class's share of the weights of `decision_function`, shape (q, k)."""
        return np.asarray(softmax(self._log_weights(X), axis=1))

    # Below: how it is released

    def _begin(self, d: int) -> _Sums:
        if self.method not in ("kernel", "centroid"):
            raise InvalidData("method must be kernel or centroid")
        if self.norm_bound is None:
            raise InvalidData("norm_bound must be given: public, never read from the data")
        self._radius = positive("norm_bound", self.norm_bound)
        self._width = (
            self._radius / BANDWIDTHS_IN_BALL if self.bandwidth is None else positive("bandwidth", self.bandwidth)
        )
        terms, declared = read_terms(self.get_params(deep=False)), _declared(self.classes)
        counts = np.zeros(len(declared), np.int64)
        if self.method == "kernel":
            count = whole("n_features", self.n_features, 1, MOST)
            drawn = draw_features(kernel(self.kernel), d, count, None, check_random_state(self.random_state))
            plan = terms.plan([features.part(count, terms.replaced)])
            return _Sums(terms, plan, declared, drawn, np.zeros((len(declared), 2 * count), np.int64), counts)
        times = 2 if terms.replaced else 1
        parts = [Part(times * largest_l1(d), times * BALL, 1 / BALL**2), Part(times, times**0.5)]
        plan = terms.plan(parts, (1 - SHARE_FOR_COUNTS, SHARE_FOR_COUNTS))
        return _Sums(terms, plan, declared, None, np.zeros((len(declared), d), np.int64), counts)

    def _added(self, sums: _Sums, rows: Floats, y: Any) -> _Sums:
        codes = _codes(y, sums.declared, len(rows))
        steps = in_ball(rows, self._radius)
        by_class = (codes == each for each in range(len(sums.declared)))
        if sums.drawn is None:
            more = [steps[mine].sum(axis=0) for mine in by_class]
        else:
            places = sums.drawn.steps(self._rows(steps), self._width)
            more = [sums.drawn.total(places[mine]) for mine in by_class]
        counts = sums.counts + np.bincount(codes, minlength=len(sums.declared))
        return replace(sums, total=sums.total + np.stack(more), counts=counts)

    def _release(self, sums: _Sums) -> None:
        if sums.drawn is not None:
            self._release_kernel(sums, sums.drawn)
        else:
            self._release_centroids(sums)
        self.classes_ = sums.declared

    def _release_kernel(self, sums: _Sums, drawn: FourierFeatures) -> None:
        plan = sums.plan
        said = ("the classes and the norm bound are public", BANDWIDTH_IS_PUBLIC, FEATURES_ARE_PUBLIC, ONE_CLASS)
        with sums.terms.open(f"{self.kernel} kernel sums by class", said) as release:
            self._sums = plan.draw(release, 0, sums.total)
        self._features, self.claim_ = drawn, release.claim
        self._deviation = plan.deviation(0) * math.sqrt(plan.parts[0].weight)

    def _release_centroids(self, sums: _Sums) -> None:
        plan, said = sums.plan, ("the classes and the norm bound are public", ONE_CLASS)
        with sums.terms.open("sums of rows by class", said) as release:
            noisy, people = plan.draw(release, 0, sums.total), plan.draw(release, 1, sums.counts)
        # a class that noise leaves with nobody has a wide mean, and no infinite one
        number = np.maximum(people, plan.deviation(1))[:, np.newaxis]
        self._means = noisy * (self._radius / BALL) / number
        noise = noisy.shape[1] * (plan.deviation(0) * self._radius / BALL / number[:, 0]) ** 2
        self._squares = np.maximum((self._means**2).sum(axis=1) - noise, 0.0)
        self.claim_ = release.claim

    def _rows(self, steps: Integers) -> Floats:
        return np.asarray(steps * (self._radius / BALL), np.float64)

    def _log_weights(self, X: ArrayLike) -> Floats:
        check_is_fitted(self, "claim_")
        rows = self._rows(in_ball(read_rows(self, X, reset=False), self._radius))
        if self.method == "kernel":
            sums = self._features.similarity(self._features.steps(rows, self._width), self._sums) / self._deviation
            # log(1 + e^s) is e^s, to the last bit, where s is below -40
            return np.asarray(np.where(sums < -40, sums, np.log(np.logaddexp(0, np.maximum(sums, -40)))))
        own = (rows**2).sum(axis=1, keepdims=True)
        return np.asarray((2 * rows @ self._means.T - self._squares - own) / (2 * self._width**2))


ONE_CLASS = "each person has exactly one row, in one class"


def _declared(classes: Any) -> NDArray[Any]:
    if classes is None:
        raise InvalidData("classes must be given: the labels must be public, never read from y")
    labels = np.asarray(classes)
    if labels.ndim != 1 or not len(labels):
        raise InvalidData("classes must be a nonempty sequence of labels")
    if len(np.unique(labels)) != len(labels):
        raise InvalidData("classes must differ from each other")
    return np.sort(labels)


def _codes(y: Any, declared: NDArray[Any], n: int) -> Integers:
    if y is None:
        raise InvalidData("requires y to be passed, but the target y is None")
    labels = np.asarray(y)
    if labels.shape not in ((n,), (n, 1)):
        raise InvalidData("y must have one label for each row of X")
    labels = column_or_1d(labels, warn=True)
    if n and labels.dtype.kind in "fc" and not np.isfinite(labels).all():
        raise InvalidData("y contains NaN or inf")
    try:
        if n:
            check_classification_targets(labels)
        codes = np.searchsorted(declared, labels)
        known = bool((declared[np.minimum(codes, len(declared) - 1)] == labels).all())
    except TypeError:  # labels of another type do not compare
        known = False
    except ValueError as error:  # "Unknown label type: continuous": its kind, no value
        raise InvalidData(str(error)) from None
    if not known:
        raise InvalidData("labels must be among the declared classes")
    return np.asarray(np.minimum(codes, len(declared) - 1), np.int64)
