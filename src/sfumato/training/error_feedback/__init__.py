"""Differentially private SGD with error feedback: what clipping cuts off a gradient is paid out in later steps.

For whoever trains a PyTorch model on people's records and wants a small clipping norm without its bias; a drop-in
beside Opacus. Zhang, Bu, Wu and Hong (ICLR 2024, arXiv 2311.14632), with a sound calibration of our own.
"""

from typing import Any

from sfumato.lazy import imported

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
    return imported(__name__, _MODULES, name, extra="train", heavy=("torch", "opacus"))
