"""What one upload of a hypernetwork federation gives away, by algebra: gradient, parameters, and the embedding.

For whoever was told that HyperFL (Guo et al., AAAI 2025, arXiv 2412.07187) breaks the link between upload and data. The
extractor's parameters are θ_k = H_k z + c_k with z = ReLU(W v + b); H, c, W, b are shared, the embedding v is not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sfumato.attacks.gradient_inversion.gradients import by_parameters, linear_layers, preactivations
from sfumato.attacks.gradient_inversion.several_steps import mean_gradient
from sfumato.attacks.gradient_inversion.view import Tensors, View
from sfumato.errors import AttackNotApplicable, InvalidData


@dataclass(frozen=True, eq=False)
class Recovered:
    """What was hidden.

    Attributes
    ----------
    gradient : dict of str to Tensor
        Of the loss by the extractor's parameters, by their names.
    parameters : dict of str to Tensor
        The client's extractor.
    activation : Tensor, shape (hidden,)
        z.
    embedding : Tensor, shape (embedding,)
        v.
    rank_one : float
        Share of the heads' squared gradient that its outer product g zᵀ explains: 1 for one step, where all of this is
        exact; less the further several steps lie apart.
    """

    gradient: Tensors
    parameters: Tensors
    activation: Tensor
    embedding: Tensor
    rank_one: float


def recover(view: View, dtype: torch.dtype = torch.float64) -> Recovered:
    """Compute a client's gradient, extractor and embedding from its upload.

    Let g be the gradient by θ. All images of a step share one θ, so for any batch
    dL/dH_k = g_k zᵀ, dL/dc_k = g_k, dL/db = e = (Hᵀ g)∘1[z > 0], dL/dW = e vᵀ. With the heads' biases g is uploaded as
    it is. Without them it is the left singular vector of dL/dH up to a factor, whose sign z ≥ 0 tells and whose size
    dL/db does, since Hᵀg is linear in g. Then z = (dL/dH)ᵀ g / |g|², v = (dL/dW)ᵀ e / |e|² and θ = H z + c.

    Of a delta of several steps the weighted mean gradient is taken for a gradient. There z is computed from v by the
    layer that the server had sent: v hardly moves, while z moves with W and b. A ``known["embedding"]`` is taken for v.

    Parameters
    ----------
    view : View
        Its arrays are named ``hidden.weight``, ``hidden.bias``, ``heads.{k}.weight`` and, if heads have biases,
        ``heads.{k}.bias``, k the position in the named parameters of its model, the extractor.
    dtype : torch.dtype

    Raises
    ------
    InvalidData
        If the upload is not of that form.
    AttackNotApplicable
        If its gradient is zero.
    """
    check(view)
    phi, up = view.tensors("parameters", dtype), mean_gradient(view, dtype)
    shapes = {name: tuple(p.shape) for name, p in view.model.named_parameters()}
    stack = torch.cat([up[f"heads.{k}.weight"] for k in range(len(shapes))])
    heads = torch.cat([phi[f"heads.{k}.weight"] for k in range(len(shapes))])
    biased = "heads.0.bias" in up
    if biased:
        g = torch.cat([up[f"heads.{k}.bias"] for k in range(len(shapes))])
    else:
        g = _scaled(_direction(stack), heads, up["hidden.bias"])
    if not float(g.norm()) > 0 or not float(up["hidden.bias"].norm()) > 0:
        raise AttackNotApplicable("the upload's gradient is zero: it tells nothing")
    e = up["hidden.bias"]
    v = up["hidden.weight"].T @ e / e.square().sum()
    z = stack.T @ g / g.square().sum()
    explained = float(g.square().sum() * z.square().sum() / stack.square().sum().clamp_min(1e-300))
    if "embedding" in view.known:
        v = torch.as_tensor(view.known["embedding"], dtype=dtype)
    if view.steps > 1 or "embedding" in view.known:
        z = torch.relu(phi["hidden.weight"] @ v + phi["hidden.bias"])
    theta = heads @ z
    if biased:
        theta = theta + torch.cat([phi[f"heads.{k}.bias"] for k in range(len(shapes))])
    return Recovered(split(g, shapes), split(theta, shapes), z, v, explained)


def check(view: View) -> None:
    """Refuse a view whose arrays are not a hypernetwork's for its model.

    Raises
    ------
    InvalidData
        Naming the array.
    """
    sizes = [p.numel() for p in view.model.parameters()]
    if not sizes:
        raise InvalidData("model has no parameters that a hypernetwork could make")
    shapes = {name: np.shape(array) for name, array in view.parameters.items()}
    for name in ("hidden.weight", "hidden.bias", *(f"heads.{k}.weight" for k in range(len(sizes)))):
        if name not in shapes:
            raise InvalidData(f"the view lacks {name!r}: it is not a hypernetwork's for this model")
    units = shapes["hidden.bias"][:1]
    expected = {"hidden.weight": (*units, *shapes["hidden.weight"][-1:]), "hidden.bias": units}
    expected |= {f"heads.{k}.weight": (size, *units) for k, size in enumerate(sizes)}
    if any(name.startswith("heads.") and name.endswith(".bias") for name in shapes):
        expected |= {f"heads.{k}.bias": (size,) for k, size in enumerate(sizes)}
    for name in {**expected, **shapes}:
        if shapes.get(name) != expected.get(name):
            raise InvalidData(f"{name!r} has shape {shapes.get(name)}, for this model expected {expected.get(name)}")
        if name not in view.update:
            raise InvalidData(f"update lacks {name!r}")


class Surrogate:
    """A loss of the extractor alone whose gradient is the uploaded one at the true images: no classifier is needed.

    Let p be the last linear layer's pre-activations and δ_i the loss's gradient by those of image i. Then
    l(x) = Σ_i <δ_i, p(x_i)>, δ held fixed, has the gradient of the true loss by all parameters up to that layer. For
    one image δ is the gradient of the layer's bias. For more, the δ_i lie in the span of the columns of the gradient of
    its weights, Σ δ_i a_iᵀ: a small matrix mixes a basis of it, and is searched for together with the images.

    Parameters
    ----------
    extractor : torch.nn.Module
    gradient, parameters : dict of str to Tensor
        Of the extractor.
    batch : int

    Raises
    ------
    AttackNotApplicable
        If the extractor has no linear layer with a bias.
    """

    def __init__(self, extractor: nn.Module, gradient: Tensors, parameters: Tensors, batch: int) -> None:
        layers = linear_layers(extractor)
        if not layers:
            raise AttackNotApplicable("the extractor has no linear layer with a bias, from which the attack starts")
        self.extractor, self.layer = extractor, layers[-1]
        self.parameters = {name: p.clone().requires_grad_() for name, p in parameters.items()}
        self.bias = gradient[f"{self.layer}.bias"]
        weight = gradient[f"{self.layer}.weight"]
        if batch > min(weight.shape):
            raise AttackNotApplicable(f"a batch of {batch} is more than the rank of layer {self.layer!r}")
        self.basis = torch.linalg.svd(weight, full_matrices=False)[0][:, :batch] * self.bias.norm()

    def gradient(self, images: Tensor, mix: Tensor | None = None) -> Tensors:
        """Gradient of l by the parameters that it depends on.

        Parameters
        ----------
        images : Tensor, shape (batch, channels, height, width)
        mix : Tensor, shape (batch, batch), optional
            For a batch of one it is not needed.
        """
        deltas = self.bias[None] if mix is None else mix @ self.basis.T
        seen = preactivations(self.extractor, self.layer, self.parameters, images)
        return by_parameters((deltas * seen).sum(), self.parameters)


def _direction(stack: Tensor) -> Tensor:
    """Left singular vector of dL/dH, with the sign that makes z non-negative on the whole."""
    right: Tensor = torch.linalg.eigh(stack.T @ stack)[1][:, -1]
    return stack @ (right if float(right.sum()) >= 0 else -right)


def _scaled(direction: Tensor, heads: Tensor, e: Tensor) -> Tensor:
    """The multiple of a gradient's direction whose image in the hidden layer is the uploaded one."""
    # Any units that are awake will do; those that sleep have e = 0 up to rounding.
    image: Tensor = (heads.T @ direction) * (e.abs() > 1e-3 * e.abs().max())
    return direction * (image @ e) / image.square().sum().clamp_min(1e-300)


def split(flat: Tensor, shapes: Mapping[str, tuple[int, ...]]) -> Tensors:
    """Cut a vector into tensors of given shapes."""
    parts = torch.split(flat, [math.prod(shape) for shape in shapes.values()])
    return {name: part.reshape(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}
