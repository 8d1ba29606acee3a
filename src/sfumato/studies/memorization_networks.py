"""A small network, and what compresses it: magnitude pruning, with or without training on, and int8 quantisation.

For the study of system 23: models that are limited after training. 64 hidden units, as the classifiers of system 29.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato.errors import InvalidData, MissingExtra

_HIDDEN = 64


@dataclass(frozen=True)
class Network:
    """A torch module with what it was trained on; called with records it returns probabilities."""

    module: Any
    images: Any
    labels: Any
    batch_size: int
    rate: float

    def __call__(self, x: Any) -> Any:
        import torch

        with torch.no_grad():
            return torch.softmax(self.module(torch.as_tensor(x, dtype=torch.float32)), dim=1).numpy()

    @property
    def zeros(self) -> float:
        """Share of weights that are 0."""
        weights = [layer.weight for layer in self.module if hasattr(layer, "in_features")]
        return sum(int((w == 0).sum()) for w in weights) / sum(int(w.numel()) for w in weights)


def train_network(
    images: Any,
    labels: Any,
    *,
    n_classes: int = 10,
    epochs: int = 40,
    batch_size: int = 50,
    rate: float = 0.3,
    random_state: int = 0,
) -> Network:
    """Train a network of one hidden layer by plain SGD until it fits.

    Parameters
    ----------
    images : ndarray of float, shape (n, features)
    labels : ndarray of int, shape (n,)
        In 0 .. n_classes - 1.
    n_classes, epochs, batch_size : int
    rate : float
    random_state : int

    Raises
    ------
    MissingExtra
        If torch is not installed.
    """
    try:
        import torch
    except ModuleNotFoundError:
        raise MissingExtra("train") from None
    with torch.random.fork_rng():
        torch.manual_seed(random_state)
        x, y = torch.as_tensor(images, dtype=torch.float32), torch.as_tensor(labels)
        module: Any = torch.nn.Sequential(
            torch.nn.Linear(x.shape[1], _HIDDEN), torch.nn.ReLU(), torch.nn.Linear(_HIDDEN, n_classes)
        )
        network = Network(module, x, y, batch_size, rate)
        _train(network, epochs, rate)
    return network


def prune(network: Network, share: float, *, epochs: int = 0, random_state: int = 0) -> Network:
    """Set the smallest weights of all layers together to 0, in one shot; then train the others on for some epochs.

    Parameters
    ----------
    network : Network
    share : float
        Of the weights, in (0, 1).
    epochs : int
        Of fine-tuning, at a tenth of the rate; what was pruned stays 0.
    random_state : int
        Of the order of batches.
    """
    import torch
    from torch.nn.utils import prune as torch_prune

    pruning: Any = torch_prune  # its functions have no types

    if not 0 < share < 1:
        raise InvalidData(f"share must be in (0, 1), got {share}")
    pruned = Network(copy.deepcopy(network.module), network.images, network.labels, network.batch_size, network.rate)
    weights = [(layer, "weight") for layer in pruned.module if hasattr(layer, "in_features")]
    pruning.global_unstructured(weights, pruning_method=pruning.L1Unstructured, amount=share)
    with torch.random.fork_rng():
        torch.manual_seed(random_state)
        _train(pruned, epochs, network.rate / 10)
    for layer, name in weights:
        pruning.remove(layer, name)
    return pruned


def quantise(network: Network) -> Callable[[Any], Any]:
    """Round weights and activations to int8: torch's dynamic quantisation of linear layers."""
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch moves quantisation to a package of its own
        quantization: Any = torch.ao.quantization
        module = quantization.quantize_dynamic(network.module, {torch.nn.Linear}, dtype=torch.qint8)
    return Network(module, network.images, network.labels, network.batch_size, network.rate)


def _train(network: Network, epochs: int, rate: float) -> None:
    import torch

    optimizer = torch.optim.SGD(network.module.parameters(), lr=rate, momentum=0.9 if rate < network.rate else 0.0)
    loss = torch.nn.CrossEntropyLoss()
    n = len(network.labels)
    for _ in range(epochs):
        order = torch.randperm(n)
        for first in range(0, n, network.batch_size):
            batch = order[first : first + network.batch_size]
            optimizer.zero_grad()
            loss(network.module(network.images[batch]), network.labels[batch]).backward()
            optimizer.step()


def long_tailed(
    images: Any, labels: Any, most: int, n_classes: int, rng: np.random.Generator
) -> tuple[Any, Any, dict[int, int]]:
    """Keep most/1, most/2, … records of the classes, in an order of their own; returns them and how many of each."""
    counts = {int(c): max(1, most // rank) for rank, c in enumerate(rng.permutation(n_classes), start=1)}
    kept = np.concatenate([rng.permutation(np.flatnonzero(labels == c))[:k] for c, k in counts.items()])
    return images[kept], labels[kept], counts
