"""A frequency prior from what was seen: nonparametric maximum likelihood of how frequent subgroups are.

For a data owner who has counts of subgroups and asks how heavy their tail is. Ours; the model is Feldman's (STOC 2020,
arXiv 1906.05271).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData
from sfumato.training.memorization.cost import whole
from sfumato.training.memorization.prior import FrequencyPrior


def fit_prior(counts: npt.ArrayLike, *, grid: int = 200, iterations: int = 2000) -> FrequencyPrior:
    """Fit a prior to how often each subgroup was seen: the nonparametric maximum likelihood of its frequency.

    Parameters
    ----------
    counts : array of int, shape (N,)
        Occurrences of each subgroup, zeros included: without the subgroups that nobody fell into, the tail is lost.
    grid : int
        Frequencies, evenly spaced in their logarithm, that the prior may put weight on.
    iterations : int
        Steps of expectation-maximisation at most.

    Returns
    -------
    FrequencyPrior
        With N points.

    Notes
    -----
    Each count is taken as Binomial(Σ counts, α) with α from the prior, independently. The
    prior's own normalisation moves frequencies by as much as their sum varies round 1.
    """
    seen = np.asarray(counts)
    if seen.ndim != 1 or len(seen) < 2 or not np.issubdtype(seen.dtype, np.integer) or seen.min() < 0 or not seen.sum():
        raise InvalidData("counts must be whole numbers of at least 0 of two subgroups or more, not all 0")
    n = int(seen.sum())
    highest = min(float(seen.max()) / n * 1.5, 1 - 1e-9)
    alpha = np.geomspace(min(0.05 / n, highest / 2), highest, grid)
    kinds, multiplicity = np.unique(seen, return_counts=True)
    logs = kinds[:, np.newaxis] * np.log(alpha) + (n - kinds)[:, np.newaxis] * np.log1p(-alpha)
    likelihood = np.exp(logs - logs.max(axis=1, keepdims=True))
    weights = np.full(grid, 1 / grid)
    for _ in range(whole(iterations)):
        posterior = likelihood * weights
        posterior /= posterior.sum(axis=1, keepdims=True)
        updated = multiplicity @ posterior / len(seen)
        moved, weights = float(np.abs(updated - weights).max()), updated
        if moved < 1e-9:
            break
    return FrequencyPrior(alpha, probabilities=weights, n_points=len(seen))
