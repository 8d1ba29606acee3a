"""Which weights of a network to keep, found without data: iterated synaptic saliency.

For `make_subnetwork`, and usable alone. Tanaka, Kunin, Yamins and Ganguli, "Pruning neural networks without any data by
iteratively conserving synaptic flow" (NeurIPS 2020).
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from sfumato.errors import InvalidData

Weights = dict[str, torch.Tensor]

_LARGE = 1e3
_CONSERVED = 1e-6  # relative: far above rounding, far below what a sigmoid does


def synaptic_saliency(
    network: torch.nn.Module,
    input_shape: Sequence[int],
    *,
    keep: float,
    steps: int = 100,
    dtype: torch.dtype = torch.float64,
) -> dict[str, torch.Tensor]:
    """Return which weights to keep: those that carry most of the flow from the inputs to the outputs.

    A weight's saliency is |w|·∂R/∂|w|, where R is the sum of the outputs of the network with absolute weights, fed
    with ones. No data, no labels and no loss enter. At step k of n the keep^(k/n) most salient weights of the whole
    network stay, and the rest is recomputed without the others; ties go to the earlier weight, so that the number of
    kept weights is exact. In a network that is positively homogeneous the saliencies of each layer add up to R.

    Dropout is off, batch normalisation is at identity, biases are 0. Weights are the parameters with two dimensions or
    more; one that several layers share counts once.

    Parameters
    ----------
    network : torch.nn.Module
        Not changed. Its present weights decide.
    input_shape : sequence of int
        Of one record, without the batch.
    keep : float
        Share of the weights, in (0, 1]; their number is rounded up.
    steps : int
        1 is one-shot pruning, which tends to empty layers where keep is small.
    dtype : torch.dtype
        Double by default: the flow multiplies a sum a layer.

    Returns
    -------
    dict of str to BoolTensor
        By parameter name, in the network's order.

    Raises
    ------
    InvalidData
        If the network has no weights or does not take such inputs; if a parameter is out of range; or if a layer
        empties or no path from inputs to outputs is left. The message then names the layer and a keep that works.
    """
    check_keep(keep)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise InvalidData(f"steps must be a whole number above 0, got {steps}")
    flow = _Flow(network, input_shape, dtype)
    kept = flow.prune(keep, steps)
    fault = flow.fault(kept)
    if fault:
        raise InvalidData(f"keep = {keep:g} is too small: {fault}; the least that works is about {flow.least(steps):g}")
    return flow.named(kept)


def saliency_scores(
    network: torch.nn.Module, input_shape: Sequence[int], *, dtype: torch.dtype = torch.float64
) -> tuple[Weights, float]:
    """Return the saliency of each weight of the network as it is, up to one common factor, and R in the same units."""
    flow = _Flow(network, input_shape, dtype)
    scores, total = flow.scores(np.ones(flow.size, np.bool_))
    return flow.named(scores), total


def prunable(network: torch.nn.Module) -> Weights:
    """Parameters with two dimensions or more, by name; a shared one once.

    Raises
    ------
    InvalidData
        If there are none.
    """
    found = {name: each.detach() for name, each in network.named_parameters() if each.ndim >= 2}
    if not found:
        raise InvalidData("network must have weights: parameters with two dimensions or more")
    return found


def at_identity(network: torch.nn.Module, dtype: torch.dtype) -> torch.nn.Module:
    """A copy in evaluation mode, with biases 0 and normalisation that changes nothing."""
    plain = copy.deepcopy(network).to(device="cpu", dtype=dtype).eval()
    with torch.no_grad():
        for module in plain.modules():
            for name, parameter in module.named_parameters(recurse=False):
                if parameter.ndim < 2:
                    parameter.fill_(1.0 if name == "weight" else 0.0)  # a weight of one dimension is a gain
            for name, buffer in module.named_buffers(recurse=False):
                if name in ("running_mean", "running_var"):
                    buffer.fill_(float(name == "running_var"))
    return plain.requires_grad_(False)


def kept_count(size: int, share: float) -> int:
    """⌈share · size⌉, and not one more because of a float's last digit."""
    return max(1, min(size, math.ceil(size * share - 1e-9)))


def largest(scores: NDArray[Any], count: int) -> NDArray[np.bool_]:
    """Which entries are the `count` largest, of equal ones the first: what a stable sort gives, without sorting."""
    line = np.partition(scores, len(scores) - count)[len(scores) - count]
    chosen = np.asarray(scores > line)
    chosen[np.flatnonzero(scores == line)[: count - int(chosen.sum())]] = True
    return chosen


