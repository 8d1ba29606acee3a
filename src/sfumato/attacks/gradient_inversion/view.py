"""What a server holds of one upload: the target of every attack here.

For whoever attacks a federation, of any kind: a view is made of arrays by name and a torch module. The setting is that
of Geiping et al. (NeurIPS 2020): an honest-but-curious server.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from sfumato.errors import InvalidData

Kind: TypeAlias = Literal["gradient", "delta"]
Tensors: TypeAlias = dict[str, Tensor]

#: What may be known besides the upload.
KNOWN = ("shape", "labels", "classes", "mean", "std", "momentum", "weight_decay", "embedding")


@dataclass(frozen=True, eq=False)
class View:
    """One client's upload, and what the server knew before.

    Parameters
    ----------
    parameters : mapping of str to array_like
        What the server had sent: the network's parameters by name or, of a hypernetwork federation, the hypernetwork's.
    update : mapping of str to array_like
        What came back, under the same names; parameters that clients leave as they are may be missing.
    model : torch.nn.Module
        The network that the client trained: a classifier that returns logits or, of a hypernetwork federation, the
        feature extractor. Its own parameters are not read. It is never changed.
    kind : {"gradient", "delta"}
        Whether the update is a gradient, or parameters after training less those before.
    lr : float, optional
        The client's learning rate; a delta needs it.
    steps : int
        Steps of SGD behind a delta.
    batch : int
        Images in the update.
    known : mapping of str to object
        ``shape`` (channels, height, width), without which no image can be searched for; ``labels`` of the batch;
        ``classes``, their number; ``mean`` and ``std`` that images in [0, 1] are standardised with, one a channel;
        ``momentum`` and ``weight_decay`` of the client's SGD; ``embedding`` of a hypernetwork's client.

    Raises
    ------
    InvalidData
        If a part is missing or is not of that form; the message names the part.
    """

    parameters: Mapping[str, ArrayLike]
    update: Mapping[str, ArrayLike]
    model: nn.Module
    kind: Kind = "gradient"
    lr: float | None = None
    steps: int = 1
    batch: int = 1
    known: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.model, nn.Module):
            raise InvalidData(f"model must be a torch.nn.Module, got {type(self.model).__name__}")
        if self.kind not in get_args(Kind):
            raise InvalidData(f"kind must be one of {', '.join(get_args(Kind))}, got {self.kind!r}")
        for name in ("steps", "batch"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1, got {value!r}")
        if self.kind == "gradient" and self.steps > 1:
            raise InvalidData("several steps need kind='delta': a gradient is of one step")
        if self.kind == "delta" and (self.lr is None or not 0 < self.lr < np.inf):
            raise InvalidData(f"lr must be positive and finite for a delta, got {self.lr!r}")
        _check_arrays("parameters", self.parameters)
        _check_arrays("update", self.update)
        _check_alike(self.parameters, self.update)
        _check_known(self.known, self.batch)
        if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in self.model.modules()):
            warnings.warn(
                "model has batch norm in training mode: its statistics are guessed with the images", stacklevel=3
            )

    def tensors(self, part: Literal["parameters", "update"], dtype: torch.dtype = torch.float32) -> Tensors:
        """Return a part as tensors by name."""
        given: Mapping[str, Any] = getattr(self, part)
        return {name: torch.as_tensor(np.array(value), dtype=dtype) for name, value in given.items()}

    def needs(self, *names: str) -> None:
        """Refuse if something that an attack needs is not known.

        Raises
        ------
        InvalidData
            Naming what is missing.
        """
        missing = [name for name in names if name not in self.known]
        if missing:
            raise InvalidData(f"the view lacks known[{missing[0]!r}], which this attack needs")


def _check_arrays(part: str, given: Any) -> None:
    if not isinstance(given, Mapping) or not given:
        raise InvalidData(f"{part} must be a mapping of arrays by name, and not empty")
    for name, value in given.items():
        array = np.asarray(value)
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise InvalidData(f"{part}[{name!r}] must be finite numbers")


def _check_alike(parameters: Mapping[str, ArrayLike], update: Mapping[str, ArrayLike]) -> None:
    for name in update:
        if name not in parameters:
            raise InvalidData(f"parameters lacks {name!r}, which the update has")
        if np.shape(parameters[name]) != np.shape(update[name]):
            shapes = f"{np.shape(update[name])}, that of the parameters {np.shape(parameters[name])}"
            raise InvalidData(f"update[{name!r}] has shape {shapes}")


def _check_known(known: Any, batch: int) -> None:
    if not isinstance(known, Mapping) or any(name not in KNOWN for name in known):
        raise InvalidData(f"known must be a mapping with keys among {', '.join(KNOWN)}")
    if "shape" in known:
        shape = tuple(known["shape"])
        if len(shape) != 3 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in shape):
            raise InvalidData(f"known['shape'] must be (channels, height, width), got {known['shape']!r}")
    if "labels" in known:
        labels = np.asarray(known["labels"])
        if labels.shape != (batch,) or labels.dtype.kind not in "iu" or (labels < 0).any():
            raise InvalidData(f"known['labels'] must be {batch} whole numbers from 0")
    if ("mean" in known) != ("std" in known) or ("std" in known and not (np.asarray(known["std"]) > 0).all()):
        raise InvalidData("known['mean'] and known['std'] go together, and std is positive")
