"""The gradient behind an update of several steps of SGD, as far as it can be told.

For federations whose clients train locally. SGD is linear in its gradients, with momentum and weight decay too, so that
what they add is undone exactly.
"""

from __future__ import annotations

import torch

from sfumato.attacks.gradient_inversion.view import Tensors, View


def mean_gradient(view: View, dtype: torch.dtype = torch.float64) -> Tensors:
    """Weighted mean of the gradients of all steps; of one step, its gradient.

    With buf ← m·buf + g_t + d·φ and φ ← φ - lr·buf, as in torch, the last parameters are A·φ_0 - Σ c_t g_t for numbers
    A and c_t of lr, m, d and the number of steps. The mean is weighted by c_t; each gradient is taken where the client
    then was, which the server does not know. Clipping of a whole gradient only changes the weights.

    Parameters
    ----------
    view : View
        ``known`` may have ``momentum`` and ``weight_decay``, else they are taken for zero.
    dtype : torch.dtype
    """
    update = view.tensors("update", dtype)
    if view.kind == "gradient":
        return update
    kept, weight = _recursion(view)
    before = view.tensors("parameters", dtype)
    return {name: ((kept - 1) * before[name] - delta) / weight for name, delta in update.items()}


def _recursion(view: View) -> tuple[float, float]:
    """A and Σ c_t: the last parameter from 1 with gradients 0, and from 0 with gradients -1."""
    lr = float(view.lr or 0.0)
    momentum, decay = float(view.known.get("momentum", 0.0)), float(view.known.get("weight_decay", 0.0))

    def last(start: float, gradient: float) -> float:
        parameter, buffer = start, 0.0
        for _ in range(view.steps):
            buffer = momentum * buffer + gradient + decay * parameter
            parameter -= lr * buffer
        return parameter

    return last(1.0, 0.0), last(0.0, -1.0)
