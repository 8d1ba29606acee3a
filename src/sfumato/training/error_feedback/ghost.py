"""Ghost clipping with error feedback: three backward passes, no per-sample gradients.

For `ErrorFeedbackEngine` with grad_sample_mode="ghost". The first pass gives every record's gradient norm (Opacus'
GradSampleModuleFastGradientClipping), the others the two weighted sums, as gradients of weighted losses.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from opacus.grad_sample import GradSampleModuleFastGradientClipping

from sfumato.errors import InvalidData
from sfumato.training.error_feedback.feedback import clip_weights
from sfumato.training.error_feedback.modules import GradSampleMode
from sfumato.training.error_feedback.optimizer import ErrorFeedbackOptimizer, Sums, check_finite


class GhostLoss:
    """The losses of a batch; `backward` hands the optimizer the sums of its step."""

    def __init__(self, each: torch.Tensor, module: Any, optimizer: ErrorFeedbackOptimizer) -> None:
        self._each, self._module, self._optimizer = each, module, optimizer

    def item(self) -> float:
        """Mean loss of the batch: of records, without noise."""
        return float(self._each.detach().mean())

    def detach(self) -> torch.Tensor:
        """Mean loss of the batch, without its graph."""
        return self._each.detach().mean()

    def backward(self) -> None:
        """Compute the sum of clipped gradients, and of what is remembered, and offer them to the optimizer.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite.
        """
        module, optimizer = self._module, self._optimizer
        torch.autograd.backward(self._each.mean(), retain_graph=True)
        optimizer.zero_grad()
        params = optimizer.params
        check_finite([p._norm_sample for p in params], optimizer.names)  # type: ignore[attr-defined]
        clipped, rest = clip_weights(module.get_norm_sample(), optimizer.max_grad_norm, optimizer.residual_norm)
        remembers = optimizer.residual_norm > optimizer.max_grad_norm
        module.disable_hooks()
        try:
            first = torch.autograd.grad((clipped * self._each).sum(), params, retain_graph=remembers)
            second = torch.autograd.grad((rest * self._each).sum(), params) if remembers else None
        finally:
            module.enable_hooks()
        optimizer.offer(Sums(list(first), None if second is None else list(second), len(self._each)))


class GhostCriterion:
    """Wraps a criterion with a `reduction`: its result's `backward` works as that of a plain loss would.

    Parameters
    ----------
    criterion : callable
        A torch loss with an attribute `reduction`, which is "mean".
    """

    def __init__(
        self,
        criterion: Callable[..., torch.Tensor] | None,
        module: GradSampleModuleFastGradientClipping,
        optimizer: ErrorFeedbackOptimizer,
    ) -> None:
        check_criterion(criterion, "ghost")
        self._criterion: Any = criterion
        self._module, self._optimizer = module, optimizer

    def __call__(self, *arguments: Any, **named: Any) -> GhostLoss:
        """The losses of a batch, one a record (the mean over what further axes there are)."""
        self._criterion.reduction = "none"
        try:
            each = self._criterion(*arguments, **named)
        finally:
            self._criterion.reduction = "mean"
        return GhostLoss(each.reshape(len(each), -1).mean(dim=1), self._module, self._optimizer)


def check_criterion(criterion: object, mode: GradSampleMode) -> None:
    """Raise InvalidData unless the criterion can be taken apart, where that is needed."""
    if mode == "ghost" and getattr(criterion, "reduction", None) != "mean":
        raise InvalidData('grad_sample_mode="ghost" needs criterion=, a torch loss with reduction="mean"')
