"""Turns privacy parameters into a claim, a mechanism and the noise of one table of cells.

For the survival estimators, which spend their budget here and nowhere else. Discrete Laplace (Ghosh et
al. 2009), discrete Gaussian (Canonne et al. 2020), square-root factorisation of prefix sums (Fichtenberger
et al. 2023; Henzinger et al. 2023).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular, toeplitz

from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.bounds import ZCDP, ApproxDP, Bound, Neighbours, PureDP
from sfumato.privacy.budget import largest_rho, privacy_bound
from sfumato.privacy.noise import discrete_gaussian_variance, discrete_laplace_variance
from sfumato.privacy.release import Release
from sfumato.statistics.survival.noisy_counts import FACTOR_UNIT, Mechanism, toeplitz_column

#: Share of the budget that buys the noisy counts which set the number of intervals.
SHARE_FOR_BINS = 0.05
#: The most ε spent on them: more would make no better grid.
MOST_FOR_BINS = 0.2
#: Longest grid for factorised noise: its covariance is a dense matrix.
MOST_FACTORIZED = 4096


def factor_norms(length: int) -> tuple[float, float]:
    """Column norm of the factor, and the mean over prefixes of its squared row norm; units of one count."""
    squares = (toeplitz_column(length) / FACTOR_UNIT) ** 2
    return math.sqrt(squares.sum()), float(np.cumsum(squares).mean())


def prefix_error(mechanism: Mechanism, n_bins: int, variance_of_unit: float) -> float:
    """Root mean squared error of the m prefix counts of one stream.

    `variance_of_unit` is the variance of the noise that the mechanism adds at L2 (Laplace: L1)
    sensitivity 1.
    """
    if mechanism == "factorized":
        column, row = factor_norms(n_bins + 1)
        return math.sqrt(variance_of_unit * column**2 * row + 1 / 12)  # decoded prefixes are rounded
    return math.sqrt(variance_of_unit * (n_bins + 1) / 2)


def choose_mechanism(
    n_bins: int,
    epsilon: float | None = None,
    delta: float | None = None,
    *,
    rho: float | None = None,
    neighbours: Neighbours = "add-remove",
) -> Mechanism:
    """Pick the mechanism with the smallest closed-form error of the prefix counts.

    Parameters
    ----------
    n_bins : int
        Number m of intervals.
    epsilon, delta, rho : float, optional
        As for `DPKaplanMeier`. Pure ε leaves only "laplace".
    neighbours : {"add-remove", "replace-one"}

    Returns
    -------
    {"laplace", "gaussian", "factorized"}
    """
    budget = Budget(privacy_bound(epsilon, rho, delta), neighbours)
    return budget.cheapest(n_bins)


@dataclass(frozen=True)
class Budget:
    """A bound, what of it is spent, and how far one person reaches into the cells.

    Parameters
    ----------
    bound : PureDP, ApproxDP or ZCDP
    neighbours : {"add-remove", "replace-one"}
    records : int
        Most records that a person may have.
    spent : Cost
        What earlier draws of the same release took.
    """

    bound: PureDP | ApproxDP | ZCDP
    neighbours: Neighbours
    records: int = 1
    spent: Cost | None = None

    @property
    def l1(self) -> int:
        """L1 distance of the cells of neighbours: k units appear, or k disappear and k appear."""
        return self.records * (1 if self.neighbours == "add-remove" else 2)

    @property
    def l2(self) -> float:
        """L2 distance: k units in one cell; replaced, non-negative vectors, so at most √2·k."""
        return self.records * (1.0 if self.neighbours == "add-remove" else math.sqrt(2))

    @property
    def epsilon(self) -> float:
        """Pure ε that is left; 0 under zCDP, which this library spends on Gaussian noise only."""
        if isinstance(self.bound, ZCDP):
            return 0.0
        left = self.bound.epsilon - (0.0 if self.spent is None else self.spent.epsilon)
        return max(0.0, left)

    @property
    def rho(self) -> float:
        """Largest ρ that is left for Gaussian noise."""
        spent = Cost.zero() if self.spent is None else self.spent
        if isinstance(self.bound, ZCDP):
            return self.bound.rho - spent.rho
        if isinstance(self.bound, PureDP):
            return 0.0
        return largest_rho(self.bound, spent)

    def allows(self, mechanism: Mechanism, n_bins: int = 1) -> bool:
        """Whether the bound can be met with this mechanism, on a grid of m intervals."""
        if mechanism == "factorized" and n_bins > MOST_FACTORIZED:
            return False
        return self.epsilon > 0 if mechanism == "laplace" else self.rho > 1e-16

    def cheapest(self, n_bins: int) -> Mechanism:
        """The allowed mechanism with the smallest prefix error; the first on a tie."""
        allowed = [name for name in get_args(Mechanism) if self.allows(name, n_bins)]
        return min(allowed, key=lambda name: prefix_error(name, n_bins, self._unit_variance(name)))

    def variance(self, mechanism: Mechanism, n_bins: int) -> float:
        """Variance of the noise of one cell; for "factorized", of its white noise, in counts."""
        if mechanism == "laplace":
            return discrete_laplace_variance(self.l1 / self.epsilon)
        if mechanism == "gaussian":
            return discrete_gaussian_variance(self.l2**2 / (2 * self.rho))
        return (self.l2 * factor_norms(n_bins + 1)[0]) ** 2 / (2 * self.rho)

    def after(self, event_bound: Bound) -> Budget:
        """What is left once a draw with this bound has been made."""
        cost = cost_of(event_bound)
        return replace(self, spent=cost if self.spent is None else self.spent + cost)

    def draw(
        self, release: Release, mechanism: Mechanism, cells: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Spend all that is left on one table.

        Parameters
        ----------
        release : Release
            Open.
        mechanism : {"laplace", "gaussian", "factorized"}
        cells : ndarray of int64, shape (groups, statuses, m + 1)
            As `count_cells` returns them; the last column is summed to one tail cell.

        Returns
        -------
        by_status : ndarray of int64, shape (groups, statuses - 1, m)
            Noisy cells of statuses 1 and up.
        censored : ndarray of int64, shape (groups, m)
        tail : ndarray of int64, shape (groups,)
        """
        streams = cells.copy()
        streams[:, 0, -1] = cells[:, :, -1].sum(axis=1)
        streams[:, 1:, -1] = 0
        width = cells.shape[-1]
        if mechanism == "factorized":
            noisy = self._factorized(release, streams.reshape(-1, width)).reshape(cells.shape)
        else:
            # one flat vector without the structural zeros: no noise is drawn for cells that hold nobody
            keep = np.ones(cells.shape, bool)
            keep[:, 1:, -1] = False
            noisy = streams
            noisy[keep] = self._plain(release, mechanism, streams[keep])
        return noisy[:, 1:, :-1], noisy[:, 0, :-1], noisy[:, 0, -1]

    def _plain(self, release: Release, mechanism: Mechanism, x: NDArray[np.int64]) -> NDArray[np.int64]:
        if mechanism == "laplace":
            return release.discrete_laplace(x, l1_sensitivity=self.l1, epsilon=self.epsilon)
        return release.discrete_gaussian(x, l2_sensitivity=self.l2, rho=self.rho)

    def _factorized(self, release: Release, streams: NDArray[np.int64]) -> NDArray[np.int64]:
        """Release C·x in exact integers, decode the prefix counts C·y, round them, difference them.

        A person is one column of C in one stream; the longest column is the first, so the L2 sensitivity
        is its norm (times √2 for replace-one: the columns are non-negative). Rounding is post-processing.
        """
        width = streams.shape[1]
        column = toeplitz_column(width)
        encoded = np.stack([np.convolve(x, column)[:width] for x in streams])
        # a hair up, so that no rounding of the root or the product is ever below the true norm
        norm = math.sqrt(int((column.astype(object) ** 2).sum())) * (1 + 1e-12)
        noisy = release.discrete_gaussian(encoded, l2_sensitivity=self.l2 * norm, rho=self.rho)
        factor = toeplitz(column, np.zeros(width))
        decoded = solve_triangular(factor, noisy.T.astype(np.float64), lower=True).T
        prefix = np.rint(np.cumsum(decoded, axis=1)).astype(np.int64)
        return np.asarray(np.diff(prefix, prepend=0, axis=1))

    def _unit_variance(self, mechanism: Mechanism) -> float:
        if mechanism == "laplace":
            return discrete_laplace_variance(self.l1 / self.epsilon)
        sigma2 = self.l2**2 / (2 * self.rho)
        # the factorised noise is discrete on a grid far finer than its own width
        return discrete_gaussian_variance(sigma2) if mechanism == "gaussian" else sigma2
