"""A silo's five stages of `SecureSum`.

For that protocol; a stage's memory is what the next needs, and no more.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message, Value
from sfumato.federation.secure_sum import masks, shamir

if TYPE_CHECKING:
    from sfumato.federation.secure_sum.protocol import SecureSum

#: Two public keys, the signature over them; two shares in an authenticated box.
KEYS_BYTES, SIGNATURE_BYTES, BOX_BYTES = 64, 64, 2 * shamir.SHARE_BYTES + 16
#: Keys, shares, masked vectors, agreement, unmasking.
LAST_STAGE = 5
Step = Callable[["SecureSum", Message, Message, "Contribution"], tuple[dict[str, Value], dict[str, Value]]]


@dataclass(frozen=True)
class Contribution:
    """What a silo brings.

    Parameters
    ----------
    party : int
        Its number in the roster.
    values : array_like of int, shape (length,)
    signing_key : bytes
        Its secret key, 32 bytes.
    """

    party: int
    values: Any
    signing_key: bytes


def commitment(seed: bytes) -> bytes:
    """Bind a silo to its seed without showing it: the seed is 32 uniform bytes."""
    return hashlib.sha256(b"sfumato secure-sum seed\0" + seed).digest()


def pair_purpose(a: int, b: int) -> str:
    """Name the mask that two silos share, the same for both."""
    return f"sfumato secure-sum mask {min(a, b)} {max(a, b)}"


def box_purpose(sender: int, receiver: int) -> str:
    """Name the key of the box from one silo to another."""
    return f"sfumato secure-sum box {sender} {receiver}"


def signed_pair_mask(protocol: SecureSum, party: int, other: int, key: bytes) -> NDArray[Any]:
    """Return what `party` adds for the pair: the lower number adds the mask, the higher subtracts it."""
    drawn = masks.mask(key, protocol.length, protocol.bits)
    return drawn if party < other else -drawn


def view_of(keys: Mapping[int, bytes]) -> bytes:
    """Digest of all silos' public keys in a run: fresh ones among them make it a view of no other run."""
    text = b"".join(party.to_bytes(8, "big") + keys[party] for party in sorted(keys))
    return hashlib.sha256(b"sfumato secure-sum view\0" + text).digest()


