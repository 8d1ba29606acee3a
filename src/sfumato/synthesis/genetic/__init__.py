"""Private synthetic tables by a genetic algorithm, after Liu, Tang, Vietri and Wu 2023 (Private-GSD)."""

from sfumato.synthesis.genetic.estimator import GeneticSynthesizer

__all__ = ["GeneticSynthesizer"]
