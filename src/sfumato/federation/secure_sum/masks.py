"""Keys that two silos agree on, and the masks and boxes made from them.

For `SecureSum`. X25519 (RFC 7748), HKDF-SHA256 (RFC 5869), ChaCha20 and ChaCha20-Poly1305 (RFC 8439), all from the
`cryptography` package. Every derived key has a purpose and the run's nonce in it, and is used once.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from sfumato.errors import ProtocolError

Bits: TypeAlias = Literal[32, 64]


def public_of(secret: bytes) -> bytes:
    """Return the X25519 public key of a secret one."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def agreed_key(secret: bytes, public: bytes, purpose: str, nonce: bytes) -> bytes:
    """Return 32 bytes that only the holders of the two secret keys can compute, for one purpose of one run.

    Raises
    ------
    ProtocolError
        If `public` is one of the few points that give everybody the same secret.
    """
    try:
        shared = X25519PrivateKey.from_private_bytes(secret).exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise ProtocolError("a public key is a point of small order") from None
    return HKDF(algorithm=SHA256(), length=32, salt=nonce, info=purpose.encode()).derive(shared)


def mask(key: bytes, length: int, bits: Bits) -> NDArray[Any]:
    """Return `length` residues modulo 2^bits: the ChaCha20 keystream of the key, all 256 bits of it."""
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor().update(bytes(length * bits // 8))
    return np.frombuffer(stream, f"<u{bits // 8}")


def seal(key: bytes, text: bytes, header: bytes) -> bytes:
    """Encrypt and authenticate; a key seals one box only, so its nonce is fixed."""
    return ChaCha20Poly1305(key).encrypt(bytes(12), text, header)


def unseal(key: bytes, box: bytes, header: bytes) -> bytes | None:
    """Return what `seal` was given, or None if the box was not sealed with this key and header."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), box, header)
    except InvalidTag:
        return None
