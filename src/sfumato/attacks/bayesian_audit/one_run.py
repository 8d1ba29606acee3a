"""A lower bound on ε from one training run with many canaries, each in it by a fair coin.

For whoever can afford one run. Steinke, Nasr, Jagielski, "Privacy auditing with one (1) training run" (2023,
arXiv 2305.08846): guesses about independent coins are right no more often than ε and δ allow.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

from sfumato.errors import InvalidData

_REACH = 60.0  # standard deviations below the mode after which a binomial tail is below any double
_MOST_EPSILON = 100.0
GUESS_SHARES = (0.1, 0.3, 1.0)  # of the canaries of one run, extremes first; alpha is divided among them


def one_run_pvalue(m: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """Probability that an (ε, δ)-private run lets so many guesses be right, or more.

    P[B ≥ v] + 2mδ · max over i ≤ v of P[v−i ≤ B < v]/i, with B binomial of the guesses at e^ε/(1+e^ε).

    Parameters
    ----------
    m : int
        Canaries, each in the run independently with probability ½.
    guesses : int
        How many of them the attack chose to guess about; the number is fixed before the run.
    correct : int
        How many of those guesses are right.
    epsilon, delta : float
        The claim: ε ≥ 0 and δ in [0, 1).

    Returns
    -------
    float
        At most 1.

    Raises
    ------
    InvalidData
        If the counts are not 0 ≤ correct ≤ guesses ≤ m, or the claim is out of range.
    """
    _check(m, guesses, correct, delta)
    if not epsilon >= 0:
        raise InvalidData("epsilon must be at least 0")
    if correct == 0:
        return 1.0
    q = float(special.expit(epsilon))
    law = stats.binom(guesses, q)
    tail = float(law.sf(correct - 1))
    if delta == 0:
        return min(1.0, tail)
    # The average of the probabilities below v falls once it passes the mode: nothing below that is looked at.
    mode = min(correct - 1, math.floor((guesses + 1) * q))
    lowest = max(0, math.floor(mode - _REACH * math.sqrt(guesses * q * (1 - q)) - _REACH))
    below = law.pmf(np.arange(correct - 1, lowest - 1, -1))
    sums = np.cumsum(below) + law.cdf(lowest - 1)
    worst = float(np.max(sums / np.arange(1, len(below) + 1)))
    return min(1.0, tail + 2 * m * delta * worst)


def one_run_epsilon(m: int, guesses: int, correct: int, delta: float, alpha: float = 0.05) -> float:
    """Largest ε that one run refutes at level `alpha`; 0 if none.

    Parameters
    ----------
    m, guesses, correct, delta
        As in `one_run_pvalue`.
    alpha : float, default 0.05
        False-alarm rate, in (0, 1).
    """
    if not 0 < alpha < 1:
        raise InvalidData("alpha must lie strictly between 0 and 1")

    def excess(epsilon: float) -> float:
        return one_run_pvalue(m, guesses, correct, epsilon, delta) - alpha

    if excess(0.0) >= 0:
        return 0.0
    high = 1.0
    while excess(high) < 0:
        if high > _MOST_EPSILON:
            return high
        high *= 2
    found = float(optimize.bisect(excess, 0.0, high, xtol=1e-9))
    return max(0.0, found - 1e-9)  # the side on which the test refutes


def best_guesses(
    scores: npt.NDArray[np.float64], included: npt.NDArray[np.bool_], delta: float, alpha: float = 0.05
) -> tuple[float, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Bound ε from scores: the best of a few numbers of guesses that are fixed beforehand.

    Half of the guesses name the top scores included, half the lowest left out; alpha is divided among the numbers.
    Equal scores keep their order, which must then not depend on who is included.

    Parameters
    ----------
    scores : ndarray of float64, shape (m,)
        Higher where a canary looks included.
    included : ndarray of bool, shape (m,)
    delta : float
    alpha : float, default 0.05

    Returns
    -------
    epsilon : float
        Lower bound; 0 if none.
    picked : ndarray of int64
        The canaries that it guesses about.
    guess : ndarray of bool
        What it takes them for.
    """
    m, order = len(scores), np.argsort(scores, kind="stable")
    best = -1.0, order[:0], np.zeros(0, dtype=np.bool_)
    for share in GUESS_SHARES:
        each = max(1, int(share * m) // 2)
        picked = np.concatenate([order[:each], order[m - each :]])
        guess = np.repeat([False, True], each)
        correct = int((included[picked] == guess).sum())
        found = one_run_epsilon(m, 2 * each, correct, delta, alpha / len(GUESS_SHARES))
        best = max(best, (found, picked, guess), key=lambda each: each[0])
    return best


def _check(m: int, guesses: int, correct: int, delta: float) -> None:
    for name, value in (("m", m), ("guesses", guesses), ("correct", correct)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
            raise InvalidData(f"{name} must be a whole number")
    if not 0 <= correct <= guesses <= m or m < 1:
        raise InvalidData("expected 0 <= correct <= guesses <= m, and at least one canary")
    if not 0 <= delta < 1:
        raise InvalidData("delta must lie in [0, 1)")
