"""Subnetwork: the kept weights of a public random network, whose signs are all that is left to learn.

For `SupermaskProtocol`. Server and silos derive it from a seed alone. Weights of one magnitude a layer after Koster et
al., "Signing the Supermask" (ICLR 2022), and Ramanujan et al. 2020; both from memory.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch.func import functional_call

from sfumato.errors import InvalidData
from sfumato.federation.supermask.saliency import at_identity, check_keep, kept_count, prunable, synaptic_saliency

Magnitudes: TypeAlias = Literal["constant", "normal"]
Prune: TypeAlias = Literal["saliency", "random"]

_MASK = 1 << 32  # of the seed's streams: layers are numbered from 0


def digit_network() -> torch.nn.Module:
    """Two convolutions and two layers for images of 28 x 28 as vectors of 784, without biases: 80,016 weights."""
    nn = torch.nn
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 16, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 5, bias=False),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 128, bias=False),
        nn.ReLU(),
        nn.Linear(128, 10, bias=False),
    )


@dataclass(frozen=True, eq=False)
class Subnetwork:
    """A network of which only some weights exist, each with a magnitude and a first sign.

    Attributes
    ----------
    network : torch.nn.Module
        In evaluation mode, with biases 0 and normalisation at identity; its own weights are not used.
    masks : dict of str to BoolTensor
    values : FloatTensor, shape (kept,)
        The first weights, one vector in the network's order.
    """

    network: torch.nn.Module
    masks: Mapping[str, torch.Tensor]
    values: torch.Tensor

    def __post_init__(self) -> None:
        flat = torch.cat([mask.reshape(-1) for mask in self.masks.values()])
        object.__setattr__(self, "_places", torch.nonzero(flat).reshape(-1))
        object.__setattr__(self, "_size", len(flat))

    @property
    def kept(self) -> int:
        """Number of kept weights."""
        return len(self.values)

    @property
    def size(self) -> int:
        """Number of weights before pruning."""
        return int(self._size)  # type: ignore[attr-defined]

    def weights(self, effective: torch.Tensor) -> dict[str, torch.Tensor]:
        """All weights by name, from those that are kept: a vector of shape (kept,). The others are 0."""
        flat = torch.zeros(self.size, dtype=effective.dtype)
        flat = flat.index_put((self._places,), effective)  # type: ignore[attr-defined]
        pieces = torch.split(flat, [mask.numel() for mask in self.masks.values()])
        return {name: p.reshape(m.shape) for (name, m), p in zip(self.masks.items(), pieces, strict=True)}

    def logits(self, effective: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Outputs of the network with these kept weights."""
        return functional_call(self.network, self.weights(effective), (inputs,))  # type: ignore[no-any-return]

    def module(self, effective: torch.Tensor) -> torch.nn.Module:
        """A network of its own with these kept weights."""
        made = copy.deepcopy(self.network)
        made.load_state_dict(self.weights(effective), strict=False)
        return made

    def identity(self) -> bytes:
        """SHA-256 of kept places and first weights: whether two sides mean the same network."""
        digest = hashlib.sha256(self.packed_masks())
        digest.update(self.values.numpy().astype("<f4").tobytes())
        return digest.digest()

    def packed_masks(self) -> bytes:
        """A bit for each weight before pruning: whether it is kept."""
        return np.packbits(torch.cat([mask.reshape(-1) for mask in self.masks.values()]).numpy()).tobytes()


