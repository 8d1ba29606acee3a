"""Audit a mechanism's claim by attack, and put intervals on the ε of any attack.

For privacy engineers; every protection of sfumato is audited through it. Zanella-Béguelin et al.,
"Bayesian Estimation of Differential Privacy" (ICML 2023), and the sources named in each module.
"""

from sfumato.attacks.bayesian_audit.auditor import Auditor
from sfumato.attacks.bayesian_audit.intervals import (
    AttackCounts,
    EpsilonPosterior,
    Interval,
    epsilon_interval,
    epsilon_intervals,
)
from sfumato.attacks.bayesian_audit.power import largest_epsilon, trials_to_refute
from sfumato.attacks.bayesian_audit.report import AuditReport
from sfumato.attacks.bayesian_audit.trials import Mechanism, one_at_a_time

__all__ = [
    "AttackCounts",
    "AuditReport",
    "Auditor",
    "EpsilonPosterior",
    "Interval",
    "Mechanism",
    "epsilon_interval",
    "epsilon_intervals",
    "largest_epsilon",
    "one_at_a_time",
    "trials_to_refute",
]
