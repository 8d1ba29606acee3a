"""Risk of the interpolating estimator in closed form, and the bag size and ρ that minimise it.

For whoever must choose them before a response is seen. Setting of Javanmard et al. (ICLR 2024, arXiv 2401.11081):
Gaussian features whose number is a share of that of people; the formulas are derived here and simulated in the study.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize

from sfumato.errors import InvalidData

Floats: TypeAlias = NDArray[np.float64]

#: ρ beyond 1 shrinks further; at this end hardly anything but the mean is left.
LARGEST_RHO = 1e4
_RHOS = np.concatenate(([0.0], np.geomspace(1e-3, 1, 43), np.geomspace(1.2, LARGEST_RHO, 49)))
_DENSE = 64  # bag sizes that are all tried; above them, 5 % apart until the best is bracketed


def risk(
    n: ArrayLike,
    d: ArrayLike,
    k: ArrayLike,
    rho: ArrayLike,
    t: ArrayLike,
    s2: ArrayLike,
    *,
    ridge: ArrayLike = 0.0,
    debias: bool = False,
) -> Floats:
    """Excess risk E‖θ̂ - θ‖²_Σ of the minimiser of (1-ρ)·bag loss + ρ·instance loss, for Gaussian features.

    With m = n/k bags, A the bags' part of XᵀX and B the rest, θ̂ = (A + ρB + λΣ)⁻¹ k X̄ᵀȳ. Let δ solve
    δ[m/(1+δ) + (n-m)ρ/(1+ρδ) + λ] = d, and c = d/δ; then A + ρB + λΣ acts as cΣ, the mean of θ̂ is aθ with
    a = m/((1+δ)c), and with K₁ = dm/((1+δ)c)², K₂ = d(n-m)ρ²/((1+ρδ)c)² the risk is (1-a)²t + γ,
    γ = [K₁((1-a)²t + s2) + K₂a²t] / (1-K₁-K₂). Exact as n and d grow together; Σ does not matter.

    All arguments broadcast.

    Parameters
    ----------
    n, d, k : array_like
        People, features, people in a bag.
    rho : array_like
        0 is the bag loss, 1 the instance loss; may exceed 1.
    t : array_like
        Variance of the signal, θᵀΣθ.
    s2 : array_like
        Variance of a response given its features; with noise of variance v on each mean, plus k·v.
    ridge : array_like, default 0
        λ, in units of Σ.
    debias : bool, default False
        Of θ̂/a.

    Returns
    -------
    ndarray of float
        inf where the minimiser is not unique.
    """
    a, gamma = _bias_and_variance(*np.broadcast_arrays(*_floats(n, d, k, rho, t, s2, ridge)))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = gamma / a**2 if debias else (1 - a) ** 2 * np.asarray(t, np.float64) + gamma
    return np.where(np.isfinite(found), found, np.inf)


def shrinkage(n: ArrayLike, d: ArrayLike, k: ArrayLike, rho: ArrayLike, *, ridge: ArrayLike = 0.0) -> Floats:
    """The factor a by which the estimator's mean falls short of θ; see `risk`. NaN where it is not defined."""
    return _bias_and_variance(*np.broadcast_arrays(*_floats(n, d, k, rho, 1.0, 1.0, ridge)))[0]


def risk_bag(n: float, d: float, k: float, s2: float) -> float:
    """Risk at ρ = 0: s2·kd/(n - kd), without bias; inf unless n > kd."""
    return s2 * k * d / (n - k * d) if n > k * d else math.inf


def risk_instance(n: float, d: float, k: float, t: float, s2: float) -> float:
    """Risk at ρ = 1: a bias that stays however large n is, and a variance below that of n responses."""
    if n <= d:
        return math.inf
    return t * (((k - 1) / k) ** 2 + (k - 1) / k**2 * d / (n - d)) + s2 / k * d / (n - d)


def _floats(*values: ArrayLike) -> list[Floats]:
    arrays = [np.asarray(value, np.float64) for value in values]
    n, d, k, rho, t, s2, ridge = arrays
    if not ((n >= 1) & (d >= 1) & (k >= 1) & (k <= n)).all():
        raise InvalidData("n, d and k must be at least 1, and k at most n")
    if not ((rho >= 0) & (t >= 0) & (s2 >= 0) & (ridge >= 0)).all():  # also for NaN
        raise InvalidData("rho, t, s2 and ridge must be at least 0")
    return arrays


def _bias_and_variance(
    n: Floats, d: Floats, k: Floats, rho: Floats, t: Floats, s2: Floats, ridge: Floats
) -> tuple[Floats, Floats]:
    m = n / k
    delta = _fixed_point(m, n - m, d, rho, ridge)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        bags, within = (1 + delta) * d / delta, (1 + rho * delta) * d / delta
        a = m / bags
        k1, k2 = d * m / bags**2, d * (n - m) * rho**2 / within**2
        left = 1 - k1 - k2
        gamma = (k1 * ((1 - a) ** 2 * t + s2) + k2 * a**2 * t) / left
        unique = np.isfinite(delta) & (left > 0)
    return np.where(unique, a, np.nan), np.where(unique, gamma, np.inf)


