"""Who pays for privacy: the frequency-prior model's prediction for each group of the population.

For whoever reports the disparate effect of private training. Feldman, "Does Learning Require Memorization?" (STOC 2020,
arXiv 1906.05271).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from sfumato.errors import InvalidData
from sfumato.training.memorization.cost import cost_of_privacy, whole
from sfumato.training.memorization.prior import FrequencyPrior, RandomState


def privacy_cost_by_group(
    priors: Mapping[str, FrequencyPrior],
    shares: Mapping[str, float],
    n: int,
    epsilon: float,
    delta: float = 0.0,
    *,
    n_classes: int = 10,
    draws: int = 20,
    random_state: RandomState = None,
) -> pd.DataFrame:
    """Predict who pays for privacy: the least cost of an (ε, δ)-private learner in each group.

    Parameters
    ----------
    priors : mapping of str to FrequencyPrior
        Of the points of each group.
    shares : mapping of str to float
        Share of each group in the population; they sum to 1.
    n : int
        Size of the training sample, of all groups.
    epsilon, delta : float
        For one example.
    n_classes : int
        K, at least 2.
    draws : int
    random_state : int or Generator, optional

    Returns
    -------
    DataFrame
        Indexed by group: `share`, `cost` (the part of the error that comes from this group) and `drop`, cost over
        share: by how much accuracy in the group falls at least.
    """
    if not priors or set(priors) != set(shares):
        raise InvalidData("priors and shares must have the same groups, at least one")
    if min(shares.values()) <= 0 or not math.isclose(sum(shares.values()), 1.0, rel_tol=1e-6):
        raise InvalidData("shares must be above 0 and sum to 1")
    rng = np.random.default_rng(random_state)
    costs = dict.fromkeys(priors, 0.0)
    for _ in range(whole(draws)):
        for group, prior in priors.items():
            alpha = shares[group] * prior.sample(rng)
            costs[group] += cost_of_privacy(alpha, n, epsilon, delta, n_classes) / draws
    rows = {g: {"share": shares[g], "cost": costs[g], "drop": costs[g] / shares[g]} for g in priors}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("group")
