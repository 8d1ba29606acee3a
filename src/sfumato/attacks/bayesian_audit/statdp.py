"""A second exact test of one event: binomial thinning and Fisher's test, for checking the auditor's verdict.

For outputs of few values. Ding et al., "Detecting violations of differential privacy" (CCS 2018).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

from sfumato.errors import InvalidData


def statdp_pvalues(
    hits: int, other_hits: int, trials: int, epsilons: npt.ArrayLike, *, thinnings: int = 200, random_state: int = 0
) -> npt.NDArray[np.float64]:
    """p-values of "the event is at most e^ε times as likely under the first input", for each ε.

    Each hit of the first input is kept with probability e^-ε; under the hypothesis what is kept is no more frequent
    than the other input's hits, which Fisher's test decides. The p-values of many thinnings are averaged and doubled,
    since twice an average of p-values is one.

    Parameters
    ----------
    hits, other_hits : int
        Trials in the event under each input, both of `trials`.
    trials : int
    epsilons : array_like of float, shape (k,)
    thinnings : int, default 200
    random_state : int, default 0

    Returns
    -------
    ndarray of float, shape (k,)
    """
    if not (0 <= hits <= trials and 0 <= other_hits <= trials and trials >= 1 and thinnings >= 1):
        raise InvalidData("expected 0 <= hits, other_hits <= trials, and at least one thinning")
    rng = np.random.default_rng(random_state)
    found = []
    for epsilon in np.atleast_1d(np.asarray(epsilons, np.float64)):
        kept = rng.binomial(hits, math.exp(-float(epsilon)), size=thinnings)
        p = stats.hypergeom.sf(kept - 1, 2 * trials, kept + other_hits, trials)
        found.append(min(1.0, 2 * float(p.mean())))
    return np.array(found)
