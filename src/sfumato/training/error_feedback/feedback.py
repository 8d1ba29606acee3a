"""The error state: what clipping cut off, how it is paid out, and what is remembered.

For `ErrorFeedbackOptimizer`. Zhang, Bu, Wu and Hong 2024, Algorithm 2 ("paper"); the update of their published code,
which forgets a part ("official"); and the one of our proof ("telescoped"). In units of a sum over the batch.
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch

Tensors = list[torch.Tensor]
Variant: TypeAlias = Literal["telescoped", "paper", "official"]

_TINY = 1e-6  # in the published code's quotient, and in Opacus' clipping


def clip_weights(norms: torch.Tensor, max_grad_norm: float, residual_norm: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights of per-sample gradients in the clipped sum and in the sum of what is remembered.

    With w(C) = min(1, C / (norm + 1e-6)), as Opacus clips: w(C1), and w(C3) - w(C1), where C3 may be inf. A gradient
    of norm n is remembered to at most C3 - C1: if n + 1e-6 ≥ C3 the weight is (C3 - C1) / (n + 1e-6), else
    (n + 1e-6 - C1) / (n + 1e-6), or 0.

    Parameters
    ----------
    norms : Tensor, shape (batch,)
    max_grad_norm, residual_norm : float

    Returns
    -------
    tuple of two Tensors, shape (batch,)
    """
    clipped = (max_grad_norm / (norms + _TINY)).clamp(max=1.0)
    if math.isinf(residual_norm):
        return clipped, 1.0 - clipped
    return clipped, (residual_norm / (norms + _TINY)).clamp(max=1.0) - clipped


def pay_out(error: Tensors, residual: Tensors, feedback_norm: float, variant: Variant) -> tuple[Tensors, Tensors]:
    """What the error state adds to a step's sum, and the state after the step.

    "telescoped" and "paper": the projection p of e on the ball of radius C2, over all parameters together, is paid,
    and e - p + residual remains. "official": with c = C2 / (norm of e + 1e-6), e·min(c, 1) is paid and
    e·min(c, 1 - min(c, 1)) + residual remains, which for c below ½ forgets a part of e.

    Parameters
    ----------
    error, residual : list of Tensor
        One a parameter.
    feedback_norm : float
        C2.
    variant : {"telescoped", "paper", "official"}
    """
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(e) for e in error])))
    if variant == "official":
        share = feedback_norm / (norm + _TINY)
        paid, kept = min(share, 1.0), min(share, 1.0 - min(share, 1.0))
        remaining = [e * kept + r for e, r in zip(error, residual, strict=True)]
    else:
        paid = 1.0 if norm <= feedback_norm else feedback_norm / norm
        remaining = [e * (1.0 - paid) + r for e, r in zip(error, residual, strict=True)]
    return [e * paid for e in error], remaining
