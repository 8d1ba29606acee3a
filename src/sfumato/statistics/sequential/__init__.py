"""Decisions in sequence, each seen by all who follow, each with its private signal protected.

For designers of platforms that show what others did. Liu and Rahimian, "Differentially Private Sequential Learning"
(FORC 2025, arXiv 2502.19525).
"""

from sfumato.statistics.sequential.cascade import cascade_probability, cascade_threshold, cascade_time
from sfumato.statistics.sequential.learning import Decision, SequentialLearning
from sfumato.statistics.sequential.mechanisms import NoNoise, SmoothRandomizedResponse, UniformRandomizedResponse
from sfumato.statistics.sequential.signals import BinarySignals, GaussianSignals
from sfumato.statistics.sequential.simulation import Paths
from sfumato.statistics.sequential.theory import Rates, rates

__all__ = [
    "BinarySignals",
    "Decision",
    "GaussianSignals",
    "NoNoise",
    "Paths",
    "Rates",
    "SequentialLearning",
    "SmoothRandomizedResponse",
    "UniformRandomizedResponse",
    "cascade_probability",
    "cascade_threshold",
    "cascade_time",
    "rates",
]
