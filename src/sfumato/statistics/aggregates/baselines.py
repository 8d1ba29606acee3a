"""EasyLLP: individual labels out of bag means that are right on average, for any loss and any model.

For whoever compares with the interpolating loss. Busa-Fekete, Choi, Dick, Gentile and Muñoz Medina, "Easy learning
from label proportions" (2023).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates.bags import Floats, read_bags
from sfumato.statistics.aggregates.releasing import AggregateResponses


def easyllp_labels(responses: AggregateResponses | ArrayLike, bag_id: ArrayLike) -> Floats:
    """Return k·ȳ_b - (k-1)·ȳ for each person: given their features, right on average if bags are random.

    The other k-1 people of a bag have the mean response ȳ of everybody on average, so what is left is the person's
    own. Its variance grows as k. ȳ is the mean of all bags.

    Parameters
    ----------
    responses : AggregateResponses, or array_like of float, shape (m,)
    bag_id : array_like of int, shape (n,)

    Returns
    -------
    ndarray of float, shape (n,)
        NaN for people in no bag.
    """
    bags = read_bags(bag_id)
    means = np.asarray(responses.means if isinstance(responses, AggregateResponses) else responses, np.float64)
    if means.shape != (len(bags),):
        raise InvalidData("responses must have one entry a bag")
    overall = np.average(means, weights=bags.sizes)
    each = bags.sizes * means - (bags.sizes - 1) * overall
    labels = np.full(len(bags.inside), np.nan)
    labels[bags.inside] = each[bags.of]
    return labels
