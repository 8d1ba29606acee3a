"""The one place where a survival estimator meets private data, a claim and noise.

For `DPKaplanMeier` and `DPCumulativeIncidence`: everything public is checked first, the cells are counted,
then a Release is opened and a noisy table comes out. The argument is parallel composition over disjoint
cells (McSherry 2009).
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP, Neighbours, PureDP
from sfumato.privacy.budget import privacy_bound
from sfumato.privacy.claim import Claim
from sfumato.privacy.noise import discrete_laplace_variance
from sfumato.privacy.release import Release
from sfumato.statistics.survival.bins import FEWEST_BINS, choose_n_bins, uniform_edges
from sfumato.statistics.survival.noisy_counts import Mechanism, check_edges
from sfumato.statistics.survival.spending import (
    MOST_FACTORIZED,
    MOST_FOR_BINS,
    SHARE_FOR_BINS,
    Budget,
)

#: Counts rows into (groups, statuses, m + 1) cells for given edges.
#: One interval a day for 27 years; each costs memory, and beyond some hundred also accuracy.
MOST_BINS = 10_000

Counter: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.int64]]


@dataclass(frozen=True)
class Table:
    """A noisy table: by_status (groups, causes, m), censored (groups, m), tail (groups,), and its terms."""

    edges: NDArray[np.float64]
    by_status: NDArray[np.int64]
    censored: NDArray[np.int64]
    tail: NDArray[np.int64]
    variance: float
    mechanism: Mechanism
    claim: Claim


@dataclass(frozen=True)
class Request:
    """The public half of a fit, validated: what is promised, on which grid, by which noise."""

    bound: PureDP | ApproxDP | ZCDP
    neighbours: Neighbours
    mechanism: Mechanism | None
    horizon: float
    edges: NDArray[np.float64] | None
    size: tuple[float, float] | None
    seed: int | None
    purpose: str

    @property
    def needs_size(self) -> bool:
        """Whether noisy counts of people and events must be bought to choose the grid."""
        return self.edges is None and self.size is None


def read_request(parameters: dict[str, Any], purpose: str) -> Request:
    """Validate an estimator's constructor parameters; raises InvalidClaim or InvalidData."""
    p = parameters
    bound = privacy_bound(p["epsilon"], p["rho"], p["delta"])
    if p["neighbours"] not in get_args(Neighbours):
        raise InvalidClaim(f"neighbours must be one of {', '.join(get_args(Neighbours))}")
    mechanism = None if p["mechanism"] == "auto" else p["mechanism"]
    if mechanism is not None:
        if mechanism not in get_args(Mechanism):
            raise InvalidClaim(f"mechanism must be auto, {', '.join(get_args(Mechanism))}")
        if not Budget(bound, p["neighbours"]).allows(mechanism):
            raise InvalidClaim(f'mechanism="{mechanism}" cannot meet a claim of {bound}')
    horizon, edges = _grid(p["horizon"], p["edges"], p["n_bins"])
    if mechanism == "factorized" and edges is not None and len(edges) > MOST_FACTORIZED + 1:
        raise InvalidData(f'mechanism="factorized" takes at most {MOST_FACTORIZED} intervals')
    size = _size(p["expected_n"], p["expected_events"])
    seed = p["noise_seed"]
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise InvalidData("noise_seed must be an integer or None")
    seed = None if seed is None else int(seed)
    return Request(bound, p["neighbours"], mechanism, horizon, edges, size, seed, purpose)


def release_table(
    count: Counter, request: Request, *, labels: tuple[Hashable, ...] | None, records: int | None = None
) -> Table:
    """Count the cells, open the release, add the noise.

    Parameters
    ----------
    count : callable
        Raises InvalidData on bad data; it is called before the release is opened.
    request : Request
    labels : tuple or None
        Public group labels.
    records : int, optional
        Most records kept of a person; None if each person is known to have one.
    """
    first = request.edges if request.edges is not None else uniform_edges(request.horizon, 1)
    cells = count(first)
    budget = Budget(request.bound, request.neighbours, 1 if records is None else records)
    claim = stated_claim(request, labels, records)
    with Release(claim, purpose=request.purpose, seed=request.seed) as release:
        edges = request.edges
        if edges is None:
            size = Size(*request.size) if request.size is not None else buy_size(release, budget, cells)
            budget = size.left or budget
            edges = _chosen_edges(request, budget, size, n_groups=cells.shape[0])
            cells = count(edges)
        mechanism = request.mechanism or budget.cheapest(len(edges) - 1)
        by_status, censored, tail = budget.draw(release, mechanism, cells)
    variance = budget.variance(mechanism, len(edges) - 1)
    return Table(edges, by_status, censored, tail, variance, mechanism, release.claim)


