"""How much a learner memorises, why it must, what not memorising costs, and who pays for it.

For a model owner who limits memorisation by private training, compression or regularisation. Feldman, "Does Learning
Require Memorization?" (STOC 2020, arXiv 1906.05271); Feldman and Zhang (NeurIPS 2020, arXiv 2008.03703).
"""

from sfumato.training.memorization.disparity import DisparateEffect, Estimate, disparate_effect, frequency_groups
from sfumato.training.memorization.estimator import MemorizationEstimator
from sfumato.training.memorization.fitting import fit_prior
from sfumato.training.memorization.groups import privacy_cost_by_group
from sfumato.training.memorization.mixture import long_tail_mixture
from sfumato.training.memorization.pictures import plot_most_memorized
from sfumato.training.memorization.prior import FrequencyPrior
from sfumato.training.memorization.published import PublishedEstimates, load_published_estimates
from sfumato.training.memorization.removal import removal_curve
from sfumato.training.memorization.scores import Rates
from sfumato.training.memorization.tailness import memorization_nearest, memorization_of_most_influential

__all__ = [
    "DisparateEffect",
    "Estimate",
    "FrequencyPrior",
    "MemorizationEstimator",
    "PublishedEstimates",
    "Rates",
    "disparate_effect",
    "fit_prior",
    "frequency_groups",
    "load_published_estimates",
    "long_tail_mixture",
    "memorization_nearest",
    "memorization_of_most_influential",
    "plot_most_memorized",
    "privacy_cost_by_group",
    "removal_curve",
]
