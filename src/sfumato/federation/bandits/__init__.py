"""Linear contextual bandits of several silos under differential privacy: tree, noise, learner, one protocol."""

from sfumato.federation.bandits.design import Design
from sfumato.federation.bandits.learner import FedLinUCB
from sfumato.federation.bandits.mechanisms import CentralJDP, NoPrivacy, SecureSumDP, SiloLDP
from sfumato.federation.bandits.tree import TreePrefixSum

__all__ = ["CentralJDP", "Design", "FedLinUCB", "NoPrivacy", "SecureSumDP", "SiloLDP", "TreePrefixSum"]
