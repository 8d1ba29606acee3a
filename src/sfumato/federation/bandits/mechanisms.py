"""Mechanisms: who adds how much Gaussian noise to a node of the tree, and what is promised then.

For `FedLinUCB`: each silo for itself, all silos together under a secure sum, or one trusted server. Silo-level local
privacy and the tree: Zhou and Chowdhury, ICLR 2024. Sums of discrete Gaussians: Kairouz, Liu and Steinke 2021.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from scipy import optimize

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.federation.bandits.contributions import Integers
from sfumato.federation.bandits.design import Calibrated, Design
from sfumato.privacy.accounting import cost_of
from sfumato.privacy.bounds import ZCDP, Heuristic
from sfumato.privacy.claim import Claim, Trust
from sfumato.privacy.release import PrepaidNoise

#: Fine beside the sensitivity (the grid costs √length cells, 0.1 % at d = 10), coarse enough for 64-bit secure sums.
GRANULE = 2.0**-12
_EXACT_GRANULE = 2.0**-40
_LEAST_SIGMA = 16.0  # cells; the sum of M such discrete Gaussians is off a Gaussian's cost by M·exp(-2000)
_ONE_BATCH = "one user moves one batch of one silo, by a contribution that was clipped to public bounds"


def check_budget(epsilon: float, delta: float) -> None:
    """Raise InvalidClaim unless 0 < ε < ∞ and 0 < δ < 1."""
    if not 0 < epsilon < math.inf:
        raise InvalidClaim(f"epsilon must be finite and above 0, got {epsilon}")
    if not 0 < delta < 1:
        raise InvalidClaim(f"delta must be in (0, 1), got {delta}")


def rho_of(epsilon: float, delta: float) -> float:
    """Largest ρ for which ρ-zCDP implies (ε, δ), by the Rényi conversion of `sfumato.privacy`."""
    check_budget(epsilon, delta)
    root = optimize.brentq(lambda x: cost_of(ZCDP(math.exp(x))).epsilon_at(delta) - epsilon, -60, 12, xtol=1e-10)
    return math.exp(root) * (1 - 1e-8)


def claim_of(design: Design, rho: float, trust: Trust, *assumptions: str) -> Claim:
    """Return the claim of a tree of ρ-zCDP about one step's user."""
    return Claim(
        ZCDP(rho),
        unit="record",
        neighbours=design.adjacency,
        trust=trust,
        assumptions=(_ONE_BATCH, "a user who comes n times is n records", *assumptions),
    )


def node_variance(design: Design, rho: float) -> Fraction:
    """Variance σ² of a node's noise, in squared cells: ρ = κΔ²/(2σ²)."""
    return design.levels * Fraction(design.cells_apart(GRANULE)) ** 2 / (2 * Fraction(rho))


def gaussian_rows(
    design: Design, claim: Claim, variance: Fraction | float, rows: int, *, central: bool = False
) -> Calibrated:
    """Add noise of that variance, in squared cells, to each row, of which `rows` add up."""
    apart = design.cells_apart(GRANULE)

    def perturb(noise: PrepaidNoise | None, nodes: Integers, level: int) -> Integers:
        assert noise is not None  # the claim is formal
        values = nodes.sum(axis=0, keepdims=True) if central else nodes
        return noise.discrete_gaussian(values, l2_sensitivity=apart, sigma2=variance)

    return Calibrated(design, claim, GRANULE, GRANULE * math.sqrt(rows * variance), perturb)


@dataclass(frozen=True)
class SiloLDP:
    """Every silo adds noise to its own node, enough on its own: nobody outside the silo is trusted.

    For each silo and any two user sequences of it that differ in one user, all messages that leave the silo together
    are ρ-zCDP with the ρ that gives (ε, δ), whatever the other silos and the server do. The M silos' noise adds up:
    a prefix carries √(Mκ) σ.

    Parameters
    ----------
    epsilon, delta : float

    Raises
    ------
    InvalidClaim
        If ε or δ is out of range.
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta)

    def calibrate(self, design: Design) -> Calibrated:
        """Fit the noise to a design."""
        rho = rho_of(self.epsilon, self.delta)
        return gaussian_rows(design, claim_of(design, rho, "silo"), node_variance(design, rho), design.silos)


@dataclass(frozen=True)
class SecureSumDP:
    """Every silo adds a share of the noise, and only the sum of all nodes comes to light.

    Each adds noise of variance σ²/(M - h); the sum of the noise of M - h honest silos is within exp(-2000) of the cost
    of one discrete Gaussian of variance σ² (Kairouz, Liu and Steinke 2021, Theorem 1, as each share has a standard
    deviation of at least 16 cells), so what the server and up to h silos that collude or drop out see is ρ-zCDP. A
    prefix carries √(κM/(M-h)) σ.

    The sum itself must be computed so that nobody sees a summand: `sfumato.federation.secure_sum`. Its threshold must
    be at least M - h plus the number of colluding silos that h is meant to cover.

    Parameters
    ----------
    epsilon, delta : float
    tolerated : int
        h, at least 0 and below the number of silos.

    Raises
    ------
    InvalidClaim
        If ε or δ is out of range.
    """

    epsilon: float
    delta: float
    tolerated: int = 0

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta)
        if isinstance(self.tolerated, bool) or not isinstance(self.tolerated, int) or self.tolerated < 0:
            raise InvalidData(f"tolerated must be an integer of at least 0, got {self.tolerated!r}")

    def calibrate(self, design: Design) -> Calibrated:
        """Fit the noise to a design.

        Raises
        ------
        InvalidData
            If no honest silo would be left, or so many share the noise that a share is too small for the proof.
        """
        honest = design.silos - self.tolerated
        if honest < 1:
            raise InvalidData(f"tolerated must be below the number of silos, {design.silos}, got {self.tolerated}")
        rho = rho_of(self.epsilon, self.delta)
        share = node_variance(design, rho) / honest
        if share < _LEAST_SIGMA**2:
            raise InvalidData("silos must share enough noise: at this epsilon a silo's share is below 16 grid cells")
        claim = claim_of(
            design,
            rho,
            "silo",
            "the server sees the silos' sum and no summand, as under a secure sum",
            f"at least {honest} of {design.silos} silos add their noise and keep it to themselves",
        )
        return gaussian_rows(design, claim, share, design.silos)


@dataclass(frozen=True)
class CentralJDP:
    """One trusted server sees all statistics and adds noise once: the baseline with the least noise, √κ σ.

    What it sends to the silos is ρ-zCDP; a user's own action depends on the user's own features besides, which is the
    "joint" in joint differential privacy (Shariff and Sheffet 2018).

    Parameters
    ----------
    epsilon, delta : float
    """

    epsilon: float
    delta: float

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta)

    def calibrate(self, design: Design) -> Calibrated:
        """Fit the noise to a design."""
        rho = rho_of(self.epsilon, self.delta)
        return gaussian_rows(design, claim_of(design, rho, "central"), node_variance(design, rho), 1, central=True)


@dataclass(frozen=True)
class NoPrivacy:
    """No noise and no claim: the non-private baseline."""

    def calibrate(self, design: Design) -> Calibrated:
        """Return sums that are exact to 2^-41 a batch."""
        claim = Claim(Heuristic("statistics are shared as they are"), unit="record", neighbours=design.adjacency)
        return Calibrated(design, claim, _EXACT_GRANULE, 0.0, lambda noise, nodes, level: nodes)
