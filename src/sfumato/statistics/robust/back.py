"""And back: how much corruption a differentially private estimator withstands, whatever it is.

For users of any private estimator whose accuracy on clean data is known. Asi, Ullman and Zakynthinou (ICML 2023), by
group privacy.
"""

from __future__ import annotations

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.claim import Claim
from sfumato.privacy.groups import probability_after

_MOST = 2**60


def robustness_of(claim: Claim, beta: float, allowed: float) -> int:
    """Most records that may be replaced before a large error can have a probability above `allowed`.

    For pure ε-DP it is ⌊ln(allowed / β) / ε⌋: an estimator that errs with probability n^-c withstands about 1/ε
    records, and with `allowed` = √β, ln(1/β) / (2ε) of them. The converse, that a robust estimator can be made
    private, is `RobustToPrivate`.

    Parameters
    ----------
    claim : Claim
        Pure or approximate, about one record replaced.
    beta : float
        Probability of a large error on clean data, in (0, 1).
    allowed : float
        In [beta, 1).

    Returns
    -------
    int
        At most 2^60.

    Raises
    ------
    InvalidClaim
        If the claim is about something else, or void: ε for people added or removed is 2ε for people replaced, and is
        to be stated so.

    Examples
    --------
    >>> from sfumato import Claim, PureDP
    >>> from sfumato.statistics.robust import robustness_of
    >>> robustness_of(Claim(PureDP(0.1), neighbours="replace-one"), beta=0.001, allowed=0.1)
    46
    """
    if not claim.formal or claim.neighbours != "replace-one":
        raise InvalidClaim("expected a claim that stands, about one record replaced")
    if not 0 < beta <= allowed < 1:
        raise InvalidData("expected 0 < beta <= allowed < 1")
    low, high = 0, 1
    while probability_after(claim, beta, high) <= allowed:
        if high >= _MOST:
            return high
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if probability_after(claim, beta, middle) <= allowed else (low, middle)
    return low
