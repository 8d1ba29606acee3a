"""SmoothedCurveKM: noise on a transform of the curve, at a scale read from the data. NOT private.

A victim for the auditor. The four smoothers of "Federated Survival Analysis with Node-Level Differential Privacy"
(arXiv 2509.00615), written anew from facts about its code.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.fft import dct, idct
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.statistics.survival.total_variation import denoise
from sfumato.statistics.survival.victims import (
    Floats,
    check_epsilon,
    demand_acknowledgement,
    leave_one_out_curves,
    product_limit,
    read_durations,
)

Smoother = Literal["dct", "haar", "tv", "weibull"]
Sensitivity = Literal["leave-one-out", "sound"]
WHY = "noise scaled to the leave-one-out maximum on the data at hand, in L∞ where L1 is needed; see counterexample"
POINTS = 100
HAAR_POINTS = 128  # whole levels of a Haar transform need a power of two
TV_WEIGHT = 0.12 * (100 / 50) ** 0.25 * math.sqrt(math.log(101))


class SmoothedCurveKM(BaseEstimator):  # type: ignore[misc]
    """A noisy, smoothed Kaplan-Meier curve on a grid of 100 points: a victim.

    Parameters
    ----------
    epsilon : float
        What it says it spends.
    smoother : {"dct", "haar", "tv", "weibull"}
        What is noised: cosine or Haar coefficients, a total-variation denoised curve, a Weibull curve.
    horizon : float
        End of the grid.
    sens : {"leave-one-out", "sound"}
        "leave-one-out" is the published scale: the largest change of any point when one person of this cohort leaves.
        "sound" bounds the L1 sensitivity, for seeing what that would cost: 100 points that each move by at most 1.
        An orthonormal transform of k of them moves by at most √k in L2 and k in L1: 100 cosine coefficients,
        128 of Haar, whose curve is held beyond its end to a power of two.
    i_know_this_is_not_private : bool
        Must be True.
    random_state : int, optional
        Seeds NumPy's generator: this noise protects nobody.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        smoother: Smoother = "dct",
        *,
        horizon: float | None = None,
        sens: Sensitivity = "leave-one-out",
        i_know_this_is_not_private: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.smoother = smoother
        self.horizon = horizon
        self.sens = sens
        self.i_know_this_is_not_private = i_know_this_is_not_private
        self.random_state = random_state

    def fit(self, durations: ArrayLike, events: ArrayLike) -> Self:
        """Draw one curve.

        Raises
        ------
        InvalidClaim, InvalidData
            Without the acknowledgement; on bad parameters or data.
        """
        self.claim_ = demand_acknowledgement(type(self).__name__, self.i_know_this_is_not_private, WHY)
        curve = self.sample(durations, events, 1, np.random.default_rng(self.random_state))[0]
        self.survival_function_ = pd.DataFrame({"KM_estimate": curve}, index=pd.Index(self.timeline_, name="timeline"))
        return self

    def sample(self, durations: ArrayLike, events: ArrayLike, n: int, rng: np.random.Generator) -> Floats:
        """Draw n independent curves, shape (n, 100)."""
        demand_acknowledgement(type(self).__name__, self.i_know_this_is_not_private, WHY)
        times, seen = read_durations(durations, events)
        if self.horizon is None or not (0 < self.horizon < math.inf):
            raise InvalidData("horizon must be a finite number above 0")
        if self.smoother not in get_args(Smoother) or self.sens not in get_args(Sensitivity):
            raise InvalidData("smoother must be dct, haar, tv or weibull, and sens leave-one-out or sound")
        self.timeline_ = np.linspace(0, self.horizon, POINTS)
        exact, _ = product_limit(times, seen, self.timeline_)
        scale = self._sensitivity(times, seen, exact) / check_epsilon(self.epsilon)
        noise = rng.laplace(scale=scale, size=(n, HAAR_POINTS if self.smoother == "haar" else POINTS))
        # The published code ends with isotonic regression, which leaves a running minimum as it is.
        return np.minimum.accumulate(np.clip(_NOISED[self.smoother](exact, noise, self.timeline_), 0, 1), axis=1)

    def _sensitivity(self, times: Floats, seen: ArrayLike, exact: Floats) -> float:
        if self.sens == "sound":
            return float(HAAR_POINTS if self.smoother == "haar" else POINTS)
        others = leave_one_out_curves(times, np.asarray(seen), self.timeline_)
        return float(np.abs(others - exact).max())


def _cosine(exact: Floats, noise: Floats, _: Floats) -> Floats:
    return np.asarray(idct(dct(exact, norm="ortho") + noise, norm="ortho", axis=1), dtype=np.float64)


def _haar(exact: Floats, noise: Floats, _: Floats) -> Floats:
    matrix = _haar_matrix(HAAR_POINTS)
    noised = matrix @ np.pad(exact, (0, HAAR_POINTS - POINTS), mode="edge") + noise
    return np.asarray((noised @ matrix)[:, :POINTS], dtype=np.float64)


def _haar_matrix(size: int) -> Floats:
    matrix = np.ones((1, 1))
    while len(matrix) < size:
        coarse = np.kron(matrix, [1.0, 1.0])
        fine = np.kron(np.eye(len(matrix)), [1.0, -1.0])
        matrix = np.vstack((coarse, fine)) / math.sqrt(2)
    return matrix


def _total_variation(exact: Floats, noise: Floats, _: Floats) -> Floats:
    smooth = denoise(exact, TV_WEIGHT)
    return np.asarray(smooth + (1 - smooth[0]) + noise, dtype=np.float64)


def _weibull(exact: Floats, noise: Floats, grid: Floats) -> Floats:
    """Least squares of log(-log S) on log t over the points strictly between 0 and 1."""
    inside = (exact > 0) & (exact < 1) & (grid > 0)
    if np.unique(grid[inside]).size < 2:
        return exact + noise
    shape, intercept = np.polyfit(np.log(grid[inside]), np.log(-np.log(exact[inside])), 1)
    curve = np.ones(POINTS)
    curve[grid > 0] = np.exp(-np.exp(intercept + shape * np.log(grid[grid > 0])))
    return curve + noise


_NOISED: dict[str, Callable[[Floats, Floats, Floats], Floats]] = {
    "dct": _cosine,
    "haar": _haar,
    "tv": _total_variation,
    "weibull": _weibull,
}
