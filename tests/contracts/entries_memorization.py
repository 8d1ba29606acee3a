"""No contract of `sfumato.training.memorization`: it measures, and promises nothing."""

from contract import Contract

CONTRACTS: list[Contract] = []

WITHOUT_A_FORMAL_CLAIM = {
    "FrequencyPrior": "a model of how frequent subpopulations are; it draws frequencies, not data",
    "MemorizationEstimator": "measures other trainings, without noise: its scores are as private as the records",
}
