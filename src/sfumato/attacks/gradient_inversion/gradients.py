"""Gradients of a network's loss that can be differentiated once more, by the images.

For the attacks of this package: the network is called with given parameters and is never changed.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from sfumato.attacks.gradient_inversion.view import Tensors
from sfumato.errors import AttackNotApplicable

Loss: TypeAlias = Callable[[Tensor, Tensor], Tensor]


def private_copy(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Copy a network for differentiating twice: in that precision, and without activations in place."""
    copied = copy.deepcopy(model).to(dtype)
    for module in copied.modules():
        if getattr(module, "inplace", False):
            module.inplace = False  # type: ignore[assignment]
    return copied


def loss_gradient(model: nn.Module, parameters: Tensors, images: Tensor, targets: Tensor, loss: Loss) -> Tensors:
    """Gradient of the loss by each parameter, as a function of the images (and of targets that are probabilities)."""
    return by_parameters(loss(functional_call(model, parameters, (images,)), targets), parameters)


def by_parameters(value: Tensor, parameters: Tensors) -> Tensors:
    """Gradient of a number by each parameter that it depends on.

    Raises
    ------
    AttackNotApplicable
        If it depends on none.
    """
    leaves = tuple(parameters.values())
    if not value.requires_grad:
        raise AttackNotApplicable("the loss does not depend on the parameters: nothing to match")
    found = torch.autograd.grad(value, leaves, create_graph=True, allow_unused=True)
    return {name: g for name, g in zip(parameters, found, strict=True) if g is not None}


def each_gradient(model: nn.Module, parameters: Tensors, images: Tensor, labels: Tensor, loss: Loss) -> Tensor:
    """Gradient of each image's loss, flat, shape (n, number of parameters)."""

    def of_one(theta: Tensors, image: Tensor, label: Tensor) -> Tensor:
        return loss(functional_call(model, theta, (image[None],)), label[None])

    found: Tensors = vmap(grad(of_one), in_dims=(None, 0, 0))(parameters, images, labels)
    return torch.cat([found[name].flatten(1) for name in parameters], dim=1)


def preactivations(model: nn.Module, layer: str, parameters: Tensors, images: Tensor) -> Tensor:
    """Output of one layer, shape (n, units)."""
    seen: list[Tensor] = []
    handle = model.get_submodule(layer).register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        functional_call(model, parameters, (images,))
    finally:
        handle.remove()
    return seen[0]


def linear_layers(model: nn.Module) -> list[str]:
    """Names of the linear layers that have a bias, in order."""
    return [name for name, m in model.named_modules() if isinstance(m, nn.Linear) and m.bias is not None]
