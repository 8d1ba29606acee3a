"""From noisy cells to hazards, a monotone survival curve and its summaries; all of it post-processing.

For the estimators, their bands and their bootstraps: every function works on many tables at once, along
leading axes. Product limit: Kaplan and Meier 1958; actuarial denominator: Cutler and Ederer 1958;
isotonic regression: Barlow et al. 1972.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

Interpolation: TypeAlias = Literal["linear", "hazard"]
Floats: TypeAlias = NDArray[np.float64]


def at_risk(events: NDArray[Any], censored: NDArray[Any], tail: NDArray[Any]) -> Floats:
    """Noisy number at risk at the start of each interval, shape (..., m): suffix sums of the cells."""
    cells = np.asarray(events + censored, np.float64)
    suffix: Floats = np.cumsum(cells[..., ::-1], axis=-1)[..., ::-1]
    return np.asarray(suffix + tail[..., np.newaxis])


def denominator(risk: Floats, censored: NDArray[Any], actuarial: bool) -> Floats:
    """People exposed in each interval: the censored count half, as in a life table; at least 1."""
    return np.maximum(risk - censored / 2 if actuarial else risk, 1.0)


def survival(
    events: NDArray[Any],
    censored: NDArray[Any],
    tail: NDArray[Any],
    *,
    deviation: Floats,
    actuarial: bool = True,
) -> Floats:
    """Survival at the edges.

    Hazards are clipped to [-1/2, 1] only: noise below 0 must be able to cancel noise above 0, which the
    isotonic regression then does. It weighs each point by the inverse variance of its log, since one person
    of noise moves the hazard of r people by 1/r; without the weights the noise of a long, thin tail would
    pool backwards into the well-observed part.

    Parameters
    ----------
    events, censored : ndarray, shape (..., m)
    tail : ndarray, shape (...)
    deviation : ndarray of float, shape (m,)
        Standard deviation of the noise of the numbers at risk. Where the noisy number is below half of it,
        the cells say nothing and the hazard is taken as 0.
    actuarial : bool
        Count the censored of an interval as at risk for half of it.

    Returns
    -------
    ndarray of float, shape (..., m + 1)
        From 1 at edge 0, decreasing, in [0, 1].
    """
    risk = at_risk(events, censored, tail)
    exposed = denominator(risk, censored, actuarial)
    hazard = np.where(risk < deviation / 2, 0.0, np.clip(events / exposed, -0.5, 1.0))
    with np.errstate(divide="ignore"):
        # logarithms cannot overflow, however many hazards are below 0
        raw = np.exp(np.minimum(np.cumsum(np.log1p(-hazard), axis=-1), 50.0))
    return with_start(np.clip(decreasing(raw, precision(risk, deviation)), 0.0, 1.0))


def precision(risk: Floats, deviation: Floats) -> Floats:
    """Inverse variance of the noise of log S at each later edge, up to a factor, shape (..., m)."""
    return np.asarray(1 / np.cumsum(1 / np.maximum(risk, np.maximum(deviation, 1.0)) ** 2, axis=-1))


def decreasing(rows: Floats, weights: Floats) -> Floats:
    """Weighted isotonic regression of each row on decreasing sequences, along the last axis."""
    flat, heavy = rows.reshape(-1, rows.shape[-1]), weights.reshape(-1, rows.shape[-1])
    fitted = flat.copy()
    # rows that decrease already stay as they are, to the last bit
    for i in np.flatnonzero(np.any(flat[:, 1:] > flat[:, :-1], axis=1)):
        fitted[i] = isotonic_regression(flat[i], weights=heavy[i], increasing=False).x
    return fitted.reshape(rows.shape)


def with_start(after: Floats) -> Floats:
    """Put S(0) = 1 before survival at the later edges."""
    return np.concatenate((np.ones((*after.shape[:-1], 1)), after), axis=-1)


def hazards(curve: Floats) -> Floats:
    """Hazard of each interval of a monotone curve, shape (..., m); 0 once the curve is 0."""
    before, after = curve[..., :-1], curve[..., 1:]
    return np.where(before > 0, 1 - after / np.where(before > 0, before, 1.0), 0.0)


def evaluate(edges: Floats, curve: Floats, times: Floats, interpolation: Interpolation) -> Floats:
    """Survival at `times`, shape (..., k); beyond the last edge it is unknown: NaN."""
    place = np.clip(np.searchsorted(edges, times, side="left") - 1, 0, len(edges) - 2)
    share = (times - edges[place]) / (edges[place + 1] - edges[place])
    before, after = curve[..., place], curve[..., place + 1]
    value = before + (after - before) * share
    if interpolation == "hazard":
        with np.errstate(divide="ignore", invalid="ignore"):
            power = before * (after / before) ** share
        # a constant hazard cannot reach 0: there the straight line stays
        value = np.where(after > 0, power, value)
    return np.where((times > edges[-1]) | (times < 0), np.nan, value)


def crossing(edges: Floats, curve: Floats, level: float, interpolation: Interpolation) -> Floats:
    """First time at which a curve falls to `level`, shape (...); inf if it does not by the last edge."""
    below = curve <= level
    j = np.argmax(below, axis=-1)
    reached = below.any(axis=-1)
    j = np.maximum(j, 1)
    before = np.take_along_axis(curve, (j - 1)[..., np.newaxis], -1)[..., 0]
    after = np.take_along_axis(curve, j[..., np.newaxis], -1)[..., 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (before - level) / (before - after)
        if interpolation == "hazard":
            power = np.log(level / before) / np.log(after / before)
            share = np.where(after > 0, power, share)
    share = np.clip(np.where(before > after, share, 0.0), 0.0, 1.0)
    time = edges[j - 1] + share * (edges[j] - edges[j - 1])
    return np.where(reached, np.where(curve[..., 0] <= level, edges[0], time), np.inf)


def mean_weights(edges: Floats, tau: float) -> Floats:
    """Weights w, shape (m + 1,), with w · S = ∫ S from 0 to tau for a curve linear between edges."""
    weights = np.zeros(len(edges))
    for j in range(len(edges) - 1):
        width = min(tau, edges[j + 1]) - edges[j]
        if width <= 0:
            break
        share = width / (edges[j + 1] - edges[j])
        weights[j] += width * (1 - share / 2)
        weights[j + 1] += width * share / 2
    return weights


def restricted_mean(edges: Floats, curve: Floats, tau: float, interpolation: Interpolation) -> Floats:
    """Area under the curve from 0 to tau, shape (...)."""
    if interpolation == "linear":
        return np.asarray(curve @ mean_weights(edges, tau))
    ends = np.append(edges[edges < tau], tau)
    values = evaluate(edges, curve, ends, interpolation)
    before, after, width = values[..., :-1], values[..., 1:], np.diff(ends)
    with np.errstate(divide="ignore", invalid="ignore"):
        exact = (before - after) / np.log(before / after) * width
    # the logarithmic mean is the trapezoid in the limit of a flat piece, and wherever the curve meets 0
    flat = (after <= 0) | (before - after < 1e-9 * before)
    return np.asarray(np.where(flat, (before + after) / 2 * width, exact).sum(-1))
