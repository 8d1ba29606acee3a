"""How good the models of a round are: the global one on everybody's held-out records, each silo's on its own.

For `SignSupermask` and the baselines it is compared with.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.federation.supermask.subnetwork import Subnetwork

HeldOut: TypeAlias = Sequence[tuple[torch.Tensor, torch.Tensor]]

_BATCH = 512


def predicted(subnetwork: Subnetwork, effective: torch.Tensor, x: torch.Tensor) -> NDArray[np.int64]:
    """The class of each record."""
    with torch.no_grad():
        parts = [subnetwork.logits(effective, batch).argmax(dim=1) for batch in torch.split(x, _BATCH)]
    return torch.cat(parts).numpy()


def accuracies(
    subnetwork: Subnetwork, overall: torch.Tensor, personal: Mapping[int, torch.Tensor], held_out: HeldOut
) -> dict[str, float]:
    """Share of right classes: of the global model over all held-out records; and the mean over silos, each its own.

    NaN where nothing is held out.
    """

    def right(effective: torch.Tensor, number: int) -> NDArray[Any]:
        x, y = held_out[number]
        return np.asarray(predicted(subnetwork, effective, x) == y.numpy())

    if not held_out:
        return {"global_accuracy": math.nan, "personal_accuracy": math.nan}
    everybody = np.concatenate([right(overall, number) for number in range(len(held_out))])
    own = [right(effective, number).mean() for number, effective in personal.items() if number < len(held_out)]
    return {"global_accuracy": float(everybody.mean()), "personal_accuracy": float(np.mean(own)) if own else math.nan}


def entropy(share: float) -> float:
    """Bits that a coin of this bias carries."""
    return 0.0 if share in (0.0, 1.0) else -share * math.log2(share) - (1 - share) * math.log2(1 - share)
