"""What a private learner must leave unfitted: the most probable that it names the label of a point seen ℓ times.

For the frequency-prior model. Feldman, "Does Learning Require Memorization?" (STOC 2020, arXiv 1906.05271).
"""

from __future__ import annotations

import math
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from sfumato.errors import InvalidData

Floats: TypeAlias = npt.NDArray[np.float64]


def label_bound(multiplicity: npt.ArrayLike, epsilon: float, delta: float, n_classes: int) -> Floats:
    """Most probable that an (ε, δ)-private learner names the label of a point seen ℓ times, labels being uniform."""
    times = np.asarray(multiplicity, dtype=np.float64)
    grown = np.exp(np.minimum(times * epsilon, 700.0))
    failures = np.expm1(np.minimum(times * epsilon, 700.0)) / math.expm1(epsilon) if epsilon > 0 else times
    return np.asarray(np.minimum(1.0, grown / n_classes + delta * failures))


def cost_of_privacy(alpha: Floats, n: int, epsilon: float, delta: float, n_classes: int) -> float:
    """Least error that points of frequencies α add under (ε, δ): Σ α · Pr[seen ℓ times] · (1 - `label_bound`), ℓ ≥ 1.

    Parameters
    ----------
    alpha : ndarray of float, shape (N,)
        Frequencies, in [0, 1).
    n : int
        Size of the sample.
    epsilon, delta : float
        For one example.
    n_classes : int
        K, at least 2.
    """
    if not 0 <= epsilon < math.inf or not 0 <= delta < 1:
        raise InvalidData("epsilon must be finite and at least 0, delta in [0, 1)")
    n, n_classes = whole(n), whole(n_classes, least=2)
    alpha = alpha[alpha > 0]
    log, rest = np.log(alpha), np.log1p(-alpha)
    most = n * float(alpha.max())
    last = min(n, math.ceil(most + 12 * math.sqrt(most) + 60))  # beyond it lies less than e^-50; a bound stays a bound
    gaps = 1 - label_bound(np.arange(last + 1), epsilon, delta, n_classes)
    binomial = log_choose(n, np.arange(last + 1))
    total = 0.0
    for multiplicity in range(1, last + 1):
        if gaps[multiplicity] <= 0:
            break
        logs = binomial[multiplicity] + (multiplicity + 1) * log + (n - multiplicity) * rest
        total += float(np.exp(logs).sum() * gaps[multiplicity])
    return total


def whole(number: int, least: int = 1) -> int:
    """Return a count, or raise InvalidData if it is not a whole number of at least `least`."""
    if isinstance(number, bool) or number != int(number) or number < least:
        raise InvalidData(f"expected a whole number of at least {least}, got {number}")
    return int(number)


def log_choose(n: int, k: npt.NDArray[np.int64]) -> Floats:
    """Logarithm of the binomial coefficient."""
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))
