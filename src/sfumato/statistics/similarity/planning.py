"""How many features: enough that they do not limit the answer, and for Laplace noise not so many that they drown it.

For whoever plans a kernel density before seeing any data.
"""

from __future__ import annotations

import math

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.statistics.similarity.features import part
from sfumato.statistics.similarity.spending import Noise, read_terms, whole

FEWEST, MOST = 16, 2**17


def choose_features(
    n: float,
    epsilon: float | None = None,
    delta: float | None = None,
    *,
    rho: float | None = None,
    alpha: float = 0.02,
    noise: Noise | str = "auto",
    neighbours: Neighbours = "add-remove",
    columns: int | None = None,
) -> int:
    """Number of random frequencies for a kernel density of n people.

    D frequencies move a mean similarity by about 1/√(2D), so 1/(2 alpha²) of them move it by alpha. Gaussian noise of
    an answer does not depend on D. Laplace noise has standard deviation 2√D/(nε) (the L1 norm of D pairs of cosine
    and sine is √2·D). Frequencies are spread evenly (`kernels.uniform_points`), which in s columns takes their squared
    error from 1/(2D) to the order of 1/(2 D^(1 + 2/s)); with the noise it is least at
    D^(2 + 2/s) = (nε)² (1 + 2/s)/8, which is D = nε/√8 for many columns.

    Parameters
    ----------
    n : float
        Number of people: public, or already noisy.
    epsilon, delta, rho, noise, neighbours
        As for `PrivateKDE`.
    alpha : float
        Error of a mean similarity that the features may cause; in (0, 1).
    columns : int, optional
        Columns of the data, one more for "exponential" and "inverse_quadratic", two for "inverse". Many if not given.

    Returns
    -------
    int
        From 16 to 131072.
    """
    if not 0 < alpha < 1:
        raise InvalidData("alpha must be in (0, 1)")
    parameters = {"epsilon": epsilon, "rho": rho, "delta": delta, "neighbours": neighbours, "noise": noise}
    terms = read_terms(parameters | {"noise_seed": None})
    plan = terms.plan([part(FEWEST, terms.replaced)])
    most = math.inf if columns is None else whole("columns", columns, 1)
    return best_count(n, plan.amounts[0] if plan.noise == "laplace" else None, alpha, terms.replaced, most)


def best_count(n: float, epsilon: float | None, alpha: float, replaced: bool, columns: float) -> int:
    """Number of frequencies for Laplace noise at ε, or for Gaussian noise if ε is None."""
    wanted = 1 / (2 * alpha**2)
    if epsilon is not None:
        evenness = 2 / columns
        told = max(n, 0.0) * epsilon / (2 if replaced else 1)
        wanted = min(wanted, (told**2 * (1 + evenness) / 8) ** (1 / (2 + evenness)))
    return max(FEWEST, min(MOST, math.ceil(wanted)))
