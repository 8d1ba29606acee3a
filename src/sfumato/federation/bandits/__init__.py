"""Linear contextual bandits of several silos under differential privacy: tree, noise, learner, one protocol."""

from sfumato.federation.bandits.amplified import ShuffleAmplified
from sfumato.federation.bandits.computation import BanditComputation, Learned, RecordedUsers, bandit_protocol
from sfumato.federation.bandits.design import Design
from sfumato.federation.bandits.learner import FedLinUCB
from sfumato.federation.bandits.mechanisms import CentralJDP, NoPrivacy, SecureSumDP, SiloLDP
from sfumato.federation.bandits.simulation import LinearArms, LinearContexts, Regret, simulate
from sfumato.federation.bandits.tree import TreePrefixSum
from sfumato.federation.bandits.vector_sum import ShuffleVectorSum

__all__ = [
    "BanditComputation",
    "CentralJDP",
    "Design",
    "FedLinUCB",
    "Learned",
    "LinearArms",
    "LinearContexts",
    "NoPrivacy",
    "RecordedUsers",
    "Regret",
    "SecureSumDP",
    "ShuffleAmplified",
    "ShuffleVectorSum",
    "SiloLDP",
    "TreePrefixSum",
    "bandit_protocol",
    "simulate",
]
