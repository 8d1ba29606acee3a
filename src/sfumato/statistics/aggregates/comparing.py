"""Which mechanism for a private linear model: bags, noisy labels with ridge, or noisy sufficient statistics.

For whoever must choose before anything is spent: all of it follows from public numbers. Risks of
`sfumato.statistics.aggregates.theory`; that of the sufficient statistics is derived in `sufficient`.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import theory
from sfumato.statistics.aggregates.bags import Floats

_TOLERANCE = 1e-10


def compare_mechanisms(
    n: int,
    d: int,
    *,
    t: float,
    s2: float,
    response_range: float,
    epsilon: float | None = None,
    rho_zcdp: float | None = None,
    feature_norm: float | None = None,
) -> pd.DataFrame:
    """Expected excess risk of mechanisms with the same label-DP claim.

    Parameters
    ----------
    n, d : int
        People and features.
    t, s2 : float
        Public guesses: variance of the predictable part of a response, and of the rest.
    response_range : float
        high - low of the public bounds.
    epsilon, rho_zcdp : float
        One of them.
    feature_norm : float, optional
        Largest L1 norm (for ε; L2 for ρ) of a person's whitened features, as `feature_norm` finds it; by default about
        what Gaussian features have.

    Returns
    -------
    DataFrame
        Index "mechanism"; columns k, rho, ridge, risk, and gain = 1 - risk/t. The last row predicts the mean.

    Examples
    --------
    >>> from sfumato.statistics.aggregates import compare_mechanisms
    >>> compare_mechanisms(1200, 100, t=1, s2=1, response_range=6, epsilon=2.0).risk.round(2).idxmin()
    'noisy labels, ridge'
    """
    if (epsilon is None) == (rho_zcdp is None):
        raise InvalidData("give epsilon or rho_zcdp, one of them")
    terms = {"response_range": response_range, "epsilon": epsilon, "rho_zcdp": rho_zcdp}
    chosen = theory.optimal_bag_size(n, d, t=t, s2=s2, **terms)  # type: ignore[arg-type]
    instance = theory.optimal_bag_size(n, d, t=t, s2=s2, max_rho=1.0, **terms)  # type: ignore[arg-type]
    noisy = s2 + theory.label_noise(response_range, epsilon=epsilon, rho_zcdp=rho_zcdp)
    norm = _gaussian_norm(n, d, l1=epsilon is not None) if feature_norm is None else feature_norm
    rows = {
        "bags, k and ρ chosen": (chosen.k, chosen.rho, 0.0, chosen.risk),
        "bags, ρ at most 1": (instance.k, instance.rho, 0.0, instance.risk),
        "noisy labels, least squares": (1, 0.0, 0.0, theory.risk_bag(n, d, 1, noisy)),
        "noisy labels, ridge": (1, 0.0, theory.optimal_ridge(d, t, noisy), ridge_risk(n, d, t, noisy)),
        "noisy XᵀY, shrunk": (None, None, None, sufficient_risk(n, d, t, s2, norm * response_range, epsilon, rho_zcdp)),
        "the mean": (None, None, None, t),
    }
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=["k", "rho", "ridge", "risk"])
    frame["k"] = frame["k"].astype("Int64")
    frame["gain"] = 1 - frame["risk"] / t
    return frame.rename_axis("mechanism")


def ridge_risk(n: int, d: int, t: float, noisy: float) -> float:
    """Risk of the best ridge on labels of variance `noisy`: no bags do better, in theory."""
    return float(theory.risk(n, d, 1, 0.0, t, noisy, ridge=theory.optimal_ridge(d, t, noisy)))


def sufficient_risk(
    n: int, d: int, t: float, s2: float, sensitivity: float, epsilon: float | None, rho_zcdp: float | None
) -> float:
    """Risk of noisy XᵀY at the best shrinkage: t·V/(t + V), V that without it."""
    least_squares = theory.risk_bag(n, d, 1, s2)
    noise = d * theory.label_noise(sensitivity, epsilon=epsilon, rho_zcdp=rho_zcdp) / n**2
    return t * (1 - t / (t + least_squares + noise)) if math.isfinite(least_squares) else t


def whitening(X: Floats) -> Floats:
    """W, shape (d, r), with (X - mean) W of unit covariance; r < d where features depend on each other."""
    scatter, axes = np.linalg.eigh(np.atleast_2d(np.cov(X, rowvar=False, bias=True)))
    kept = scatter > _TOLERANCE * max(scatter[-1], 0.0)
    if not kept.any():
        raise InvalidData("X must vary: every feature is constant")
    return np.asarray(axes[:, kept] / np.sqrt(scatter[kept]))


def feature_norm(X: Floats, *, l1: bool) -> float:
    """Largest norm of a person's whitened features; features are public under label differential privacy."""
    whitened = (X - X.mean(axis=0)) @ whitening(X)
    return float(np.linalg.norm(whitened, ord=1 if l1 else 2, axis=1).max())


def _gaussian_norm(n: int, d: int, *, l1: bool) -> float:
    far = math.sqrt(2 * math.log(max(n, 2)))
    return d * math.sqrt(2 / math.pi) + far * math.sqrt(d * (1 - 2 / math.pi)) if l1 else math.sqrt(d) + far
