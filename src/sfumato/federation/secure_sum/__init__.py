"""A sum of silos' vectors of which the server learns nothing but the sum."""

from sfumato.federation.secure_sum.protocol import Contribution, SecureSum, make_signing_key

__all__ = ["Contribution", "SecureSum", "make_signing_key"]
