"""Reconstruct people's secret bits from synthetic rows, and play the game that measures it.

For teams about to publish synthetic data. Annamalai, Gadotti and Rocher, "A Linear Reconstruction Approach for
Attribute Inference Attacks against Synthetic Data" (USENIX Security 2024, arXiv 2301.10053).
"""

from sfumato.attacks.coins import AttackOutcome
from sfumato.attacks.reconstruction.attack import ReconstructionAttack
from sfumato.attacks.reconstruction.baselines import (
    AttributeAttack,
    InferenceForest,
    NearestRecord,
    PopulationForest,
)
from sfumato.attacks.reconstruction.encoding import Codebook, discretize
from sfumato.attacks.reconstruction.games import AttributeGame
from sfumato.attacks.reconstruction.queries import Queries, build_queries
from sfumato.attacks.reconstruction.report import GameReport
from sfumato.attacks.reconstruction.solver import Solution, solve
from sfumato.attacks.reconstruction.targets import (
    BayesianNetwork,
    Generator,
    IndependentHistograms,
    NonPrivate,
    PrivBayes,
)
from sfumato.attacks.reconstruction.utility import utility

__all__ = [
    "AttackOutcome",
    "AttributeAttack",
    "AttributeGame",
    "BayesianNetwork",
    "Codebook",
    "GameReport",
    "Generator",
    "IndependentHistograms",
    "InferenceForest",
    "NearestRecord",
    "NonPrivate",
    "PopulationForest",
    "PrivBayes",
    "Queries",
    "ReconstructionAttack",
    "Solution",
    "build_queries",
    "discretize",
    "solve",
    "utility",
]
