"""ErrorFeedbackOptimizer: clip, add what was cut off before, add noise, step.

For a plain PyTorch loop; wraps any torch optimizer, as Opacus' DPOptimizer does. Zhang, Bu, Wu and Hong 2024,
Algorithms 2 (round SGD) and 3 (round Adam).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from sfumato.errors import ClaimViolated, InvalidClaim, ScheduleViolation
from sfumato.training.error_feedback.feedback import Tensors, Variant, clip_weights, pay_out
from sfumato.training.error_feedback.noise import Noise
from sfumato.training.error_feedback.plan import check_choice
from sfumato.training.error_feedback.schedule import Schedule
from sfumato.training.error_feedback.sensitivity import positive


@dataclass
class Sums:
    """What a part of a batch contributes: the sum of clipped gradients, of what is remembered, and of how many."""

    clipped: Tensors
    residual: Tensors | None
    rows: int


class ErrorFeedbackOptimizer(torch.optim.Optimizer):
    """Steps on noisy sums of clipped gradients, and feeds back later what clipping cut off.

    Everything is in units of a sum over the batch; the result is divided by `expected_batch_size`, a public number,
    and handed to the wrapped optimizer as its gradient. `ErrorFeedbackEngine.make_private` builds it, with noise and a
    claim. Built by hand it promises nothing, and serves comparisons and simulations.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Over parameters of a GradSampleModule.
    max_grad_norm : float
        C1: each record's gradient is clipped to it.
    residual_norm : float
        C3 ≥ C1: what lies between is remembered; inf for the variants "paper" and "official". If it is C1, this is
        DP-SGD.
    feedback_norm : float
        C2: how much is paid out in a step, at most.
    expected_batch_size : int
    variant : {"telescoped", "paper", "official"}
    noise : callable, optional
        `TorchNoise`, or what the engine draws from its release. None: no noise and no privacy.
    schedule : Schedule, optional
        Refuses steps on batches that it has not handed out.
    names : sequence of str, optional
        Of the parameters, for messages.
    error : list of Tensor, optional
        Error state to go on with, one tensor a parameter; by default 0.

    Raises
    ------
    InvalidClaim
        If a norm is out of range or does not go with the variant.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        max_grad_norm: float,
        residual_norm: float,
        feedback_norm: float,
        expected_batch_size: int,
        variant: Variant = "telescoped",
        noise: Noise | None = None,
        schedule: Schedule | None = None,
        names: Sequence[str] = (),
        error: Tensors | None = None,
    ) -> None:
        check_norms(max_grad_norm, residual_norm, feedback_norm, variant)
        # Groups, state and defaults are the wrapped optimizer's: a second set of them would go its own way.
        self.original_optimizer = optimizer
        self._limits = float(max_grad_norm), float(residual_norm)
        self.feedback_norm = feedback_norm
        self.expected_batch_size, self.variant = expected_batch_size, variant
        self.schedule = schedule
        self.before_release: Callable[[], None] | None = None
        self._noise = noise
        self._fixed = list(self.params)
        self.names = list(names) or [f"parameter {i}" for i in range(len(self._fixed))]
        self._pending: Sums | None = None  # ghost clipping's: not stepped on yet
        self._collected: Sums | None = None  # of the parts of a batch so far
        self._error = [torch.zeros_like(p) for p in self._fixed]
        if error is not None:
            self._restore(error)

    @property
    def max_grad_norm(self) -> float:
        """C1; the noise was calibrated for it, so it stays."""
        return self._limits[0]

    @property
    def residual_norm(self) -> float:
        """C3; the noise was calibrated for it, so it stays."""
        return self._limits[1]

    @property
    def params(self) -> list[torch.nn.Parameter]:
        """All parameters that are trained, in the order of the groups."""
        return [p for group in self.param_groups for p in group["params"] if p.requires_grad]

    @property
    def param_groups(self) -> list[dict[str, Any]]:  # type: ignore[override]
        """Groups of the wrapped optimizer: where learning rates stand."""
        return self.original_optimizer.param_groups

    @property
    def state(self) -> Any:  # type: ignore[override]
        """State of the wrapped optimizer."""
        return self.original_optimizer.state

    @property
    def defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Defaults of the wrapped optimizer."""
        return self.original_optimizer.defaults

    def error_state(self, *, allow_private: bool = False) -> Tensors:
        """Return a copy of the error state, one tensor a parameter, to somebody who says that it will stay secret."""
        if not allow_private:
            raise ScheduleViolation("the error state holds exact gradients of records: allow_private=True if you may")
        return [each.clone() for each in self._error]

    def offer(self, sums: Sums) -> None:
        """Take sums that were computed elsewhere (ghost clipping) as those of the next step."""
        if self._pending is not None:
            raise ScheduleViolation("call step() or zero_grad() before the next backward()")
        self._pending = sums

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Collect a part of a batch; if it ends the batch, release the noisy sum and step on it.

        Raises
        ------
        FloatingPointError
            If a gradient is not finite; nothing has changed then.
        ScheduleViolation
            If the gradients are not of the batch that the loader handed out; nothing has changed then.
        RuntimeError
            If the parameter groups have changed.
        """
        if closure is not None:
            with torch.enable_grad():
                closure()
        now = self.params
        if len(now) != len(self._fixed) or any(a is not b for a, b in zip(now, self._fixed, strict=True)):
            raise RuntimeError("the parameters of the optimizer have changed since it was made private")
        with torch.no_grad():
            sums = self._pending or self._sums_of_samples()
            ends = self.schedule is None or self.schedule.take(sums.rows)
            self._pending = None
            self._collected = sums if self._collected is None else _added(self._collected, sums)
            if not ends:
                return None
            self._release(self._collected)
        return None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget gradients that were not stepped on; the parts of a batch that were stay collected."""
        for p in self._fixed:
            p.grad_sample = None  # type: ignore[attr-defined]
        self._pending = None
        self.original_optimizer.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """State of the wrapped optimizer and the error state, which is as private as the data.

        Raises
        ------
        ScheduleViolation
            In the middle of a batch.
        """
        self.check_between_steps()
        return {"private": True, "optimizer": self.original_optimizer.state_dict(), "error": list(self._error)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned, in an optimizer that was built by hand.

        Raises
        ------
        ScheduleViolation
            In one that an engine made: an error state of another time would be paid out again. Resume by the engine.
        """
        if self.schedule is not None:
            raise ScheduleViolation("a private training goes on from a checkpoint by ErrorFeedbackEngine.resume only")
        self._restore(state_dict["error"])
        self.original_optimizer.load_state_dict(state_dict["optimizer"])

    def _restore(self, error: Tensors) -> None:
        if [e.shape for e in error] != [p.shape for p in self._fixed]:
            raise ScheduleViolation("the error state is of another model: its shapes differ")
        self._error = [e.to(p.detach()).clone() for e, p in zip(error, self._fixed, strict=True)]

    def check_between_steps(self) -> None:
        """Raise ScheduleViolation in the middle of a batch."""
        if self._collected is not None:
            raise ScheduleViolation("in the middle of a batch: finish its step first")

    def add_param_group(self, param_group: dict[str, Any]) -> NoReturn:
        """Refuse: the noise was calibrated for the parameters that there were."""
        raise RuntimeError("parameters cannot be added to a private training that has begun")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise ClaimViolated("a private optimizer cannot be copied or pickled: its noise is paid for once")

    def _sums_of_samples(self) -> Sums:
        samples = [_samples(p, name) for p, name in zip(self._fixed, self.names, strict=True)]
        each = [g.reshape(len(g), -1).norm(2, dim=-1) for g in samples]
        check_finite(each, self.names)
        norms = torch.stack(each, dim=1).norm(2, dim=1)
        clipped, rest = clip_weights(norms, self.max_grad_norm, self.residual_norm)
        sums = Sums([torch.einsum("i,i...", clipped, g) for g in samples], None, len(norms))
        if self.residual_norm > self.max_grad_norm:
            sums.residual = [torch.einsum("i,i...", rest, g) for g in samples]
        for p in self._fixed:
            p.grad_sample = None  # type: ignore[attr-defined]
        return sums

    def _release(self, sums: Sums) -> None:
        """Stage what is to be, draw the noise, then change error state and parameters together."""
        total, error, self._collected = sums.clipped, self._error, None
        if sums.residual is not None:
            feedback, error = pay_out(self._error, sums.residual, self.feedback_norm, self.variant)
            total = [c + f for c, f in zip(total, feedback, strict=True)]
        if self.before_release is not None:
            self.before_release()
        noisy = total if self._noise is None else self._noise(total)
        for p, each in zip(self._fixed, noisy, strict=True):
            p.grad = each.view_as(p)
            p.grad /= self.expected_batch_size
        self._error = error
        self.original_optimizer.step()


