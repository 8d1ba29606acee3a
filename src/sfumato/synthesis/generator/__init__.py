"""A generative network whose rows answer like a private table: GEM.

For data stewards, and as the baseline that other searches must beat: Liu, Vietri and Wu (NeurIPS 2021, arXiv
2106.07153).
"""

import importlib
from typing import Any

from sfumato.errors import MissingExtra

_MODULES = {"GenerativeNetworkSynthesizer": "synthesizer"}

__all__ = ["GenerativeNetworkSynthesizer"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] == "torch":
            raise MissingExtra("train") from None
        raise
