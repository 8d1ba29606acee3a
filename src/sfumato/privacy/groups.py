"""Group privacy: what a claim about one unit says of several changed at once.

For whoever turns privacy into robustness, or a failure after many changes into evidence about ε. Dwork and Roth 2014,
Theorem 2.2, with the sharp δ.
"""

from __future__ import annotations

import math

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.claim import Claim

_LARGEST_EXPONENT = 700.0


def probability_after(claim: Claim, probability: float, changes: int) -> float:
    """Largest probability of an event after that many changes between neighbours.

    Parameters
    ----------
    claim : Claim
        Pure or approximate.
    probability : float
        Of the event before, in [0, 1].
    changes : int
        How many units k are changed, as the claim's neighbours say: k replaced, or k added or removed.

    Returns
    -------
    float
        min(1, e^(kε) p + δ (e^(kε) - 1) / (e^ε - 1)).

    Raises
    ------
    InvalidClaim
        If the claim's bound is of another kind.
    InvalidData
        If the probability or the number is out of range.
    """
    if not isinstance(claim.bound, (PureDP, ApproxDP)):
        raise InvalidClaim(f"expected a pure or approximate bound, got {type(claim.bound).__name__}")
    if not 0 <= probability <= 1:
        raise InvalidData("probability must be in [0, 1]")
    if isinstance(changes, bool) or changes != int(changes) or changes < 0:
        raise InvalidData("changes must be a whole number, at least 0")
    epsilon = claim.bound.epsilon
    delta = claim.bound.delta if isinstance(claim.bound, ApproxDP) else 0.0
    if changes * epsilon > _LARGEST_EXPONENT:
        return 1.0 if probability > 0 or delta > 0 else 0.0
    failures = math.expm1(changes * epsilon) / math.expm1(epsilon) if epsilon > 0 else changes
    return min(1.0, math.exp(changes * epsilon) * probability + delta * failures)
