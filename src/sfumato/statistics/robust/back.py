"""And back: how much corruption a differentially private estimator withstands, whatever it is.

For users of any private estimator whose accuracy on clean data is known. Asi, Ullman and Zakynthinou (ICML 2023), by
group privacy.
"""

from __future__ import annotations

import math

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.statistics.robust import checks


def failure_after(claim: Claim, beta: float, corruptions: int) -> float:
    """Largest probability of a large error after that many records were replaced by anything.

    Parameters
    ----------
    claim : Claim
        Pure or approximate; one record replaced.
    beta : float
        Probability of a large error on clean data, in [0, 1].
    corruptions : int
        Replaced records k.

    Returns
    -------
    float
        min(1, e^(kε) β + δ (e^(kε) - 1) / (e^ε - 1)).

    Raises
    ------
    InvalidClaim
        If the claim is about something else: an add-remove claim of ε is one of replacement of 2ε, to be stated so.
    """
    if not claim.formal or not isinstance(claim.bound, (PureDP, ApproxDP)) or claim.neighbours != "replace-one":
        raise InvalidClaim("expected a pure or approximate claim that stands, about one record replaced")
    if not checks.number(beta) or not 0 <= beta <= 1:
        raise InvalidData("beta must be in [0, 1]")
    k = checks.whole("corruptions", corruptions, 0, 2**62)
    epsilon, delta = claim.bound.epsilon, getattr(claim.bound, "delta", 0.0)
    if k * epsilon > 700:
        return 1.0 if beta > 0 or delta > 0 else 0.0
    # ε = 0 composes δ alone
    failures = math.expm1(k * epsilon) / math.expm1(epsilon) if epsilon > 0 else k
    return min(1.0, math.exp(k * epsilon) * beta + delta * failures)


def robustness_of(claim: Claim, beta: float, allowed: float) -> int:
    """Most records that may be replaced before a large error can have a probability above `allowed`.

    For pure ε-DP it is ⌊ln(allowed / β) / ε⌋: an estimator that errs with probability n^-c withstands about 1/ε
    records, and with `allowed` = √β, ln(1/β) / (2ε) of them.

    Parameters
    ----------
    claim : Claim
        As `failure_after`.
    beta : float
        Probability of a large error on clean data, in (0, 1].
    allowed : float
        In [beta, 1).

    Returns
    -------
    int

    Examples
    --------
    >>> from sfumato import Claim, PureDP
    >>> from sfumato.statistics.robust import robustness_of
    >>> robustness_of(Claim(PureDP(0.1), neighbours="replace-one"), beta=0.001, allowed=0.1)
    46
    """
    if not checks.number(allowed) or not 0 < beta <= allowed < 1:
        raise InvalidData("expected 0 < beta <= allowed < 1")
    low, high = 0, 1
    while failure_after(claim, beta, high) <= allowed:
        if high >= 2**60:
            return high
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if failure_after(claim, beta, middle) <= allowed else (low, middle)
    return low
