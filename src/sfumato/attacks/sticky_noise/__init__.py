"""Read secrets through a query engine whose noise is a function of the query and the data, and measure how well.

For owners about to trust "clever" noise and for red teams. Gadotti, Houssiau, Rocher, Livshits and de Montjoye, "When
the Signal is in the Noise: Exploiting Diffix's Sticky Noise" (USENIX Security 2019, arXiv 1804.06752).
"""

from sfumato.attacks.sticky_noise.asking import Guess, Queryable
from sfumato.attacks.sticky_noise.averaging import AveragingAttack
from sfumato.attacks.sticky_noise.cloning import CloningAttack
from sfumato.attacks.sticky_noise.differential import DifferentialAttack
from sfumato.attacks.sticky_noise.engine import StickyNoiseEngine
from sfumato.attacks.sticky_noise.evaluation import AttackReport, QueryOnly, evaluate

__all__ = [
    "AttackReport",
    "AveragingAttack",
    "CloningAttack",
    "DifferentialAttack",
    "Guess",
    "QueryOnly",
    "Queryable",
    "StickyNoiseEngine",
    "evaluate",
]
