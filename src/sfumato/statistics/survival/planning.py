"""What a release will look like before any data are touched: error, grid and band width.

For whoever must choose ε or argue that a cohort is large enough. It simulates cohorts, not the data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.budget import privacy_bound
from sfumato.privacy.claim import Claim
from sfumato.statistics.survival import bands
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.bins import choose_n_bins, uniform_edges
from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.noisy_counts import Mechanism, NoisyCounts
from sfumato.statistics.survival.spending import Budget

_DRAWS = 200
#: Fine intervals of a simulated cohort: its own curve is taken as exact on them.
_FINE = 2000
#: Share of those without the event who are still followed at the horizon: few, so that plans are cautious.
_FOLLOWED = 0.05


@dataclass(frozen=True)
class Plan:
    """What to expect of a release.

    Parameters
    ----------
    n : int
    n_bins : int
        What "auto" would choose if it knew n and the events.
    mechanism : {"laplace", "gaussian", "factorized"}
    rmse : float
        Expected root mean squared difference from the non-private curve, over (0, horizon].
    band_half_width : float
        Mean half width of the 95 % pointwise interval: noise and sampling.
    sampling_half_width : float
        The same without privacy noise: what the cohort's size alone costs.
    """

    n: int
    n_bins: int
    mechanism: Mechanism
    rmse: float
    band_half_width: float
    sampling_half_width: float


def plan(
    n: int,
    epsilon: float | None = None,
    *,
    rho: float | None = None,
    delta: float | None = None,
    expected_events: float | None = None,
    neighbours: Neighbours = "add-remove",
    n_bins: int | None = None,
    random_state: int = 0,
) -> Plan:
    """Predict the accuracy of `DPKaplanMeier` from the size of a cohort.

    The simulated cohort has a constant hazard and a constant censoring hazard, such that `expected_events`
    of `n` people have the event within the horizon and 5 % of the others are followed beyond it. A cohort
    with more people left at the horizon will do a little better than planned.

    Parameters
    ----------
    n : int
        People, a public guess.
    epsilon, rho, delta, neighbours
        As for `DPKaplanMeier`.
    expected_events : float, optional
        A public guess; half of `n` if missing.
    n_bins : int, optional
        Instead of the rule's choice.
    random_state : int

    Returns
    -------
    Plan

    Raises
    ------
    InvalidData, InvalidClaim
    """
    bound = privacy_bound(epsilon, rho, delta)
    events = _check_size(n, expected_events)
    if n_bins is not None and (isinstance(n_bins, bool) or not isinstance(n_bins, int) or n_bins < 1):
        raise InvalidData("n_bins must be an integer of at least 1")
    budget = Budget(bound, neighbours)
    guess = budget.cheapest(3)
    m = n_bins if n_bins is not None else choose_n_bins(n, events, budget.variance(guess, 3))
    mechanism = budget.cheapest(m)
    rng = np.random.default_rng(random_state)
    cells = rng.multinomial(n, cohort_probabilities(n, events, m), size=_DRAWS)
    counts = _table(m, budget.variance(mechanism, m), mechanism, neighbours, Claim(bound, neighbours=neighbours))
    truth, exact, noisy = _estimate(cells, counts, rng)
    times = np.linspace(0, 1, 201)
    fine = uniform_edges(1.0, truth.shape[-1] - 1)
    reference = curves.evaluate(fine, truth, times, "linear")
    estimate = curves.evaluate(counts.edges, noisy, times, "linear")
    return Plan(
        n=int(n),
        n_bins=m,
        mechanism=mechanism,
        rmse=float(np.sqrt(((estimate - reference) ** 2).mean(1)).mean()),
        band_half_width=_half_width(noisy),
        sampling_half_width=_half_width(exact),
    )


def cohort_probabilities(n: float, events: float, n_bins: int) -> Floats:
    """Cell probabilities of the simulated cohort on k·m fine intervals: events, censored, tail."""
    share = min(events / n, 0.98)
    left = _FOLLOWED * (1 - share)
    total = -np.log(left)
    by_event = share / (1 - left)
    fine = n_bins * int(np.ceil(_FINE / n_bins))
    alive = np.exp(-total * np.linspace(0, 1, fine + 1))
    lost = alive[:-1] - alive[1:]
    return np.concatenate((lost * by_event, lost * (1 - by_event), alive[-1:]))


def _estimate(cells: NDArray[np.int64], counts: NoisyCounts, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
    """Curves of simulated cohorts: exact on the fine grid, and on the coarse one without and with noise."""
    m = counts.n_bins
    fine = (cells.shape[1] - 1) // 2
    events, censored, tail = cells[:, :fine], cells[:, fine:-1], cells[:, -1]
    truth = curves.survival(events, censored, tail, deviation=np.zeros(fine), actuarial=False)
    coarse_e = events.reshape(len(cells), m, -1).sum(-1)
    coarse_c = censored.reshape(len(cells), m, -1).sum(-1)
    exact = curves.survival(coarse_e, coarse_c, tail, deviation=np.zeros(m))
    noise = bands.simulate_noise(counts, (len(cells),), rng)
    noisy = curves.survival(
        coarse_e + noise[:, :m],
        coarse_c + noise[:, m:-1],
        tail + noise[:, -1],
        deviation=counts.at_risk_deviation(),
    )
    return truth, exact, noisy


def _table(m: int, variance: float, mechanism: Mechanism, neighbours: Neighbours, claim: Claim) -> NoisyCounts:
    zeros = np.zeros((1, m), np.int64)
    return NoisyCounts(
        edges=uniform_edges(1.0, m),
        events=zeros,
        censored=zeros,
        tail=np.zeros(1, np.int64),
        variance=variance,
        neighbours=neighbours,
        group_labels=None,
        claim=claim,
        mechanism=mechanism,
    )


def _half_width(replicates: Floats) -> float:
    return float(1.96 * replicates[:, 1:].std(axis=0).mean())


def _check_size(n: int, expected_events: float | None) -> float:
    if isinstance(n, bool) or not isinstance(n, (int, np.integer)) or n < 1:
        raise InvalidData("n must be an integer of at least 1")
    events = n / 2 if expected_events is None else expected_events
    if not 0 < events <= n:
        raise InvalidData("expected_events must be above 0 and at most n")
    return float(events)
