"""ShuffleAmplified: the paper's first shuffle protocol, made only where amplification can be shown in numbers.

For whoever wants to reproduce it. Noise: official code of Zhou and Chowdhury, ICLR 2024, constants as dropped there.
Amplification: Feldman, McMillan and Talwar, "Hiding Among the Clones" (FOCS 2021), Theorems 3.1 and 3.8.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from sfumato.errors import InvalidClaim
from sfumato.federation.bandits.contributions import Integers
from sfumato.federation.bandits.design import Calibrated, Design, Perturb
from sfumato.federation.bandits.mechanisms import (
    GRANULE,
    check_budget,
    claim_of,
    gaussian_rows,
    node_variance,
    rho_of,
)
from sfumato.privacy.accounting import cost_of
from sfumato.privacy.bounds import ZCDP, ApproxDP
from sfumato.privacy.release import PrepaidNoise


def amplified_epsilon(epsilon0: float, n: int, delta: float) -> float:
    """ε of n shuffled reports that are ε0-DP each, at δ; inf where the theorem does not apply.

    ln(1 + (e^ε0 - 1)/(e^ε0 + 1) · (8√(e^ε0 ln(4/δ)/n) + 8e^ε0/n)), for ε0 ≤ ln(n / (16 ln(2/δ))).
    """
    if n <= 16 * math.log(2 / delta) or epsilon0 > math.log(n / (16 * math.log(2 / delta))):
        return math.inf
    grown = math.exp(epsilon0)
    return math.log1p(math.tanh(epsilon0 / 2) * (8 * math.sqrt(grown * math.log(4 / delta) / n) + 8 * grown / n))


def shuffled_epsilon(design: Design, sigma: float, delta: float) -> float:
    """ε at δ of all nodes, each shuffled among the silos' nodes of its level; inf where it cannot be shown.

    A silo's report hides among those of others only if *any* data of the others would give nearly the same report. So
    the local guarantee must hold for a change of all users of a node, 2^level batches of them: that is what makes this
    protocol so dear. Reports are (ε0, δ0)-DP, and n of them shuffled are (ε, δ1 + (e^ε + 1)(1 + e^-ε0 /2) n δ0)-DP, at
    each of the κ levels.
    """
    each, total = delta / design.levels, 0.0
    for level in range(design.levels):
        users = design.batch * 2**level
        mu = (users * design.sensitivity + GRANULE * 2**level * design.length**0.5) / sigma
        local = each / (16 * design.silos * math.exp(1.0))
        epsilon0 = cost_of(ZCDP(mu**2 / 2)).epsilon_at(local)
        epsilon = amplified_epsilon(epsilon0, design.silos, each / 2)
        if epsilon > 1:  # what the split of delta above allows for
            return math.inf
        total += epsilon
    return total


def official_sigma(design: Design, epsilon: float, delta: float) -> float:
    """σ of the official code: √(κ ln(1/δ) ln(1 + κ/(Tδ)) ln(Mκ/δ) / (ε² M))."""
    kappa, silos = design.levels, design.silos
    logs = math.log(1 / delta) * math.log1p(kappa / (design.horizon * delta)) * math.log(silos * kappa / delta)
    return math.sqrt(kappa * logs / silos) / epsilon


@dataclass(frozen=True)
class ShuffleAmplified:
    """Every silo adds the official code's noise, times `scale`, and an honest shuffler hides who sent which node.

    Refused unless (ε, δ) follows from amplification in numbers (`shuffled_epsilon`). With the official noise it does
    not at any setting tried: fewer than 16 ln(2κ·2/δ) silos are never enough, and with more of them a silo's
    *whole node* must be hidden by its own noise.

    Parameters
    ----------
    epsilon, delta : float
    scale : float
        Factor on the official σ.
    unchecked : bool
        Simulate the noise, by numpy, without the bound, and claim nothing: to reproduce the paper's figures.

    Raises
    ------
    InvalidClaim
        If ε, δ or the scale is out of range; by `calibrate`, if the bound does not hold: the message gives the least
        scale for which it does, or says that there is none.
    """

    epsilon: float
    delta: float
    scale: float = 1.0
    unchecked: bool = False

    def __post_init__(self) -> None:
        check_budget(self.epsilon, self.delta)
        if not 0 < self.scale < math.inf:
            raise InvalidClaim(f"scale must be finite and above 0, got {self.scale}")

    def calibrate(self, design: Design) -> Calibrated:
        """Draw the official noise, if it holds what it says."""
        sigma = self.scale * official_sigma(design, self.epsilon, self.delta)
        if not self.unchecked and shuffled_epsilon(design, sigma, self.delta) > self.epsilon:
            raise InvalidClaim(self._refusal(design, sigma))
        claim = replace(
            claim_of(
                design,
                1.0,
                "shuffle",
                "an honest shuffler hides which silo sent which node of a level",
            ),
            bound=ApproxDP(self.epsilon, self.delta),
            void="the official noise was drawn without a bound that holds" if self.unchecked else "",
        )
        variance = (sigma / GRANULE) ** 2
        if self.unchecked:
            total = GRANULE * math.sqrt(design.silos * variance)
            return Calibrated(design, claim, GRANULE, total, _simulated(math.sqrt(variance)))
        return gaussian_rows(design, claim, variance, design.silos)

    def _refusal(self, design: Design, sigma: float) -> str:
        least = 16 * math.log(4 * design.levels / self.delta)
        if design.silos <= least:
            return f"silos must be more than {least:.0f} for any amplification at this delta, got {design.silos}"
        factor = 1.0
        while shuffled_epsilon(design, sigma * factor, self.delta) > self.epsilon:
            factor *= 1.1
        alone = math.sqrt(node_variance(design, rho_of(self.epsilon, self.delta))) * GRANULE
        return (
            f"scale must be at least {self.scale * factor:.3g} for epsilon = {self.epsilon:g}, got {self.scale:g}; "
            f"that is noise of {sigma * factor:.3g} a silo, where SiloLDP, which trusts no shuffler, needs {alone:.3g}"
        )


def _simulated(sigma: float) -> Perturb:
    """Noise of numpy, for figures without a claim."""
    rng = np.random.default_rng()

    def perturb(noise: PrepaidNoise | None, nodes: Integers, level: int) -> Integers:
        return nodes + np.rint(rng.normal(scale=sigma, size=nodes.shape)).astype(np.int64)

    return perturb
