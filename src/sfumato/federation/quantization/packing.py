"""Reports as bytes, as few as they need: ceil(log2 m) bits each.

For clients that send reports themselves; a masked sum needs the bits of the sum.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData, ProtocolError


def bits_per_report(outcomes: int) -> int:
    """How many bits values 0 .. outcomes - 1 need.

    Raises
    ------
    InvalidData
        If outcomes is not in 2 .. 256.
    """
    if not 2 <= outcomes <= 256:
        raise InvalidData(f"outcomes must be in 2 .. 256, got {outcomes!r}")
    return int(outcomes - 1).bit_length()


def pack_bits(reports: ArrayLike, outcomes: int) -> bytes:
    """Write reports one after the other, the highest bit of each first; the last byte is filled with zeros.

    Parameters
    ----------
    reports : array_like of int, any shape
        In 0 .. outcomes - 1.
    outcomes : int

    Raises
    ------
    InvalidData
        If a report is outside that range.
    """
    width = bits_per_report(outcomes)
    values = np.asarray(reports)
    if values.dtype.kind not in "iu" or (values.size and not 0 <= values.min() <= values.max() < outcomes):
        raise InvalidData(f"reports must be integers in 0 .. {outcomes - 1}")
    bits = np.unpackbits(values.astype(np.uint8).reshape(-1, 1), axis=1)[:, 8 - width :]
    return np.packbits(bits).tobytes()


def unpack_bits(packed: bytes, outcomes: int, size: int) -> NDArray[np.uint8]:
    """Read `size` reports.

    Returns
    -------
    ndarray of uint8, shape (size,)

    Raises
    ------
    ProtocolError
        If these bytes are not what `pack_bits` writes for so many reports.
    """
    width = bits_per_report(outcomes)
    if len(packed) != -(-size * width // 8):
        raise ProtocolError(f"expected {-(-size * width // 8)} bytes for {size} reports, got {len(packed)}")
    bits = np.unpackbits(np.frombuffer(packed, np.uint8))
    wide = np.zeros((size, 8), dtype=np.uint8)
    wide[:, 8 - width :] = bits[: size * width].reshape(size, width)
    reports = np.packbits(wide, axis=1).reshape(size)
    if bits[size * width :].any() or (size and reports.max() >= outcomes):
        raise ProtocolError(f"reports must lie in 0 .. {outcomes - 1}, and be followed by zeros")
    return reports
