"""The bounds a claim can promise, and how far each hides one unit.

For whoever states or reads a guarantee. Profiles: Kairouz, Oh and Viswanath 2015 (pure and approximate),
Bun and Steinke 2016 (zCDP), Mironov 2017 (Rényi), Dong, Roth and Su 2022 (Gaussian).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias

from sfumato.errors import InvalidClaim

#: How two neighbouring data sets differ. A factor of two in sensitivity hides here.
Neighbours: TypeAlias = Literal["add-remove", "replace-one"]


def _number(name: str, value: Any, low: float = 0.0, high: float = math.inf) -> float:
    """Return `value` as a float in [low, high), or say what was expected of `name`."""
    if isinstance(value, bool):
        raise InvalidClaim(f"{name} must be a number, got a boolean")
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InvalidClaim(f"{name} must be a number, got {type(value).__name__}") from None
    if not (low <= number < high):  # also false for NaN
        raise InvalidClaim(f"{name} must be in [{low:g}, {high:g}), got {number:g}")
    return number


@dataclass(frozen=True)
class PureDP:
    """Every event's probability changes by at most a factor e^ε between neighbours."""

    epsilon: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", _number("epsilon", self.epsilon))

    def __str__(self) -> str:
        return f"pure ε-differential privacy with ε = {self.epsilon:.6g}"


@dataclass(frozen=True)
class ApproxDP:
    """P[S|x] ≤ e^ε P[S|x'] + δ for every event S and neighbours x, x'."""

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "epsilon", _number("epsilon", self.epsilon))
        object.__setattr__(self, "delta", _number("delta", self.delta, high=1.0))

    def __str__(self) -> str:
        return f"(ε, δ)-differential privacy with ε = {self.epsilon:.6g}, δ = {self.delta:.3g}"


@dataclass(frozen=True)
class ZCDP:
    """Zero-concentrated DP: the Rényi divergence of order α is at most αρ, for all α > 1."""

    rho: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "rho", _number("rho", self.rho))

    def __str__(self) -> str:
        return f"zero-concentrated differential privacy with ρ = {self.rho:.6g}"


@dataclass(frozen=True)
class RenyiDP:
    """The Rényi divergence of order `orders[i]` is at most `epsilons[i]`.

    Raises
    ------
    InvalidClaim
        If the two have different lengths, are empty, or an order is not above 1.
    """

    orders: tuple[float, ...]
    epsilons: tuple[float, ...]

    def __post_init__(self) -> None:
        orders = tuple(_number("order", a) for a in _listed("orders", self.orders))
        epsilons = tuple(_number("epsilon", e) for e in _listed("epsilons", self.epsilons))
        if len(orders) != len(epsilons) or not orders:
            raise InvalidClaim(f"expected as many epsilons as orders, got {len(epsilons)} and {len(orders)}")
        if any(b <= a for a, b in zip((1.0, *orders), orders, strict=False)):
            raise InvalidClaim("orders must increase and lie above 1")
        object.__setattr__(self, "orders", orders)
        object.__setattr__(self, "epsilons", epsilons)

    def __str__(self) -> str:
        middle = len(self.orders) // 2
        return (
            f"Rényi differential privacy at {len(self.orders)} orders "
            f"(ε = {self.epsilons[middle]:.6g} at order {self.orders[middle]:.6g})"
        )


@dataclass(frozen=True)
class GaussianDP:
    """No test tells neighbours apart better than N(0, 1) from N(μ, 1)."""

    mu: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "mu", _number("mu", self.mu))

    def __str__(self) -> str:
        return f"Gaussian differential privacy with μ = {self.mu:.6g}"


@dataclass(frozen=True)
class Cryptographic:
    """Nothing leaks to `adversary` as long as `assumption` holds."""

    assumption: str
    adversary: str

    def __str__(self) -> str:
        return f"cryptographic security against {self.adversary}, assuming {self.assumption}"


@dataclass(frozen=True)
class Heuristic:
    """No guarantee; `why` says what is missing."""

    why: str

    def __str__(self) -> str:
        return f"no formal guarantee ({self.why})"


FormalBound: TypeAlias = PureDP | ApproxDP | ZCDP | RenyiDP | GaussianDP
Bound: TypeAlias = FormalBound | Cryptographic | Heuristic
FORMAL: tuple[type[FormalBound], ...] = (PureDP, ApproxDP, ZCDP, RenyiDP, GaussianDP)
_KINDS: dict[str, type[Bound]] = {kind.__name__: kind for kind in (*FORMAL, Cryptographic, Heuristic)}


def _listed(name: str, values: Any) -> Sequence[Any]:
    if isinstance(values, (str, bytes)) or not hasattr(values, "__iter__"):
        raise InvalidClaim(f"{name} must be a sequence of numbers, got {type(values).__name__}")
    return tuple(values)


def bound_to_json(bound: Bound) -> dict[str, Any]:
    """Return `bound` as a JSON object with its kind and its parameters."""
    values = {f.name: getattr(bound, f.name) for f in fields(bound)}
    return {"kind": type(bound).__name__} | {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}


def bound_from_json(document: Any) -> Bound:
    """Rebuild a bound; raises InvalidClaim if `document` is not one that `bound_to_json` wrote."""
    kind = _KINDS.get(document.get("kind", "")) if isinstance(document, dict) else None
    if kind is None:
        raise InvalidClaim(f"expected a bound with a kind among {', '.join(_KINDS)}")
    try:
        return kind(**{k: v for k, v in document.items() if k != "kind"})
    except TypeError:
        names = ", ".join(f.name for f in fields(kind))
        raise InvalidClaim(f"a {kind.__name__} has the fields {names}") from None
