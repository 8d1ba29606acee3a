"""Entropy: random bits from a ChaCha20 keystream, keyed by the operating system.

For the samplers in `noise`. RFC 8439; a fork gets a key of its own, so that parent and child never share a stretch.
"""

from __future__ import annotations

import hashlib
import os

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray

_KEY_BYTES = 32
_REKEY_AFTER = 2**34  # bytes under one key: far below the 2^38 at which a 32-bit block counter wraps


class Entropy:
    """A source of uniform bits.

    Parameters
    ----------
    seed : int, optional
        For tests and studies: the same bits every time. Without it the key is the system's entropy.
    """

    def __init__(self, seed: int | None = None) -> None:
        self._seeded = seed is not None
        self._start(os.urandom(_KEY_BYTES) if seed is None else hashlib.sha256(f"sfumato {seed}".encode()).digest())

    def keystream(self, n: int) -> bytearray:
        """Return n uniform bytes."""
        if os.getpid() != self._pid and not self._seeded:
            self._start(os.urandom(_KEY_BYTES))
        if self._used + n > _REKEY_AFTER:
            self._start(bytes(self._encryptor.update(bytes(_KEY_BYTES))))
        self._used += n
        buffer = bytearray(n)
        self._encryptor.update_into(buffer, buffer)  # encrypting zeros, in place
        return buffer

    def uint16(self, n: int) -> NDArray[np.uint16]:
        """Return n uniform 16-bit integers, shape (n,)."""
        return np.frombuffer(self.keystream(2 * n), dtype=np.uint16)

    def uint32(self, n: int) -> NDArray[np.uint32]:
        """Return n uniform 32-bit integers, shape (n,)."""
        return np.frombuffer(self.keystream(4 * n), dtype=np.uint32)

    def uint64(self, n: int) -> NDArray[np.uint64]:
        """Return n uniform 64-bit integers, shape (n,)."""
        return np.frombuffer(self.keystream(8 * n), dtype=np.uint64)

    def integer(self, bits: int) -> int:
        """Return one uniform integer in [0, 2**bits)."""
        return int.from_bytes(self.keystream(-(-bits // 8)), "little") >> (-bits % 8)

    def _start(self, key: bytes) -> None:
        self._encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
        self._used = 0
        self._pid = os.getpid()
