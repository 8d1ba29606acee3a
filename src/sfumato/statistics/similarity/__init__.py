"""Similarities to a private data set under differential privacy: distance sums, kernel densities, classification.

For whoever trains, selects or scores data by closeness to people. One release answers any number of queries; after
Backurs, Lin, Mahabadi, Silwal and Tarnawski (ICLR 2024, arXiv 2403.08917).
"""

from sfumato.statistics.similarity.classify import SimilarityClassifier
from sfumato.statistics.similarity.distances import PrivateDistanceSum
from sfumato.statistics.similarity.exponential_sums import exponential_sum
from sfumato.statistics.similarity.kde import PrivateKDE
from sfumato.statistics.similarity.planning import choose_features

__all__ = [
    "PrivateDistanceSum",
    "PrivateKDE",
    "SimilarityClassifier",
    "choose_features",
    "exponential_sum",
]
