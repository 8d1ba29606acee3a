"""The server's five stages of `SecureSum`.

For that protocol. The state holds what silos have sent and, at the end, only the sum.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, islice
from typing import TYPE_CHECKING

import numpy as np

from sfumato.errors import ProtocolError
from sfumato.federation.message import Message, Value
from sfumato.federation.secure_sum import masks, shamir
from sfumato.federation.secure_sum.client import (
    BOX_BYTES,
    KEYS_BYTES,
    LAST_STAGE,
    SIGNATURE_BYTES,
    commitment,
    pair_purpose,
    signed_pair_mask,
    view_of,
)

if TYPE_CHECKING:
    from sfumato.federation.secure_sum.protocol import SecureSum

#: Sets of shares that are tried if the first does not give the secret: enough for one wrong share among many.
_MOST_TRIED = 500


def start() -> dict[str, Value]:
    """The state before the first round; `stage` is the one that was done."""
    return {"stage": 0, "nonce": secrets.token_bytes(32)}


def requests(protocol: SecureSum, state: Message, parties: Sequence[int]) -> dict[int, dict[str, Value]]:
    """Return the next stage's requests, to those that have done all before."""
    match state["stage"]:
        case 0:
            return {party: {"stage": 1, "nonce": state["nonce"]} for party in parties}
        case 1:
            keys = {f"keys/{party}": state[f"keys/{party}"] for party in _in(state, "keys")}
            return {party: {"stage": 2, **keys} for party in _in(state, "keys")}
        case 2:
            senders = _in(state, "commitment")
            return {
                party: {"stage": 3, **{f"box/{u}": state[f"box/{u}/{party}"] for u in senders if u != party}}
                for party in senders
            }
        case 3:
            arrived = np.array(_in(state, "masked"), np.int64)
            return {int(party): {"stage": 4, "arrived": arrived} for party in arrived}
    agreed = {f"agreed/{party}": state[f"agreed/{party}"] for party in _in(state, "agreed")}
    return {party: {"stage": 5, **agreed} for party in _in(state, "agreed")}


def check_reply(protocol: SecureSum, state: Message, party: int, reply: Message) -> None:
    """Raise ProtocolError unless the reply is of its stage's form."""
    match state["stage"]:
        case 0:
            reply.expect("keys", "signature")
            keys = reply.blob("keys", length=KEYS_BYTES)
            signature = reply.blob("signature", length=SIGNATURE_BYTES)
            protocol.verify(party, state.blob("nonce"), keys, signature)
        case 1:
            boxes = [f"box/{other}" for other in _in(state, "keys") if other != party]
            reply.expect("commitment", *boxes)
            reply.blob("commitment", length=32)
            for name in boxes:
                reply.blob(name, length=BOX_BYTES)
        case 2:
            reply.expect("masked")
            reply.array("masked", dtype=f"<u{protocol.bits // 8}", shape=(protocol.length,))
        case 3:
            reply.expect("signature")
            signature = reply.blob("signature", length=SIGNATURE_BYTES)
            protocol.verify_set(party, state.blob("nonce"), _view(state), set(_in(state, "masked")), signature)
        case _:
            allowed = {f"share/{other}" for other in _in(state, "commitment")}
            if not set(reply) <= allowed:
                raise ProtocolError("shares must be of silos that sent some")
            for name in reply:
                reply.blob(name, length=shamir.SHARE_BYTES)


def step(protocol: SecureSum, state: Message, replies: Mapping[int, Message]) -> dict[str, Value]:
    """Return the state after a stage."""
    after: dict[str, Value] = {**state, "stage": state.integer("stage", low=0, high=LAST_STAGE - 1) + 1}
    match state["stage"]:
        case 0:
            for party, reply in replies.items():
                after[f"keys/{party}"] = reply.blob("keys") + reply.blob("signature")
        case 1:
            for party, reply in replies.items():
                after[f"commitment/{party}"] = reply["commitment"]
                for name in reply:
                    if name != "commitment":
                        after[f"box/{party}/{name.partition('/')[2]}"] = reply[name]
        case 2:
            for party, reply in replies.items():
                after[f"masked/{party}"] = reply["masked"]
        case 3:
            for party, reply in replies.items():
                after[f"agreed/{party}"] = reply["signature"]
        case _:
            return _unmasked(protocol, state, replies)
    return after


def _unmasked(protocol: SecureSum, state: Message, replies: Mapping[int, Message]) -> dict[str, Value]:
    sharing, arrived = _in(state, "commitment"), _in(state, "masked")
    residue = f"<u{protocol.bits // 8}"
    total = np.zeros(protocol.length, residue)
    for party in arrived:
        total = total + state.array(f"masked/{party}", dtype=residue, shape=(protocol.length,))
    for party in sharing:
        shares = {u + 1: reply.blob(f"share/{party}") for u, reply in replies.items() if f"share/{party}" in reply}
        if party in arrived:
            expected = state.blob(f"commitment/{party}")
            seed = _secret(protocol, party, shares, commitment, expected)
            total = total - masks.mask(seed, protocol.length, protocol.bits)
        else:
            expected = state.blob(f"keys/{party}")[32:64]
            secret = _secret(protocol, party, shares, masks.public_of, expected)
            for other in arrived:
                public = state.blob(f"keys/{other}")[32:64]
                pair = masks.agreed_key(secret, public, pair_purpose(party, other), state.blob("nonce"))
                total = total - signed_pair_mask(protocol, other, party, pair)
    signed = total.view(f"<i{protocol.bits // 8}").astype(np.int64)
    return {"stage": LAST_STAGE, "sum": signed, "parties": np.array(arrived, np.int64)}


def _secret(
    protocol: SecureSum, party: int, shares: Mapping[int, bytes], public: Callable[[bytes], bytes], expected: bytes
) -> bytes:
    """The secret whose public side is known already, so that a wrong share cannot go unnoticed."""
    for points in islice(combinations(sorted(shares), protocol.threshold), _MOST_TRIED):
        try:
            secret = shamir.combine({point: shares[point] for point in points})
        except ProtocolError:
            continue
        if public(secret) == expected:
            return secret
    raise ProtocolError(f"the shares of silo {party}'s secret do not give it: too few came, or some are wrong")


def _view(state: Message) -> bytes:
    return view_of({party: state.blob(f"keys/{party}")[:KEYS_BYTES] for party in _in(state, "keys")})


def _in(state: Message, kind: str) -> list[int]:
    """The silos of which the state has something of a kind."""
    found = (name.split("/") for name in state)
    return sorted(int(parts[1]) for parts in found if parts[0] == kind and len(parts) == 2)
