"""Intervals that know of the privacy noise: a DP-aware Greenwood formula and a sup-t bootstrap band.

For readers of a noisy curve, who would be misled by Greenwood's formula alone (its coverage falls to .80).
Greenwood 1926; log-log interval of Kalbfleisch and Prentice 1980; the noise term is derived here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.noisy_counts import NoisyCounts, whiten

#: Tables simulated for a bootstrap.
REPLICATES = 500

Kind: TypeAlias = Literal["pointwise", "simultaneous"]


@dataclass(frozen=True)
class Gradients:
    """Derivatives of the cumulative hazards Λ_j by the noisy cells, in the shape that they have.

    ∂Λ_j/∂e_l = 1[l≤j]·B_l + a_min(j,l);  ∂Λ_j/∂c_l = a_min(j,l) - ½A_l·1[l≤j];  ∂Λ_j/∂w = a_j, where
    A_k = -q_k/(r_k(1-q_k)), B_k = 1/(r_k(1-q_k)) and a_j = Σ_{k≤j} A_k.
    """

    on_events: Floats  # B_l, shape (..., m)
    on_censored: Floats  # -½A_l, or 0 without the actuarial half
    through_risk: Floats  # a_j

    def variance(self, counts: NoisyCounts) -> Floats:
        """Noise variance of each Λ_j, shape (..., m)."""
        if counts.mechanism == "factorized":
            return self._factorized(counts)
        m = self.through_risk.shape[-1]
        before = np.cumsum(
            (self.on_events + self.through_risk) ** 2 + (self.on_censored + self.through_risk) ** 2, axis=-1
        )
        # the 2(m - j) later cells and the tail enter through the number at risk only
        after = (2 * (m - np.arange(1, m + 1)) + 1) * self.through_risk**2
        return np.asarray(counts.variance * (before + after))

    def matrices(self) -> tuple[Floats, Floats, Floats]:
        """All derivatives: by events (..., m, m), by censored (..., m, m), by the tail (..., m)."""
        m = self.through_risk.shape[-1]
        row, column = np.arange(m)[:, np.newaxis], np.arange(m)
        through = self.through_risk[..., np.minimum(row, column)]
        own = column <= row
        by_events = through + own * self.on_events[..., np.newaxis, :]
        by_censored = through + own * self.on_censored[..., np.newaxis, :]
        return by_events, by_censored, self.through_risk

    def _factorized(self, counts: NoisyCounts) -> Floats:
        by_events, by_censored, by_tail = self.matrices()
        return counts.noise_variance(by_events, by_censored, by_tail)


def hazard_gradients(curve: Floats, exposed: Floats, *, actuarial: bool = True) -> tuple[Gradients, Floats]:
    """Derivatives of the cumulative hazards, and Greenwood's sampling variance of each.

    Parameters
    ----------
    curve : ndarray of float, shape (..., m + 1)
        Monotone survival at the edges.
    exposed : ndarray of float, shape (..., m)
        Denominators r_j, at least 1.
    actuarial : bool

    Returns
    -------
    gradients : Gradients
    sampling : ndarray of float, shape (..., m)
        Σ_{k≤j} q_k / (r_k (1 - q_k)).
    """
    q = curves.hazards(curve)
    # a hazard of 1 has no log; the interval there is set by the clip, and its times are not reliable
    scale = 1 / (exposed * np.maximum(1 - q, 1e-9))
    through = np.cumsum(-q * scale, axis=-1)
    half = 0.5 * q * scale if actuarial else np.zeros_like(q)
    return Gradients(scale, half, through), np.cumsum(q * scale, axis=-1)


def cumulative_hazard_variance(counts: NoisyCounts, curve: Floats, *, actuarial: bool = True) -> Floats:
    """Variance of -log S at the edges after 0, sampling and noise together, shape (groups, m)."""
    exposed = curves.denominator(counts.at_risk(), counts.censored, actuarial)
    gradients, sampling = hazard_gradients(curve, exposed, actuarial=actuarial)
    return np.asarray(sampling + gradients.variance(counts))


def pointwise(curve: Floats, variance: Floats, level: float, reliable: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Interval for S at each edge: log-log where Λ is known to within a half, else on Λ itself.

    The log-log interval Λ·exp(±z·se/Λ) runs off to (0, 1) where noise dominates Λ; noise is additive in Λ,
    so there the plain interval Λ ± z·se is the right one.

    Parameters
    ----------
    curve : ndarray of float, shape (..., m + 1)
    variance : ndarray of float, shape (..., m)
    level : float
    reliable : ndarray of bool, shape (..., m + 1)
        Elsewhere nothing is known from below, and the last reliable upper end bounds from above.

    Returns
    -------
    lower, upper : ndarray of float, shape (..., m + 1)
    """
    z = float(ndtri((1 + level) / 2))
    survival = curve[..., 1:]
    error = np.sqrt(variance)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        hazard = -np.log(survival)
        factor = np.exp(z * error / hazard)
        lower_log, upper_log = np.exp(-hazard * factor), np.exp(-hazard / factor)
        lower_plain, upper_plain = np.exp(-hazard - z * error), np.exp(-np.maximum(hazard - z * error, 0))
    precise = error <= hazard / 2
    lower = np.where(precise, lower_log, lower_plain)
    upper = np.where(precise, upper_log, upper_plain)
    gone = (survival <= 0) | ~reliable[..., 1:]
    lower, upper = np.where(gone, 0.0, lower), np.where(gone, np.nan, upper)
    return curves.with_start(lower), _carry(curves.with_start(upper))


