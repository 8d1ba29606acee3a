"""A whole model in a bit a kept weight: what it takes to draw the same network again, and the signs.

For `SignSupermask.export` and `SignSupermask.load`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message
from sfumato.federation.supermask.protocol import SupermaskProtocol
from sfumato.federation.supermask.signs import Signs, pack_signs, unpack_signs
from sfumato.federation.supermask.subnetwork import make_subnetwork
from sfumato.federation.supermask.training import coded

_VERSION = 1
_FIELDS = ("version", "seed", "keep", "steps", "weights", "prune", "code", "subnetwork", "signs")


def exported(protocol: SupermaskProtocol, signs: Signs) -> bytes:
    """The model of these signs, as bytes."""
    fields = {
        "version": _VERSION,
        "seed": protocol.seed,
        "keep": float(protocol.keep),
        "steps": protocol.saliency_steps,
        "weights": protocol.weights,
        "prune": protocol.prune,
        "code": protocol.training.code,
        "subnetwork": protocol.subnetwork.identity(),
        "signs": pack_signs(signs),
    }
    return Message(fields).to_bytes()


def loaded(data: bytes, network: torch.nn.Module, input_shape: Sequence[int]) -> torch.nn.Module:
    """The model, as a torch module in evaluation mode; see `SignSupermask.load`."""
    try:
        fields = Message.from_bytes(data)
        fields.expect(*_FIELDS)
        fields.integer("version", low=_VERSION, high=_VERSION)
        subnetwork = make_subnetwork(
            network,
            input_shape,
            keep=fields.number("keep"),
            seed=fields.integer("seed", low=0, high=(1 << 63) - 1),
            steps=fields.integer("steps", low=1, high=1 << 20),
            weights=fields.text("weights", most=20),  # type: ignore[arg-type]
            prune=fields.text("prune", most=20),  # type: ignore[arg-type]
        )
        if subnetwork.identity() != fields.blob("subnetwork", length=32):
            raise InvalidData("the model is of another network than the one given, or of another machine's arithmetic")
        signs = unpack_signs(fields.blob("signs"), subnetwork.kept)
        code = fields.text("code", most=20)
    except ProtocolError as error:
        raise InvalidData(f"not an exported supermask: {error}") from None
    if code not in ("sign", "binary"):
        raise InvalidData(f"not an exported supermask: its code is {code!r}")
    return subnetwork.module(subnetwork.values * coded(torch.from_numpy(signs), code))  # type: ignore[arg-type]
