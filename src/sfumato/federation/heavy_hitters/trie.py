"""TrieHH: sampled users vote for prefixes in the clear, and a threshold hides who voted. A baseline, not local.

For comparisons. Zhu, Kairouz, McMahan, Sun and Li 2020 ("Federated heavy hitters discovery with differential privacy").
Their parameters; the bound is computed here, for users sampled independently, and the threshold raised if it must be.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from scipy.stats import binom

from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim

_LEAST = 5
_LEAST_EPSILON = 1e-4


def paper_threshold(epsilon: float, delta: float, rounds: int) -> int:
    """The paper's threshold θ: the least of at least 5 with (θ-3)/(θ-2) · θ! ≥ 1/δ and θ ≥ e^(ε/L) - 1."""
    threshold = max(_LEAST, math.ceil(math.expm1(epsilon / rounds)))
    while math.log((threshold - 3) / (threshold - 2)) + math.lgamma(threshold + 1) < -math.log(delta):
        threshold += 1
    return threshold


def sampling_rate(epsilon: float, threshold: int, rounds: int) -> float:
    """The share of users that votes in a round: (1 - e^(-ε/L)) / θ, as in the paper."""
    return -math.expm1(-epsilon / rounds) / threshold


def round_delta(epsilon: float, threshold: int, rate: float) -> float:
    """Least δ at which one round is (ε, δ)-DP if a user is added or removed, each sampled independently.

    Given the tree so far, a round tells of each candidate whether it has `threshold` votes. Votes for different
    candidates are independent, and a user is in one candidate's count only, so a user changes one bit: from
    "Binomial(c, rate) reaches the threshold" to "Binomial(c+1, rate) does", for some c. *A bit that is 0*: without the
    user its probability F(c) exceeds F(c+1) = F(c) - rate · P(c votes: threshold - 1) by a factor of at most
    1/(1 - rate), since F(c) ≥ P(c votes: threshold - 1); that is within e^ε as long as rate ≤ 1 - e^-ε. *A bit that is
    1*: the ratio of the probabilities is at most 1 + (1 - rate) · threshold / (c - threshold + 1), which is within e^ε
    from c = threshold - 1 + threshold · (1 - rate) / (e^ε - 1) on; below, the excess is computed for each c.
    """
    if rate > -math.expm1(-epsilon):
        return 1.0
    last = math.ceil(threshold - 1 + threshold * (1 - rate) / math.expm1(epsilon))
    c = np.arange(threshold - 1, last + 1)
    reached = threshold - 1
    excess = binom.sf(reached, c + 1, rate) - math.exp(epsilon) * binom.sf(reached, c, rate)
    return max(0.0, float(excess.max()))


@cache
def sound_threshold(epsilon: float, delta: float, rounds: int) -> int:
    """The paper's threshold, raised until all rounds together are (ε, δ)-DP by `round_delta` and composition.

    Raises
    ------
    InvalidClaim
        If ε is below 10^-4 a round: hardly anybody would vote.
    """
    if epsilon < _LEAST_EPSILON * rounds:
        raise InvalidClaim(f"epsilon must be at least {_LEAST_EPSILON * rounds:g} for votes in {rounds} rounds")
    threshold = paper_threshold(epsilon, delta, rounds)
    while rounds * round_delta(epsilon / rounds, threshold, sampling_rate(epsilon, threshold, rounds)) > delta:
        threshold += 1
    return threshold


def trie_claim(epsilon: float, delta: float) -> Claim:
    """What TrieHH promises: a curator, or a secure sum in its place, sees the votes."""
    return Claim(
        ApproxDP(epsilon, delta),
        unit="user",
        neighbours="add-remove",
        trust="central",
        assumptions=(
            "each user holds one item",
            "only the prefixes that reach the threshold are told, not their votes",
        ),
    )
