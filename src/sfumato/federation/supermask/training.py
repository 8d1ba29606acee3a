"""Local training of scores, whose signs say what becomes of each kept weight: straight through the sign.

For `SupermaskProtocol`. Bengio et al. 2013 (straight-through), Ramanujan et al. 2020, Koster et al. 2022, from memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch

from sfumato.errors import InvalidData
from sfumato.federation.supermask.subnetwork import Subnetwork

Code: TypeAlias = Literal["sign", "binary"]
Optimizer: TypeAlias = Literal["adam", "sgd"]

#: Sum of the losses' gradient with respect to the scores, for the effective weights of the step.
Gradient: TypeAlias = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Training:
    """How scores are trained.

    Attributes
    ----------
    code : {"sign", "binary"}
        A weight is multiplied by the sign of its score, or is there only where the score is not negative.
    scores : float
        Size of the scores that a round starts from.
    epochs, batch_size : int
    learning_rate : float
    optimizer : {"adam", "sgd"}
        Its state does not outlive a round.
    """

    code: Code = "sign"
    scores: float = 0.01
    epochs: int = 1
    batch_size: int = 32
    learning_rate: float = 1e-3
    optimizer: Optimizer = "adam"

    def __post_init__(self) -> None:
        for name, choices in (("code", Code), ("optimizer", Optimizer)):
            if getattr(self, name) not in get_args(choices):
                raise InvalidData(f"{name} must be one of {', '.join(get_args(choices))}")
        for name in ("epochs", "batch_size"):
            check_whole(name, getattr(self, name))
        for name in ("scores", "learning_rate"):
            check_positive(name, getattr(self, name))


def check_whole(name: str, value: Any) -> None:
    """Raise InvalidData unless `value` is a whole number above 0."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidData(f"{name} must be a whole number above 0, got {value}")


def check_positive(name: str, value: Any) -> None:
    """Raise InvalidData unless `value` is a finite number above 0."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < float("inf"):
        raise InvalidData(f"{name} must be a finite number above 0, got {value}")


def coded(scores: torch.Tensor, code: Code) -> torch.Tensor:
    """What weights are multiplied by: the sign, where that of 0 is +1; or 1 for +1 and 0 for -1."""
    return torch.where(scores >= 0, 1.0, -1.0 if code == "sign" else 0.0)


def score_gradient(subnetwork: Subnetwork, effective: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Gradient of the mean loss of a batch with respect to the scores, straight through the code.

    The effective weight is w·sgn(s), and the straight-through rule takes sgn for the identity: ∂L/∂s = ∂L/∂W · w, over
    kept weights only.
    """
    leaf = effective.detach().requires_grad_()
    loss = torch.nn.functional.cross_entropy(subnetwork.logits(leaf, x), y)
    (gradient,) = torch.autograd.grad(loss, leaf)
    return gradient * subnetwork.values


def train_scores(
    subnetwork: Subnetwork, start: torch.Tensor, x: torch.Tensor, y: torch.Tensor, how: Training, order: Any
) -> torch.Tensor:
    """Return the scores after a round of a silo.

    Parameters
    ----------
    subnetwork : Subnetwork
    start : FloatTensor, shape (kept,)
    x, y : tensors
        The silo's records and labels.
    how : Training
    order : numpy.random.Generator
        Shuffles the records.

    Raises
    ------
    InvalidData
        If scores are no longer finite.
    """

    def gradients() -> Any:
        for _ in range(how.epochs):
            rows = torch.from_numpy(order.permutation(len(x)))
            for batch in torch.split(rows, how.batch_size):
                yield lambda effective, batch=batch: score_gradient(subnetwork, effective, x[batch], y[batch])

    return descend(subnetwork, start, gradients(), how)


def descend(subnetwork: Subnetwork, start: torch.Tensor, gradients: Any, how: Training) -> torch.Tensor:
    """Take a step of the optimizer for each `Gradient` of an iterable; returns the scores."""
    scores = start.clone().requires_grad_()
    kind: Any = torch.optim.Adam if how.optimizer == "adam" else torch.optim.SGD
    optimizer = kind([scores], lr=how.learning_rate)
    for gradient in gradients:
        scores.grad = gradient(subnetwork.values * coded(scores.detach(), how.code))
        optimizer.step()
    if not bool(torch.isfinite(scores).all()):
        raise InvalidData("training left scores that are not finite: lower learning_rate, or look at the silo's data")
    return scores.detach()


def start_scores(average: torch.Tensor | None, size: int, seed: int, how: Training) -> torch.Tensor:
    """Scores that every silo starts a round from: the broadcast average, or in the first round small positive ones."""
    if average is not None:
        return (how.scores * average).float()
    drawn = np.random.default_rng([seed, 1 << 33]).random(size)
    return torch.from_numpy(how.scores * drawn).float()
