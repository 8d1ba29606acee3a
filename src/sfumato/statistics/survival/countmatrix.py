"""CountMatrixKM: noise on the counts at each time and on the initial number at risk.

A baseline for comparison. Gondara and Wang 2020 (arXiv 1910.05108), as remembered, wording not re-read. Sound if the
times are public; with the observed times, as published, it is not.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.survival.victims import Floats, check_epsilon, demand_acknowledgement, read_durations

WHY = "the observed times are published as they are"
#: A person adds 1 to the initial number at risk and 1 to one cell of events or censorings: L1 = 2 under add-remove.
SENSITIVITY = 2


class CountMatrixKM(BaseEstimator):  # type: ignore[misc]
    """Kaplan-Meier from noisy counts d_j, c_j at each time and a noisy initial number at risk.

    Neighbours add-remove: a person is in the initial number at risk and in at most one other cell (times are rounded
    up to the grid; those beyond it are counted nowhere else), so the L1 sensitivity is 2 and noise of scale
    2/ε on all counts is ε-DP, *provided that the grid is public*. Without a grid the observed times are used, as
    published: then the list of times gives people away, whatever the noise.

    Parameters
    ----------
    epsilon : float
    grid : array_like of float, optional
        Public, increasing times. With it the claim is pure ε-DP; without it there is none.
    i_know_this_is_not_private : bool
        Must be True without a grid.
    noise_seed : int, optional
        For tests and studies: voids the claim. Seeds NumPy's generator where there is none.
    """

    def __init__(
        self,
        epsilon: float = 1.0,
        *,
        grid: ArrayLike | None = None,
        i_know_this_is_not_private: bool = False,
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.grid = grid
        self.i_know_this_is_not_private = i_know_this_is_not_private
        self.noise_seed = noise_seed

    def fit(self, durations: ArrayLike, events: ArrayLike) -> Self:
        """Release the counts and the curve.

        Raises
        ------
        InvalidClaim, InvalidData
            On bad parameters or data, or without a grid and the acknowledgement.
        """
        epsilon = check_epsilon(self.epsilon)
        promise = Claim(PureDP(epsilon), assumptions=("the grid of times is public", "each person has one record"))
        hollow = None
        if self.grid is None:
            hollow = demand_acknowledgement(type(self).__name__, self.i_know_this_is_not_private, WHY)
        times, seen = read_durations(durations, events)
        grid = np.unique(times) if self.grid is None else _checked(self.grid)
        counts = _count(times, seen, grid)
        if hollow is not None:  # no Release: a ledger must not record a promise that nobody keeps
            self.claim_ = hollow
            noisy = counts + _insecure_noise(counts.shape, epsilon, np.random.default_rng(self.noise_seed))
        else:
            with Release(promise, purpose=f"count matrix, {len(grid)} times", seed=self.noise_seed) as release:
                noisy = release.discrete_laplace(counts, l1_sensitivity=SENSITIVITY, epsilon=epsilon)
            self.claim_ = release.claim
        self.noisy_counts_ = noisy
        self.timeline_ = grid
        self.survival_function_ = pd.DataFrame(
            {"KM_estimate": curve_of_counts(noisy)}, index=pd.Index(grid, name="timeline")
        )
        return self

    def sample(self, durations: ArrayLike, events: ArrayLike, n: int, rng: np.random.Generator) -> Floats:
        """Draw n curves of the same law with NumPy's noise, shape (n, len(timeline)), for the auditor. NOT private.

        Raises
        ------
        InvalidClaim, InvalidData
            Without the acknowledgement, with or without a grid; on bad parameters or data.
        """
        demand_acknowledgement("CountMatrixKM.sample", self.i_know_this_is_not_private, "its noise is NumPy's")
        times, seen = read_durations(durations, events)
        self.timeline_ = np.unique(times) if self.grid is None else _checked(self.grid)
        counts = _count(times, seen, self.timeline_)
        return curve_of_counts(counts + _insecure_noise((n, len(counts)), check_epsilon(self.epsilon), rng))


def curve_of_counts(counts: NDArray[np.int64]) -> Floats:
    """Product limit of (initial at risk, deaths…, censored…) along the last axis, at-risk counts by subtraction."""
    deaths, censored = np.split(counts[..., 1:], 2, axis=-1)
    gone = deaths + censored
    at_risk = counts[..., :1] - np.cumsum(gone, axis=-1) + gone
    hazard = np.clip(deaths / np.maximum(at_risk, 1), 0, 1)
    return np.asarray(np.cumprod(1 - hazard, axis=-1), dtype=np.float64)


def _insecure_noise(shape: tuple[int, ...], epsilon: float, rng: np.random.Generator) -> NDArray[np.int64]:
    """Discrete Laplace noise as the difference of two geometrics, in floating point."""
    p = -np.expm1(-epsilon / SENSITIVITY)
    return np.asarray(rng.geometric(p, shape) - rng.geometric(p, shape), dtype=np.int64)


def _count(times: Floats, seen: NDArray[np.int64], grid: Floats) -> NDArray[np.int64]:
    place = np.searchsorted(grid, times, side="left")
    cells = [np.bincount(place[seen == status], minlength=len(grid) + 1)[:-1] for status in (1, 0)]
    return np.concatenate(([len(times)], *cells)).astype(np.int64)


def _checked(grid: ArrayLike) -> Floats:
    times = np.asarray(grid, dtype=float)
    if times.ndim != 1 or not len(times) or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise InvalidData("grid must be increasing, finite times")
    return times
