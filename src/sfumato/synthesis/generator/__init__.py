"""A generative network whose rows answer like a private table: GEM.

For data stewards, and as the baseline that other searches must beat: Liu, Vietri and Wu (NeurIPS 2021, arXiv
2106.07153).
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {"GenerativeNetworkSynthesizer": "synthesizer"}

__all__ = ["GenerativeNetworkSynthesizer"]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="train", heavy=("torch",))
