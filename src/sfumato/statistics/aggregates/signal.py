"""How strong signal and noise are, estimated from bag means that are already released.

For choosing ρ by the theory: it costs no budget. Restricted likelihood of a linear model with random coefficients
(Patterson and Thompson 1971), averaged over, on the moments of `sfumato.statistics.aggregates.moments`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from sfumato.statistics.aggregates.bags import Floats
from sfumato.statistics.aggregates.moments import Moments

#: Of t/(t + s2).
_LOG_ODDS = np.linspace(-14, 14, 2001)
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Signal:
    """Variance `t` of the predictable part of a person's response, and `s2` of the rest, √k-scaled noise included."""

    t: float
    s2: float


def estimate_signal(moments: Moments, n: int, bags: int, floor: float, *, most: float, intercept: bool) -> Signal:
    """Posterior means of t and s2, the correlation √(t/(t + s2)) being anything in [0, 1] beforehand.

    Coefficients are drawn from N(0, (t/d) Σ⁻¹). The risk of `theory` is linear in t and s2, so that the ρ which is best
    at their means is best on average; at the most likely values, which may have t = 0, it is not.

    Parameters
    ----------
    moments : Moments
    n, bags : int
        People and bags.
    floor : float
        What is known to be noise: s2 is at least that.
    most : float
        Largest variance of a response within its public bounds; t is at most that. inf without bounds.
    intercept : bool

    Returns
    -------
    Signal
    """
    spectrum, projected, rank = _rotated(moments, n)
    freedom = bags - int(intercept)
    seen = min(rank, freedom)
    spectrum, projected = spectrum[:seen], projected[:seen]
    if freedom < 1 or moments.square <= 0:
        return Signal(0.0, floor)
    rest = max(moments.square - float(projected.sum()), 0.0)
    grown = 1 + np.exp(_LOG_ODDS)[:, np.newaxis] / rank * spectrum
    squares = (projected / grown).sum(axis=1) + rest
    s2 = np.maximum(np.maximum(squares / freedom, floor), np.finfo(float).tiny)
    misfit = freedom * np.log(s2) + np.log(grown).sum(axis=1) + squares / s2
    correlation = np.sqrt(special.expit(_LOG_ODDS))
    density = correlation * special.expit(-_LOG_ODDS)  # of a uniform correlation, up to a factor
    weights = np.exp((misfit.min() - misfit) / 2) * density
    t = np.exp(_LOG_ODDS) * s2
    weights = np.where(t <= most, weights, 0.0)
    if not weights.any():
        return Signal(most, float(s2[0]))
    weights /= weights.sum()
    return Signal(float(weights @ t), float(weights @ s2))


def _rotated(moments: Moments, n: int) -> tuple[Floats, Floats, int]:
    """Eigenvalues of A in the geometry of the features' covariance, the responses' squared projections, the rank."""
    scatter, axes = np.linalg.eigh((moments.between + moments.within) / n)
    kept = scatter > _TOLERANCE * max(scatter[-1], 0.0)
    whiten = axes[:, kept] / np.sqrt(scatter[kept])
    spectrum, inner = np.linalg.eigh(whiten.T @ moments.between @ whiten)
    spectrum, inner = spectrum[::-1], inner[:, ::-1]
    along = (inner.T @ (whiten.T @ moments.cross)) ** 2
    visible = spectrum > _TOLERANCE * n
    projected = np.where(visible, along / np.where(visible, spectrum, 1.0), 0.0)
    return np.maximum(spectrum, 0.0), projected, int(kept.sum())
