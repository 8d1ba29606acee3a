"""The two losses of learning from bag means, what lies between them, and the same for PyTorch training loops.

For whoever trains a model of their own on bags. Javanmard et al. (ICLR 2024, arXiv 2401.11081): for the squared loss
the instance loss is the bag loss plus the variance of the predictions within bags.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates.bags import Bags, Floats, read_bags

Loss = Literal["squared", "cross-entropy"]


def bag_loss(predictions: ArrayLike, bag_id: ArrayLike, means: ArrayLike) -> float:
    """Mean over people of (ȳ_b - f̄_b)², f̄_b the mean prediction of the person's bag.

    Parameters
    ----------
    predictions : array_like of float, shape (n,)
    bag_id : array_like of int, shape (n,)
    means : array_like of float, shape (m,)
        Mean response of each bag.
    """
    bags, f, targets = _read(predictions, bag_id, means)
    return float(np.average((targets - bags.means(f)) ** 2, weights=bags.sizes))


def instance_loss(predictions: ArrayLike, bag_id: ArrayLike, means: ArrayLike) -> float:
    """Mean over people of (ȳ_b - f(x))²: the bag's mean response taken for each one's own."""
    bags, f, targets = _read(predictions, bag_id, means)
    return float(np.mean((targets[bags.of] - f) ** 2))


def within_bag_variance(predictions: ArrayLike, bag_id: ArrayLike) -> float:
    """Mean over people of (f(x) - f̄_b)²: exactly `instance_loss` less `bag_loss`, whatever the responses."""
    bags = read_bags(bag_id)
    f = _predictions(predictions, bags)
    return float(np.mean((f - bags.means(f)[bags.of]) ** 2))


def _read(predictions: ArrayLike, bag_id: ArrayLike, means: ArrayLike) -> tuple[Bags, Floats, Floats]:
    bags = read_bags(bag_id)
    targets = np.asarray(means, np.float64)
    if targets.shape != (len(bags),):
        raise InvalidData("means must have one entry a bag")
    return bags, _predictions(predictions, bags), targets


def _predictions(predictions: ArrayLike, bags: Bags) -> Floats:
    f = np.asarray(predictions, np.float64)
    if f.shape != bags.inside.shape:
        raise InvalidData("predictions must have one entry a person")
    return f[bags.inside]


class InterpolatingLoss:
    """(1-ρ)·bag loss + ρ·instance loss of one mini-batch of whole bags, for a PyTorch training loop.

    The result is differentiable. Give it bags whole: a mini-batch that cuts a bag takes the mean of a part for that of
    the whole. It calls methods of the tensors that it is handed and has no parameters, so it needs no torch itself.

    Parameters
    ----------
    rho : float
        0 is the bag loss, 1 the instance loss. Above 1 the within-bag penalty grows further (for "squared" only,
        where the difference of the two losses is a variance).
    loss : {"squared", "cross-entropy"}
        "cross-entropy": predictions are logits of a binary response, targets proportions in [0, 1], and the bag loss
        is that of the bag's mean probability. By Jensen's inequality the instance loss is then no smaller either.

    Raises
    ------
    InvalidData
        If a parameter is out of range.

    Examples
    --------
    >>> import torch
    >>> from sfumato.statistics.aggregates import InterpolatingLoss
    >>> f = torch.tensor([[1.0, 3.0], [2.0, 2.0]])
    >>> InterpolatingLoss(rho=0.5)(f, torch.tensor([2.0, 3.0])).item()
    0.75
    """

    def __init__(self, rho: float, *, loss: Loss = "squared") -> None:
        if loss not in get_args(Loss):
            raise InvalidData(f"loss must be one of {', '.join(get_args(Loss))}")
        highest = np.inf if loss == "squared" else 1.0
        if isinstance(rho, bool) or not isinstance(rho, (int, float)) or not 0 <= rho <= highest or rho == np.inf:
            raise InvalidData("rho must be a finite number, at least 0, and at most 1 for cross-entropy")
        self.rho = rho
        self.loss = loss

    def __call__(self, predictions: Any, targets: Any, mask: Any = None) -> Any:
        """Return the loss of a mini-batch, a mean over its people.

        Parameters
        ----------
        predictions : tensor of float, shape (b, k)
            One row a bag.
        targets : tensor of float, shape (b,)
            Mean response of each bag.
        mask : tensor of bool, shape (b, k), optional
            False where a bag smaller than k has nobody.

        Returns
        -------
        tensor, scalar
        """
        self._check(predictions, targets, mask)
        here = predictions.new_ones(predictions.shape) if mask is None else mask.to(predictions.dtype)
        sizes = here.sum(dim=1)
        f = predictions if mask is None else predictions.masked_fill(~mask.bool(), 0.0)
        each = self._squared if self.loss == "squared" else self._cross_entropy
        return each(f, targets, here, sizes) / sizes.sum()

    def _squared(self, f: Any, targets: Any, here: Any, sizes: Any) -> Any:
        mean = (f * here).sum(dim=1) / sizes
        within = ((f - mean[:, None]) ** 2 * here).sum()
        return (sizes * (targets - mean) ** 2).sum() + self.rho * within

    def _cross_entropy(self, f: Any, targets: Any, here: Any, sizes: Any) -> Any:
        yes, no = -(-f).logaddexp(f.new_zeros(())), -f.logaddexp(f.new_zeros(()))  # logarithms of p and 1 - p
        instance = -(here * (targets[:, None] * yes + (1 - targets[:, None]) * no)).sum()
        # mean probabilities by their logarithms: nothing under- or overflows, and empty places weigh nothing
        weight, count = here.clamp(min=1e-300 if f.element_size() == 8 else 1e-38).log(), sizes.log()
        mean_yes, mean_no = (yes + weight).logsumexp(dim=1) - count, (no + weight).logsumexp(dim=1) - count
        bag = -(sizes * (targets * mean_yes + (1 - targets) * mean_no)).sum()
        return (1 - self.rho) * bag + self.rho * instance

    def _check(self, predictions: Any, targets: Any, mask: Any) -> None:
        if predictions.ndim != 2 or targets.shape != predictions.shape[:1]:
            raise InvalidData("expected predictions of shape (b, k), a row a bag, and targets of shape (b,)")
        if mask is not None and (mask.shape != predictions.shape or not bool(mask.any(dim=1).all())):
            raise InvalidData("mask must have the shape of predictions, and somebody in each bag")
        if self.loss == "cross-entropy" and not bool(((targets >= 0) & (targets <= 1)).all()):
            raise InvalidData("targets of cross-entropy must lie in [0, 1]: clip noisy proportions first")
