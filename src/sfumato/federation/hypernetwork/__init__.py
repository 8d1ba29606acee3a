"""HyperFL: silos share a network that writes their models' weights, and keep the vector it writes them from.

For whoever federates image models and hears that updates leak images. Guo et al. (AAAI 2025, arXiv 2412.07187). Its
protection is a heuristic that falls to algebra; the variants with a formal claim are sound.
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {
    "FederatedAveraging": "averaging",
    "HyperFL": "estimator",
    "HyperFLAdapters": "adapters",
    "HyperNetwork": "network",
    "accuracy": "models",
    "make_extractor": "extractors",
}

__all__ = [
    "FederatedAveraging",
    "HyperFL",
    "HyperFLAdapters",
    "HyperNetwork",
    "accuracy",
    "make_extractor",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="federation", heavy=("torch",))
