"""What hides a silo's whole data in its votes: randomized response on each, or noise that the silos share in a sum.

For `SupermaskVotes`. Warner 1965 (randomized response); Canonne, Kamath and Steinke 2020 and Kairouz, Liu and Steinke
2021 (discrete Gaussian noise, and sums of it).

What is promised, and why
-------------------------
*Neighbours* replace the whole data of one silo by any other data, of any number of records. Who takes part is public:
each silo is known to the server by its address, so that no claim about silos that come or go could hold against it.

*One round.* A silo trains from the broadcast average, which is a function of what silos sent before, and from its data;
what it remembers does not enter. It votes -1 or +1 on m weights, chosen by a public seed and the round's number alone.
Training is not noisy at all and m votes may depend on the data in any way: neighbours' votes v, v' are any two vectors
in {-1, +1}^m, which differ in up to m places.

`OpenBallot`: each vote is reported as it is with probability p = e^a/(1 + e^a), else as its opposite, independently.
The probability of one report changes by a factor of at most e^a, so that of the vector by e^(m·a), and its privacy loss
is a sum of m independent losses of randomized response. T rounds: T·m·a in pure differential privacy; and for every
Rényi order at most T·m times the divergence of one binary randomized response, which for many votes is far less.

`SummedBallot`: votes are -s and +s, s a whole number, and only the sum over silos comes to light. Changing one silo's
data moves the sum by at most |s·v - s·v'| = sqrt(m·(2s)²) = 2s·sqrt(m) in L2, and does so where all votes flip. (Were a
silo that is absent the neighbour of one that votes, the sum would move by s·sqrt(m) only, a factor of two less; but
then the number of voters must be hidden, and here it is not.) Each silo adds discrete Gaussian noise of variance σ²/h,
where ρ = (2s)²m/2σ² = 2s²m/σ². Sums of h discrete Gaussians of deviation τ each are as private as one of their
variance up to 10·(h-1)·exp(-π²τ²)·m/4 in ρ (Kairouz, Liu and Steinke, Theorem 1); s is so large that τ is at least 16,
which makes that less than e^-2400, far below the accountant's tolerance of 1e-9. Noise of silos beyond h, and of those
that keep nothing secret, is post-processing. So if of the silos in each sum at least h add their noise and tell nobody,
each sum is ρ-zCDP for the data of each of these, and T rounds are T·ρ-zCDP (adaptive composition). A noisy vote beyond
40 deviations is cut off, which has a probability of e^-800.

*Who has which model.* Everybody: the broadcast averages and the global signs, which follow from what was sent. A silo's
own model is the signs of its scores after its last training: it is trained without noise, never leaves the silo, and is
*not* covered. Whoever is shown it, or what it answers, learns of that silo's data beyond the claim. That is the
billboard model: joint differential privacy (Kearns et al. 2014). With unit "record" (`private`) it is covered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim
from sfumato.privacy.accounting import ORDERS, Cost, pure_cost, rdp_epsilon
from sfumato.privacy.bounds import ZCDP, ApproxDP, FormalBound, PureDP, RenyiDP
from sfumato.privacy.budget import largest_rho
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Votes = NDArray[np.int64]

_LEAST_DEVIATION = 16  # of a silo's share of the noise
_FARTHEST = 40  # deviations of a silo's share; beyond, a noisy vote is cut off
_ASSUMPTIONS = (
    "who takes part, whose round fails, and how long it takes is public",
    "a silo keeps its own model, and its answers, to itself",
)
_PURPOSE = "supermask, a silo's votes of one round"


@dataclass(frozen=True)
class OpenBallot:
    """Votes that anybody may see, each reported by randomized response; see the module.

    Parameters
    ----------
    bits : int
        m, of a round.
    rounds : int
    epsilon : float
        a, of one vote.
    pure : bool
        Whether the claim is pure, or a Rényi curve.
    """

    bits: int
    rounds: int
    epsilon: float
    pure: bool

    @property
    def claim(self) -> Claim:
        """For all rounds."""
        return self._claim(self.rounds)

    @property
    def bound(self) -> int:
        """Largest entry of what a silo sends."""
        return 1

    @property
    def scale(self) -> float:
        """Mean of what is sent, over the vote: 2p - 1."""
        return math.tanh(self.epsilon / 2)

    def variance(self, silos: int) -> float:
        """Of the estimate of the mean vote of so many silos, at most: what randomized response adds."""
        return (self.scale**-2 - 1) / silos

    def cast(self, votes: Votes) -> Votes:
        """Report m votes of -1 and +1; the active ledger is charged for the round first."""
        claim = self._claim(1)
        with Release(claim, _PURPOSE) as release:
            noise = release.prepaid(_bound(claim))
            told = noise.randomized_response((votes > 0).astype(int), k=2, epsilon=self.epsilon, entries=self.bits)
        return 2 * told - 1

    def _claim(self, rounds: int) -> Claim:
        bound: FormalBound = PureDP(self.epsilon * self.bits * rounds)
        if not self.pure:
            total = pure_cost(self.epsilon) * (self.bits * rounds)
            bound = RenyiDP(tuple(ORDERS.tolist()), tuple(total.rdp.tolist()))
        return Claim(bound, unit="silo", neighbours="replace-one", trust="silo", assumptions=_ASSUMPTIONS)


@dataclass(frozen=True)
class SummedBallot:
    """Votes of which only the sum over silos is seen, under noise that they share; see the module.

    Parameters
    ----------
    bits : int
        m, of a round.
    rounds : int
    rho : float
        Of a round.
    honest : int
        h: silos in each sum that add their noise and keep it to themselves.
    """

    bits: int
    rounds: int
    rho: float
    honest: int

    @property
    def claim(self) -> Claim:
        """For all rounds."""
        return self._claim(self.rounds)

    @property
    def scale(self) -> int:
        """s, of the module: so large that a silo's share of the noise has a deviation of 16."""
        share = 2 * self.bits / (self.rho * self.honest)
        return max(1, math.ceil(_LEAST_DEVIATION / math.sqrt(share)))

    @property
    def sensitivity(self) -> float:
        """How far a silo's data move the sum: 2s·sqrt(m)."""
        return 2 * self.scale * math.nextafter(math.sqrt(self.bits), math.inf)

    @property
    def share(self) -> Fraction:
        """Variance of a silo's share of the noise."""
        return 2 * self.scale**2 * self.bits / Fraction(self.rho) / self.honest

    @property
    def bound(self) -> int:
        """Largest entry of what a silo sends."""
        return self.scale + math.ceil(_FARTHEST * math.sqrt(self.share))

    def variance(self, silos: int) -> float:
        """Of the estimate of the mean vote of so many silos: what the noise adds."""
        return float(self.share) / (silos * self.scale**2)

    def cast(self, votes: Votes) -> Votes:
        """Add a share of the noise to m votes of -1 and +1; the active ledger is charged for the round first."""
        claim = self._claim(1)
        with Release(claim, _PURPOSE) as release:
            noise = release.prepaid(_bound(claim))
            told = noise.discrete_gaussian(self.scale * votes, l2_sensitivity=self.sensitivity, sigma2=self.share)
        return np.clip(told, -self.bound, self.bound)

    def _claim(self, rounds: int) -> Claim:
        seen = (
            "the server sees the sum over the silos and no silo's votes, as under a secure sum",
            f"of the silos in each sum at least {self.honest} add their noise and keep it to themselves",
        )
        return Claim(
            ZCDP(self.rho * rounds),
            unit="silo",
            neighbours="replace-one",
            trust="silo",
            assumptions=(*_ASSUMPTIONS, *seen),
        )


