"""Audit a mechanism's claim by attack, and put intervals on the ε of any attack.

For privacy engineers; every protection of sfumato is audited through it. Zanella-Béguelin et al.,
"Bayesian Estimation of Differential Privacy" (ICML 2023), and the sources named in each module.
"""

from sfumato.attacks.bayesian_audit.auditor import Auditor
from sfumato.attacks.bayesian_audit.calibration import lira, rmia
from sfumato.attacks.bayesian_audit.canaries import CanaryGame, CanaryReport
from sfumato.attacks.bayesian_audit.counts import AttackCounts
from sfumato.attacks.bayesian_audit.fdp import fdp_one_run, gaussian_epsilon, gaussian_mu
from sfumato.attacks.bayesian_audit.gradient_canary import GradientCanary
from sfumato.attacks.bayesian_audit.intervals import Interval, epsilon_interval, epsilon_intervals
from sfumato.attacks.bayesian_audit.one_run import one_run_epsilon, one_run_pvalue
from sfumato.attacks.bayesian_audit.pairs import local_pairs, table_pairs, vector_pairs
from sfumato.attacks.bayesian_audit.posterior import EpsilonPosterior
from sfumato.attacks.bayesian_audit.power import largest_epsilon, trials_to_refute
from sfumato.attacks.bayesian_audit.report import AuditReport
from sfumato.attacks.bayesian_audit.statdp import statdp_pvalues
from sfumato.attacks.bayesian_audit.timing import TimingReport, compare_timings
from sfumato.attacks.bayesian_audit.trials import Mechanism, one_at_a_time

__all__ = [
    "AttackCounts",
    "AuditReport",
    "Auditor",
    "CanaryGame",
    "CanaryReport",
    "EpsilonPosterior",
    "GradientCanary",
    "Interval",
    "Mechanism",
    "TimingReport",
    "compare_timings",
    "epsilon_interval",
    "epsilon_intervals",
    "fdp_one_run",
    "gaussian_epsilon",
    "gaussian_mu",
    "largest_epsilon",
    "lira",
    "local_pairs",
    "one_at_a_time",
    "one_run_epsilon",
    "one_run_pvalue",
    "rmia",
    "statdp_pvalues",
    "table_pairs",
    "trials_to_refute",
    "vector_pairs",
]
