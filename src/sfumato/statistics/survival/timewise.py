"""TimewiseLaplaceKM: Laplace noise on the curve, its scale following the number at risk. NOT private.

A victim for the auditor. A reconstruction of Veeraragavan, Karimireddy and Nygård (arXiv 2412.05164) from its abstract
alone: order of steps and window were chosen because they land on the published error; a calibration, no reproduction.
"""

from __future__ import annotations

from typing import Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.statistics.survival.victims import (
    Floats,
    check_epsilon,
    demand_acknowledgement,
    product_limit,
    read_durations,
)

Schedule = Literal["at_risk", "index", "sqrt", "const", "over_n"]
WHY = "data-dependent scale; L1 sensitivity m; see counterexample"
WINDOW = 5


class TimewiseLaplaceKM(BaseEstimator):  # type: ignore[misc]
    """The naive private Kaplan-Meier curve: a victim.

    Four things are wrong with it: one record moves a late point by up to 1, whatever n; the scale of the noise is
    read from the data; a curve of m points has L1 sensitivity up to m; without a grid, the times are printed.

    Parameters
    ----------
    epsilon : float
        What it says it spends.
    schedule : {"at_risk", "index", "sqrt", "const", "over_n"}
        Scale at the i-th time: max(r_i, 1)/(n·ε), 1/(ε(i+1)), 1/(ε√(i+1)), 1/ε, 1/(n·ε).
    grid : array_like of float, optional
        Times of release; by default the distinct observed times.
    i_know_this_is_not_private : bool
        Must be True.
    random_state : int, optional
        Seeds NumPy's generator: this noise protects nobody.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        schedule: Schedule = "at_risk",
        *,
        grid: ArrayLike | None = None,
        i_know_this_is_not_private: bool = False,
        random_state: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.schedule = schedule
        self.grid = grid
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
        """Draw n independent curves, shape (n, len(timeline))."""
        demand_acknowledgement(type(self).__name__, self.i_know_this_is_not_private, WHY)
        times, seen = read_durations(durations, events)
        self.timeline_ = np.unique(times) if self.grid is None else np.asarray(self.grid, dtype=float)
        exact, at_risk = product_limit(times, seen, self.timeline_)
        noisy = exact + rng.laplace(scale=self._scale(at_risk, len(times)), size=(n, len(exact)))
        return np.minimum.accumulate(moving_average(np.clip(noisy, 0, 1), WINDOW), axis=1)

    def _scale(self, at_risk: ArrayLike, n: int) -> Floats:
        epsilon, index = check_epsilon(self.epsilon), np.arange(1, len(np.asarray(at_risk)) + 1)
        if self.schedule not in get_args(Schedule):
            raise InvalidData(f"schedule must be one of {', '.join(get_args(Schedule))}")
        relative = {
            # Nobody is at risk after the last time of a grid: without a floor, zero noise would give the curve away.
            "at_risk": np.maximum(at_risk, 1) / n,
            "index": 1 / (index + 1),
            "sqrt": 1 / np.sqrt(index + 1),
            "const": np.ones(len(index)),
            "over_n": np.full(len(index), 1 / n),
        }
        return np.asarray(relative[self.schedule] / epsilon, dtype=np.float64)


def moving_average(curves: Floats, window: int) -> Floats:
    """Centred moving average along the last axis, the ends repeated beyond the edges."""
    half = window // 2
    padded = np.pad(curves, [(0, 0)] * (curves.ndim - 1) + [(half, half)], mode="edge")
    sums = np.cumsum(np.pad(padded, [(0, 0)] * (curves.ndim - 1) + [(1, 0)]), axis=-1)
    return np.asarray((sums[..., window:] - sums[..., :-window]) / window, dtype=np.float64)
