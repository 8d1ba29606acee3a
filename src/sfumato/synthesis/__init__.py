"""Private synthetic tables: rows of people who do not exist, fitted to noisy answers about people who do."""

from sfumato.synthesis.domain import Column, Domain
from sfumato.synthesis.drafting import draft_domain
from sfumato.synthesis.evaluation import query_error
from sfumato.synthesis.families import halfspaces, marginals, prefixes, queries
from sfumato.synthesis.genetic import GeneticSynthesizer
from sfumato.synthesis.measuring import Measurements
from sfumato.synthesis.workloads import Workload, WorkloadSet

__all__ = [
    "Column",
    "Domain",
    "GeneticSynthesizer",
    "Measurements",
    "Workload",
    "WorkloadSet",
    "draft_domain",
    "halfspaces",
    "marginals",
    "prefixes",
    "queries",
    "query_error",
]
