"""Relaxed rows: a synthetic table that gradients can move, rounded at the end to rows of the domain.

For data stewards, and as the baseline that other searches must beat: RAP (Aydöre et al., ICML 2021, arXiv 2103.06641)
and RAP++ (Vietri et al., NeurIPS 2022, arXiv 2209.07400).
"""

import importlib
from typing import Any

from sfumato.errors import MissingExtra

_MODULES = {"RelaxedSynthesizer": "synthesizer"}

__all__ = ["RelaxedSynthesizer"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "torch":
            raise MissingExtra("train") from None
        raise
