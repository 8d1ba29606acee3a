"""Lower bounds on μ of Gaussian differential privacy: from two error rates, and from one run with many canaries.

For mechanisms known to add Gaussian noise, where they are tighter than bounds that know nothing. Nasr et al.
(2023) for the rates; Mahloujifar, Melis, Chaudhuri, "Auditing f-differential privacy in one run" (2024).
"""

from __future__ import annotations

from statistics import NormalDist

from scipy import optimize, special

from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.errors import InvalidData
from sfumato.evidence import clopper_pearson_upper
from sfumato.privacy.bounds import GaussianDP
from sfumato.privacy.claim import Claim

_NORMAL = NormalDist()
_MOST_MU = 40.0


def gaussian_mu(counts: AttackCounts, alpha: float = 0.05) -> float:
    """Lower bound of μ from an attack's two error rates, each at alpha/2; it assumes a Gaussian trade-off.

    Parameters
    ----------
    counts : AttackCounts
        On data that chose neither threshold nor event.
    alpha : float, default 0.05
    """
    _check_alpha(alpha)
    missed = float(clopper_pearson_upper(counts.fn, counts.tp + counts.fn, alpha / 2))
    wrong = float(clopper_pearson_upper(counts.fp, counts.fp + counts.tn, alpha / 2))
    return max(0.0, float(-special.ndtri(wrong) - special.ndtri(missed)))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε at δ of a μ-Gaussian private mechanism."""
    return Claim(GaussianDP(mu)).epsilon_at(delta) if mu > 0 else 0.0


def fdp_one_run(m: int, guesses: int, correct: int, alpha: float = 0.05) -> float:
    """Largest μ that one run with m canaries refutes at level `alpha`; 0 if none.

    Parameters
    ----------
    m : int
        Canaries, each in the run by a fair coin.
    guesses, correct : int
        Guesses made, their number fixed before the run, and those that are right.
    alpha : float, default 0.05

    Raises
    ------
    InvalidData
        If the counts are not 0 ≤ correct ≤ guesses ≤ m.
    """
    _check_alpha(alpha)
    if not 0 <= correct <= guesses <= m or guesses < 1:
        raise InvalidData("expected 0 <= correct <= guesses <= m, and at least one guess")
    if not refutes_gaussian(m, guesses, correct, 0.0, alpha):
        return 0.0
    if refutes_gaussian(m, guesses, correct, _MOST_MU, alpha):
        return _MOST_MU

    def side(mu: float) -> float:
        return -1.0 if refutes_gaussian(m, guesses, correct, mu, alpha) else 1.0

    return max(0.0, float(optimize.bisect(side, 0.0, _MOST_MU, xtol=1e-6)) - 1e-6)


def refutes_gaussian(m: int, guesses: int, correct: int, mu: float, alpha: float) -> bool:
    """Whether one run refutes μ: the published recursion over the number of right guesses, for guesses of one bit.

    If c right guesses had probability above alpha, the trade-off curve would bound the probabilities of fewer
    and of more of them so tightly that they could not sum to one.
    """
    right, wrong = alpha * correct / m, alpha * (guesses - correct) / m
    for i in range(correct - 1, -1, -1):
        # the inverse of 1 - f for the Gaussian trade-off curve f
        bound = _NORMAL.cdf(_NORMAL.inv_cdf(right) - mu) if 0 < right < 1 else min(max(right, 0.0), 1.0)
        grown = max(wrong, bound)
        right += (grown - wrong) * i / (guesses - i)
        wrong = grown
        if right + wrong > guesses / m:
            return True
    return right + wrong > guesses / m


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise InvalidData("alpha must lie strictly between 0 and 1")
