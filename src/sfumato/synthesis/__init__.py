"""Private synthetic tables: rows of people who do not exist, fitted to noisy answers about people who do."""

from sfumato.synthesis.domain import Column, Domain

__all__ = ["Column", "Domain"]
