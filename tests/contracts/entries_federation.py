"""Contracts of `sfumato.federation`: the engine carries messages; what they promise is their protocol's to say."""

CONTRACTS = []

WITHOUT_A_FORMAL_CLAIM = {
    "SecureSum": "a cryptographic claim: the sum is exact, and what hides the vectors is tested in tests/federation",
}
