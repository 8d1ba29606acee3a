"""Stability histogram: find where the data lie, without a public range, for a δ.

For the private estimators of one number. In the place of the range-free extension of Asi, Ullman and Zakynthinou
(ICML 2023), whose construction is another; stability: Korolova et al. 2009, Bun, Nissim and Stemmer 2016.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.release import Release
from sfumato.statistics.robust.grids import Floats

_MOST_BINS = 2.0**62


def occupied_range(
    release: Release, x: Floats, width: float, *, epsilon: float, delta: float
) -> tuple[float, float] | None:
    """Return the fullest bin of that width with one more on either side, or None if no bin is surely full.

    Parameters
    ----------
    release : Release
    x : ndarray of float, shape (n,)
    width : float
        Public.
    epsilon, delta : float
        What it costs.

    Notes
    -----
    Only occupied bins get noise, of scale 2/ε: a replaced record moves two counts by 1. Let x and x' differ in one
    record. On the bins occupied in both, the noisy counts are ε-indistinguishable, and what follows is
    post-processing. A bin occupied in one of them only holds one record there; if its noisy count stays below the
    threshold, it might as well not be. That fails with probability b = P(1 + noise ≥ threshold). If each of x and x'
    has such a bin, their common counts are equal, and δ = 2b is enough; if only one has, the common counts differ by
    1, and max(1, e^(ε/2)) b is.
    """
    with np.errstate(over="ignore"):
        places = np.floor(np.clip(x / width, -_MOST_BINS, _MOST_BINS))
    bins, counts = np.unique(places, return_counts=True)
    noise = release.prepaid(ApproxDP(epsilon, delta))
    noisy = noise.discrete_laplace(counts, l1_sensitivity=2, scale=2 / Fraction(epsilon))
    fullest = int(np.argmax(noisy))
    if noisy[fullest] < threshold(epsilon, delta):
        return None
    first = float(bins[fullest]) - 1
    return first * width, (first + 3) * width


def threshold(epsilon: float, delta: float) -> int:
    """Least count t with max(2, e^(ε/2)) · P(1 + noise ≥ t) ≤ δ, the noise being discrete Laplace of scale 2/ε.

    P(noise ≥ m) = q^m / (1 + q) with q = exp(-ε/2). One is added against the rounding of the logarithms.
    """
    q = math.exp(-epsilon / 2)
    return 2 + math.ceil(2 / epsilon * (max(math.log(2), epsilon / 2) - math.log(delta) - math.log1p(q)))