def stated_claim(request: Request, labels: tuple[Hashable, ...] | None, records: int | None = None) -> Claim:
    """What a release of that request promises; a function of public things alone."""
    return Claim(
        request.bound,
        unit="person",
        neighbours=request.neighbours,
        assumptions=tuple(_assumptions(request, labels, records)),
    )


@dataclass(frozen=True)
class Size:
    """Numbers of people and events, public or noisy; the noise's deviation, and the budget that is left."""

    n: float
    events: float
    uncertainty: float = 0.0
    left: Budget | None = None


def buy_size(release: Release, budget: Budget, cells: NDArray[np.int64]) -> Size:
    """Noisy numbers of people and of events within the horizon.

    The two cells (events, all others) are disjoint, so they have the sensitivity of the table.
    """
    events = int(cells[:, 1:, 0].sum())
    pair = np.array([events, int(cells.sum()) - events])
    price = price_of_size(budget.bound)
    left = budget.after(price)
    if isinstance(price, ZCDP):
        noisy = release.discrete_gaussian(pair, l2_sensitivity=budget.l2, rho=price.rho)
        deviation = budget.l2 / np.sqrt(2 * price.rho)
    else:
        noisy = release.discrete_laplace(pair, l1_sensitivity=budget.l1, epsilon=price.epsilon)
        deviation = np.sqrt(discrete_laplace_variance(budget.l1 / price.epsilon))
    return Size(float(noisy.sum()), float(noisy[0]), float(deviation), left)


def price_of_size(bound: PureDP | ApproxDP | ZCDP) -> PureDP | ZCDP:
    """What the noisy counts cost: 5 % of the budget, and no more than makes them exact to about ±7."""
    if isinstance(bound, ZCDP):
        return ZCDP(min(SHARE_FOR_BINS * bound.rho, MOST_FOR_BINS**2 / 2))
    return PureDP(min(SHARE_FOR_BINS * bound.epsilon, MOST_FOR_BINS))


def _chosen_edges(request: Request, budget: Budget, size: Size, n_groups: int) -> NDArray[np.float64]:
    variance = budget.variance(request.mechanism or budget.cheapest(FEWEST_BINS), FEWEST_BINS)
    n_bins = choose_n_bins(size.n / n_groups, size.events / n_groups, variance, uncertainty=size.uncertainty / n_groups)
    return uniform_edges(request.horizon, n_bins)


def _assumptions(request: Request, labels: tuple[Hashable, ...] | None, records: int | None) -> list[str]:
    said = ["the horizon and the edges of the intervals are public"]
    if labels is not None:
        said.append("the group labels are public")
    if records is None:
        said.append("each person has exactly one record")
    if request.needs_size:
        said.append(
            f"part of the budget ({price_of_size(request.bound)}) buys noisy counts of events and of "
            "people, which choose the number of intervals, and the rest the table, by sequential composition"
        )
    return said


def _grid(horizon: Any, edges: Any, n_bins: Any) -> tuple[float, NDArray[np.float64] | None]:
    if edges is not None:
        grid = check_edges(edges)
        if horizon is not None and float(horizon) != grid[-1]:
            raise InvalidData("horizon must equal the last of edges if both are given")
        return float(grid[-1]), grid
    if horizon is None:
        raise InvalidData("horizon must be given: the end of follow-up by public knowledge, never the largest duration")
    if isinstance(horizon, bool) or not isinstance(horizon, (int, float, np.integer, np.floating)):
        raise InvalidData("horizon must be a number")
    if not 0 < horizon < np.inf:
        raise InvalidData("horizon must be finite and above 0")
    if isinstance(n_bins, str) and n_bins == "auto":
        return float(horizon), None
    if isinstance(n_bins, bool) or not isinstance(n_bins, (int, np.integer)) or not 1 <= n_bins <= MOST_BINS:
        raise InvalidData(f'n_bins must be "auto" or an integer from 1 to {MOST_BINS}')
    return float(horizon), uniform_edges(float(horizon), int(n_bins))


def _size(expected_n: Any, expected_events: Any) -> tuple[float, float] | None:
    for name, value in (("expected_n", expected_n), ("expected_events", expected_events)):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise InvalidData(f"{name} must be a number")
        if not 0 < value < np.inf:
            raise InvalidData(f"{name} must be finite and above 0")
    if expected_n is None and expected_events is None:
        return None
    # half the people are taken to have the event where only one of the two is known
    events = float(expected_events if expected_events is not None else expected_n / 2)
    n = float(expected_n if expected_n is not None else 2 * events)
    if events > n:
        raise InvalidData("expected_events must be at most expected_n")
    return n, events
