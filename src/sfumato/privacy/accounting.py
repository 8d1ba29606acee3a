"""Composition and conversion of privacy costs, on dp-accounting's DpEvents.

For Release (is more spent than promised?), Ledger (what remains?) and Claim (what is that in ε at δ?).
Rényi composition (Mironov 2017), zCDP of pure DP (Harrison and Manurangsi 2025), conversions of Canonne,
Kamath and Steinke 2020; the worst pure ε-DP mechanism is randomized response (Kairouz et al. 2015).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import (
    FORMAL,
    ZCDP,
    ApproxDP,
    Bound,
    FormalBound,
    GaussianDP,
    Neighbours,
    PureDP,
    RenyiDP,
)

#: Rényi orders on which costs are composed: dense near 1 for large ε, every half up to 64 (so that the usual
#: orders are met exactly), far out for small ε. A bound at another order is rounded against the spender.
ORDERS: NDArray[np.float64] = np.concatenate(
    (1 + np.geomspace(0.01, 0.95, 40), np.arange(2, 64.5, 0.5), np.unique(np.rint(np.geomspace(66, 1e6, 60))))
)
ORDERS.setflags(write=False)

#: Relative slack when spending is compared with a promise: it absorbs the rounding of sums of floats
#: (0.1 + 0.2 fits 0.3), and is far below anything an adversary could use.
TOLERANCE = 1e-9

_LARGEST_SAMPLED_ORDER = 512


def randomized_response_rdp(epsilon: float, orders: NDArray[np.float64] = ORDERS) -> NDArray[np.float64]:
    """Rényi divergence of binary randomized response: the largest of any ε-DP mechanism.

    Parameters
    ----------
    epsilon : float
        The pure bound, at least 0.
    orders : ndarray of float, shape (k,)
        Orders above 1.

    Returns
    -------
    ndarray of float, shape (k,)
    """
    parabola = np.minimum(epsilon, pure_to_zcdp(epsilon) * orders)
    if epsilon < 1e-2:  # the exact formula would cancel here, and the parabola is tight
        return parabola
    log_p, log_q = -math.log1p(math.exp(-epsilon)), -epsilon - math.log1p(math.exp(-epsilon))
    log_sum = np.logaddexp(orders * log_p + (1 - orders) * log_q, orders * log_q + (1 - orders) * log_p)
    return np.minimum(log_sum / (orders - 1), parabola)


def pure_to_zcdp(epsilon: float) -> float:
    """Least ρ for which every ε-DP mechanism is ρ-zCDP: ε·tanh(ε/2), at most ε²/2."""
    return epsilon * math.tanh(epsilon / 2)


def pure_to_gaussian(epsilon: float) -> float:
    """Least μ for which every ε-DP mechanism is μ-GDP: the two trade-off curves meet at FPR = FNR."""
    return float(-2 * special.ndtri(special.expit(-epsilon)))


@dataclass(frozen=True, eq=False)
class Cost:
    """What was spent, in every currency a budget may be stated in; `+` composes.

    Attributes
    ----------
    epsilon : float
        Sum of the pure ε's, inf if any part has none.
    rho : float
        Sum of the zCDP ρ's, inf if any part has none.
    mu_squared : float
        Sum of the squared Gaussian μ's, inf if any part has none.
    rdp : ndarray of float, shape (len(ORDERS),)
        Composed Rényi curve, apart from `delta`.
    delta : float
        Sum of the probabilities with which a part may fail altogether.
    """

    epsilon: float
    rho: float
    mu_squared: float
    rdp: NDArray[np.float64]
    delta: float = 0.0

    @classmethod
    def zero(cls) -> Self:
        """The cost of doing nothing."""
        return cls(0.0, 0.0, 0.0, np.zeros(len(ORDERS)))

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.epsilon + other.epsilon,
            self.rho + other.rho,
            self.mu_squared + other.mu_squared,
            self.rdp + other.rdp,
            self.delta + other.delta,
        )

    def __mul__(self, times: int) -> Cost:
        if times == 0:
            return Cost.zero()  # not 0 · inf
        return Cost(
            self.epsilon * times,
            self.rho * times,
            self.mu_squared * times,
            self.rdp * times,
            self.delta * times,
        )

    def delta_at(self, epsilon: float) -> float:
        """Least δ shown here for which the whole is (ε, δ)-DP; a part that may fail adds its own δ."""
        if self.epsilon <= epsilon:
            return min(1.0, self.delta)
        return min(1.0, self.delta + rdp_delta(self.rdp, epsilon))

    def epsilon_at(self, delta: float) -> float:
        """Least ε shown here for which the whole is (ε, δ)-DP; inf if δ is below what may fail."""
        if delta < self.delta:
            return math.inf
        if delta == self.delta:
            return self.epsilon
        return min(self.epsilon, rdp_epsilon(self.rdp, delta - self.delta))

    def fits(self, bound: Bound) -> bool:
        """Whether this cost stays within `bound`, up to a relative `TOLERANCE`."""
        slack = 1 + TOLERANCE
        match bound:
            case PureDP(epsilon):
                return self.delta == 0 and self.epsilon <= epsilon * slack
            case ZCDP(rho):
                return self.delta == 0 and self.rho <= rho * slack
            case GaussianDP(mu):
                return self.delta == 0 and self.mu_squared <= mu**2 * slack
            case ApproxDP(epsilon, delta):
                return self._fits_approx(epsilon, delta)
            case RenyiDP(orders, epsilons):
                return self.delta == 0 and all(
                    self.epsilon <= e * slack or self._rdp_above(a) <= e * slack
                    for a, e in zip(orders, epsilons, strict=True)
                )
        return False

    def _fits_approx(self, epsilon: float, delta: float) -> bool:
        slack = 1 + TOLERANCE
        if self.delta > delta * slack:
            return False
        return self.epsilon <= epsilon * slack or self.epsilon_at(max(delta, self.delta)) <= epsilon * slack

    def _rdp_above(self, order: float) -> float:
        """The divergence grows with its order, so the next order on the grid bounds this one."""
        i = int(np.searchsorted(ORDERS, order * (1 - 1e-12)))
        return float(self.rdp[i]) if i < len(ORDERS) else math.inf

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; infinities as null."""

        def number(x: float) -> float | None:
            return float(x) if math.isfinite(x) else None

        return {
            "epsilon": number(self.epsilon),
            "rho": number(self.rho),
            "mu_squared": number(self.mu_squared),
            "rdp": [number(float(x)) for x in self.rdp],
            "delta": self.delta,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Rebuild what `to_json` wrote."""

        def number(x: float | None) -> float:
            return math.inf if x is None else x

        return cls(
            number(document["epsilon"]),
            number(document["rho"]),
            number(document["mu_squared"]),
            np.array([number(x) for x in document["rdp"]]),
            document["delta"],
        )


def rdp_epsilon(rdp: NDArray[np.float64], delta: float) -> float:
    """ε at δ of a Rényi curve on ORDERS (Canonne, Kamath and Steinke 2020, Proposition 12)."""
    if delta <= 0:
        return math.inf
    with np.errstate(invalid="ignore"):
        candidates = rdp + np.log1p(-1 / ORDERS) - (math.log(delta) + np.log(ORDERS)) / (ORDERS - 1)
    return max(0.0, float(np.min(candidates)))


def rdp_delta(rdp: NDArray[np.float64], epsilon: float) -> float:
    """δ at ε of a Rényi curve on ORDERS: the same inequality, solved for δ."""
    log_delta = (ORDERS - 1) * (rdp - epsilon + np.log1p(-1 / ORDERS)) - np.log(ORDERS)
    return float(min(1.0, math.exp(min(0.0, float(np.min(log_delta))))))


def gaussian_delta(mu: float, epsilon: float) -> float:
    """δ at ε of μ-GDP (Dong, Roth and Su 2022, Corollary 2.13)."""
    if mu == 0:
        return 0.0
    log_tail = epsilon + special.log_ndtr(-epsilon / mu - mu / 2)
    return float(max(0.0, special.ndtr(-epsilon / mu + mu / 2) - math.exp(min(0.0, log_tail))))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """ε at δ of μ-GDP: the root of its profile."""
    if gaussian_delta(mu, 0.0) <= delta:
        return 0.0
    if delta <= 0:
        return math.inf
    high = 1.0
    while gaussian_delta(mu, high) > delta:
        high *= 2
    return float(optimize.brentq(lambda e: gaussian_delta(mu, e) - delta, 0.0, high, xtol=1e-12))


def bound_delta(bound: FormalBound, epsilon: float) -> float:
    """The privacy profile of a bound: the least δ that it implies at ε ≥ 0."""
    match bound:
        case PureDP(own):
            return _pure_delta(own, epsilon)
        case ApproxDP(own, delta):
            return delta + (1 - delta) * _pure_delta(own, epsilon)
        case GaussianDP(mu):
            return gaussian_delta(mu, epsilon)
    return cost_of(bound).delta_at(epsilon)


def _pure_delta(own: float, epsilon: float) -> float:
    # (e^own - e^ε) / (1 + e^own), written so that nothing overflows
    return max(0.0, -math.expm1(epsilon - own) / (1 + math.exp(-own))) if epsilon < own else 0.0


def cost_of(what: Bound | Any, neighbours: Neighbours | None = None) -> Cost:
    """The cost of a bound or of a `dp_accounting.DpEvent`.

    Parameters
    ----------
    what : Bound or dp_accounting.DpEvent
    neighbours : {"add-remove", "replace-one"}, optional
        Needed for events whose cost depends on it: sampling and randomized response.

    Raises
    ------
    InvalidClaim
        If `what` carries no formal guarantee, or is an event that dp-accounting's Rényi accountant
        cannot compose for these neighbours.
    """
    if isinstance(what, FORMAL):
        return _cost_of_bound(what)
    from dp_accounting import dp_event

    if isinstance(what, dp_event.DpEvent):
        return _cost_of_event(what, neighbours)
    raise InvalidClaim(f"expected a formal bound or a DpEvent, got {type(what).__name__}")


def pure_cost(epsilon: float) -> Cost:
    """The cost of an ε-DP mechanism of which nothing else is known."""
    if math.isinf(epsilon):
        return unbounded_cost()
    return Cost(epsilon, pure_to_zcdp(epsilon), pure_to_gaussian(epsilon) ** 2, randomized_response_rdp(epsilon))


def zcdp_cost(rho: float) -> Cost:
    """The cost of a ρ-zCDP mechanism of which nothing else is known."""
    return Cost(0.0 if rho == 0 else math.inf, rho, 0.0 if rho == 0 else math.inf, rho * ORDERS)


def _bounded_range_cost(epsilon: float) -> Cost:
    """The cost of a mechanism whose privacy loss stays in an interval of length ε around 0."""
    pure = pure_cost(epsilon)
    rho = min(pure.rho, epsilon**2 / 8)
    return Cost(pure.epsilon, rho, pure.mu_squared, np.minimum(pure.rdp, rho * ORDERS))


def unbounded_cost() -> Cost:
    """The cost of publishing the data."""
    return Cost(math.inf, math.inf, math.inf, np.full(len(ORDERS), np.inf))


def _cost_of_bound(bound: FormalBound) -> Cost:
    match bound:
        case PureDP(epsilon):
            return pure_cost(epsilon)
        case ZCDP(rho):
            return zcdp_cost(rho)
        case GaussianDP(mu):
            return Cost(0.0 if mu == 0 else math.inf, mu**2 / 2, mu**2, mu**2 / 2 * ORDERS)
        case ApproxDP(epsilon, delta):
            # (ε, δ)-DP is ε-DP's randomized response that fails with probability δ (Kairouz et al. 2015).
            part = pure_cost(epsilon)
            return Cost(part.epsilon, part.rho, part.mu_squared, part.rdp, delta)
        case RenyiDP(orders, epsilons):
            # The divergence grows with its order: the next stated order bounds the ones below it.
            place = np.searchsorted(np.array(orders), ORDERS * (1 - 1e-12))
            return Cost(math.inf, math.inf, math.inf, np.append(np.array(epsilons), np.inf)[place])


def _cost_of_event(event: Any, neighbours: Neighbours | None) -> Cost:
    from dp_accounting import dp_event

    from sfumato.privacy.events import ExponentialMechanismEvent

    match event:
        case dp_event.NoOpDpEvent():
            return Cost.zero()
        case dp_event.NonPrivateDpEvent():
            return unbounded_cost()
        case dp_event.ComposedDpEvent():
            return functools.reduce(Cost.__add__, (_cost_of_event(e, neighbours) for e in event.events), Cost.zero())
        case dp_event.SelfComposedDpEvent():
            return _cost_of_event(event.event, neighbours) * int(event.count)
        case dp_event.ZCDpEvent() if event.xi == 0:
            return zcdp_cost(event.rho)
        case dp_event.GaussianDpEvent():
            mu = 1 / event.noise_multiplier if event.noise_multiplier > 0 else math.inf
            return _cost_of_bound(GaussianDP(mu)) if math.isfinite(mu) else unbounded_cost()
        case ExponentialMechanismEvent():
            return _bounded_range_cost(event.epsilon)
        case dp_event.DiscreteLaplaceDpEvent():
            return pure_cost(event.noise_parameter * event.sensitivity)
        case dp_event.LaplaceDpEvent():
            return pure_cost(1 / event.noise_multiplier if event.noise_multiplier > 0 else math.inf)
    return _cost_by_renyi_accountant(event, neighbours)


@contextlib.contextmanager
def _without_warnings_of(logger: str) -> Iterator[None]:
    quiet = logging.getLogger(logger)

    def errors_only(record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR

    quiet.addFilter(errors_only)
    try:
        yield
    finally:
        quiet.removeFilter(errors_only)


def _cost_by_renyi_accountant(event: Any, neighbours: Neighbours | None) -> Cost:
    from dp_accounting import NeighboringRelation, UnsupportedEventError
    from dp_accounting.rdp import RdpAccountant

    relations = {
        "add-remove": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace-one": NeighboringRelation.REPLACE_ONE,
    }
    if neighbours is None:
        raise InvalidClaim(f"the cost of a {type(event).__name__} depends on the neighbours: name them")
    # Sampled mechanisms take a sum of `order` terms each: beyond this order they are not worth computing.
    feasible = ORDERS <= _LARGEST_SAMPLED_ORDER
    accountant = RdpAccountant(ORDERS[feasible], relations[neighbours])
    try:
        with _without_warnings_of("absl"):  # of each order left out, which is then infinite below: no loss
            accountant.compose(event)
    except UnsupportedEventError:
        raise InvalidClaim(f"no accountant here composes a {type(event).__name__} under {neighbours}") from None
    rdp = np.full(len(ORDERS), np.inf)
    rdp[feasible] = np.maximum(accountant._rdp, 0.0)
    return Cost(math.inf, math.inf, math.inf, rdp)
