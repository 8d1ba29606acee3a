"""Search for images whose gradient is the uploaded one: by signs of the gradient, or by L-BFGS.

For the attacks of this package; of several restarts the least loss is kept, never the image nearest to a truth.
Schedules of Geiping et al. (NeurIPS 2020) and Zhu et al. (NeurIPS 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from sfumato.errors import AttackNotApplicable

Free: TypeAlias = list[Tensor]
Objective: TypeAlias = Callable[[Free], Tensor]
Box: TypeAlias = tuple[Tensor, Tensor]

_DECAYS = (3 / 8, 5 / 8, 7 / 8)
_REFUSAL = "the network cannot be differentiated twice by its input"


@dataclass(frozen=True, eq=False)
class Found:
    """Where a search ended: its free tensors, images first, their loss, and the loss of every restart."""

    free: Free | None
    loss: float
    losses: tuple[float, ...] = ()


def best_of(search: Callable[[Objective, Free], Found], objective: Objective, starts: Sequence[Free]) -> Found:
    """Search from each start and keep the least loss; `free` is None if every loss is NaN."""
    tries = [search(objective, start) for start in starts]
    best = min(tries, key=lambda each: math.inf if math.isnan(each.loss) else each.loss)
    losses = tuple(each.loss for each in tries)
    return Found(None if math.isnan(best.loss) else best.free, best.loss, losses)


def by_signs(objective: Objective, start: Free, *, iterations: int, rate: float, box: Box) -> Found:
    """Adam on the sign of the images' gradient, and on the gradient itself of whatever else is free.

    The rate falls tenfold at 3/8, 5/8 and 7/8 of the iterations; images are put back into the box after each. The best
    iterate is returned.
    """
    free = [tensor.clone().requires_grad_() for tensor in start]
    optimizer = torch.optim.Adam(free, lr=rate)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [int(iterations * share) for share in _DECAYS])
    best, least = None, math.nan
    for _ in range(iterations):
        loss = objective(free)
        value = float(loss.detach())
        if math.isnan(value):
            break
        if best is None or value < least:
            best, least = [tensor.detach().clone() for tensor in free], value
        slopes = _slopes(loss, free)
        slopes[0] = slopes[0].sign()
        for tensor, slope in zip(free, slopes, strict=True):
            tensor.grad = slope
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            free[0].copy_(torch.minimum(torch.maximum(free[0], box[0]), box[1]))
    return Found(best, least)


def by_lbfgs(objective: Objective, start: Free, *, iterations: int, enough: float = 1e-12) -> Found:
    """L-BFGS with 20 inner steps and a memory of 100, until the loss is `enough`, is NaN or stalls."""
    free = [tensor.clone().requires_grad_() for tensor in start]
    optimizer = torch.optim.LBFGS(free, lr=1.0, history_size=100, max_iter=20)

    def closure() -> float:
        loss = objective(free)
        for tensor, slope in zip(free, _slopes(loss, free), strict=True):
            tensor.grad = slope
        return float(loss.detach())

    best, least, before = None, math.nan, math.inf
    for _ in range(iterations):
        optimizer.step(closure)  # type: ignore[no-untyped-call]
        value = float(objective(free).detach())
        if math.isnan(value):
            break
        if best is None or value < least:
            best, least = [tensor.detach().clone() for tensor in free], value
        if value <= enough or abs(before - value) <= 1e-9 * value:
            break
        before = value
    return Found(best, least)


def check_reachable(matching: Objective, start: Free) -> None:
    """Refuse a network whose gradient does not move with its input.

    Raises
    ------
    AttackNotApplicable
    """
    free = [tensor.clone().requires_grad_() for tensor in start]
    if not bool(_slopes(matching(free), free)[0].any()):
        raise AttackNotApplicable(f"{_REFUSAL}: where the search starts, moving a pixel changes nothing")


def _slopes(loss: Tensor, free: Sequence[Tensor]) -> Free:
    """Gradient of the objective by what is free.

    Raises
    ------
    AttackNotApplicable
        If the network cannot be differentiated twice.
    """
    if not loss.requires_grad:
        raise AttackNotApplicable(f"{_REFUSAL}: its gradient does not depend on the images")
    try:
        return list(torch.autograd.grad(loss, list(free)))
    except RuntimeError as error:
        if "not implemented" in str(error) or "double backward" in str(error) or "to have been used" in str(error):
            raise AttackNotApplicable(f"{_REFUSAL}: {error}") from error
        raise
