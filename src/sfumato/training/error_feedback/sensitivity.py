"""How far one record can move all noisy sums of an error-feedback run together: the sound bounds, and the published.

For `plan`, which turns them into claims. The telescoped bound is ours; the published calibration is that of the code
of Zhang, Bu, Wu and Hong (ICLR 2024).

The telescoped bound
--------------------
In sum units, with π the projection on a closed convex set (a ball of radius C2), a step releases

    s_t = Σ_{i in B_t} c_i + π(e_t) + noise,   e_{t+1} = e_t - π(e_t) + Σ_{i in B_t} r_i,   e_1 = 0,

where c_i = clip(g_i, C1) and r_i = clip(g_i, C3) - clip(g_i, C1), so |c_i| ≤ C1 and |r_i| ≤ R = C3 - C1. Batches are
fixed beforehand and take the record in question at most k times. Neighbours differ in that record; both runs are
looked at along one and the same sequence of releases, so they have the same parameters and the same gradients of all
other records. Write D_t for the difference of their error states and m_t for the number of participations from step t
on. Put Δ_0 = 0 and Δ_{j+1}² = C1² + (R + Δ_j)². Then

    |shift of s_t|² + (|D_{t+1}| + Δ_{m_{t+1}})² ≤ (|D_t| + Δ_{m_t})².

Proof. Let p and q be the differences of π(e_t) and of e_t - π(e_t). A projection is firmly non-expansive, that is,
|p|² + |q|² ≤ |D_t|². In a step without the record the shift is p and D_{t+1} = q, and |p|² + (|q| + Δ_m)² is the
squared length of (0, Δ_m) + (|p|, |q|), at most (Δ_m + |D_t|)². In a step with it, the shift has length at most
C1 + |p| and |D_{t+1}| ≤ |q| + R, and (C1 + |p|)² + (|q| + R + Δ_{m-1})² is the squared length of
(C1, R + Δ_{m-1}) + (|p|, |q|), at most (Δ_m + |D_t|)².

Summed over all steps, from D_1 = 0: the squared shifts add up to at most Δ_k², whatever the gradients, C2, the number
of steps, and however later gradients depend on earlier releases. For k = 1 it is C1² + R², which is attained; in
general it is below (√k C1 + kR)². Where the record is replaced and not left out, C1 and R count twice.
"""

from __future__ import annotations

import math
from typing import Any

from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import Neighbours

_TIMES = {"add-remove": 1.0, "replace-one": 2.0}


def telescoped_sensitivity(
    max_grad_norm: float, residual_norm: float, participations: int, neighbours: Neighbours = "add-remove"
) -> float:
    """L2 distance by which one record moves the sequence of all sums of a telescoped run: Δ_k of the module's proof.

    Parameters
    ----------
    max_grad_norm : float
        C1, to which a record's gradient is clipped in the step that takes it.
    residual_norm : float
        C3 ≥ C1: of a longer gradient, only what lies below this norm is remembered.
    participations : int
        k, the most steps that take the record.
    neighbours : {"add-remove", "replace-one"}
        Whether the record is left out, its place in the batches staying empty, or replaced by another.

    Raises
    ------
    InvalidClaim
        If a norm is not positive and finite, C3 is below C1, or k is not a whole number above 0.
    """
    clip, limit = positive("max_grad_norm", max_grad_norm), positive("residual_norm", residual_norm)
    if limit < clip:
        raise InvalidClaim(f"residual_norm must be at least max_grad_norm = {clip:g}, got {limit:g}")
    times = _times(neighbours)
    total = 0.0
    for _ in range(whole("participations", participations)):
        total = math.hypot(times * clip, times * (limit - clip) + total)
    return total


def naive_sensitivity(
    max_grad_norm: float,
    feedback_norm: float,
    participations: int,
    steps: int,
    neighbours: Neighbours = "add-remove",
) -> float:
    """L2 distance by which one record moves all sums if nothing limits what is remembered: it grows with √steps.

    A projection on a ball of radius C2 differs between any two error states by at most 2·C2, in each step; in the k
    steps that take the record its clipped gradient comes on top.

    Raises
    ------
    InvalidClaim
        As `telescoped_sensitivity`; or if there are more participations than steps.
    """
    times = _times(neighbours)
    clip = times * positive("max_grad_norm", max_grad_norm)
    paid = 2 * positive("feedback_norm", feedback_norm)
    k, all_steps = whole("participations", participations), whole("steps", steps)
    if k > all_steps:
        raise InvalidClaim(f"participations must be at most steps = {all_steps}, got {k}")
    return math.sqrt(k * (clip + paid) ** 2 + (all_steps - k) * paid**2)


def official_noise(max_grad_norm: float, feedback_norm: float, noise_multiplier: float) -> float:
    """Deviation of the noise on a sum by the published code: nm · C1 · √(1 + 2·C2/C1). It is not sound.

    `noise_multiplier` is that of a Poisson-sampled Gaussian. But what one participation leaves in the error state is
    paid out in many steps that do not take the record, so that sampling does not amplify there, and its length is not
    limited.
    """
    clip = positive("max_grad_norm", max_grad_norm)
    return noise_multiplier * clip * math.sqrt(1 + 2 * positive("feedback_norm", feedback_norm) / clip)


def positive(name: str, value: Any) -> float:
    """Return a positive, finite number, or say what was expected of `name`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        given = f"{value:g}" if isinstance(value, (int, float)) else type(value).__name__
        raise InvalidClaim(f"{name} must be a finite number above 0, got {given}")
    return float(value)


def whole(name: str, value: Any) -> int:
    """Return a whole number above 0, or say what was expected of `name`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidClaim(f"{name} must be a whole number above 0")
    return value


def _times(neighbours: Neighbours) -> float:
    if neighbours not in _TIMES:
        raise InvalidClaim(f"neighbours must be one of {', '.join(_TIMES)}")
    return _TIMES[neighbours]
