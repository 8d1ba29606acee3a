"""How well the default number of intervals of DPKaplanMeier does on cohorts it was not fitted on.

For readers who want to know what `n_bins="auto"` costs them, and for whoever changes the rule: it is beside
the power law of the design notes and the best fixed number in hindsight. No paper gives such a rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sfumato.data import survival as cohorts
from sfumato.errors import MissingExtra
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.noise import discrete_laplace_variance
from sfumato.statistics.survival import bands, cells
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.bins import NOISE_FACTOR, choose_n_bins, uniform_edges
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.releasing import price_of_size

EPSILONS = (0.1, 0.5, 1.0, 2.0, 4.0, 10.0)
FACTORS = (0.03, 0.045, 0.06, 0.08, 0.1, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_DRAWS = {"smoke": 40, "small": 200, "full": 1000}
_GRID = np.unique(np.rint(np.geomspace(1, 1000, 40)).astype(int))


@dataclass(frozen=True)
class Cohort:
    """A cohort, and its exact curve at the times on which errors are measured."""

    name: str
    durations: NDArray[np.float64]
    statuses: NDArray[np.int64]
    horizon: float
    times: NDArray[np.float64]
    exact: NDArray[np.float64]

    @property
    def counts(self) -> tuple[int, int]:
        """People, and events within the horizon: what the rule needs."""
        return len(self.durations), int(self.statuses[self.durations <= self.horizon].sum())


def bin_rule_table(scale: Literal["smoke", "small", "full"] = "smoke", seed: int = 0) -> pd.DataFrame:
    """RMSE of rules for the number of intervals, as a ratio to the best fixed number in hindsight.

    Parameters
    ----------
    scale : {"smoke", "small", "full"}
        40, 200 or 1000 noisy tables for each figure.
    seed : int

    Returns
    -------
    DataFrame
        One row per cohort and ε: `best_m` and `best_rmse` (not attainable privately), the shipped rule's
        median `m`, and the ratios `shipped` (buys its counts, pays for them), `public` (told n and the
        events), `held_out` (buys its counts; noise factor fitted on the other cohorts, in `factor`),
        `power_law_35` and `power_law_50` (m = a·(n/σ)^(2/3) with a = 0.35 and 0.5, told n).
    """
    rng = np.random.default_rng(seed)
    draws = _DRAWS[scale]
    people = load_cohorts()
    tables = {
        (cohort.name, epsilon): np.array([mean_rmse(cohort, epsilon, int(m), draws, rng) for m in _GRID])
        for cohort in people
        for epsilon in EPSILONS
    }
    scores = _factor_scores(people, tables, draws, rng)
    rows = []
    for cohort in people:
        others = [i for i, other in enumerate(people) if other.name != cohort.name]
        factor = FACTORS[int(np.argmin(scores[others].mean(axis=(0, 1))))]
        for epsilon in EPSILONS:
            best = tables[cohort.name, epsilon]
            rows.append(
                {
                    "cohort": cohort.name,
                    "epsilon": epsilon,
                    "best_m": int(_GRID[best.argmin()]),
                    "best_rmse": float(best.min()),
                    "factor": factor,
                    **_ratios(cohort, epsilon, float(best.min()), factor, draws, rng),
                }
            )
    return pd.DataFrame(rows)


def load_cohorts() -> list[Cohort]:
    """Every cohort of `sfumato.data` whose package is installed: at least four."""
    found = []
    for name in cohorts.names():
        try:
            data = cohorts.load(name)
        except MissingExtra:
            continue
        found.append(_cohort(name, data))
    return found


def mean_rmse(cohort: Cohort, epsilon: float, n_bins: int, draws: int, rng: np.random.Generator) -> float:
    """Mean over noisy tables of the root mean squared error of the whole curve."""
    counts = _exact_table(cohort, epsilon, n_bins)
    noise = bands.simulate_noise(counts, (draws, 1), rng)
    curve = curves.survival(
        counts.events + noise[..., :n_bins],
        counts.censored + noise[..., n_bins:-1],
        counts.tail + noise[..., -1],
        deviation=counts.at_risk_deviation(),
    )[:, 0]
    estimate = curves.evaluate(counts.edges, curve, cohort.times, "linear")
    return float(np.sqrt(((estimate - cohort.exact) ** 2).mean(axis=1)).mean())


def power_law(n: float, variance: float, coefficient: float) -> int:
    """The rule of the design notes: m = a·(n/σ)^(2/3), from 3 to 365."""
    return int(np.clip(round(coefficient * (n / variance**0.5) ** (2 / 3)), 3, 365))


def _ratios(
    cohort: Cohort, epsilon: float, best: float, factor: float, draws: int, rng: np.random.Generator
) -> dict[str, float]:
    n, events = cohort.counts
    variance = discrete_laplace_variance(1 / epsilon)
    told = choose_n_bins(n, events, variance)
    chosen = _bought(cohort, epsilon, NOISE_FACTOR, draws, rng)
    fixed = {
        "public": told,
        "power_law_35": power_law(n, variance, 0.35),
        "power_law_50": power_law(n, variance, 0.5),
    }
    left = epsilon - _price(epsilon)
    held_out = _bought(cohort, epsilon, factor, draws, rng)
    return {
        "m": float(np.median(chosen)),
        "shipped": _mean_over(cohort, left, chosen, rng) / best,
        "held_out": _mean_over(cohort, left, held_out, rng) / best,
        **{name: mean_rmse(cohort, epsilon, m, draws, rng) / best for name, m in fixed.items()},
    }


def _mean_over(cohort: Cohort, epsilon: float, chosen: NDArray[np.int64], rng: np.random.Generator) -> float:
    values, times = np.unique(chosen, return_counts=True)
    errors = [mean_rmse(cohort, epsilon, int(m), int(k), rng) for m, k in zip(values, times, strict=True)]
    return float(np.average(errors, weights=times))


def _bought(cohort: Cohort, epsilon: float, factor: float, draws: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Numbers of intervals that the rule chooses from noisy counts, as `buy_size` makes them."""
    n, events = cohort.counts
    price = _price(epsilon)
    q = 1 - np.exp(-price)
    noise = rng.geometric(q, (draws, 2)) - rng.geometric(q, (draws, 2))
    variance = discrete_laplace_variance(1 / (epsilon - price))
    uncertainty = discrete_laplace_variance(1 / price) ** 0.5
    return np.array(
        [choose_n_bins(n + a + b, events + a, variance, uncertainty=uncertainty, noise_factor=factor) for a, b in noise]
    )


