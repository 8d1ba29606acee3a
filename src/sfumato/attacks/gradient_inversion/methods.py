"""The attacks, each a function of a setting: from what the server sees to images.

For `GradientInversion`. Analytic (Phong et al. 2017), DLG (Zhu et al. 2019), iDLG (Zhao et al. 2020), IG (Geiping et
al. 2020); on HyperFL the attacker of Guo et al. (2025) and one that uses what its upload gives away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from sfumato.attacks.gradient_inversion.analytic import first_layer_inputs, labels_of_batch
from sfumato.attacks.gradient_inversion.gradients import loss_gradient
from sfumato.attacks.gradient_inversion.hypernetwork import Surrogate, recover
from sfumato.attacks.gradient_inversion.naive import NaiveHypernetwork
from sfumato.attacks.gradient_inversion.objectives import cosine_distance, sign_distance, squared_distance
from sfumato.attacks.gradient_inversion.search import Found, Free
from sfumato.attacks.gradient_inversion.setting import Setting
from sfumato.attacks.gradient_inversion.several_steps import mean_gradient
from sfumato.attacks.gradient_inversion.view import Tensors
from sfumato.errors import AttackNotApplicable, InvalidData


@dataclass(frozen=True, eq=False)
class Attempt:
    """What an attack ended with; images are None if every restart's loss was NaN, labels if it found none."""

    images: NDArray[np.float64] | None
    labels: NDArray[np.int64] | None
    loss: float
    losses: tuple[float, ...]
    notes: tuple[str, ...] = ()


def analytic(setting: Setting) -> Attempt:
    """Input of a first linear layer: exact for one image, mixtures for more."""
    setting.check_classifier()
    setting.view.needs("shape")
    name = next((n for n, m in setting.model.named_modules() if list(m.parameters(recurse=False))), "")
    layer = setting.model.get_submodule(name)
    gradient = mean_gradient(setting.view, setting.dtype)
    if not isinstance(layer, nn.Linear) or f"{name}.bias" not in gradient or f"{name}.weight" not in gradient:
        raise AttackNotApplicable("the network does not begin with a linear layer whose bias is in the update")
    batch = setting.view.batch
    found = first_layer_inputs(gradient[f"{name}.weight"], gradient[f"{name}.bias"], batch)
    shape = tuple(setting.view.known["shape"])
    if found.shape[1] != np.prod(shape):
        raise InvalidData(f"known['shape'] is {shape}, but the first layer takes {found.shape[1]} numbers")
    notes = () if batch == 1 and setting.view.steps == 1 else ("mixtures of several images or steps",)
    return Attempt(setting.images(found.reshape(batch, *shape)), _known_labels(setting), 0.0, (0.0,), notes)


def dlg(setting: Setting) -> Attempt:
    """Images and labels together, by L-BFGS on the squared distance."""
    theta, target = _classifier(setting)
    classes = len(target[_head(setting, target)])

    def matching(free: Free) -> Tensor:
        targets = free[1].softmax(dim=1)
        return squared_distance(loss_gradient(setting.model, theta, free[0], targets, setting.loss), target)

    found = setting.lbfgs(matching, lambda: [setting.start(), setting.noise(setting.view.batch, classes)])
    labels = None if found.free is None else found.free[1].argmax(dim=1).numpy()
    return _attempt(setting, found, labels)


def idlg(setting: Setting) -> Attempt:
    """Labels first, then images by L-BFGS on the squared distance."""
    theta, target = _classifier(setting)
    labels = _needed_labels(setting, target)

    def matching(free: Free) -> Tensor:
        return squared_distance(loss_gradient(setting.model, theta, free[0], labels, setting.loss), target)

    return _attempt(setting, setting.lbfgs(matching, lambda: [setting.start()]), labels.numpy())


def ig(setting: Setting) -> Attempt:
    """Images by signs on the cosine and the total variation; labels first."""
    return _searched_by_signs(setting, cosine_distance)


