"""Differentially private SGD with error feedback: what clipping cuts off a gradient is paid out in later steps.

For whoever trains a PyTorch model on people's records and wants a small clipping norm without its bias; a drop-in
beside Opacus. Zhang, Bu, Wu and Hong (ICLR 2024, arXiv 2311.14632), with a sound calibration of our own.
"""

import importlib
from typing import Any

from sfumato.errors import MissingExtra

_MODULES = {
    "ErrorFeedbackEngine": "engine",
    "ErrorFeedbackOptimizer": "optimizer",
    "Schedule": "schedule",
    "TorchNoise": "noise",
    "naive_sensitivity": "sensitivity",
    "official_noise": "sensitivity",
    "telescoped_sensitivity": "sensitivity",
}

__all__ = [
    "ErrorFeedbackEngine",
    "ErrorFeedbackOptimizer",
    "Schedule",
    "TorchNoise",
    "naive_sensitivity",
    "official_noise",
    "telescoped_sensitivity",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name.split(".")[0] in ("torch", "opacus"):
            raise MissingExtra("train") from None
        raise
