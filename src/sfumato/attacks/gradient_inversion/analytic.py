"""What an update tells without any search: labels, and the input of a first linear layer.

For models that begin with a linear layer, and for the searches that need labels. The bias rule is of Phong et al.
(2017), the sign rule of iDLG (Zhao et al. 2020).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sfumato.errors import AttackNotApplicable


def first_layer_inputs(weight: Tensor, bias: Tensor, batch: int = 1) -> Tensor:
    """Inputs of a linear layer from its gradient, shape (batch, features).

    A unit's weights and its bias have the gradients Σ δ_i x_i and Σ δ_i over the batch. Their ratio is x itself for one
    image, in every unit that has a gradient; for more it is a mixture, and units whose gradient one image alone makes
    give that image.

    Parameters
    ----------
    weight : Tensor, shape (units, features)
    bias : Tensor, shape (units,)
        Gradients of the layer.
    batch : int
        How many mixtures to return: those of the units with the largest gradient of the bias.

    Raises
    ------
    AttackNotApplicable
        If too few units have a gradient.
    """
    best = bias.abs().argsort(descending=True)[:batch]
    if len(best) < batch or bool((bias[best] == 0).any()):
        raise AttackNotApplicable(f"fewer than {batch} units of the first layer have a gradient")
    return weight[best] / bias[best, None]


def label_of_one(head: Tensor) -> int:
    """Label of one image, from the gradient of the last layer's bias, or its weights' row sums.

    Under cross entropy that gradient is the softmax less the label's one: negative at the label alone. Row sums have
    the same signs where the layer's inputs are not negative.

    Parameters
    ----------
    head : Tensor, shape (classes,)
    """
    return int(head.argmin())


def label_counts(head: Tensor, batch: int) -> NDArray[np.int64]:
    """Guess how often each label occurs in a batch, shape (classes,).

    The gradient of the last layer's bias is the mean over the batch of the softmax less the label's one. The softmax is
    taken for uniform, as an untrained network's nearly is; what then is missing at a label is its share of the batch.

    Parameters
    ----------
    head : Tensor, shape (classes,)
    batch : int
    """
    share = 1 / len(head) - np.asarray(head.double().numpy())
    wanted = np.clip(share * batch, 0.0, None)
    wanted *= batch / max(float(wanted.sum()), 1e-30)
    counts = np.floor(wanted).astype(np.int64)
    for label in np.argsort(counts - wanted, kind="stable")[: batch - int(counts.sum())]:
        counts[label] += 1
    return counts


def labels_of_batch(head: Tensor, batch: int) -> Tensor:
    """Labels of a batch in no order, shape (batch,)."""
    if batch == 1:
        return torch.tensor([label_of_one(head)])
    return torch.as_tensor(np.repeat(np.arange(len(head)), label_counts(head, batch)))
