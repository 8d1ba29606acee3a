"""A log-rank test of two groups from one noisy life table, with a null that contains the noise.

For whoever compares two curves of a private release; the test costs no budget. Mantel 1966; the variance
of the noise and the bootstrap null are derived for this library.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from sfumato.errors import InvalidData
from sfumato.privacy.noise import discrete_laplace_variance
from sfumato.statistics.survival import bands
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.sound import DPKaplanMeier

Null: TypeAlias = Literal["bootstrap", "delta"]
#: Simulated tables of the bootstrap null: p-values are multiples of 1/500.
DRAWS = 1999


@dataclass(frozen=True)
class LogRankResult:
    """Result of `dp_logrank`.

    Parameters
    ----------
    statistic : float
        χ² = U² / (V + v_noise), one degree of freedom.
    p_value : float
    v_noise : float
        Variance of U that the privacy noise adds.
    null : {"bootstrap", "delta"}
    """

    statistic: float
    p_value: float
    v_noise: float
    null: Null


def dp_logrank(
    fit: DPKaplanMeier, *, null: Null | Literal["auto"] = "auto", random_state: int | None = None
) -> LogRankResult:
    """Test whether the two groups of a fitted estimator have the same survival.

    Parameters
    ----------
    fit : DPKaplanMeier
        Fitted with two groups: their cells are one partition, so the table was paid for once.
    null : {"auto", "bootstrap", "delta"}
        "bootstrap" compares with 1999 tables simulated without a difference and with fresh noise; "delta"
        with the χ² distribution. "auto" takes the bootstrap for noisy totals below 1000 or noise as large as
        at ε = 1, where the χ² approximation rejects up to 8 % at a nominal 5 %.
    random_state : int, optional

    Returns
    -------
    LogRankResult

    Raises
    ------
    InvalidData
        If there are not exactly two groups.
    """
    if null not in ("auto", "bootstrap", "delta"):
        raise InvalidData('null must be "auto", "bootstrap" or "delta"')
    counts = fit.noisy_counts_
    if counts.n_groups != 2:
        raise InvalidData("dp_logrank needs a fit with exactly two groups")
    statistic, v_noise = _statistic(counts, counts.events, counts.censored, counts.tail, fit.actuarial)
    chosen = _default_null(counts) if null == "auto" else null
    if chosen == "delta":
        p_value = float(chi2.sf(statistic, 1))
    else:
        simulated = _null_statistics(counts, fit.actuarial, np.random.default_rng(random_state))
        # a zero statistic of a table with nothing to compare must not look significant
        p_value = float((1 + np.sum(simulated >= statistic)) / (1 + DRAWS))
    return LogRankResult(float(statistic), p_value, float(v_noise), chosen)


def _default_null(counts: NoisyCounts) -> Null:
    small = counts.at_risk()[:, 0].sum() < 1000
    noisy = counts.variance / counts.sites >= discrete_laplace_variance(1.0)
    return "bootstrap" if small or noisy else "delta"


def _null_statistics(counts: NoisyCounts, actuarial: bool, rng: np.random.Generator) -> Floats:
    events, censored, tail = simulate_null(counts, actuarial, DRAWS, rng)
    return _statistic(counts, events, censored, tail, actuarial)[0]


def simulate_null(
    counts: NoisyCounts, actuarial: bool, draws: int, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Tables of two groups with the pooled hazards, at their noisy sizes, with fresh noise."""
    pooled = _pooled(counts)
    curve = curves.survival(
        pooled.events,
        pooled.censored,
        pooled.tail,
        deviation=pooled.at_risk_deviation(),
        actuarial=actuarial,
    )
    probabilities = bands.cell_probabilities(pooled, curve, actuarial=actuarial)[0]
    sizes = np.maximum(counts.at_risk()[:, 0], 1).astype(np.int64)
    cells = np.stack([rng.multinomial(n, probabilities, size=draws) for n in sizes], axis=1)
    cells += bands.simulate_noise(counts, cells.shape[:-1], rng)
    m = counts.n_bins
    return cells[..., :m], cells[..., m:-1], cells[..., -1]


def _pooled(counts: NoisyCounts) -> NoisyCounts:
    return NoisyCounts(
        edges=counts.edges,
        events=counts.events.sum(axis=0, keepdims=True),
        censored=counts.censored.sum(axis=0, keepdims=True),
        tail=counts.tail.sum(keepdims=True),
        variance=counts.variance * counts.n_groups,
        neighbours=counts.neighbours,
        group_labels=None,
        claim=counts.claim,
        sites=counts.sites * counts.n_groups,
        mechanism=counts.mechanism,
    )


def _statistic(
    counts: NoisyCounts,
    events: NDArray[Any],
    censored: NDArray[Any],
    tail: NDArray[Any],
    actuarial: bool,
) -> tuple[Floats, Floats]:
    """χ² and the noise variance, shape (...), of tables with shape (..., 2, m)."""
    risk = curves.at_risk(events, censored, tail)
    use = np.logical_and.accumulate((risk > 3 * _cell_deviation(counts) + 1).all(axis=-2), axis=-1)
    exposed = curves.denominator(risk, censored, actuarial)
    r1, r2 = exposed[..., 0, :], exposed[..., 1, :]
    r, e = r1 + r2, events.sum(axis=-2)
    share1, share2 = r1 / r, r2 / r
    u = (use * (events[..., 0, :] - e * share1)).sum(-1)
    observed = np.clip(e, 0, r)
    v = (use * observed * share1 * share2 * (r - observed) / np.maximum(r - 1, 1)).sum(-1)
    hazard = _pooled_hazard(e, censored.sum(axis=-2), tail.sum(axis=-1), counts, actuarial)
    v_noise = _noise_variance(counts, use, share1, share2, hazard, actuarial)
    total = v + v_noise
    chi = np.where(total > 0, u**2 / np.where(total > 0, total, 1.0), 0.0)
    return np.asarray(chi), np.asarray(v_noise)


def _noise_variance(
    counts: NoisyCounts,
    use: NDArray[np.bool_],
    share1: Floats,
    share2: Floats,
    hazard: Floats,
    actuarial: bool,
) -> Floats:
    """Variance of U by the noise, from its derivatives by every cell.

    ∂U/∂r_1j = -q_j·share2_j and ∂U/∂r_2j = q_j·share1_j reach every cell from j on; an event of group 1
    adds share2_j, one of group 2 takes share1_j; an actuarial denominator loses half of its own censored.
    """
    by_risk = np.stack((-hazard * share2, hazard * share1), axis=-2) * use[..., np.newaxis, :]
    through = np.cumsum(by_risk, axis=-1)
    own = np.stack((share2, -share1), axis=-2) * use[..., np.newaxis, :]
    on_censored = through - by_risk / 2 if actuarial else through
    return np.asarray(counts.noise_variance(own + through, on_censored, through[..., -1]).sum(-1))


def _pooled_hazard(
    events: NDArray[Any], censored: NDArray[Any], tail: NDArray[Any], counts: NoisyCounts, actuarial: bool
) -> Floats:
    deviation = counts.at_risk_deviation() * np.sqrt(2)
    return curves.hazards(curves.survival(events, censored, tail, deviation=deviation, actuarial=actuarial))


def _cell_deviation(counts: NoisyCounts) -> float:
    # for correlated noise the last number at risk stands in for a cell
    if counts.mechanism == "factorized":
        return float(counts.at_risk_deviation().min())
    return float(np.sqrt(counts.variance))
