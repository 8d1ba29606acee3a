"""A silo's model: an extractor run with given weights, and a linear classifier on its features.

For the works of `HyperFL` and its baselines: what both train, and what a silo remembers of it between rounds.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.func import functional_call
from torch.nn import functional

from sfumato.errors import InvalidData
from sfumato.federation.hypernetwork.extractors import make_extractor

Tensors = dict[str, torch.Tensor]
Arrays = dict[str, NDArray[Any]]


def checked_extractor(extractor: nn.Module | str) -> nn.Module:
    """Return a module of one's own: a named one, or a copy of the given one.

    Raises
    ------
    InvalidData
        If it is neither, or has no parameters.
    """
    if isinstance(extractor, str):
        return make_extractor(extractor)
    if not isinstance(extractor, nn.Module):
        raise InvalidData(f"extractor must be a torch module or a name, got {type(extractor).__name__}")
    if not any(True for _ in extractor.parameters()):
        raise InvalidData("extractor must have parameters, and has none")
    return copy.deepcopy(extractor)


def described(extractor: nn.Module) -> str:
    """SHA-256 of the structure, of all names and shapes, and of what is frozen: servers and silos must agree on it."""
    digest = hashlib.sha256(repr(extractor).encode())
    for name, parameter in extractor.named_parameters():
        digest.update(f"{name} {tuple(parameter.shape)}".encode())
    for name, buffer in extractor.named_buffers():
        digest.update(name.encode() + buffer.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def features_of(extractor: nn.Module) -> int:
    """Length of the last parameter: of a bias or a normalisation, that is the number of features."""
    return int(list(extractor.parameters())[-1].shape[0])


def statistics(extractor: nn.Module) -> Tensors:
    """Buffers that training changes, such as batch normalisation's: they stay local. Frozen weights are not theirs."""
    trained = {name for name, _ in extractor.named_parameters()}
    return {name: value for name, value in extractor.state_dict().items() if name not in trained}


def with_statistics(extractor: nn.Module, memory: Mapping[str, Any]) -> nn.Module:
    """Return a copy of the extractor that has the buffers a silo remembers, if it remembers any."""
    return _loaded(extractor, unpacked("statistics", memory))


def new_head(features: int, classes: int, random: np.random.Generator) -> Tensors:
    """Return a linear classifier's weights, uniform as torch's default."""
    bound = 1 / math.sqrt(features)
    shapes = {"weight": (classes, features), "bias": (classes,)}
    return {
        name: torch.from_numpy(random.uniform(-bound, bound, shape).astype(np.float32))
        for name, shape in shapes.items()
    }


def logits(extractor: nn.Module, theta: Mapping[str, torch.Tensor], head: Tensors, x: torch.Tensor) -> torch.Tensor:
    """Classify images by the extractor with weights theta, and the head.

    Raises
    ------
    InvalidData
        If the extractor gives no vectors of as many features as its last parameter is long.
    """
    features = functional_call(extractor, dict(theta), (x,))
    if features.ndim != 2 or features.shape[1] != head["weight"].shape[1]:
        raise InvalidData(
            f"extractor must give vectors of {head['weight'].shape[1]} features, the length of its last parameter; "
            f"got shape {tuple(features.shape)}"
        )
    return functional.linear(features, head["weight"], head["bias"])


def loss_of(
    extractor: nn.Module, theta: Mapping[str, torch.Tensor], head: Tensors, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Mean cross-entropy."""
    return functional.cross_entropy(logits(extractor, theta, head, x), y)


def personal_model(extractor: nn.Module, theta: Mapping[str, torch.Tensor], head: Tensors) -> nn.Sequential:
    """Return extractor and classifier as one module, in evaluation mode."""
    classifier = nn.Linear(head["weight"].shape[1], head["weight"].shape[0])
    return nn.Sequential(_loaded(extractor, theta), _loaded(classifier, head)).eval()


def accuracy(model: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Share of images that the model classifies as labelled."""
    with torch.no_grad():
        predicted = model(torch.from_numpy(np.asarray(images, np.float32))).argmax(1).numpy()
    return float(np.mean(predicted == labels))


def _loaded(module: nn.Module, values: Mapping[str, torch.Tensor]) -> nn.Module:
    """A copy of the module with these values; a name that it does not have is an error."""
    own = copy.deepcopy(module)
    state = own.state_dict()  # updated rather than rebuilt: torch keeps layers' versions on this very mapping
    state.update(values)
    own.load_state_dict(state, strict=True)
    return own


def packed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Arrays:
    """Tensors as arrays of a message, under a prefix."""
    return {f"{prefix}/{name}": value.detach().numpy().copy() for name, value in tensors.items()}


def unpacked(prefix: str, fields: Mapping[str, Any]) -> Tensors:
    """What `packed` wrote under that prefix; empty if nothing."""
    start = f"{prefix}/"
    return {
        name.removeprefix(start): torch.from_numpy(np.array(value))
        for name, value in fields.items()
        if name.startswith(start)
    }
