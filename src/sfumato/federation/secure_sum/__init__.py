"""A sum of silos' vectors of which the server learns nothing but the sum, and computations in many such sums."""

from sfumato.federation.secure_sum.computation import SumComputation
from sfumato.federation.secure_sum.protocol import Contribution, SecureSum, make_signing_key
from sfumato.federation.secure_sum.summed import OpenlySummed, Participant, SecurelySummed

__all__ = [
    "Contribution",
    "OpenlySummed",
    "Participant",
    "SecureSum",
    "SecurelySummed",
    "SumComputation",
    "make_signing_key",
]