def _fixed_point(m: Floats, rest: Floats, d: Floats, rho: Floats, ridge: Floats) -> Floats:
    """δ > 0 with δ[m/(1+δ) + rest·ρ/(1+ρδ) + λ] = d; inf where there is none.

    The left side is concave and increasing, so Newton's method from 0 stays below the root and climbs to it.
    """
    limit = m + np.where(rho > 0, rest, 0.0)
    solvable = (ridge > 0) | (limit > d)
    delta = np.zeros_like(m)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for _ in range(200):
            bags, within = 1 + delta, 1 + rho * delta
            value = delta * (m / bags + rest * rho / within + ridge)
            slope = m / bags**2 + rest * rho / within**2 + ridge
            step = np.where(solvable, (d - value) / slope, 0.0)
            delta = delta + step
            if not (np.abs(step) > 1e-15 * delta).any():
                break
    return np.where(solvable, delta, np.inf)


def optimal_ridge(d: float, t: float, s2: float) -> float:
    """The λ (in units of Σ) that minimises the risk at k = 1: d·s2/t."""
    return d * s2 / t if t > 0 else math.inf


def optimal_rho(
    n: float, d: float, k: float, t: float, s2: float, *, max_rho: float = LARGEST_RHO, debias: bool = False
) -> float:
    """The ρ in [0, max_rho] of least risk; 0 for bags of one, where ρ has no effect."""
    if k <= 1:
        return 0.0
    grid = np.append(_RHOS[max_rho > _RHOS], max_rho)
    risks = risk(n, d, k, grid, t, s2, debias=debias)
    best = int(np.argmin(risks))
    if not np.isfinite(risks[best]):
        return max_rho
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    refined = optimize.minimize_scalar(
        lambda rho: float(risk(n, d, k, rho, t, s2, debias=debias)),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6 * max(high, 1e-3)},
    )
    return float(refined.x) if refined.fun < risks[best] else float(grid[best])


def label_noise(response_range: float, *, epsilon: float | None = None, rho_zcdp: float | None = None) -> float:
    """Variance of the noise that hides a change of `response_range`: Laplace for ε, Gaussian for ρ, 0 for neither."""
    if epsilon is not None and rho_zcdp is not None:
        raise InvalidData("give epsilon or rho_zcdp, not both")
    if not all(value is None or value > 0 for value in (epsilon, rho_zcdp)):
        raise InvalidData("epsilon and rho_zcdp must be above 0")
    if epsilon is not None:
        return 2 * (response_range / epsilon) ** 2
    return response_range**2 / (2 * rho_zcdp) if rho_zcdp is not None else 0.0


@dataclass(frozen=True)
class BagSize:
    """A bag size and ρ, and what they cost.

    Attributes
    ----------
    k : int
    rho : float
    risk : float
    gain : float
        1 - risk/t: the share of the signal's variance that predictions keep. At 0 or below, predicting the mean is as
        good: there is no signal at this budget.
    """

    k: int
    rho: float
    risk: float
    gain: float


def optimal_bag_size(
    n: int,
    d: int,
    *,
    t: float,
    s2: float,
    response_range: float,
    epsilon: float | None = None,
    rho_zcdp: float | None = None,
    max_rho: float = LARGEST_RHO,
) -> BagSize:
    """The bag size k in 1 .. n/2 and ρ of least risk, when each mean has noise for a range of r = `response_range`.

    In coordinates scaled by √k the noise of a mean has variance 2r²/(kε²), which joins s2. The bag loss alone never
    gains by aggregation: its risk d(k·s2 + 2r²/ε²)/(n - kd) increases with k. With ρ > 0 the variance falls as 1/k²
    while the bias grows to t.

    Parameters
    ----------
    n, d : int
    t, s2 : float
        Public guesses; wrong ones cost accuracy, never privacy.
    response_range : float
        high - low of the public bounds.
    epsilon, rho_zcdp : float, optional
        One of them, or neither for no noise.
    max_rho : float, default 1e4
        1 keeps to the interpolation of the paper; more allows to shrink further.

    Returns
    -------
    BagSize

    Examples
    --------
    >>> from sfumato.statistics.aggregates import theory
    >>> theory.optimal_bag_size(1200, 100, t=1, s2=1, response_range=6, epsilon=2.0, max_rho=1.0).k
    3
    """
    if n < 2 or d < 1:
        raise InvalidData("n must be at least 2 and d at least 1")
    if not (t > 0 and s2 >= 0 and response_range > 0 and max_rho >= 0):
        raise InvalidData("t and response_range must be above 0, s2 and max_rho at least 0")
    one = label_noise(response_range, epsilon=epsilon, rho_zcdp=rho_zcdp)

    def least(sizes: NDArray[np.int64]) -> Floats:
        rhos = np.append(_RHOS[max_rho > _RHOS], max_rho)
        k = sizes[:, np.newaxis].astype(float)
        return np.asarray(risk(n, d, k, rhos, t, s2 + one / k).min(axis=1))

    most = n // 2
    sizes = np.unique(np.rint(np.geomspace(_DENSE, max(most, _DENSE), 1 + int(20 * math.log(max(most, 64) / 63)))))
    sizes = np.concatenate((np.arange(1, _DENSE), sizes)).astype(np.int64)
    sizes = sizes[sizes <= most]
    best = int(np.argmin(least(sizes)))
    around = np.arange(sizes[max(best - 1, 0)], sizes[min(best + 1, len(sizes) - 1)] + 1)
    k = int(around[np.argmin(least(around))])
    rho = optimal_rho(n, d, k, t, s2 + one / k, max_rho=max_rho)
    found = float(risk(n, d, k, rho, t, s2 + one / k))
    return BagSize(k, rho, found, 1 - found / t)
