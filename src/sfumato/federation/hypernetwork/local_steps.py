"""Steps of local training: the classifier's own, and noisy ones on gradients that are clipped for each record.

For the works of `HyperFL` and its baselines, which differ in what the steps move. What the noise promises: `private`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.func import grad, vmap

from sfumato.federation.hypernetwork.models import Tensors, loss_of
from sfumato.federation.hypernetwork.private import Privacy, clipped_sum
from sfumato.federation.hypernetwork.settings import Settings
from sfumato.privacy.release import Release


def train_head(
    extractor: nn.Module,
    theta: Mapping[str, torch.Tensor],
    head: Tensors,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: Settings,
    random: np.random.Generator,
) -> None:
    """Move the classifier in place, for `head_epochs`; the extractor stands still."""
    for parameter in head.values():
        parameter.requires_grad_()
    optimizer = sgd(head.values(), settings.head_learning_rate, settings)
    for rows in settings.batches(len(images), settings.head_epochs, random):
        optimizer.zero_grad()
        loss_of(extractor, theta, head, images[rows], labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for parameter in head.values():
        parameter.requires_grad_(False)
        parameter.grad = None


def sgd(parameters: Iterable[torch.Tensor], rate: float, settings: Settings) -> torch.optim.SGD:
    """A fresh optimizer: momentum does not outlive the round whose phi it belongs to."""
    return torch.optim.SGD(list(parameters), lr=rate, momentum=settings.momentum, weight_decay=settings.weight_decay)


def record_gradients(
    extractor: nn.Module, theta: Mapping[str, torch.Tensor], head: Tensors, images: torch.Tensor, labels: torch.Tensor
) -> Tensors:
    """Gradient of each record's loss with respect to theta and psi.

    Returns
    -------
    dict of str to Tensor, shape (records, ...)
        Names are those of theta under "theta/" and of the classifier under "head/".
    """

    def loss(theta: Tensors, head: Tensors, image: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        return loss_of(extractor, theta, head, image[None], label[None])

    first, second = ({name: value.detach() for name, value in each.items()} for each in (theta, head))
    each_grad: Any = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, None, 0, 0))
    of_theta, of_head = each_grad(first, second, images, labels)
    return {
        **{f"theta/{name}": value for name, value in of_theta.items()},
        **{f"head/{name}": value for name, value in of_head.items()},
    }


def noisy_gradients(
    privacy: Privacy,
    extractor: nn.Module,
    theta_now: Callable[[], Mapping[str, torch.Tensor]],
    head: Tensors,
    images: torch.Tensor,
    labels: torch.Tensor,
    settings: Settings,
    random: np.random.Generator,
) -> Iterator[tuple[Mapping[str, torch.Tensor], Tensors]]:
    """Yield, for each step of a round, theta and the noisy mean gradient of (theta, psi) there.

    The caller moves what it trains by nothing but these gradients, before it asks for the next.

    Parameters
    ----------
    theta_now : callable
        Returns the extractor's weights as they are now.
    head : dict of str to Tensor
        The classifier, which the caller changes in place.

    Yields
    ------
    theta : mapping of str to Tensor
        As `theta_now` returned it, with its graph.
    gradients : dict of str to Tensor
        "theta/..." and "head/...".
    """
    dimension = sum(value.numel() for value in (*extractor.parameters(), *head.values()))
    size = min(settings.batch_size, len(images))
    with Release(privacy.round_claim, purpose="steps of a round") as release:
        noise = privacy.step_noise(release, dimension)
        for rows in settings.batches(len(images), settings.local_epochs, random):
            theta = theta_now()
            each = record_gradients(extractor, theta, head, images[rows], labels[rows])
            noisy = noise(clipped_sum(each, privacy.clip_norm))
            yield theta, {name: value / size for name, value in noisy.items()}
