"""Events that dp-accounting lacks, for `Release` and the accountant.

The exponential mechanism: McSherry and Talwar 2007; its zCDP: Cesar and Rogers 2021, Corollary 3 (from Dong, Durfee
and Rogers 2020).
"""

from __future__ import annotations

from dataclasses import dataclass

from dp_accounting import dp_event


@dataclass(frozen=True)
class ExponentialMechanismEvent(dp_event.DpEvent):  # type: ignore[misc]
    """A choice with probability proportional to exp(epsilon · score / (2 · sensitivity)).

    Its privacy loss stays within an interval of length ε ("bounded range") that contains 0, so it is ε-DP and, by
    Hoeffding's lemma, ε²/8-zCDP: four times less than what ε-DP alone implies. The same holds for report-noisy-max
    with Gumbel noise, which is this choice; not with Laplace noise.

    Attributes
    ----------
    epsilon : float
    """

    epsilon: float