def check_keep(keep: Any) -> None:
    """Raise InvalidData unless keep is in (0, 1]."""
    if isinstance(keep, bool) or not isinstance(keep, (int, float)) or not 0 < keep <= 1:
        raise InvalidData(f"keep must be in (0, 1], got {keep}")


class _Flow:
    """The network with absolute weights, and what flows through those that are kept."""

    def __init__(self, network: torch.nn.Module, input_shape: Sequence[int], dtype: torch.dtype) -> None:
        self.network = at_identity(network, dtype)
        self.weights = {name: each.abs() for name, each in prunable(self.network).items()}
        self.sizes = {name: each.numel() for name, each in self.weights.items()}
        self.size = sum(self.sizes.values())
        self.ones = torch.ones((1, *input_shape), dtype=dtype)
        if not all(bool(torch.isfinite(each).all()) and float(each.sum()) > 0 for each in self.weights.values()):
            raise InvalidData("network must have finite weights that are not all 0 in a layer")
        # Dividing each layer by the mean sum of an output's weights keeps R in range and, where R is linear in each
        # layer, all ranks.
        plain, self.weights = self.weights, {n: w * (w.shape[0] / w.sum()) for n, w in self.weights.items()}
        if not self._conserves():
            warnings.warn(
                "the network is not positively homogeneous layer by layer (a sigmoid, a cap as in ReLU6, a layer norm, "
                "a residual branch): saliency is not conserved, so a kept set need not be the paper's",
                RuntimeWarning,
                stacklevel=4,
            )
            self.weights = plain

    @torch.enable_grad()
    def scores(self, kept: NDArray[np.bool_]) -> tuple[NDArray[Any], float]:
        """Saliency of every weight, one vector, and R."""
        masks = self.named(kept)
        leaves = {name: (each * masks[name]).requires_grad_() for name, each in self.weights.items()}
        total = self._outputs(leaves).sum()
        if not bool(torch.isfinite(total)):
            raise InvalidData("the sum of the network's outputs overflows: use dtype=torch.float64 or a shallower net")
        gradients = torch.autograd.grad(total, list(leaves.values()))
        saliencies = [(leaf.detach() * g).reshape(-1) for leaf, g in zip(leaves.values(), gradients, strict=True)]
        return torch.cat(saliencies).numpy(), float(total.detach())

    def prune(self, keep: float, steps: int) -> NDArray[np.bool_]:
        kept = np.ones(self.size, np.bool_)
        for step in range(1, steps + 1):
            count = kept_count(self.size, keep ** (step / steps))
            if count == kept.sum():
                continue
            places = np.flatnonzero(kept)  # what is gone does not come back
            kept[places[~largest(self.scores(kept)[0][places], count)]] = False
        return kept

    def fault(self, kept: NDArray[np.bool_]) -> str:
        """What is wrong with a kept set, or nothing."""
        for name, mask in self.named(kept).items():
            if not mask.any():
                return f"layer {name!r} keeps no weight"
        return "" if self.scores(kept)[1] > 0 else f"no path is left from inputs to outputs, ending at {name!r}"

    def least(self, steps: int) -> float:
        """A number of weights that works, next to one that does not, as a share: found by halving."""
        low, high = 0, self.size
        while high - low > max(1, high // 50):
            middle = (low + high) // 2
            if self.fault(self.prune(middle / self.size, steps)):
                low = middle
            else:
                high = middle
        return math.ceil(high / self.size * 1e6) / 1e6

    def named(self, vector: NDArray[Any]) -> Weights:
        pieces = torch.split(torch.from_numpy(vector), list(self.sizes.values()))
        return {name: p.reshape(self.weights[name].shape) for name, p in zip(self.sizes, pieces, strict=True)}

    def _outputs(self, weights: Mapping[str, torch.Tensor]) -> torch.Tensor:
        try:
            outputs: torch.Tensor = functional_call(self.network, dict(weights), (self.ones,))
        except (RuntimeError, ValueError, IndexError) as error:
            shape = tuple(self.ones.shape[1:])
            raise InvalidData(f"network does not take inputs of input_shape {shape}: {error}") from None
        return outputs

    def _conserves(self) -> bool:
        """Whether each layer's saliencies add up to R, or to a multiple of it where several layers share a weight.

        Inputs are large, so that a cap on activations is met.
        """
        self.ones, ones = _LARGE * self.ones, self.ones
        scores, total = self.scores(np.ones(self.size, np.bool_))
        self.ones = ones
        ratios = [float(each.sum()) / total if total > 0 else 0.0 for each in self.named(scores).values()]
        return all(round(r) >= 1 and abs(r - round(r)) < _CONSERVED * max(1.0, r) for r in ratios)
