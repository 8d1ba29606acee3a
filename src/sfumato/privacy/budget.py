"""From the plain parameters of an estimator (epsilon, delta, rho) to the bound they state, and the ρ that fits into it.

For estimators, which take the field's parameters and build their claim from them. ρ-zCDP within (ε, δ): the conversion
of Canonne, Kamath and Steinke 2020, as `accounting` composes it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sfumato.errors import InvalidClaim
from sfumato.privacy.accounting import Cost, cost_of
from sfumato.privacy.bounds import ZCDP, ApproxDP, PureDP


def privacy_bound(
    epsilon: float | None, rho: float | None = None, delta: float | None = None
) -> PureDP | ApproxDP | ZCDP:
    """Return the bound that the parameters state; epsilon is 1 if nothing is given.

    Raises
    ------
    InvalidClaim
        If both epsilon and rho are given, or one is not positive and finite.
    """
    if rho is not None:
        if epsilon is not None:
            raise InvalidClaim("give epsilon or rho, not both")
        if delta is not None:
            _delta(delta)  # a reader's δ: ρ-zCDP implies an (ε, δ) for every δ, so it costs nothing
        return ZCDP(_positive("rho", rho, 1e-15))
    bound = PureDP(_positive("epsilon", 1.0 if epsilon is None else epsilon, 1e-9))
    return bound if delta is None else ApproxDP(bound.epsilon, _delta(delta))


def largest_rho(bound: ApproxDP, spent: Cost) -> float:
    """Return the largest ρ whose Gaussian noise still fits into an (ε, δ) of which `spent` is gone."""
    low, high = 0.0, max(bound.epsilon, 1.0) ** 2
    if bound.delta == 0:
        return 0.0
    for _ in range(60):
        middle = (low + high) / 2
        fits = (spent + cost_of(ZCDP(middle))).epsilon_at(bound.delta) <= bound.epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


def _positive(name: str, value: Any, least: float = 0.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidClaim(f"{name} must be a number, got {type(value).__name__}")
    if not (0 < value < math.inf):
        raise InvalidClaim(f"{name} must be finite and above 0, got {float(value):g}")
    if value < least:
        # refused here, before the ledger is charged: noise that wide is beyond 64-bit integers
        raise InvalidClaim(f"{name} must be at least {least:g}, got {float(value):g}")
    return float(value)


def _delta(value: Any) -> float:
    delta = _positive("delta", value)
    if delta >= 1:
        raise InvalidClaim(f"delta must be in (0, 1), got {delta:g}")
    return delta
