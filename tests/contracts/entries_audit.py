"""Contracts of `sfumato.attacks.bayesian_audit`: it promises nothing."""

from contract import Contract

CONTRACTS: list[Contract] = []

WITHOUT_A_FORMAL_CLAIM = {
    "AuditReport": "the result of an audit",
    "CanaryReport": "the result of an audit",
    "Auditor": "an attack",
}
