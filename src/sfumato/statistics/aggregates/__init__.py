"""Learn individual-level models from mean responses of bags of people, with or without label differential privacy.

For advertisers and health services that receive averages only, and for the data holders who release them. Javanmard,
Chen, Mirrokni, Badanidiyuru and Fu, "Learning from Aggregate responses" (ICLR 2024, arXiv 2401.11081).
"""

from sfumato.statistics.aggregates import theory
from sfumato.statistics.aggregates.bags import make_bags
from sfumato.statistics.aggregates.baselines import easyllp_labels
from sfumato.statistics.aggregates.classifier import AggregateClassifier
from sfumato.statistics.aggregates.comparing import compare_mechanisms
from sfumato.statistics.aggregates.linear import AggregateRegressor
from sfumato.statistics.aggregates.losses import InterpolatingLoss, bag_loss, instance_loss, within_bag_variance
from sfumato.statistics.aggregates.private import PrivateAggregateRegressor
from sfumato.statistics.aggregates.proportions import AggregateProportions, aggregate_labels
from sfumato.statistics.aggregates.randomized import RandomizedLabels, randomize_labels
from sfumato.statistics.aggregates.releasing import AggregateResponses, aggregate
from sfumato.statistics.aggregates.sufficient import NoisySufficientStatistics

__all__ = [
    "AggregateClassifier",
    "AggregateProportions",
    "AggregateRegressor",
    "AggregateResponses",
    "InterpolatingLoss",
    "NoisySufficientStatistics",
    "PrivateAggregateRegressor",
    "RandomizedLabels",
    "aggregate",
    "aggregate_labels",
    "bag_loss",
    "compare_mechanisms",
    "easyllp_labels",
    "instance_loss",
    "make_bags",
    "randomize_labels",
    "theory",
    "within_bag_variance",
]
