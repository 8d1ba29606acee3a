"""How many intervals a private survival curve should have.

For the estimators' default `n_bins="auto"`. The rule minimises a closed-form error, derived for this
library: no paper gives one, and a power law in n alone fails on cohorts with few events.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

#: Fewest and most intervals that the rule proposes.
FEWEST_BINS, MOST_BINS = 3, 365
#: Noise share of the mean squared error of the curve, per interval and squared noise-to-size ratio. A random
#: walk would give 1/2 of S² on average; what isotonic regression leaves of it was fitted on six cohorts, see
#: `sfumato.studies.bin_rule`.
NOISE_FACTOR = 0.12


def uniform_edges(horizon: float, n_bins: int) -> NDArray[np.float64]:
    """m + 1 equally spaced edges from 0 to the horizon; the last one is the horizon exactly."""
    edges = horizon * np.arange(n_bins + 1) / n_bins
    edges[-1] = horizon
    return edges


def choose_n_bins(
    n: float,
    events: float,
    variance: float,
    *,
    uncertainty: float = 0.0,
    noise_factor: float = NOISE_FACTOR,
) -> int:
    """Number of equal intervals with the smallest predicted error of the whole curve.

    Parameters
    ----------
    n, events : float
        People and events, by public knowledge or noisy counts. Wrong values cost accuracy, never privacy.
    variance : float
        Variance of the noise of one cell.
    uncertainty : float
        Standard deviation of the noise of `events`; no count is taken to be smaller than that.
    noise_factor : float
        See `NOISE_FACTOR`.

    Returns
    -------
    int
        From `FEWEST_BINS` to `MOST_BINS`.
    """
    events = max(events, uncertainty)
    n = max(n, 2 * uncertainty)
    m = np.arange(FEWEST_BINS, MOST_BINS + 1, dtype=float)
    return int(m[np.argmin(predicted_mse(m, n, events, variance, noise_factor=noise_factor))])


def predicted_mse(
    m: NDArray[np.float64], n: float, events: float, variance: float, *, noise_factor: float = NOISE_FACTOR
) -> NDArray[np.float64]:
    """Predicted mean squared error of a curve of m intervals against the empirical one.

    It has three parts: the curve's bend within an interval, κ/m⁴, with κ from a constant hazard that leaves
    1 - events/n alive; the steps of the empirical curve about its chord, a Brownian bridge, events/(6 m n²);
    and the noise, noise_factor · m · variance / n².
    """
    n = max(n, 4.0)
    events = min(max(events, 1.0), 0.98 * n)
    rate = -math.log1p(-events / n)
    # mean over the curve of (S'')²/120, the squared distance of exp(-rate·x) from its chord
    bend = rate**4 * -math.expm1(-2 * rate) / (2 * rate) / 120
    return np.asarray(bend / m**4 + events / (6 * m * n**2) + noise_factor * m * variance / n**2)