def _factor_scores(
    people: list[Cohort],
    tables: dict[tuple[str, float], NDArray[np.float64]],
    draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Ratio by cohort, ε and factor, read off the tables between their grid points."""
    scores = np.empty((len(people), len(EPSILONS), len(FACTORS)))
    for i, cohort in enumerate(people):
        for j, epsilon in enumerate(EPSILONS):
            table = np.log(tables[cohort.name, epsilon])
            for k, factor in enumerate(FACTORS):
                m = _bought(cohort, epsilon, factor, min(draws, 60), rng)
                scores[i, j, k] = np.exp(np.interp(np.log(m), np.log(_GRID), table) - table.min()).mean()
    return scores


def _price(epsilon: float) -> float:
    price = price_of_size(PureDP(epsilon))
    assert isinstance(price, PureDP)
    return price.epsilon


def _exact_table(cohort: Cohort, epsilon: float, n_bins: int) -> NoisyCounts:
    edges = uniform_edges(cohort.horizon, n_bins)
    exact = cells.count_cells(cohort.durations, cohort.statuses, edges)
    return NoisyCounts(
        edges=edges,
        events=exact[:, 1, :-1],
        censored=exact[:, 0, :-1],
        tail=exact[:, :, -1].sum(axis=1),
        variance=discrete_laplace_variance(1 / epsilon),
        neighbours="add-remove",
        group_labels=None,
        claim=Claim(PureDP(epsilon), void="a simulation on public data"),
    )


def _cohort(name: str, data: cohorts.SurvivalData) -> Cohort:
    from lifelines import KaplanMeierFitter

    durations = data.frame[data.duration].to_numpy(float)
    statuses = data.frame[data.event].to_numpy(int)
    # between the days on which curves jump: at a jump, error is a matter of which side is taken
    times = (np.arange(150) + 0.5) / 150 * min(data.horizon, durations.max())
    exact = KaplanMeierFitter().fit(durations, statuses).predict(times).to_numpy()
    return Cohort(name, durations, statuses, data.horizon, times, exact)
