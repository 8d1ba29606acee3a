"""SecureSum: five rounds after which the server knows the sum of the silos' integer vectors, and no vector.

For systems that need a sum and nothing else. Bonawitz et al. 2017 ("Practical Secure Aggregation for Privacy-Preserving
Machine Learning", CCS), figure 4 with its consistency check.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.secure_sum import client, server
from sfumato.federation.secure_sum.client import Contribution
from sfumato.federation.secure_sum.masks import Bits
from sfumato.privacy.bounds import Cryptographic
from sfumato.privacy.claim import Claim

__all__ = ["Contribution", "SecureSum", "make_signing_key"]

#: Silos in one sum; each keeps a share for each other.
_MOST_SILOS = 1000


def make_signing_key() -> tuple[bytes, str]:
    """Return a silo's secret signing key, 32 bytes, and the public key for the roster, as hexadecimal text."""
    key = Ed25519PrivateKey.generate()
    return key.private_bytes_raw(), key.public_key().public_bytes_raw().hex()


class SecureSum:
    """A protocol of five rounds: keys, shares, masked vectors, agreement, unmasking.

    Each silo u adds two kinds of masks to its vector: one from a seed b_u of its own, and for each pair of silos one
    that the two agree on and that cancels in the sum. It has given every silo a Shamir share of b_u and of its key.
    In the last round the silos send, for each silo, *either* shares of its seed, if its masked vector arrived, *or*
    shares of its key, if it dropped out after the second round: never both, or the server could unmask that silo.

    Who arrived is the server's word, and by telling silos of different arrivals it could gather the secrets for a sum
    of fewer silos than the threshold. So before that round the silos sign the list, each once, and each waits for
    `threshold` = t signatures of the same. With n silos, c of which lie with the server, two lists would need 2 (t - c)
    signatures of the n - c others, who sign one list each: impossible if 2 t > n + c. The signature also covers all
    public keys of the run, one's own fresh ones among them: a server that plays back the keys that a silo signed in an
    old run finds nobody to sign for it.

    What the server learns: the sum over the silos whose masked vectors arrived, which silos those are, and what follows
    from the sum. A server that lies can choose them, `threshold` at least. With c silos colluding, it is the sum of the
    others. The sum itself is exact: put differential privacy into the vectors if the sum says too much.

    What it does not protect against: a silo that adds garbage to its own vector; nobody can see the vector, so only its
    dtype and length are checked. Wrong shares, keys and signatures are found and named. A server that lies can spoil
    the sum, and need not give the right one.

    Parameters
    ----------
    roster : sequence of str
        Public signing keys of all silos, by their numbers, as `make_signing_key` gives them. Every side must have the
        same: a server that could swap keys could read everything.
    length : int
        Of the vectors.
    bound : int
        Largest absolute value of an entry. The modulus, 2^32 or 2^64, is chosen so that the sum cannot wrap.
    threshold : int, optional
        Silos that must stay to the end, more than half; by default two thirds, rounded up. A lying server may have
        2 `threshold` - n - 1 of the n silos on its side.

    Raises
    ------
    InvalidData
        If a parameter is out of range.

    Attributes
    ----------
    claim : Claim
    """

    name = "secure-sum"
    version = 2

    def __init__(self, roster: Sequence[str], *, length: int, bound: int, threshold: int | None = None) -> None:
        keys = tuple(roster)
        if not 2 <= len(keys) <= _MOST_SILOS or len(set(keys)) != len(keys):
            raise InvalidData(f"roster must hold 2 to {_MOST_SILOS} distinct keys, got {len(keys)}")
        if not all(_is_key(key) for key in keys):
            raise InvalidData("roster must hold keys of 64 hexadecimal digits")
        for name, value in (("length", length), ("bound", bound)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InvalidData(f"{name} must be an integer of at least 1")
        if len(keys) * bound >= 1 << 63:
            raise InvalidData("bound must leave room for the sum in 64 bits")
        least = math.ceil(2 * len(keys) / 3) if threshold is None else threshold
        if isinstance(least, bool) or not isinstance(least, int) or not len(keys) < 2 * least <= 2 * len(keys):
            raise InvalidData(f"threshold must be an integer above half of the {len(keys)} silos, and at most all")
        self.roster = keys
        self.length = length
        self.bound = bound
        self.threshold = max(2, least)
        self.bits: Bits = 32 if len(keys) * bound < 1 << 31 else 64

    @property
    def claim(self) -> Claim:
        """What is promised to each silo about its vector."""
        return Claim(
            Cryptographic(
                "that X25519 keys agreed on and hashed by HKDF-SHA256 look random, that ChaCha20 is a pseudorandom "
                "generator and ChaCha20-Poly1305 an authenticated cipher, and that Ed25519 signatures are unforgeable; "
                "against a server that lies also that HKDF-SHA256 and ChaCha20 act as random oracles",
                f"a server that lies, together with up to {2 * self.threshold - len(self.roster) - 1} silos, or one "
                f"that follows the protocol, together with up to {self.threshold - 1} silos, "
                f"who learn one sum, over at least {self.threshold} silos, and of the others' vectors nothing else",
            ),
            unit="silo",
            neighbours="replace-one",
            trust="silo",
            assumptions=("the roster of signing keys is authentic", "a silo's process and its store are its own"),
        )

    def config(self) -> dict[str, Any]:
        """Return the parameters."""
        return {
            "roster": list(self.roster),
            "length": self.length,
            "bound": self.bound,
            "threshold": self.threshold,
        }

    def start(self) -> Fields:
        """Draw the nonce that every key of this run depends on."""
        return server.start()

    def requests(self, state: Message, parties: tuple[int, ...]) -> Mapping[int, Fields]:
        """Ask those that are still in for their next stage."""
        return server.requests(self, state, [party for party in parties if party < len(self.roster)])

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Check fields, lengths and, in the first round, the signature."""
        server.check_reply(self, state, party, reply)

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> Fields:
        """Pass on keys, then boxes, then ask for shares, then unmask."""
        if len(replies) < self.threshold:
            raise ProtocolError(f"{len(replies)} silos are left, and the threshold is {self.threshold}")
        return server.step(self, state, replies)

    def finished(self, state: Message) -> bool:
        """Whether the sum is there."""
        return "sum" in state

    def result(self, state: Message) -> Any:
        """Return the sum, an array of int64 of shape (length,)."""
        return np.array(state["sum"])

    def client_step(self, request: Message, memory: Message, data: Contribution) -> tuple[Fields, Fields]:
        """Do a silo's part of a stage; its secrets are in its memory, which is empty after the last."""
        return client.step(self, request, memory, data)

    def signed(self, party: int, nonce: bytes, keys: bytes) -> bytes:
        """Return the text that a silo signs: who it is, in which run of which sum, and its two public keys."""
        return b"sfumato secure-sum keys\0" + party.to_bytes(8, "big") + nonce + keys

    def signed_set(self, nonce: bytes, view: bytes, arrived: Set[int]) -> bytes:
        """Return the text that a silo signs when it is told who arrived, in which run, with which keys."""
        numbers = b"".join(party.to_bytes(8, "big") for party in sorted(arrived))
        return b"sfumato secure-sum arrived\0" + nonce + view + numbers

    def verify_set(self, party: int, nonce: bytes, view: bytes, arrived: Set[int], signature: bytes) -> None:
        """Raise ProtocolError unless the silo of that number signed that these arrived."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.roster[party]))
            key.verify(signature, self.signed_set(nonce, view, arrived))
        except InvalidSignature:
            raise ProtocolError(f"silo {party} did not sign for those who arrived with these keys") from None

    def verify(self, party: int, nonce: bytes, keys: bytes, signature: bytes) -> None:
        """Raise ProtocolError unless the silo of that number in the roster signed these keys for this run."""
        try:
            key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(self.roster[party]))
            key.verify(signature, self.signed(party, nonce, keys))
        except InvalidSignature:
            raise ProtocolError(f"the keys of silo {party} are not signed by its key in the roster") from None


def _is_key(text: object) -> bool:
    return isinstance(text, str) and len(text) == 64 and set(text) <= set("0123456789abcdef")