def simulate_cells(
    counts: NoisyCounts, curve: Floats, draws: int, rng: np.random.Generator, *, actuarial: bool = True
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Parametric bootstrap of the noisy cells: fresh people and fresh noise, at the noisy size.

    Parameters
    ----------
    counts : NoisyCounts
    curve : ndarray of float, shape (groups, m + 1)
        Its hazards are those simulated.
    draws : int
    rng : numpy.random.Generator
        This is simulation, not privacy: the data are already noisy.

    Returns
    -------
    events, censored : ndarray of int64, shape (draws, groups, m)
    tail : ndarray of int64, shape (draws, groups)
    """
    m = counts.n_bins
    size = np.maximum(counts.at_risk()[:, 0], 1).astype(np.int64)
    probabilities = cell_probabilities(counts, curve, actuarial=actuarial)
    cells = np.stack([rng.multinomial(size[g], probabilities[g], size=draws) for g in range(counts.n_groups)], axis=1)
    noise = simulate_noise(counts, cells.shape[:-1], rng)
    cells += noise
    return cells[..., :m], cells[..., m:-1], cells[..., -1]


def cell_probabilities(counts: NoisyCounts, curve: Floats, *, actuarial: bool = True) -> Floats:
    """Probabilities of the 2m + 1 cells, shape (groups, 2m + 1), under which the estimator is on target.

    The event hazards are the curve's; those of censoring come from the same product limit with the two
    kinds of cells exchanged.
    """
    event_hazard = curves.hazards(curve)
    left = curves.survival(
        counts.censored, counts.events, counts.tail, deviation=counts.at_risk_deviation(), actuarial=False
    )
    censor_hazard = curves.hazards(left)
    # an actuarial hazard is events / (at risk - censored/2)
    by_event = event_hazard * (1 - censor_hazard / 2 if actuarial else 1)
    by_event = np.minimum(by_event, 1 - censor_hazard)
    alive = np.asarray(np.cumprod(1 - by_event - censor_hazard, axis=-1), np.float64)
    start = curves.with_start(alive)[..., :-1]
    cells = np.concatenate((start * by_event, start * censor_hazard, alive[..., -1:]), axis=-1)
    cells = np.maximum(cells, 0.0)
    return np.asarray(cells / cells.sum(-1, keepdims=True))


def simulate_noise(
    counts: NoisyCounts, shape: tuple[int, ...], rng: np.random.Generator, *, n_causes: int = 1
) -> NDArray[np.int64]:
    """Noise distributed as the table's own, shape (*shape, (n_causes + 1)m + 1).

    Events of each cause, then censored, then the tail.
    """
    m = counts.n_bins
    size = (n_causes + 1) * m + 1
    if counts.variance == 0:
        return np.zeros((*shape, size), np.int64)
    if counts.mechanism == "laplace":
        return _laplace(counts, (*shape, size), rng)
    normal = rng.normal(0, np.sqrt(counts.variance), (*shape, n_causes + 1, m + 1))
    if counts.mechanism == "factorized":
        normal = np.diff(np.rint(np.cumsum(_decode(normal), axis=-1)), prepend=0, axis=-1)
    flat = np.concatenate((normal[..., :-1, :m].reshape(*shape, n_causes * m), normal[..., -1, :]), axis=-1)
    return np.rint(flat).astype(np.int64)


def _laplace(counts: NoisyCounts, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.int64]:
    # each site's variance 2q/(1-q)², solved for q; a sum over sites is a sum of differences of geometrics
    variance = counts.variance / counts.sites
    q = (1 + variance - np.sqrt(1 + 2 * variance)) / variance
    plus, minus = (rng.negative_binomial(counts.sites, 1 - q, shape) for _ in range(2))
    return np.asarray(plus - minus, dtype=np.int64)


def _decode(white: Floats) -> Floats:
    # whiten is the transposed solve; reversing both ends turns a Toeplitz transpose into itself
    return whiten(white[..., ::-1])[..., ::-1]


def reliable(risk: Floats, deviation: Floats) -> NDArray[np.bool_]:
    """Whether enough people are at risk for the noise, at each edge and all before it, shape (groups, m + 1)."""
    held = np.logical_and.accumulate(risk >= np.maximum(5.0, 3 * deviation), axis=-1)
    # S at an edge rests on those at risk in the interval that ends there
    return np.asarray(np.concatenate((held[:, :1], held), axis=-1))


def bootstrap(
    curve: Floats, replicates: Floats, reliable: NDArray[np.bool_], level: float, kind: Kind
) -> tuple[Floats, Floats]:
    """Band of each group's curve from its replicates.

    Parameters
    ----------
    curve : ndarray of float, shape (groups, m + 1)
    replicates : ndarray of float, shape (draws, groups, m + 1)
    reliable : ndarray of bool, shape (groups, m + 1)
    level : float
    kind : {"pointwise", "simultaneous"}

    Returns
    -------
    lower, upper : ndarray of float, shape (groups, m + 1)
    """
    band = simultaneous if kind == "simultaneous" else bootstrap_pointwise
    both = [band(curve[g], replicates[:, g], reliable[g], level) for g in range(len(curve))]
    return np.stack([lower for lower, _ in both]), np.stack([upper for _, upper in both])


def simultaneous(
    estimate: Floats, replicates: Floats, reliable: NDArray[np.bool_], level: float
) -> tuple[Floats, Floats]:
    """Sup-t band over the reliable edges, on the arcsine scale, from bootstrap replicates of a group's curve.

    Parameters
    ----------
    estimate : ndarray of float, shape (m + 1,)
    replicates : ndarray of float, shape (draws, m + 1)
    reliable : ndarray of bool, shape (m + 1,)
    level : float

    Returns
    -------
    lower, upper : ndarray of float, shape (m + 1,)
        Beyond the reliable edges the band is [0, the last reliable upper bound].
    """
    angle, simulated = _angle(estimate), _angle(replicates)
    error = np.maximum(np.sqrt(((simulated - angle) ** 2).mean(0)), 1e-12)
    inside = reliable & (np.arange(len(estimate)) > 0)
    if not inside.any():
        return np.where(np.arange(len(estimate)) > 0, 0.0, 1.0), np.ones_like(estimate)
    worst = (np.abs(simulated - angle) / error)[:, inside].max(1)
    width = np.quantile(worst, level, method="higher") * error
    lower = np.where(inside, _survival_at(angle - width), 0.0)
    upper = np.where(inside, _survival_at(angle + width), np.nan)
    lower[0], upper[0] = 1.0, 1.0
    # the curve decreases, so a band for all times together may too
    return np.maximum.accumulate(lower[::-1])[::-1], np.minimum.accumulate(_carry(upper))


def bootstrap_pointwise(
    estimate: Floats, replicates: Floats, reliable: NDArray[np.bool_], level: float
) -> tuple[Floats, Floats]:
    """Interval at each edge from the replicates' deviation on the arcsine scale; see `simultaneous`."""
    angle = _angle(estimate)
    width = float(ndtri((1 + level) / 2)) * np.sqrt(((_angle(replicates) - angle) ** 2).mean(0))
    lower = np.where(reliable, _survival_at(angle - width), 0.0)
    upper = np.where(reliable, _survival_at(angle + width), np.nan)
    lower[0], upper[0] = 1.0, 1.0
    return lower, _carry(upper)


def _angle(survival: Floats) -> Floats:
    # arcsin √S: its variance hardly depends on S, and it exists at 0 and 1
    return np.asarray(np.arcsin(np.sqrt(np.clip(survival, 0, 1))))


def _survival_at(angle: Floats) -> Floats:
    return np.asarray(np.sin(np.clip(angle, 0, np.pi / 2)) ** 2)


def _carry(values: Floats) -> Floats:
    """Replace each NaN by the last value before it, along the last axis."""
    place = np.where(np.isnan(values), 0, np.arange(values.shape[-1]))
    place = np.maximum.accumulate(place, axis=-1)
    return np.take_along_axis(values, place, axis=-1)
