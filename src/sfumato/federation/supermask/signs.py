"""Signs and counts of signs as bits: what silos send and what the server sends back.

For `SupermaskProtocol` and exported models. Everything is read strictly: one length, and padding of zeros.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData, ProtocolError

Signs = NDArray[np.int8]


def pack_signs(signs: ArrayLike) -> bytes:
    """Return a bit a sign, 1 for +1, padded with zeros to whole bytes.

    Parameters
    ----------
    signs : array_like of int, shape (n,)
        Each -1 or +1.

    Raises
    ------
    InvalidData
        If it holds anything else: a sign of 0, say, which would be a weight that dies.
    """
    values = np.asarray(signs)
    if values.ndim != 1 or not np.isin(values, (-1, 1)).all():
        raise InvalidData("signs must be a vector of -1 and +1")
    return np.packbits(values > 0).tobytes()


def unpack_signs(data: bytes, n: int) -> Signs:
    """Return the n signs that `pack_signs` packed, as int8.

    Raises
    ------
    ProtocolError
        If `data` is not ⌈n/8⌉ bytes whose last bits are zeros.
    """
    return np.where(unpack_bits(data, n), 1, -1).astype(np.int8)


def unpack_bits(data: bytes, n: int) -> NDArray[np.bool_]:
    """Return n bits as booleans; ProtocolError unless `data` is ⌈n/8⌉ bytes whose last bits are zeros."""
    if not isinstance(data, bytes) or len(data) != -(-n // 8):
        length = len(data) if isinstance(data, bytes) else type(data).__name__
        raise ProtocolError(f"{n} bits are {-(-n // 8)} bytes, got {length}")
    bits = np.unpackbits(np.frombuffer(data, np.uint8)).astype(np.bool_)
    if bits[n:].any():
        raise ProtocolError("the bits after the last must be zeros")
    return bits[:n]


def count_bits(most: int) -> int:
    """Bits of a number in 0 .. most: ⌈log2(most + 1)⌉."""
    return int(most).bit_length()


def pack_counts(counts: ArrayLike, most: int) -> bytes:
    """Return ⌈log2(most + 1)⌉ bits a count; each count is in 0 .. most."""
    values = np.asarray(counts, np.int64)
    if values.ndim != 1 or (values.size and (values.min() < 0 or values.max() > most)):
        raise InvalidData(f"counts must be a vector of integers in 0 .. {most}")
    places = np.arange(count_bits(most))[::-1]
    return np.packbits((values[:, None] >> places) & 1).tobytes()


def unpack_counts(data: bytes, n: int, most: int) -> NDArray[np.int64]:
    """Return the n counts that `pack_counts` packed; ProtocolError if `data` is nothing that it writes."""
    width = count_bits(most)
    bits = unpack_bits(data, n * width).reshape(n, width)
    counts = bits.astype(np.int64) @ (1 << np.arange(width, dtype=np.int64)[::-1])
    if counts.size and counts.max() > most:
        raise ProtocolError(f"a count of {most} signs is at most {most}")
    return np.asarray(counts, np.int64)
