"""Checks of what a caller states and of records, before anything is spent; no message holds a record's value.

For the estimators of this package.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils.validation import column_or_1d, validate_data

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.statistics.robust.grids import Floats

#: What all claims of this package assume of people.
ONE_RECORD = "each person has exactly one record"


def bound(epsilon: Any, delta: Any = None) -> PureDP | ApproxDP:
    """What epsilon and delta state; raises InvalidClaim."""
    return pure(epsilon) if delta is None else approximate(epsilon, delta)


def pure(epsilon: Any) -> PureDP:
    """What epsilon states; raises InvalidClaim."""
    if not number(epsilon) or not 1e-9 <= epsilon < math.inf:
        raise InvalidClaim("epsilon must be a finite number above 0")
    return PureDP(float(epsilon))


def approximate(epsilon: Any, delta: Any) -> ApproxDP:
    """What epsilon and delta state; raises InvalidClaim."""
    if not number(delta) or not 1e-300 <= delta < 1:
        raise InvalidClaim("delta must be a number in (0, 1)")
    return ApproxDP(pure(epsilon).epsilon, float(delta))


def seed(noise_seed: Any) -> int | None:
    """An integer or None; raises InvalidData."""
    if noise_seed is None:
        return None
    if isinstance(noise_seed, bool) or not isinstance(noise_seed, (int, np.integer)):
        raise InvalidData("noise_seed must be an integer or None")
    return int(noise_seed)


def number(value: Any) -> bool:
    """Whether it is a number and no boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


def positive(name: str, value: Any) -> float:
    """A finite number above 0; raises InvalidData."""
    if not number(value) or not 0 < value < math.inf:
        raise InvalidData(f"{name} must be a finite number above 0")
    return float(value)


def matrix(estimator: BaseEstimator, X: Any, *, reset: bool = True, nan: bool = False) -> Floats:
    """Records as a matrix of doubles, by scikit-learn's rules, with messages that quote no record.

    Parameters
    ----------
    estimator : BaseEstimator
    X : array_like, shape (n, d)
    reset : bool
        Whether this is a fit.
    nan : bool
        Whether NaN and infinite values may pass.
    """
    if sparse.issparse(X):
        raise TypeError("Sparse data was passed, but dense data is required: use '.toarray()'.")
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a warning would depend on the data
            checked = validate_data(
                estimator, X, reset=reset, dtype=np.float64, ensure_all_finite=not nan, ensure_min_samples=1
            )
    except (ValueError, OverflowError) as error:
        raise InvalidData(_without_values(str(error))) from None
    return np.asarray(checked, np.float64)


def vector(y: Any, n: int) -> Floats:
    """n finite numbers; raises InvalidData."""
    if y is None:
        raise InvalidData("requires y to be passed, but the target y is None")
    try:
        values = np.asarray(column_or_1d(y, warn=True), np.float64)
    except (ValueError, TypeError, OverflowError):
        raise InvalidData(f"y must be one number a record, shape ({n},)") from None
    if values.shape != (n,):
        raise InvalidData(f"y must be one number a record, shape ({n},), got {values.shape}")
    if not np.isfinite(values).all():
        raise InvalidData("y must be finite, without NaN or inf")
    return values


def _without_values(message: str) -> str:
    """Scikit-learn's messages may quote the array: only first lines that do not, and names of columns, pass."""
    for quoting, instead in (
        ("Expected 2D array", "X must be a matrix, shape (n, d). Reshape your data"),
        ("Complex data not supported", "Complex data not supported"),
        ("could not convert", "X must be numbers"),
        ("too large to convert", "X must be numbers that fit a double"),
        ("invalid literal", "X must be numbers"),
    ):
        if quoting in message:
            return instead
    return message if "feature names" in message else message.partition("\n")[0]


def whole(name: str, value: Any, low: int, high: int) -> int:
    """An integer in low .. high; raises InvalidData."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InvalidData(f"{name} must be an integer from {low} to {high}")
    return int(value)
