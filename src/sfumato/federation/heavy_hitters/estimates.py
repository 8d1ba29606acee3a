"""What the server makes of the parties' counts: estimates on the scale of their users, sums over parties, the largest.

For `HeavyHitterProtocol`. All of it is post-processing of reports that are private already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.federation.heavy_hitters.oracles import choose_oracle, estimate, variance
from sfumato.federation.heavy_hitters.plan import Plan
from sfumato.federation.heavy_hitters.tree import best

Items = NDArray[np.uint64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """Estimated counts of candidates among all users of a party, or of several.

    Attributes
    ----------
    candidates : ndarray of uint64, shape (d,)
        Sorted.
    counts, variances : ndarray of float64, shape (d,)
        Negative counts stay: cut at 0 they would add up to a bias.
    sd : float
        Standard error of a candidate that nobody holds; depends on no data.
    """

    candidates: Items
    counts: Floats
    variances: Floats
    sd: float


def party_estimate(plan: Plan, candidates: Items, reply: Mapping[str, Any]) -> Estimate:
    """Scale a party's support counts from those who were asked to all of its users.

    The variance is that of the reports and that of who was asked, a random sample without replacement.
    """
    kept = reply["kept"]
    users, population = reply["users"], reply["population"]
    oracle = choose_oracle(plan.oracle, plan.epsilon, int(kept.sum()))
    counts, errors = estimate(oracle, reply["support"][kept], users)
    share = np.clip(counts / users, 0, 1)
    sampled = users * share * (1 - share) * (1 - users / population)
    scale = population / users
    return Estimate(
        candidates[kept],
        counts * scale,
        (errors**2 + sampled) * scale**2,
        math.sqrt(variance(oracle, users)) * scale,
    )


def add(estimates: Sequence[Estimate]) -> Estimate:
    """Add the counts of several parties' users; a candidate that a party does not have adds nothing there."""
    every = np.unique(np.concatenate([each.candidates for each in estimates]))
    counts, variances = np.zeros(len(every)), np.zeros(len(every))
    for each in estimates:
        places = np.searchsorted(every, each.candidates)
        places[places == len(every)] = 0
        there = every[places] == each.candidates
        counts[places[there]] += each.counts[there]
        variances[places[there]] += each.variances[there]
    return Estimate(every, counts, variances, math.sqrt(sum(each.sd**2 for each in estimates)))


def top(one: Estimate, k: int) -> Estimate:
    """Keep the k largest counts, sorted by candidate."""
    places = np.sort(best(one.counts, k))
    return Estimate(one.candidates[places], one.counts[places], one.variances[places], one.sd)


def add_by_shares(estimates: Sequence[Estimate], k: int, users: int) -> Estimate:
    """Add what GTF adds: each party's positive counts as shares of their sum; then drop look-alikes.

    Counts of at most k are dropped. From the largest share down, an item is dropped if it differs in at most half of
    the bits of the shorter one from an item that stays, unless only k would be left. FedFT's server does so.
    """
    shares = []
    for each in estimates:
        positive = np.maximum(each.counts, 0)
        large = positive > k
        whole = max(float(positive.sum()), 1.0)
        shares.append(Estimate(each.candidates[large], positive[large] / whole, each.variances[large] / whole**2, 0.0))
    total = add(shares)
    places = _without_look_alikes(total, k)
    scale = users / len(estimates)
    return Estimate(total.candidates[places], total.counts[places] * scale, total.variances[places] * scale**2, 0.0)


def _without_look_alikes(total: Estimate, k: int) -> NDArray[np.int64]:
    order = [int(place) for place in best(total.counts, len(total.counts))]
    values = [int(total.candidates[place]) for place in order]
    dropped: set[int] = set()
    for i, value in enumerate(values):
        if i in dropped:
            continue
        for j in range(i + 1, len(values)):
            near = (value ^ values[j]).bit_count() <= min(value.bit_length(), values[j].bit_length()) / 2
            if near and j not in dropped and len(values) - len(dropped) > k:
                dropped.add(j)
    return np.sort(np.array([place for i, place in enumerate(order) if i not in dropped], np.int64))
