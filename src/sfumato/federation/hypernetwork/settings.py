"""How silos train: the numbers of the estimators of this package, checked, and the data of a silo, checked.

For `HyperFL` and its baselines. The defaults are those of HyperFL's official code (Guo et al., AAAI 2025).
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import ndtri

from sfumato.errors import InvalidData

#: Images, float32 of shape (n, channels, height, width), and labels, int64 of shape (n,).
SiloData = tuple[NDArray[np.float32], NDArray[np.int64]]

_COUNTS = ("num_classes", "rounds", "local_epochs", "batch_size")


@dataclass(frozen=True)
class Settings:
    """The numbers of a training that all silos share; see `HyperFL` for what they mean.

    Raises
    ------
    InvalidData
        If a number is out of range.
    """

    num_classes: int
    rounds: int
    local_epochs: int
    head_epochs: int
    learning_rate: float
    head_learning_rate: float
    momentum: float
    weight_decay: float
    grad_clip: float
    batch_size: int
    random_state: int | None = None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            _check(name, getattr(self, name), getattr(self, name) >= 1, "at least 1")
        _check("head_epochs", self.head_epochs, self.head_epochs >= 0, "at least 0")
        for name in ("learning_rate", "head_learning_rate", "grad_clip"):
            _check(name, getattr(self, name), 0 < getattr(self, name) < math.inf, "finite and above 0")
        _check("momentum", self.momentum, 0 <= self.momentum < 1, "in [0, 1)")
        _check("weight_decay", self.weight_decay, 0 <= self.weight_decay < math.inf, "finite and at least 0")

    def config(self) -> dict[str, Any]:
        """Return the numbers as JSON values."""
        return asdict(self)

    def random(self, *path: int) -> np.random.Generator:
        """Return a generator of its own for that place: from `random_state`, or from the system's entropy."""
        return np.random.default_rng(None if self.random_state is None else [self.random_state, *path])

    def batches(self, rows: int, epochs: int, random: np.random.Generator) -> Iterator[torch.Tensor]:
        """Yield row numbers: every row once an epoch, shuffled anew each time; the last batch may be smaller."""
        for _ in range(epochs):
            yield from torch.split(torch.from_numpy(random.permutation(rows)), min(self.batch_size, rows))


def check_silo(data: Any, num_classes: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a silo's images and labels as tensors.

    Raises
    ------
    InvalidData
        If they are not finite images (n, channels, height, width) with one label in 0 .. num_classes - 1 each.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        raise InvalidData("the data of a silo must be a pair of images and labels")
    images, labels = np.asarray(data[0]), np.asarray(data[1])
    if images.ndim != 4 or not images.size or images.dtype.kind not in "fiu":
        raise InvalidData(
            f"images must be numbers of shape (n, channels, height, width), got {images.dtype}, shape {images.shape}"
        )
    if not np.isfinite(images).all():
        raise InvalidData("images must be finite, and some are NaN or infinite")
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iu":
        raise InvalidData(f"labels must be {len(images)} integers, got {labels.dtype}, shape {labels.shape}")
    if labels.min() < 0 or labels.max() >= num_classes:
        raise InvalidData(f"labels must lie in 0 .. {num_classes - 1}, got {labels.min()} .. {labels.max()}")
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels.astype(np.int64))


def draw_embedding(dimension: int, seed: int | None = None, party: int = 0) -> torch.Tensor:
    """Draw v of independent N(0, 1) entries from the system's entropy; from a seed in tests and studies only."""
    if seed is not None:
        return torch.from_numpy(np.random.default_rng([seed, party, 45]).standard_normal(dimension).astype(np.float32))
    words = np.frombuffer(secrets.token_bytes(8 * dimension), np.uint64)
    return torch.from_numpy(ndtri(((words >> 11) + 0.5) * 2.0**-53).astype(np.float32))


def _check(name: str, value: Any, good: bool, expected: str) -> None:
    if not good:
        raise InvalidData(f"{name} must be {expected}, got {value}")
