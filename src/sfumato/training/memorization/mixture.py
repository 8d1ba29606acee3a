"""A long-tailed mixture of well-separated clusters: subpopulations of Zipf or other frequencies, each with one label.

For trying what fitting the tail is worth to a learner. The mixture model of Feldman, "Does Learning Require
Memorization?" (STOC 2020, arXiv 1906.05271); Gaussian clusters.
"""

from __future__ import annotations

import numpy as np
from sklearn.utils import Bunch

from sfumato.errors import InvalidData
from sfumato.training.memorization.cost import whole
from sfumato.training.memorization.prior import FrequencyPrior, RandomState

_SPREAD = 0.5  # distance of a record from its centre; centres are about the square root of 2 apart


def long_tail_mixture(
    n: int,
    n_subpopulations: int = 500,
    dim: int = 100,
    *,
    n_classes: int = 10,
    prior: FrequencyPrior | None = None,
    label_noise: float = 0.0,
    random_state: RandomState = None,
) -> Bunch:
    """Draw records from clusters whose frequencies are long-tailed and whose labels are uniform.

    Parameters
    ----------
    n : int
        Records.
    n_subpopulations : int
        Clusters.
    dim : int
        Dimension, at least 100 for clusters to be well apart.
    n_classes : int
    prior : FrequencyPrior, optional
        Of the clusters' weights, with `n_subpopulations` points; Zipf by default.
    label_noise : float
        Probability that a record's label is replaced by another one, in [0, 1).
    random_state : int or Generator, optional
        Decides clusters and records; split one draw for training and test records of the same mixture.

    Returns
    -------
    Bunch
        `data` (n, dim), `target` and `clean_target` (n,), `subpopulation` (n,), `frequencies` and `labels`
        (n_subpopulations,), `centers` (n_subpopulations, dim).
    """
    n, k, dim, n_classes = whole(n), whole(n_subpopulations, 2), whole(dim), whole(n_classes, 2)
    prior = FrequencyPrior.zipf(k) if prior is None else prior
    if prior.n_points != k:
        raise InvalidData(f"prior must have {k} points, one a subpopulation, got {prior.n_points}")
    if not 0 <= label_noise < 1:
        raise InvalidData(f"label_noise must be in [0, 1), got {label_noise}")
    rng = np.random.default_rng(random_state)
    frequencies = prior.sample(rng)
    centers = rng.normal(size=(k, dim))
    centers /= np.linalg.norm(centers, axis=1, keepdims=True)
    labels = rng.integers(n_classes, size=k)
    subpopulation = rng.choice(k, size=n, p=frequencies)
    clean = labels[subpopulation]
    wrong = rng.random(n) < label_noise
    target = np.where(wrong, (clean + rng.integers(1, n_classes, size=n)) % n_classes, clean)
    data = centers[subpopulation] + rng.normal(scale=_SPREAD / np.sqrt(dim), size=(n, dim))
    return Bunch(
        data=data,
        target=target,
        clean_target=clean,
        subpopulation=subpopulation,
        frequencies=frequencies,
        labels=labels,
        centers=centers,
    )
