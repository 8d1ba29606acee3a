"""Heavy hitters of several parties' users under local differential privacy: oracles, prefix trees, one protocol."""

from sfumato.federation.heavy_hitters.encoders import FixedText, HashedItems
from sfumato.federation.heavy_hitters.estimator import FederatedHeavyHitters, score
from sfumato.federation.heavy_hitters.oracles import GRR, OLH, OUE, choose_oracle, estimate, variance
from sfumato.federation.heavy_hitters.protocol import Found, HeavyHitterProtocol

__all__ = [
    "GRR",
    "OLH",
    "OUE",
    "FederatedHeavyHitters",
    "FixedText",
    "Found",
    "HashedItems",
    "HeavyHitterProtocol",
    "choose_oracle",
    "estimate",
    "score",
    "variance",
]
