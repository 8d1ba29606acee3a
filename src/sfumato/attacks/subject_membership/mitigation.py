"""Private federated training at three units: record, silo and subject; what each promises and how much noise it takes.

For a federation that must promise its subjects something. Abadi et al., "Deep Learning with Differential Privacy"
(2016); McMahan et al. 2018 (silos as users); the subject unit after Marathe and Kanani, "Subject Granular Differential
Privacy in Federated Learning" (2022), with a sampler and a proof of our own. Why the noise hides a unit: `rounds`.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.rdp import RdpAccountant

from sfumato.attacks.subject_membership.federation import FederationConfig
from sfumato.errors import InvalidClaim
from sfumato.privacy.accounting import ORDERS
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim, Trust, Unit

_STEP = 2**10  # noise multipliers are whole multiples of 1 / _STEP, so that their squares are short fractions
_MOST_NOISE = 2**30  # above which a calibration gives up, in such multiples
_WHOLE_ORDERS = tuple(int(a) for a in ORDERS if a.is_integer() and a <= 256)


@dataclass(frozen=True)
class Plan:
    """A protection worked out for one training: what it promises and how much noise that takes.

    Attributes
    ----------
    claim : Claim
    event : dp_accounting.DpEvent
        All draws together.
    sigma : float
        Noise multiplier z.
    clip, rate : float
    rounds, steps : int
        Rounds, and sampled steps of each silo in a round (1 where silos are the units).
    silos_each : int
        In how many silos a unit may contribute in a round.
    expected : float
        Units expected in a sample: public, and what sums are divided by.
    universe : int
        How many units there could be; a coin is thrown for each, whether it is there or not.
    records : int
        Public bound on a subject's records.
    """

    claim: Claim
    event: dp_event.DpEvent
    sigma: float
    clip: float
    rate: float
    rounds: int
    steps: int
    silos_each: int
    expected: float
    universe: int
    records: int


@dataclass(frozen=True)
class _SampledGaussian:
    """The parameters that the three units share; checked when a plan is made."""

    epsilon: float
    delta: float = 1e-5
    clip: float = 1.0
    rate: float = 0.2

    def _claim(self, unit: Unit, trust: Trust, *assumptions: str) -> Claim:
        for name in ("epsilon", "clip"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidClaim(f"{name} must be finite and above 0")
        if not 0 < self.delta < 1:
            raise InvalidClaim("delta must lie strictly between 0 and 1")
        if not 0 < self.rate <= 1:
            raise InvalidClaim("rate must be above 0 and at most 1")
        return Claim(ApproxDP(self.epsilon, self.delta), unit=unit, trust=trust, assumptions=assumptions)

    def _sampled_steps(self, local_epochs: int) -> int:
        return local_epochs * math.ceil(1 / self.rate)


@dataclass(frozen=True)
class ItemDP(_SampledGaussian):
    """DP-SGD in each silo with the single record as the unit.

    In a local step each record is taken with probability `rate`, its gradient clipped to `clip`; the silo adds noise
    to the sum. A record lies in one silo, so it is in that silo's steps only (parallel composition over silos), and
    those compose. Neighbours: one record added or removed. All models that a silo sends are covered.

    This is no claim about subjects: one with m records has what `group_claim` says, which is soon nothing.

    Parameters
    ----------
    epsilon : float
    delta : float, default 1e-5
    clip : float, default 1
        L2 norm to which a record's gradient is clipped.
    rate : float, default 0.2
        Of the Poisson sampling, in (0, 1].
    """

    def claim(self, federation: FederationConfig) -> Claim:
        """What it promises there; raises InvalidClaim if a parameter is out of range."""
        return self._claim(
            "record",
            "silo",
            "no record lies in two silos",
            f"a subject with up to {federation.records} records has what group privacy leaves, not this bound",
        )

    def plan(self, federation: FederationConfig, rounds: int, local_epochs: int) -> Plan:
        """Calibrate the noise; raises InvalidClaim if a parameter is out of range or ε out of reach."""
        claim, steps = self.claim(federation), self._sampled_steps(local_epochs)
        slots = federation.subjects * federation.records
        return _plan(self, claim, rounds, steps, 1, slots / 2 / federation.silos, slots, federation.records)


@dataclass(frozen=True)
class SubjectDP(_SampledGaussian):
    """DP-SGD in each silo with the subject as the unit: all its records, in all silos.

    In a local step a silo takes each of its subjects with probability `rate`, clips the *mean gradient over the
    subject's records* to `clip`, sums, and adds noise of its own.

    A subject with records in several silos. In round t it contributes in at most `max_silos` of the K silos that hold
    it, those numbered t, t+1, … modulo K among them: its homes of the round. They depend on its own records and the
    public round number, never on other subjects or on outputs. Take the steps of a round silo by silo: each is a
    Poisson-sampled Gaussian of sensitivity `clip` on the silo's data and what was released before, and all but those
    of its homes do not see the subject at all. So it is in max_silos · steps · rounds of them, over which Rényi
    divergences add up. (Where one noise hid all silos' sums together the factor would be max_silos², the group's;
    here each silo's noise is its own and the factor is max_silos.) Neighbours: a subject added or removed with all
    its records in all silos.

    Parameters
    ----------
    epsilon : float
    delta : float, default 1e-5
    clip : float, default 1
        L2 norm to which a subject's mean gradient is clipped.
    rate : float, default 0.2
        Of the Poisson sampling, in (0, 1].
    max_silos : int, default 1
        Silos in which a subject may contribute in a round. Below the number of silos it needs pseudonyms that all
        silos share; from there on each silo needs to know its own subjects only, and the noise pays for all silos.
    shared_pseudonyms : bool, default True
        Whether a subject has the same pseudonym in every silo. If not, max_silos below the number of silos is
        refused.
    """

    max_silos: int = 1
    shared_pseudonyms: bool = True

    def claim(self, federation: FederationConfig) -> Claim:
        """What it promises there; raises InvalidClaim if a parameter is out of range or pseudonyms are missing."""
        given = self.max_silos
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given < 1:
            raise InvalidClaim("max_silos must be a whole number, at least 1")
        if given >= federation.silos:
            return self._claim("subject", "silo", "each silo knows which of its records are one subject's")
        if not self.shared_pseudonyms:
            raise InvalidClaim(
                "without pseudonyms that the silos share nobody can hold a subject to max_silos silos: "
                "set max_silos to the number of silos, or promise nothing about subjects"
            )
        return self._claim("subject", "silo", "a subject has the same pseudonym in every silo")

    def plan(self, federation: FederationConfig, rounds: int, local_epochs: int) -> Plan:
        """Calibrate the noise; raises InvalidClaim if a parameter is out of range or ε out of reach."""
        claim, steps = self.claim(federation), self._sampled_steps(local_epochs)
        each = min(int(self.max_silos), federation.silos)
        expected = federation.subjects / 2 * each / federation.silos
        return _plan(self, claim, rounds, steps, each, expected, federation.subjects, federation.records)


@dataclass(frozen=True)
class SiloDP(_SampledGaussian):
    """Federated averaging with the silo (the "user") as the unit.

    In a round each silo is taken with probability `rate`, trains as it likes, and its update is clipped to `clip`;
    the server, which is trusted, adds noise to the sum. Neighbours: one silo's data added or removed. It covers a
    subject only if all its records lie in one silo.

    Parameters
    ----------
    epsilon : float
    delta : float, default 1e-5
    clip : float, default 1
        L2 norm to which a silo's update is clipped.
    rate : float, default 0.2
        Of the Poisson sampling of silos, in (0, 1].
    """

    def claim(self, federation: FederationConfig) -> Claim:
        """What it promises there; raises InvalidClaim if a parameter is out of range."""
        return self._claim("silo", "central", "a subject whose records lie in several silos is not covered")

    def plan(self, federation: FederationConfig, rounds: int, local_epochs: int) -> Plan:
        """Calibrate the noise; raises InvalidClaim if a parameter is out of range or ε out of reach."""
        return _plan(self, self.claim(federation), rounds, 1, 1, federation.silos, federation.silos, federation.records)


def sampled_gaussian(rate: float, sigma: float, count: int) -> dp_event.DpEvent:
    """The event of `count` steps, each a Gaussian of noise multiplier sigma on a Poisson sample."""
    return dp_event.SelfComposedDpEvent(
        dp_event.PoissonSampledDpEvent(rate, dp_event.GaussianDpEvent(sigma)), int(count)
    )


def epsilon_of(rate: float, sigma: float, count: int, delta: float) -> float:
    """ε at δ of that event, by its Rényi divergences at whole orders."""
    accountant = RdpAccountant(_WHOLE_ORDERS, NeighboringRelation.ADD_OR_REMOVE_ONE)
    return float(accountant.compose(sampled_gaussian(rate, sigma, count)).get_epsilon(delta))


@functools.lru_cache(maxsize=256)
def noise_multiplier(rate: float, count: int, epsilon: float, delta: float) -> float:
    """Least noise multiplier (a multiple of 1/1024) with which `count` steps are (ε, δ)-private.

    Raises
    ------
    InvalidClaim
        If none up to 2^20 is.
    """
    high = _STEP
    while epsilon_of(rate, high / _STEP, count, delta) > epsilon:
        high *= 2
        if high > _MOST_NOISE:
            raise InvalidClaim(f"no amount of noise reaches epsilon = {epsilon:g} here")
    low = 0
    while high - low > 1:
        middle = (low + high) // 2
        if epsilon_of(rate, middle / _STEP, count, delta) <= epsilon:
            high = middle
        else:
            low = middle
    return high / _STEP


def _plan(
    privacy: _SampledGaussian,
    claim: Claim,
    rounds: int,
    steps: int,
    silos_each: int,
    expected: float,
    universe: int,
    records: int,
) -> Plan:
    count = rounds * steps * silos_each
    sigma = noise_multiplier(float(privacy.rate), count, float(privacy.epsilon), float(privacy.delta))
    event = sampled_gaussian(privacy.rate, sigma, count)
    return Plan(claim, event, sigma, privacy.clip, privacy.rate, rounds, steps, silos_each, expected, universe, records)
