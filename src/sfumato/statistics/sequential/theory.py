"""Asymptotic rates of learning with smooth flips and normal signals, as derived for θ = + and large log-odds l.

For whoever picks ε before anyone reports. A correct report adds about C(e^ε - e^-ε)·exp(-εσ²l/2) to l and a wrong one
subtracts 2ε, where C = ½·exp(ε²σ²/2); the rates follow. Checked by simulation in the study of system 07.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP


@dataclass(frozen=True)
class Rates:
    """Rates of `SmoothRandomizedResponse` with `GaussianSignals`.

    Attributes
    ----------
    learning : float
        The log-odds grow like learning · ln n, where without noise they grow like (2√2/σ)·√(ln n).
    wrong_herd : float
        The first correct action comes after n with probability about n^-wrong_herd; its mean is finite iff above 1.
    reported_wrong : float
        Reported wrong actions among n grow like reported_wrong · ln n; intended ones stop.
    """

    learning: float
    wrong_herd: float
    reported_wrong: float

    @property
    def finite_first_correct(self) -> bool:
        """Whether the expected time to the first correct action is finite."""
        return self.wrong_herd > 1


def rates(epsilon: float, sigma: float = 1.0) -> Rates:
    """Return the rates.

    Parameters
    ----------
    epsilon : float
        Per unit of signal, above 0.
    sigma : float
        Above 0.

    Raises
    ------
    InvalidClaim, InvalidData
        If a parameter is out of range.
    """
    PureDP(epsilon)
    if epsilon == 0 or not 0 < sigma < math.inf:
        raise InvalidData("epsilon and sigma must be finite and above 0")
    learning = 2 / (epsilon * sigma**2)
    gain = 2 * math.sinh(epsilon) - 2 * epsilon * math.exp(-epsilon)
    return Rates(
        learning=learning,
        wrong_herd=learning / -math.expm1(-2 * epsilon),
        reported_wrong=learning * math.exp(-epsilon) / gain,
    )
