"""Reconstruct training images from the updates that a federation uploads, and measure how well.

For whoever federates an image model and is told "updates leak images". DLG (Zhu et al. 2019), iDLG (Zhao et al. 2020),
"Inverting Gradients" (Geiping et al. 2020), and an adaptive attack of our own on HyperFL (Guo et al., AAAI 2025).
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {
    "GradientInversion": "attack",
    "Recovered": "hypernetwork",
    "View": "view",
    "first_layer_inputs": "analytic",
    "gallery_ranks": "gallery",
    "identification": "gallery",
    "identification_ceiling": "gallery",
    "label_counts": "analytic",
    "label_of_one": "analytic",
    "matched": "metrics",
    "mean_gradient": "several_steps",
    "psnr": "metrics",
    "recover": "hypernetwork",
    "ssim": "metrics",
    "suspects": "gallery",
    "total_variation": "objectives",
}

__all__ = [
    "GradientInversion",
    "Recovered",
    "View",
    "first_layer_inputs",
    "gallery_ranks",
    "identification",
    "identification_ceiling",
    "label_counts",
    "label_of_one",
    "matched",
    "mean_gradient",
    "psnr",
    "recover",
    "ssim",
    "suspects",
    "total_variation",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="images", heavy=("torch", "skimage"))
