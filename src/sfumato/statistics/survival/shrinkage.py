"""Model-assisted cells: noisy counts drawn towards a competing two-Weibull model of themselves.

For the option `shrink` of DPKaplanMeier at small ε. Post-processing only; an empirical Bayes shrinkage in
the manner of James and Stein, with a grouped Weibull model for events and for censoring.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.noisy_counts import NoisyCounts


def shrunk(counts: NoisyCounts, *, model_only: bool = False) -> tuple[Floats, Floats, Floats]:
    """Return events (groups, m), censored (groups, m) and tail (groups,), shrunk towards the model.

    Each cell y becomes μ + μ/(μ + σ²)·(y - μ): the model mean μ is also the variance of a Poisson count.
    """
    m = counts.n_bins
    rows = np.concatenate((counts.events, counts.censored, counts.tail[:, np.newaxis]), axis=1).astype(float)
    result = np.empty_like(rows)
    for g, noisy in enumerate(rows):
        mean = _fit(noisy, counts.edges, counts.variance)
        weight = 0.0 if model_only else mean / (mean + counts.variance)
        result[g] = mean + weight * (noisy - mean)
    return result[:, :m], result[:, m:-1], result[:, -1]


def _means(parameters: Floats, edges: Floats, size: float) -> Floats:
    shape_e, scale_e, shape_c, scale_c = np.exp(np.clip(parameters, -5, 5))
    x = edges / edges[-1]
    event, censoring = (x / scale_e) ** shape_e, (x / scale_c) ** shape_c
    alive = np.exp(-np.clip(event + censoring, 0, 700))
    lost = alive[:-1] - alive[1:]
    steps_e, steps_c = np.diff(event), np.diff(censoring)
    share = steps_e / np.maximum(steps_e + steps_c, 1e-300)
    return size * np.concatenate((lost * share, lost * (1 - share), alive[-1:]))


def _fit(noisy: NDArray[np.float64], edges: Floats, variance: float) -> Floats:
    size = max(float(noisy.sum()), 1.0)

    def loss(parameters: Floats) -> float:
        mean = _means(parameters, edges, size)
        weak_prior = 0.05 * float((parameters**2).sum())
        return float(((noisy - mean) ** 2 / (variance + mean + 0.5)).sum() / 2) + weak_prior

    starts = (np.zeros(4), np.array([0.0, 1.0, 0.0, 1.0]))
    best = min((minimize(loss, s, method="L-BFGS-B") for s in starts), key=lambda fit: float(fit.fun))
    return _means(best.x, edges, size)