def make_subnetwork(
    network: torch.nn.Module,
    input_shape: Sequence[int],
    *,
    keep: float,
    seed: int,
    steps: int = 100,
    weights: Magnitudes = "constant",
    prune: Prune = "saliency",
) -> Subnetwork:
    """Draw first weights from a public seed, prune them, and set the magnitudes of what is kept.

    First weights are Kaiming normal, and saliency is that of these; only then are they replaced by
    sign · √(2 / (fan_in · share of the layer that is kept)), for signed constants all alike would tie.

    Parameters
    ----------
    network : torch.nn.Module
        Its architecture counts, its weights do not.
    input_shape : sequence of int
    keep : float
    seed : int
        At least 0.
    steps : int
        See `synaptic_saliency`.
    weights : {"constant", "normal"}
        "normal" keeps the drawn weights, over √share.
    prune : {"saliency", "random"}
        "random" keeps the same share of every layer, as a baseline.

    Raises
    ------
    InvalidData
        As `synaptic_saliency`.
    """
    plain, first = _first_weights(network, seed)
    if prune not in get_args(Prune):
        raise InvalidData(f"prune must be one of {', '.join(get_args(Prune))}")
    if prune == "saliency":
        masks = synaptic_saliency(plain, input_shape, keep=keep, steps=steps)
    else:
        check_keep(keep)
        masks = _random_masks(first, keep, seed)
    return _assembled(plain, first, masks, weights)


def subnetwork_from_masks(
    network: torch.nn.Module, kept: NDArray[np.bool_], *, seed: int, weights: Magnitudes = "constant"
) -> Subnetwork:
    """The subnetwork of a seed whose kept places are known: a silo's, for which the server pruned.

    Raises
    ------
    InvalidData
        If there are more or fewer places than weights, or a layer keeps none.
    """
    plain, first = _first_weights(network, seed)
    if len(kept) != sum(each.numel() for each in first.values()):
        raise InvalidData(f"masks must be of {sum(each.numel() for each in first.values())} weights, got {len(kept)}")
    pieces = torch.split(torch.from_numpy(np.array(kept, np.bool_)), [each.numel() for each in first.values()])
    masks = {name: p.reshape(w.shape) for (name, w), p in zip(first.items(), pieces, strict=True)}
    return _assembled(plain, first, masks, weights)


def weight_count(network: torch.nn.Module) -> int:
    """Number of weights before pruning."""
    return sum(each.numel() for each in prunable(network).values())


def kept_total(network: torch.nn.Module, keep: float, prune: Prune) -> int:
    """Number of weights that pruning keeps, without doing it."""
    if prune == "saliency":
        return kept_count(weight_count(network), keep)
    return sum(kept_count(each.numel(), keep) for each in prunable(network).values())


def _first_weights(network: torch.nn.Module, seed: Any) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise InvalidData("seed must be a whole number, at least 0")
    plain = at_identity(network, torch.float64)
    with torch.no_grad():
        for number, each in enumerate(prunable(plain).values()):
            drawn = np.random.default_rng([seed, number]).standard_normal(tuple(each.shape))
            each.copy_(torch.from_numpy(drawn * math.sqrt(2 / fan_in(each))))
    return plain, prunable(plain)


def fan_in(weight: torch.Tensor) -> int:
    """Inputs of one output."""
    return weight.numel() // weight.shape[0]


def _random_masks(first: Mapping[str, torch.Tensor], keep: float, seed: int) -> dict[str, torch.Tensor]:
    masks = {}
    for number, (name, each) in enumerate(first.items()):
        order = np.random.default_rng([seed, number, _MASK]).permutation(each.numel())
        mask = torch.zeros(each.numel(), dtype=torch.bool)
        mask[torch.from_numpy(order[: kept_count(each.numel(), keep)])] = True
        masks[name] = mask.reshape(each.shape)
    return masks


def _assembled(
    plain: torch.nn.Module, first: Mapping[str, torch.Tensor], masks: Mapping[str, torch.Tensor], weights: Any
) -> Subnetwork:
    if weights not in get_args(Magnitudes):
        raise InvalidData(f"weights must be one of {', '.join(get_args(Magnitudes))}")
    values = []
    for name, each in first.items():
        share = float(masks[name].sum()) / each.numel()
        if share == 0:
            raise InvalidData(f"layer {name!r} keeps no weight")
        scaled = each / math.sqrt(share)
        if weights == "constant":
            scaled = torch.where(each < 0, -1.0, 1.0).to(each) * math.sqrt(2 / (fan_in(each) * share))
        values.append(scaled[masks[name]])
    return Subnetwork(plain.float(), dict(masks), torch.cat(values).float())
