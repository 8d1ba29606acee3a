"""Claim: what is promised about one unit of data, in the field's terms.

For the author of a release, who states it, and the reviewer, who reads it as one sentence.
Bounds are in `sfumato.privacy.bounds`; conversions follow the sources named there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, Self, TypeAlias, get_args

from sfumato.errors import InvalidClaim
from sfumato.privacy.accounting import (
    ORDERS,
    bound_delta,
    cost_of,
    gaussian_epsilon,
    pure_to_gaussian,
    pure_to_zcdp,
)
from sfumato.privacy.bounds import (
    FORMAL,
    ZCDP,
    ApproxDP,
    Bound,
    Cryptographic,
    FormalBound,
    GaussianDP,
    Heuristic,
    Neighbours,
    PureDP,
    RenyiDP,
    bound_from_json,
    bound_to_json,
)

Unit: TypeAlias = Literal["person", "record", "user", "subject", "silo"]
Trust: TypeAlias = Literal["central", "local", "shuffle", "silo"]

_RELATION = {"add-remove": "added or removed", "replace-one": "replaced by another"}
_TRUST = {
    "central": "a trusted curator sees the raw data",
    "local": "nobody but its owner sees the raw data",
    "shuffle": "a trusted shuffler hides who sent what",
    "silo": "each silo sees its own raw data only",
}


@dataclass(frozen=True)
class Claim:
    """What a release promises.

    Parameters
    ----------
    bound : PureDP, ApproxDP, ZCDP, RenyiDP, GaussianDP, Cryptographic or Heuristic
        How little the output may tell.
    unit : {"person", "record", "user", "subject", "silo"}
        What is protected.
    neighbours : {"add-remove", "replace-one"}
        How two neighbouring data sets differ. The factor of two in sensitivity hides here.
    trust : {"central", "local", "shuffle", "silo"}
        Who may see raw data.
    assumptions : tuple of str
        Short sentences that a reviewer must accept.
    void : str
        Why the promise does not hold after all; empty if it does.

    Raises
    ------
    InvalidClaim
        If a field is not one of the above.
    """

    bound: Bound
    unit: Unit = "person"
    neighbours: Neighbours = "add-remove"
    trust: Trust = "central"
    assumptions: tuple[str, ...] = ()
    void: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.bound, (*FORMAL, Cryptographic, Heuristic)):
            raise InvalidClaim(f"bound must be a bound such as PureDP(1.0), got {type(self.bound).__name__}")
        for name, kind in (("unit", Unit), ("neighbours", Neighbours), ("trust", Trust)):
            if getattr(self, name) not in get_args(kind):
                raise InvalidClaim(f"{name} must be one of {', '.join(get_args(kind))}")
        given: Any = self.assumptions
        if isinstance(given, str) or not all(isinstance(a, str) for a in given):
            raise InvalidClaim("assumptions must be a sequence of sentences")
        object.__setattr__(self, "assumptions", tuple(given))

    @property
    def formal(self) -> bool:
        """Whether this is a differential privacy guarantee that stands."""
        return isinstance(self.bound, FORMAL) and not self.void

    def __str__(self) -> str:
        if self.void:
            return f"No guarantee: {self.void}. (It would be {self.bound}.)"
        if not isinstance(self.bound, FORMAL):
            return f"{str(self.bound)[0].upper()}{str(self.bound)[1:]}, for each {self.unit}."
        sentence = (
            f"{str(self.bound)[0].upper()}{str(self.bound)[1:]}, for each {self.unit} "
            f"({_RELATION[self.neighbours]}); {_TRUST[self.trust]}."
        )
        return f"{sentence} It assumes that {'; that '.join(self.assumptions)}." if self.assumptions else sentence

    def delta_at(self, epsilon: float) -> float:
        """Return the least δ that the bound implies at ε ≥ 0: its privacy profile.

        Raises
        ------
        InvalidClaim
            If the bound is not formal or ε is negative or not finite.
        """
        if not (0 <= epsilon < math.inf):
            raise InvalidClaim("epsilon must be finite and at least 0")
        return bound_delta(self._formal_bound(), epsilon)

    def epsilon_at(self, delta: float) -> float:
        """Return the least ε that the bound implies at δ; inf if it implies none."""
        if not (0 <= delta < 1):
            raise InvalidClaim("delta must be in [0, 1)")
        return _epsilon_at(self._formal_bound(), delta)

    def to(self, kind: type[FormalBound], *, delta: float | None = None) -> Claim:
        """Convert to a bound of another kind that this one implies.

        Parameters
        ----------
        kind : type
            PureDP, ApproxDP, ZCDP, RenyiDP or GaussianDP.
        delta : float, optional
            Needed for ApproxDP, in [0, 1).

        Raises
        ------
        InvalidClaim
            If no bound of that kind follows.
        """
        bound = self._formal_bound()
        if kind is ApproxDP:
            if delta is None:
                raise InvalidClaim("a conversion to ApproxDP needs delta=")
            epsilon = self.epsilon_at(delta)
            if math.isinf(epsilon):
                raise InvalidClaim(f"{bound} implies no ApproxDP bound at delta = {delta:g}")
            return replace(self, bound=ApproxDP(epsilon, delta))
        return replace(self, bound=_convert(bound, kind))

    def compose(self, other: Claim) -> Claim:
        """Promise for both outputs together, about the same data.

        Two bounds of a kind add up in that kind; different kinds meet in Rényi DP, or, where one of them
        may fail with probability δ, in ApproxDP by basic composition.

        Raises
        ------
        InvalidClaim
            If unit, neighbours or trust differ, or a bound is not formal.
        """
        for name in ("unit", "neighbours", "trust"):
            if getattr(self, name) != getattr(other, name):
                raise InvalidClaim(
                    f"claims about another {name} do not compose: {getattr(self, name)} and {getattr(other, name)}"
                )
        assumptions = tuple(dict.fromkeys((*self.assumptions, *other.assumptions)))
        return replace(
            self,
            bound=_composed(self._formal_bound(), other._formal_bound()),
            assumptions=assumptions,
            void=self.void or other.void,
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object: the fields, and the sentence for a human reader."""
        return {
            "bound": bound_to_json(self.bound),
            "unit": self.unit,
            "neighbours": self.neighbours,
            "trust": self.trust,
            "assumptions": list(self.assumptions),
            "void": self.void,
            "sentence": str(self),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Rebuild a claim from `to_json`; the sentence is written anew.

        Raises
        ------
        InvalidClaim
            If `document` is not a claim.
        """
        if not isinstance(document, dict) or "bound" not in document:
            raise InvalidClaim("expected a claim: a JSON object with a bound")
        names = ("unit", "neighbours", "trust", "void")
        missing = [name for name in (*names, "assumptions") if name not in document]
        if missing:
            raise InvalidClaim(f"the claim lacks {', '.join(missing)}")
        rest = {name: document[name] for name in names}
        return cls(bound_from_json(document["bound"]), assumptions=tuple(document["assumptions"]), **rest)

    def _formal_bound(self) -> FormalBound:
        if not isinstance(self.bound, FORMAL):
            raise InvalidClaim(f"{self.bound} is not a differential privacy bound")
        return self.bound


def _epsilon_at(bound: FormalBound, delta: float) -> float:
    match bound:
        case PureDP(epsilon):
            return _pure_epsilon_at(epsilon, delta)
        case ApproxDP(epsilon, own):
            return math.inf if delta < own else _pure_epsilon_at(epsilon, (delta - own) / (1 - own))
        case GaussianDP(mu):
            return gaussian_epsilon(mu, delta)
    return cost_of(bound).epsilon_at(delta)


def _pure_epsilon_at(epsilon: float, delta: float) -> float:
    # Solve δ = (e^ε - e^x) / (1 + e^ε) for x.
    inside = 1 - delta * (1 + math.exp(-epsilon))
    return max(0.0, epsilon + math.log(inside)) if inside > 0 else 0.0


def _convert(bound: FormalBound, kind: type[FormalBound]) -> FormalBound:
    if type(bound) is kind:
        return bound
    match bound:
        case PureDP(epsilon) if kind is ZCDP:
            return ZCDP(pure_to_zcdp(epsilon))
        case PureDP(epsilon) if kind is GaussianDP:
            return GaussianDP(pure_to_gaussian(epsilon))
        case GaussianDP(mu) if kind is ZCDP:
            return ZCDP(mu**2 / 2)
        case PureDP() | ZCDP() | GaussianDP() if kind is RenyiDP:
            return RenyiDP(tuple(ORDERS.tolist()), tuple(cost_of(bound).rdp.tolist()))
    raise InvalidClaim(f"{type(bound).__name__} implies no {kind.__name__} bound")


def _composed(a: FormalBound, b: FormalBound) -> FormalBound:
    match a, b:
        case PureDP(x), PureDP(y):
            return PureDP(x + y)
        case ZCDP(x), ZCDP(y):
            return ZCDP(x + y)
        case GaussianDP(x), GaussianDP(y):
            return GaussianDP(math.hypot(x, y))
    if isinstance(a, ApproxDP) or isinstance(b, ApproxDP):
        (x, dx), (y, dy) = _as_approx(a), _as_approx(b)
        return ApproxDP(x + y, dx + dy)
    total = cost_of(a) + cost_of(b)
    if math.isfinite(total.rho):
        return ZCDP(total.rho)
    finite = total.rdp < math.inf
    return RenyiDP(tuple(ORDERS[finite].tolist()), tuple(total.rdp[finite].tolist()))


def _as_approx(bound: FormalBound) -> tuple[float, float]:
    match bound:
        case ApproxDP(epsilon, delta):
            return epsilon, delta
        case PureDP(epsilon):
            return epsilon, 0.0
    raise InvalidClaim(f"convert the {type(bound).__name__} to ApproxDP first, at a delta of your choice")
