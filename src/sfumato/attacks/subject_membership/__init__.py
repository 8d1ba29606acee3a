"""Tell whether a federation's model betrays which data subjects took part, and what protects them.

For cross-silo federations of hospitals or banks. Suri, Kanani, Marathe and Peterson, "Subject Membership Inference
Attacks in Federated Learning" (2022, arXiv 2206.03317).
"""

from sfumato.attacks.subject_membership.attacks import LossAcrossRoundsAttack, LossThresholdAttack
from sfumato.attacks.subject_membership.calibration import CalibrationError
from sfumato.attacks.subject_membership.federation import (
    Federation,
    FederationConfig,
    Samples,
    Silo,
    make_federation,
    split_subjects,
)
from sfumato.attacks.subject_membership.losses import Model, subject_losses
from sfumato.attacks.subject_membership.mitigation import ItemDP, SiloDP, SubjectDP
from sfumato.attacks.subject_membership.network import Network
from sfumato.attacks.subject_membership.report import AttackReport, evaluate
from sfumato.attacks.subject_membership.sweep import GRID, SMALL_GRID, main_effects, run_configuration, sweep
from sfumato.attacks.subject_membership.training import FederatedRun, TrainingConfig, train
from sfumato.attacks.subject_membership.units import group_claim

__all__ = [
    "GRID",
    "SMALL_GRID",
    "AttackReport",
    "CalibrationError",
    "FederatedRun",
    "Federation",
    "FederationConfig",
    "ItemDP",
    "LossAcrossRoundsAttack",
    "LossThresholdAttack",
    "Model",
    "Network",
    "Samples",
    "Silo",
    "SiloDP",
    "SubjectDP",
    "TrainingConfig",
    "evaluate",
    "group_claim",
    "main_effects",
    "make_federation",
    "run_configuration",
    "split_subjects",
    "subject_losses",
    "sweep",
    "train",
]
