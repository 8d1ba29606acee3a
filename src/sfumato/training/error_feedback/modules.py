"""What is trained: the module with Opacus' hooks, and its parameters by name.

For `ErrorFeedbackEngine`. Per-sample gradients and ghost clipping are Opacus'.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.validators import ModuleValidator

from sfumato.errors import InvalidData

GradSampleMode: TypeAlias = Literal["hooks", "ghost"]


def trained_parameters(module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, torch.nn.Parameter]:
    """Trainable parameters by name, in the optimizer's order; raises InvalidData unless both have the same."""
    names = {id(p): name for name, p in module.named_parameters() if p.requires_grad}
    trained = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    if {id(p) for p in trained} != set(names) or not trained:
        raise InvalidData("optimizer must have exactly the parameters of the module that are trained")
    return {names[id(p)]: p for p in trained}


def wrapped_module(module: torch.nn.Module, mode: GradSampleMode, max_grad_norm: float) -> Any:
    """The module with Opacus' hooks, in training mode; raises InvalidData if a layer mixes records."""
    errors = ModuleValidator.validate(module, strict=False)
    if errors:
        raise InvalidData(f"module cannot be trained privately: {'; '.join(map(str, errors))}")
    module.train()
    if mode == "hooks":
        return GradSampleModule(module)
    return GradSampleModuleFastGradientClipping(module, max_grad_norm=max_grad_norm, use_ghost_clipping=True)
