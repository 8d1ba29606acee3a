"""The trainable parameters of a torch module as one vector in a fixed order, and hashes of all there is.

For `SharedRandomnessTuner`. The order is that of the names, not of a dictionary, so machines agree on it; tied weights
count once; the vector is float32 whatever the module's precision, or small updates would vanish in it.
"""

from __future__ import annotations

import hashlib
import re
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import InvalidData

Vector: TypeAlias = NDArray[np.float32]


class Trainable:
    """The parameters that are tuned.

    Parameters
    ----------
    model : torch.nn.Module
    which : str
        "all", or a regular expression that is searched for in names: ``"lora_"``. Frozen parameters
        (``requires_grad=False``) never count.

    Raises
    ------
    InvalidData
        If the expression is none, or nothing is left to tune.
    """

    def __init__(self, model: torch.nn.Module, which: str = "all") -> None:
        try:
            pattern = re.compile("" if which == "all" else which)
        except (re.error, TypeError):
            raise InvalidData(f'trainable must be "all" or a regular expression, got {which!r}') from None
        named = {name: p for name, p in model.named_parameters() if p.requires_grad and pattern.search(name)}
        if not named:
            raise InvalidData(f"trainable={which!r} leaves no parameter to tune")
        self.names = sorted(named)
        self._parameters = [named[name] for name in self.names]
        self._ends = np.cumsum([p.numel() for p in self._parameters])
        self.size = int(self._ends[-1])

    def read(self) -> Vector:
        """Return the parameters, shape (size,)."""
        return np.concatenate([p.detach().to("cpu", torch.float32).numpy().ravel() for p in self._parameters])

    def write(self, values: Vector) -> None:
        """Set the parameters: copied, never added to."""
        with torch.no_grad():
            start = 0
            for parameter, end in zip(self._parameters, self._ends, strict=True):
                parameter.copy_(torch.from_numpy(values[start:end]).view(parameter.shape))
                start = int(end)

    def names_hash(self) -> str:
        """SHA-256 of names, shapes and dtypes, in order."""
        lines = [f"{n} {tuple(p.shape)} {p.dtype}" for n, p in zip(self.names, self._parameters, strict=True)]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def weights_hash(values: Vector) -> str:
    """SHA-256 of all bytes of a vector: no rounding, no abbreviation."""
    return hashlib.sha256(np.ascontiguousarray(values, "<f4").tobytes()).hexdigest()


def base_hash(model: torch.nn.Module) -> str:
    """SHA-256 of all parameters and buffers with their names, frozen ones included."""
    digest = hashlib.sha256()
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
