"""Adaptive data analysis: questions chosen after the answers before them, without fooling oneself.

For data scientists and hosts of benchmarks. Dwork, Feldman, Hardt, Pitassi, Reingold and Roth, "Preserving
Statistical Validity in Adaptive Data Analysis" (STOC 2015, arXiv 1411.2664) and its sequels.
"""

from sfumato.privacy.sparse_vector import AboveThreshold, NumericSparse
from sfumato.statistics.adaptive.holdout import Thresholdout
from sfumato.statistics.adaptive.ladder import Ladder
from sfumato.statistics.adaptive.mwem import MWEM
from sfumato.statistics.adaptive.oracle import AdaptiveOracle, Answer
from sfumato.statistics.adaptive.scoring import thresholdout_scorer
from sfumato.statistics.adaptive.transfer import Plan, choose_mechanism, half_width, plan
from sfumato.statistics.adaptive.weights import PrivateMultiplicativeWeights

__all__ = [
    "MWEM",
    "AboveThreshold",
    "AdaptiveOracle",
    "Answer",
    "Ladder",
    "NumericSparse",
    "Plan",
    "PrivateMultiplicativeWeights",
    "Thresholdout",
    "choose_mechanism",
    "half_width",
    "plan",
    "thresholdout_scorer",
]
