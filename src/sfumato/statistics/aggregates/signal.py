"""How strong signal and noise are, estimated from bag means that are already released.

For choosing ρ by the theory: it costs no budget. Marginal likelihood of a linear model with random coefficients
(Patterson and Thompson 1971), on the moments of `sfumato.statistics.aggregates.moments`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize

from sfumato.statistics.aggregates.bags import Floats
from sfumato.statistics.aggregates.moments import Moments

_RATIOS = np.concatenate(([0.0], np.geomspace(1e-6, 1e6, 121)))
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Signal:
    """Variance `t` of the predictable part of a person's response, and `s2` of the rest, √k-scaled noise included."""

    t: float
    s2: float


def estimate_signal(moments: Moments, n: int, bags: int, floor: float, *, intercept: bool) -> Signal:
    """Maximise the likelihood of the means, with coefficients drawn from N(0, (t/d) Σ⁻¹).

    Parameters
    ----------
    moments : Moments
    n, bags : int
        People and bags.
    floor : float
        What is known to be noise: s2 is at least that.
    intercept : bool

    Returns
    -------
    Signal
    """
    spectrum, projected, rank = _rotated(moments, n)
    freedom = bags - int(intercept)
    seen = min(rank, freedom)
    spectrum, projected = spectrum[:seen], projected[:seen]
    rest = max(moments.square - float(projected.sum()), 0.0)
    if freedom < 1 or moments.square <= 0:
        return Signal(0.0, floor)

    def likelihood(ratio: float) -> tuple[float, float]:
        grown = 1 + ratio * spectrum
        sum_of_squares = float((projected / grown).sum()) + rest
        s2 = max(sum_of_squares / freedom, floor, 1e-300)
        return freedom * np.log(s2) + float(np.log(grown).sum()) + sum_of_squares / s2, s2

    values = [likelihood(ratio)[0] for ratio in _RATIOS]
    best = int(np.argmin(values))
    ratio = float(_RATIOS[best])
    if 0 < best < len(_RATIOS) - 1:
        found = optimize.minimize_scalar(
            lambda log_ratio: likelihood(float(np.exp(log_ratio)))[0],
            bounds=(np.log(max(_RATIOS[best - 1], _RATIOS[1] / 10)), np.log(_RATIOS[best + 1])),
            method="bounded",
        )
        ratio = float(np.exp(found.x))
    s2 = likelihood(ratio)[1]
    return Signal(ratio * s2 * rank, s2)


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
