"""The noise on a step's sum: exact and discrete, or torch's.

For `ErrorFeedbackOptimizer`. What each promises: `plan`. Exact noise comes from an open `Release`, where it was charged
for the whole training at once.
"""

from __future__ import annotations

import math
import secrets
from typing import Protocol

import numpy as np
import torch

from sfumato.privacy.grid import from_grid, to_grid
from sfumato.privacy.release import PrepaidNoise
from sfumato.training.error_feedback.plan import Settings

Tensors = list[torch.Tensor]

_DIGITS = 10  # binary digits of torch's noise below its deviation that are kept


class Noise(Protocol):
    """Adds noise to the sum of a step, given as one tensor a parameter."""

    def __call__(self, sums: Tensors) -> Tensors:
        """Return noisy sums of the same shapes."""
        ...


class TorchNoise:
    """Normal noise by torch's generator: fast, and neither exact nor cryptographic.

    Drawn parameter by parameter, as Opacus' DPOptimizer does: the same generator gives the same numbers.

    Parameters
    ----------
    deviation : float
        σ on a sum over the batch.
    generator : torch.Generator, optional
        By default one that is seeded by the system's entropy, whatever `torch.manual_seed` was given.
    rounded : bool, default True
        Round noisy sums to a grid of about a thousandth of σ, which takes away the low digits that tell what was
        added (Mironov 2012). Without, it is to the last bit what Opacus does.
    """

    def __init__(self, deviation: float, generator: torch.Generator | None = None, *, rounded: bool = True) -> None:
        self.deviation = deviation
        self._generator = generator
        self._granularity = 2.0 ** (math.floor(math.log2(deviation)) - _DIGITS) if rounded else None

    def __call__(self, sums: Tensors) -> Tensors:
        """Return noisy sums of the same shapes."""
        if self._generator is None and sums:
            self._generator = torch.Generator(sums[0].device).manual_seed(secrets.randbits(63))
        noisy = [each + self._draw(each) for each in sums]
        if self._granularity is not None:
            for each in noisy:
                each.div_(self._granularity).round_().mul_(self._granularity)
        return noisy

    def _draw(self, like: torch.Tensor) -> torch.Tensor:
        return torch.normal(
            0.0, self.deviation, like.shape, generator=self._generator, device=like.device, dtype=like.dtype
        )


class ExactNoise:
    """Discrete Gaussian noise on a grid, from a release.

    Parameters
    ----------
    prepaid : PrepaidNoise
        Charged with `settings.event()`.
    settings : Settings
    """

    def __init__(self, prepaid: PrepaidNoise, settings: Settings) -> None:
        self._prepaid = prepaid
        self.deviation = settings.deviation
        self._granularity = settings.granularity
        self._sensitivity = settings.sensitivity / settings.granularity
        self._sigma2 = math.ceil(settings.deviation / settings.granularity) ** 2  # whole granules, rounded up

    def __call__(self, sums: Tensors) -> Tensors:
        """Return noisy sums of the same shapes: multiples of the granularity, in the precision of the model."""
        flat = torch.cat([each.detach().reshape(-1) for each in sums]).to("cpu", torch.float64).numpy()
        cells = to_grid(np.asarray(flat), self._granularity)
        noisy = self._prepaid.discrete_gaussian(cells, l2_sensitivity=self._sensitivity, sigma2=self._sigma2)
        values = torch.from_numpy(from_grid(noisy, self._granularity))
        pieces = torch.split(values, [each.numel() for each in sums])
        return [piece.to(each).reshape(each.shape) for piece, each in zip(pieces, sums, strict=True)]