def step(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    """Do the stage that is asked for, which must be the next."""
    stage = request.integer("stage", low=1, high=LAST_STAGE)
    if stage != memory.get("stage", 0) + 1:  # type: ignore[operator]
        raise ProtocolError(f"stage {stage} was asked for out of order")
    return _STAGES[stage](protocol, request, memory, data)


def _keys(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    request.expect("stage", "nonce")
    nonce = request.blob("nonce", length=32)
    _checked(protocol, data)
    box_secret, mask_secret = secrets.token_bytes(32), secrets.token_bytes(32)
    keys = masks.public_of(box_secret) + masks.public_of(mask_secret)
    signature = Ed25519PrivateKey.from_private_bytes(data.signing_key).sign(protocol.signed(data.party, nonce, keys))
    try:
        protocol.verify(data.party, nonce, keys, signature)
    except ProtocolError:
        raise InvalidData("signing_key is not the one in the roster under this party's number") from None
    return {"keys": keys, "signature": signature}, {
        "stage": 1,
        "nonce": nonce,
        "keys": keys,
        "box-secret": box_secret,
        "mask-secret": mask_secret,
    }


def _shares(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    nonce, me = memory.blob("nonce"), data.party
    others = {}
    for name in request:
        if name == "stage":
            continue
        party = _party(protocol, name, "keys")
        signed = request.blob(name, length=KEYS_BYTES + SIGNATURE_BYTES)
        protocol.verify(party, nonce, signed[:KEYS_BYTES], signed[KEYS_BYTES:])
        others[party] = signed[:KEYS_BYTES]
    if others.pop(me, None) != memory["keys"]:
        raise ProtocolError("the keys that came back are not this silo's own")
    if len(others) + 1 < protocol.threshold:
        raise ProtocolError(f"{len(others) + 1} silos sent keys, and the threshold is {protocol.threshold}")
    public = [keys[at : at + 32] for keys in (*others.values(), memory.blob("keys")) for at in (0, 32)]
    if len(set(public)) != len(public):
        raise ProtocolError("two of the public keys are the same")
    seed = secrets.token_bytes(32)
    points = [party + 1 for party in (me, *others)]
    of_key = shamir.split(memory.blob("mask-secret"), protocol.threshold, points)
    of_seed = shamir.split(seed, protocol.threshold, points)
    reply: dict[str, Value] = {"commitment": commitment(seed)}
    for party, keys in others.items():
        key = masks.agreed_key(memory.blob("box-secret"), keys[:32], box_purpose(me, party), nonce)
        reply[f"box/{party}"] = masks.seal(key, of_key[party + 1] + of_seed[party + 1], nonce)
    return reply, {
        **memory,
        "stage": 2,
        "seed": seed,
        "own": of_seed[me + 1],
        "view": view_of({**others, me: memory.blob("keys")}),
        **{f"keys/{party}": keys for party, keys in others.items()},
    }


def _masked(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    nonce, me = memory.blob("nonce"), data.party
    total = _checked(protocol, data).astype(f"<u{protocol.bits // 8}")
    total = total + masks.mask(memory.blob("seed"), protocol.length, protocol.bits)
    kept: dict[str, Value] = {"stage": 3, "nonce": nonce, "view": memory["view"], f"seed/{me}": memory["own"]}
    senders = [_party(protocol, name, "box") for name in request if name != "stage"]
    if len(senders) + 1 < protocol.threshold:
        raise ProtocolError(f"{len(senders) + 1} silos sent shares, and the threshold is {protocol.threshold}")
    for party in senders:
        if f"keys/{party}" not in memory:
            raise ProtocolError(f"silo {party} sends a box and had sent no keys")
        keys = memory.blob(f"keys/{party}")
        pair = masks.agreed_key(memory.blob("mask-secret"), keys[32:], pair_purpose(me, party), nonce)
        total = total + signed_pair_mask(protocol, me, party, pair)
        key = masks.agreed_key(memory.blob("box-secret"), keys[:32], box_purpose(party, me), nonce)
        shares = masks.unseal(key, request.blob(f"box/{party}", length=BOX_BYTES), nonce)
        kept[f"key/{party}"] = b"" if shares is None else shares[: shamir.SHARE_BYTES]
        kept[f"seed/{party}"] = b"" if shares is None else shares[shamir.SHARE_BYTES :]
    return {"masked": total}, kept


def _agree(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    request.expect("stage", "arrived")
    arrived = {int(party) for party in request.array("arrived", dtype=np.int64, shape=(None,))}
    if not {data.party} <= arrived <= _known(memory) or len(arrived) < protocol.threshold:
        raise ProtocolError("those who arrived must be enough, this silo among them, and have sent shares before")
    # Once: the memory has this stage behind it, so a silo never signs for two sets.
    signed = protocol.signed_set(memory.blob("nonce"), memory.blob("view"), arrived)
    signature = Ed25519PrivateKey.from_private_bytes(data.signing_key).sign(signed)
    return {"signature": signature}, {**memory, "stage": 4, "arrived": np.array(sorted(arrived), np.int64)}


def _unmask(
    protocol: SecureSum, request: Message, memory: Message, data: Contribution
) -> tuple[dict[str, Value], dict[str, Value]]:
    arrived = {int(party) for party in memory.array("arrived", dtype=np.int64, shape=(None,))}
    agreed = {_party(protocol, name, "agreed") for name in request if name != "stage"}
    if not agreed <= arrived or len(agreed) < protocol.threshold:
        raise ProtocolError(f"{len(agreed)} silos agreed on who arrived, and the threshold is {protocol.threshold}")
    for party in agreed:
        signature = request.blob(f"agreed/{party}", length=SIGNATURE_BYTES)
        protocol.verify_set(party, memory.blob("nonce"), memory.blob("view"), arrived, signature)
    # One kind of share for each silo: both together would unmask it.
    shares = {p: memory.blob(f"{'seed' if p in arrived else 'key'}/{p}") for p in sorted(_known(memory))}
    return {f"share/{party}": share for party, share in shares.items() if share}, {"stage": 5}


_STAGES: dict[int, Step] = {1: _keys, 2: _shares, 3: _masked, 4: _agree, 5: _unmask}


def _known(memory: Message) -> set[int]:
    """The silos of which this one has shares, itself included."""
    return {int(name.partition("/")[2]) for name in memory if name.startswith("seed/")}


def _checked(protocol: SecureSum, data: Contribution) -> NDArray[np.int64]:
    """The vector, if it may enter the sum; the errors say nothing of its values."""
    if not isinstance(data, Contribution):
        raise InvalidData(f"data must be a Contribution, got {type(data).__name__}")
    if isinstance(data.party, bool) or not isinstance(data.party, int) or not 0 <= data.party < len(protocol.roster):
        raise InvalidData("party must be a number in the roster")
    if not isinstance(data.signing_key, bytes) or len(data.signing_key) != 32:
        raise InvalidData("signing_key must be 32 bytes")
    values = np.asarray(data.values)
    if values.dtype.kind not in "iu" or values.shape != (protocol.length,):
        raise InvalidData(f"values must be {protocol.length} integers")
    if np.any(values > protocol.bound) or np.any(values < -protocol.bound):
        raise InvalidData("values must lie within the bound")
    return values.astype(np.int64)


def _party(protocol: SecureSum, name: str, kind: str) -> int:
    before, _, number = name.partition("/")
    if before != kind or not number.isdecimal() or str(int(number)) != number or int(number) >= len(protocol.roster):
        raise ProtocolError(f"a field of the request must be {kind}/ and a silo's number")
    return int(number)