def signs(setting: Setting) -> Attempt:
    """IG for an upload of the gradient's signs alone, such as of signSGD or of a supermask after one step."""
    return _searched_by_signs(setting, sign_distance)


def private_head(setting: Setting) -> Attempt:
    """IG without the classifier: the update is of a feature extractor alone, as of FedRep."""
    setting.check_classifier()
    target = mean_gradient(setting.view, setting.dtype)
    return _without_head(setting, target, setting.view.tensors("parameters", setting.dtype))


def hypernetwork(setting: Setting) -> Attempt:
    """Recover the extractor and its gradient from a hypernetwork's upload, then go on as with a private head."""
    found = recover(setting.view)
    gradient = {name: g.to(setting.dtype) for name, g in found.gradient.items()}
    parameters = {name: p.to(setting.dtype) for name, p in found.parameters.items()}
    attempt = _without_head(setting, gradient, parameters)
    if setting.view.steps == 1:
        return attempt
    note = f"several steps: the heads' update is of rank one to {found.rank_one:.2f} only"
    return Attempt(attempt.images, None, attempt.loss, attempt.losses, (*attempt.notes, note))


def naive_hypernetwork(setting: Setting) -> Attempt:
    """Guess embedding and classifier at random, then IG on the hypernetwork's gradients: the paper's attacker.

    That it fails proves nothing.
    """
    setting.view.needs("shape", "classes")
    guess = NaiveHypernetwork(setting)
    return _attempt(setting, setting.signs(guess.distance, lambda: [setting.start()]), None)


def _without_head(setting: Setting, gradient: Tensors, parameters: Tensors) -> Attempt:
    batch = setting.view.batch
    surrogate = Surrogate(setting.model, gradient, parameters, batch)

    def matching(free: Free) -> Tensor:
        return cosine_distance(surrogate.gradient(*free), gradient)

    def start() -> Free:
        return [setting.start()] if batch == 1 else [setting.start(), setting.noise(batch, batch)]

    return _attempt(setting, setting.signs(matching, start), None)


def _searched_by_signs(setting: Setting, distance: Callable[[Tensors, Tensors], Tensor]) -> Attempt:
    theta, target = _classifier(setting)
    labels = _needed_labels(setting, target)

    def matching(free: Free) -> Tensor:
        return distance(loss_gradient(setting.model, theta, free[0], labels, setting.loss), target)

    return _attempt(setting, setting.signs(matching, lambda: [setting.start()]), labels.numpy())


def _classifier(setting: Setting) -> tuple[Tensors, Tensors]:
    """Parameters, those of the update to be differentiated by, and the gradient to match."""
    setting.check_classifier()
    target = mean_gradient(setting.view, setting.dtype)
    theta = setting.view.tensors("parameters", setting.dtype)
    return {name: p.requires_grad_(name in target) for name, p in theta.items()}, target


def _head(setting: Setting, gradient: Tensors) -> str:
    """Name of the last layer's bias in the update."""
    names = [name for name, _ in setting.model.named_parameters() if name.endswith("bias") and name in gradient]
    if not names or gradient[names[-1]].ndim != 1:
        raise InvalidData("the update lacks the last layer's bias, which tells the labels: give known['labels']")
    return names[-1]


def _known_labels(setting: Setting) -> NDArray[np.int64] | None:
    known = setting.labels()
    return None if known is None else np.asarray(known.numpy(), np.int64)


def _needed_labels(setting: Setting, gradient: Tensors) -> Tensor:
    known = setting.labels()
    return labels_of_batch(gradient[_head(setting, gradient)], setting.view.batch) if known is None else known


def _attempt(setting: Setting, found: Found, labels: NDArray[np.int64] | None) -> Attempt:
    images = None if found.free is None else setting.images(found.free[0])
    return Attempt(images, labels, found.loss, found.losses)
