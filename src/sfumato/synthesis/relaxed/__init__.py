"""Relaxed rows: a synthetic table that gradients can move, rounded at the end to rows of the domain.

For data stewards, and as the baseline that other searches must beat: RAP (Aydöre et al., ICML 2021, arXiv 2103.06641)
and RAP++ (Vietri et al., NeurIPS 2022, arXiv 2209.07400).
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {"RelaxedSynthesizer": "synthesizer"}

__all__ = ["RelaxedSynthesizer"]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="train", heavy=("torch",))
