"""Scores that order outputs by how much they speak for one input over the other.

For the auditor; trained on a split of their own. Quantile-binned likelihood ratio in one dimension,
classifiers in more (DP-Sniper, Bichsel et al. 2021: the posterior of a classifier is a monotone ratio).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from sfumato.attacks.bayesian_audit.outputs import Feature, Outputs

Floats = npt.NDArray[np.float64]

MOST_BINS = 64
TREES, LEAVES = 30, 15  # predicting the final split is the cost of an audit, not training
_TAIL_QUANTILES = np.array([0.001, 0.003, 0.01])


class Score(Protocol):
    """A number for each output; NaN keeps the output out of every event."""

    def of(self, outputs: Outputs) -> Floats:
        """Scores of the outputs, shape (n,)."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class HistogramRatio:
    """Log-ratio of two histograms of one feature, a table looked up by `searchsorted`."""

    feature: Feature
    edges: Floats
    log_ratio: Floats

    def __str__(self) -> str:
        return f"histogram log-ratio of {self.feature}"

    def of(self, outputs: Outputs) -> Floats:
        values = self.feature.of(outputs)
        found = self.log_ratio[np.searchsorted(self.edges, values, side="left")]
        return np.where(np.isnan(values), np.nan, found)


@dataclass(frozen=True)
class ClassifierScore:
    """Decision function of a fitted scikit-learn classifier on all features."""

    name: str
    features: tuple[Feature, ...]
    model: Any

    def __str__(self) -> str:
        return f"{self.name} on {len(self.features)} features"

    def of(self, outputs: Outputs) -> Floats:
        data = _matrix(self.features, outputs)
        with _one_thread():
            return np.asarray(self.model.decision_function(data), dtype=np.float64)


def train_histogram(feature: Feature, first: Outputs, second: Outputs) -> HistogramRatio:
    """Bin a feature at pooled quantiles, or at every value if there are few, and take log-ratios."""
    a, b = feature.of(first), feature.of(second)
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    pooled = np.concatenate([a, b])
    distinct = np.unique(pooled)
    if len(distinct) <= MOST_BINS:
        edges = distinct[:-1]
    else:
        inner = np.linspace(0, 1, MOST_BINS)[1:-1]
        quantiles = np.concatenate([_TAIL_QUANTILES, inner, 1 - _TAIL_QUANTILES])
        edges = np.unique(np.quantile(pooled, quantiles, method="inverted_cdf"))
    bins = len(edges) + 1
    counts = [np.bincount(np.searchsorted(edges, each, side="left"), minlength=bins) for each in (a, b)]
    return HistogramRatio(feature, edges, np.log(counts[0] + 0.5) - np.log(counts[1] + 0.5))


def train_boosting(features: Sequence[Feature], first: Outputs, second: Outputs, seed: int) -> ClassifierScore:
    """Gradient-boosted trees that tell the two inputs' outputs apart."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=TREES, max_leaf_nodes=LEAVES, early_stopping=False, random_state=seed
    )
    return _fit("gradient boosting", model, features, first, second)


def train_linear(features: Sequence[Feature], first: Outputs, second: Outputs) -> ClassifierScore:
    """Logistic regression, for mean shifts spread over many coordinates."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(
        SimpleImputer(strategy="median", keep_empty_features=True),
        StandardScaler(),
        LogisticRegression(max_iter=200),
    )
    return _fit("logistic regression", model, features, first, second)


def _fit(name: str, model: Any, features: Sequence[Feature], first: Outputs, second: Outputs) -> ClassifierScore:
    data = np.concatenate([_matrix(features, first), _matrix(features, second)])
    with _one_thread():
        model.fit(data, np.repeat([1, 0], [len(first), len(second)]))
    return ClassifierScore(name, tuple(features), model)


def _one_thread() -> Any:
    # OpenMP's threads spin: on a shared machine two were eight times slower than one, on an idle one no faster.
    return threadpool_limits(1)


def _matrix(features: Sequence[Feature], outputs: Outputs) -> Floats:
    # Infinities would break the scaler; this keeps their order.
    return np.clip(np.column_stack([each.of(outputs) for each in features]), -1e12, 1e12)
