"""Network: a multi-layer perceptron in NumPy, with the gradient of each unit (record or subject) by itself.

For the simulated federation, whose training must take seconds on one core. Gradients are the closed form of
backpropagation through ReLU layers and the cross-entropy.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Network:
    """A classifier: ``network(x)`` returns probabilities, shape (n, classes).

    Attributes
    ----------
    sizes : tuple of int
        Features, widths of the hidden layers, classes; without hidden layers it is logistic regression.
    theta : ndarray of float64, shape (n_parameters(sizes),)
        Weights and biases, layer by layer.
    """

    sizes: tuple[int, ...]
    theta: Floats

    def __call__(self, x: Floats) -> Floats:
        h = np.asarray(x, dtype=np.float64)
        layers = _layers(self.sizes, self.theta)
        for weights, bias in layers[:-1]:
            h = np.maximum(h @ weights + bias, 0.0)
        weights, bias = layers[-1]
        return softmax(h @ weights + bias)


def n_parameters(sizes: tuple[int, ...]) -> int:
    """Weights and biases of all layers."""
    return sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def initial(sizes: tuple[int, ...], rng: np.random.Generator) -> Floats:
    """Draw weights as He et al. (2015) do; biases are 0."""
    theta = np.zeros(n_parameters(sizes))
    for weights, _ in _layers(sizes, theta):
        weights[:] = rng.normal(scale=math.sqrt(2 / weights.shape[0]), size=weights.shape)
    return theta


def unit_gradients(
    sizes: tuple[int, ...],
    theta: Floats,
    x: Floats,
    y: Ints,
    weights: Floats,
    *,
    dropout: float = 0.0,
    rng: np.random.Generator | None = None,
) -> Floats:
    """Gradient of each unit's weighted loss, shape (units, n_parameters).

    The products are stacked, one call of BLAS for each unit and always of the same shape, so that no bit of a unit's
    gradient depends on which other units are in the stack: sensitivity is counted in whole granules later, and a
    last bit that depends on the company would be counted as well.

    Parameters
    ----------
    sizes, theta
        As in `Network`.
    x : ndarray of float64, shape (units, records, features)
        Records of each unit, padded to a number that does not depend on the data.
    y : ndarray of int64, shape (units, records)
    weights : ndarray of float64, shape (units, records)
        1 / (the unit's records) for the mean; 0 for padding.
    dropout : float, default 0
        Share of hidden activations that are left out, by coins from `rng`.
    """
    layers = _layers(sizes, theta)
    inputs, kept, h = [x], [], x
    for w, b in layers[:-1]:
        h = np.maximum(h @ w + b, 0.0)
        if dropout:
            assert rng is not None
            kept.append((rng.random(h.shape) >= dropout) / (1 - dropout))
            h = h * kept[-1]
        inputs.append(h)
    w, b = layers[-1]
    delta = softmax(h @ w + b)
    delta[(*np.indices(y.shape, sparse=True), y)] -= 1.0
    delta *= weights[..., np.newaxis]
    gradients, ones = np.empty((len(x), len(theta))), np.ones((1, x.shape[1]))
    end = len(theta)
    for i in range(len(layers) - 1, -1, -1):
        w, b = layers[i]
        start = end - w.size - b.size
        product = np.swapaxes(inputs[i], 1, 2) @ delta
        gradients[:, start : start + w.size] = product.reshape(len(x), w.size)
        gradients[:, start + w.size : end] = (ones @ delta)[:, 0]
        if i:
            delta = (delta @ w.T) * (inputs[i] > 0)
            if dropout:
                delta *= kept[i - 1]
        end = start
    return gradients


def softmax(logits: Floats) -> Floats:
    """Probabilities along the last axis."""
    odds = np.exp(logits - logits.max(axis=-1, keepdims=True))
    odds /= odds.sum(axis=-1, keepdims=True)
    return np.asarray(odds)


def _layers(sizes: tuple[int, ...], theta: Floats) -> list[tuple[Floats, Floats]]:
    """Views of the weights, shape (in, out), and the biases of each layer."""
    layers, start = [], 0
    for a, b in itertools.pairwise(sizes):
        layers.append((theta[start : start + a * b].reshape(a, b), theta[start + a * b : start + (a + 1) * b]))
        start += (a + 1) * b
    return layers