def check_norms(max_grad_norm: float, residual_norm: float, feedback_norm: float, variant: Variant) -> None:
    """Raise InvalidClaim unless the three norms are in range and go with the variant."""
    check_choice("variant", variant, Variant)
    positive("max_grad_norm", max_grad_norm)
    positive("feedback_norm", feedback_norm)
    if variant == "telescoped":
        if positive("residual_norm", residual_norm) < max_grad_norm:
            raise InvalidClaim(f"residual_norm must be at least max_grad_norm = {max_grad_norm:g}")
    elif not math.isinf(residual_norm):
        raise InvalidClaim(f"variant {variant!r} remembers all that is cut off: residual_norm must be inf")


def check_finite(norms: Sequence[torch.Tensor], names: Sequence[str]) -> None:
    """Raise FloatingPointError that names the first parameter with a gradient that is not finite."""
    for name, each in zip(names, norms, strict=True):
        if not bool(torch.isfinite(each).all()):
            raise FloatingPointError(f"{name}: the gradient of a record is not finite")


def _samples(p: Any, name: str) -> torch.Tensor:
    """Per-sample gradients of a parameter, shape (batch, ...), in its own precision."""
    found = getattr(p, "grad_sample", None)
    if found is None:
        raise ScheduleViolation(f"{name} has no per-sample gradients: call backward() on the module that was returned")
    together: torch.Tensor = torch.cat(found) if isinstance(found, list) else found
    return together.to(p.dtype)


def _added(a: Sums, b: Sums) -> Sums:
    def plus(x: Tensors, y: Tensors) -> Tensors:
        return [i + j for i, j in zip(x, y, strict=True)]

    residual = None if a.residual is None or b.residual is None else plus(a.residual, b.residual)
    return Sums(plus(a.clipped, b.clipped), residual, a.rows + b.rows)
