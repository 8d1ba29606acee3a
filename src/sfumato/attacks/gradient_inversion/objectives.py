"""How far a gradient is from the one that was uploaded, and how rough an image is.

For the searches of this package: squared distance (Zhu et al. 2019), cosine and total variation (Geiping et al. 2020);
for uploads of signs, the cosine of signs that are softened so that they have a slope (ours).
"""

from __future__ import annotations

from torch import Tensor

from sfumato.attacks.gradient_inversion.view import Tensors

_SOFT = 0.3  # of a gradient's root mean square: the size at which a softened sign is 1/2


def squared_distance(found: Tensors, target: Tensors) -> Tensor:
    """Sum of squared differences over the parameters that `found` has."""
    return sum_of([(g - target[name]).square().sum() for name, g in found.items()])


def cosine_distance(found: Tensors, target: Tensors) -> Tensor:
    """One less the cosine of both, all the parameters that `found` has as one vector: blind to scale."""
    product = sum_of([(g * target[name]).sum() for name, g in found.items()])
    ours = sum_of([g.square().sum() for g in found.values()])
    theirs = sum_of([target[name].square().sum() for name in found])
    return 1 - product / (ours.sqrt() * theirs.sqrt()).clamp_min(1e-30)


def sign_distance(found: Tensors, target: Tensors) -> Tensor:
    """One less the cosine of softened signs g / (|g| + 0.3·rms(g)) and the uploaded signs: blind to all sizes.

    A hard sign has no slope; the plain cosine matches the sizes of the guess's gradient to signs, which have none.
    """
    softened = {}
    for name, g in found.items():
        size = g.detach().square().mean().sqrt().clamp_min(1e-30)
        softened[name] = g / (g.abs() + _SOFT * size)
    return cosine_distance(softened, target)


def total_variation(images: Tensor) -> Tensor:
    """Absolute differences of neighbouring pixels, over the number of pixels.

    `breaching` takes pixels beyond the right and the lower edge for zero and counts them; here they do not exist.

    Parameters
    ----------
    images : Tensor, shape (n, channels, height, width)
    """
    across = (images[..., 1:] - images[..., :-1]).abs().sum()
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().sum()
    return (across + down) / images.numel()


def sum_of(terms: list[Tensor]) -> Tensor:
    """Sum of numbers."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