Ballot = OpenBallot | SummedBallot


def make_ballot(bound: Any, bits: int, rounds: int, honest: int | None) -> Ballot:
    """The ballot with the least noise for which all rounds of a silo are within a bound.

    Parameters
    ----------
    bound : PureDP, ApproxDP or ZCDP
        Pure for votes that are seen; ZCDP for a sum; ApproxDP for either.
    bits, rounds : int
    honest : int, optional
        See `SummedBallot`; without, votes are seen.

    Raises
    ------
    InvalidClaim
        If the bound is of another kind or leaves nothing to spend.
    """
    if honest is None:
        if not isinstance(bound, (PureDP, ApproxDP)) or not bound.epsilon > 0:
            raise InvalidClaim(
                f"claim must be PureDP or ApproxDP with an epsilon above 0 for open votes, got {bound!r}"
            )
        pure = OpenBallot(bits, rounds, bound.epsilon / (bits * rounds), pure=True)
        if isinstance(bound, PureDP) or bound.delta == 0:
            return pure
        composed = OpenBallot(bits, rounds, _largest_epsilon(bound, bits * rounds), pure=False)
        return composed if composed.epsilon > pure.epsilon else pure  # few votes are better paid one by one
    if not isinstance(bound, (ZCDP, ApproxDP)):
        raise InvalidClaim(f"claim must be ZCDP or ApproxDP for a sum of votes, got {bound!r}")
    rho = bound.rho if isinstance(bound, ZCDP) else largest_rho(bound, Cost.zero())
    if not rho > 0:
        raise InvalidClaim(f"claim must leave a rho above 0 for Gaussian noise, got {bound!r}")
    return SummedBallot(bits, rounds, rho / rounds, honest)


def _largest_epsilon(bound: ApproxDP, votes: int) -> float:
    """Largest ε of one vote for which the Rényi curves of so many add up to (ε, δ)."""
    low, high = 0.0, bound.epsilon
    for _ in range(60):
        middle = (low + high) / 2
        fits = rdp_epsilon((pure_cost(middle) * votes).rdp, bound.delta) <= bound.epsilon
        low, high = (middle, high) if fits else (low, middle)
    return low


def _bound(claim: Claim) -> FormalBound:
    assert isinstance(claim.bound, (PureDP, RenyiDP, ZCDP))
    return claim.bound
