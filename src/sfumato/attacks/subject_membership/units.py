"""What a claim about records says about their subject: group privacy.

For whoever reads a claim at one unit and needs it at another. Dwork and Roth, "The Algorithmic Foundations of
Differential Privacy" (2014), Theorem 2.2; Bun and Steinke 2016, Proposition 27; Dong, Roth and Su 2022, Theorem 2.14;
Mironov 2017, Proposition 2.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import ZCDP, ApproxDP, Bound, GaussianDP, PureDP, RenyiDP
from sfumato.privacy.claim import Claim, Unit


def group_claim(claim: Claim, m: int, *, unit: Unit = "subject") -> Claim:
    """What a claim about one unit promises a group of at most m of them: a subject with at most m records.

    Pure ε becomes mε; (ε, δ) becomes (mε, δ·(1 + e^ε + … + e^((m-1)ε))), at most m·e^((m-1)ε)·δ; ρ becomes m²ρ; μ
    becomes mμ; a Rényi curve at order α gives 3^c times its ε at order α / 2^c, where 2^c is the next power of two.

    Parameters
    ----------
    claim : Claim
        Formal; about records, say.
    m : int
        At least 1. It must be a public bound over *all* silos.
    unit : str, default "subject"
        What the group is.

    Raises
    ------
    InvalidClaim
        If the claim is void or not formal, m is no such number, or nothing is left: δ reaches 1, or no Rényi order
        stays above 1.
    """
    if not claim.formal:
        raise InvalidClaim("only a formal claim that stands extends to groups")
    if isinstance(m, bool) or not isinstance(m, (int, np.integer)) or m < 1:
        raise InvalidClaim("m must be a whole number, at least 1")
    said = f"a {unit} has at most {m} {claim.unit}s in all"
    return replace(claim, bound=_of_group(claim.bound, int(m)), unit=unit, assumptions=(*claim.assumptions, said))


def _of_group(bound: Bound, m: int) -> Bound:
    match bound:
        case PureDP(epsilon):
            return PureDP(m * epsilon)
        case ApproxDP(epsilon, delta):
            return ApproxDP(m * epsilon, _group_delta(epsilon, delta, m))
        case ZCDP(rho):
            return ZCDP(m**2 * rho)
        case GaussianDP(mu):
            return GaussianDP(m * mu)
        case RenyiDP(orders, epsilons):
            return _group_renyi(orders, epsilons, math.ceil(math.log2(m)))
    raise InvalidClaim(f"{bound} does not extend to groups")


def _group_delta(epsilon: float, delta: float, m: int) -> float:
    # δ · Σ e^(iε) by its largest term, so that nothing overflows
    log_delta = math.log(delta) + (m - 1) * epsilon if delta > 0 else -math.inf
    total = math.exp(log_delta) * sum(math.exp(-i * epsilon) for i in range(m)) if log_delta < 0 else math.inf
    if total >= 1:
        raise InvalidClaim("nothing is left for a group of this size: its δ reaches 1")
    return math.nextafter(total, 1) if total > 0 else 0.0


def _group_renyi(orders: tuple[float, ...], epsilons: tuple[float, ...], c: int) -> RenyiDP:
    kept = [(a / 2**c, 3**c * e) for a, e in zip(orders, epsilons, strict=True) if a >= 2 ** (c + 1) or c == 0]
    if not kept:
        raise InvalidClaim("nothing is left for a group of this size: no Rényi order is large enough")
    return RenyiDP(tuple(a for a, _ in kept), tuple(e for _, e in kept))
