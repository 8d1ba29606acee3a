"""thresholdout_scorer: the reusable holdout where scikit-learn expects a scorer.

For grid searches that look at one holdout many times. Dwork et al. (Science 349, 2015).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sfumato.errors import InvalidData
from sfumato.statistics.adaptive.holdout import Thresholdout


def thresholdout_scorer(
    holdout: Thresholdout, metric: Callable[[Any, Any], Any] | None = None
) -> Callable[[Any, Any, Any], float]:
    """Return a scorer that asks a `Thresholdout`, whatever rows it is called with.

    For ``GridSearchCV(model, grid, scoring=thresholdout_scorer(holdout), cv=[(train, rest)], refit=False)`` on the
    rows of which `holdout` has the same split. Each candidate is one query. Leave `refit` off: it would train on the
    holdout. Set ``error_score="raise"``, or candidates after the last overfit event get NaN with a warning. Workers in
    other processes (`n_jobs`) cannot share a holdout, and raise.

    Parameters
    ----------
    holdout : Thresholdout
        Of pairs (X, y).
    metric : callable, optional
        As of `Thresholdout.score`.

    Returns
    -------
    callable
        ``scorer(estimator, X, y)``. InvalidData if X has not as many rows as the holdout: then the split is another.
    """
    if not isinstance(holdout, Thresholdout):
        raise InvalidData(f"holdout must be a Thresholdout, got {type(holdout).__name__}")

    def score(estimator: Any, rows: Any, labels: Any = None) -> float:
        if len(rows) != holdout.size_:
            raise InvalidData("the scorer was called with other rows than the holdout's: pass cv=[(train, holdout)]")
        return holdout.score(estimator, metric)

    return score
