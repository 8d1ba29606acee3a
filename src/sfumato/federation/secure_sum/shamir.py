"""Shamir's secret sharing of 32-byte secrets.

For `SecureSum`: any `threshold` shares give the secret, fewer are independent of it. Shamir 1979; polynomials over the
field of the least prime above 2^256.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence

from sfumato.errors import InvalidData, ProtocolError

PRIME = (1 << 256) + 297
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, threshold: int, points: Sequence[int]) -> dict[int, bytes]:
    """Return a share for each point.

    The coefficients above the secret are uniform over the whole field, zero included: with fewer than `threshold`
    shares every secret is equally consistent.

    Parameters
    ----------
    secret : bytes, of length 32
    threshold : int
        Shares that are needed, from 1 to the number of points.
    points : sequence of int
        Distinct, from 1: at 0 lies the secret.

    Raises
    ------
    InvalidData
        If a parameter is not as above.
    """
    if len(secret) != SECRET_BYTES:
        raise InvalidData(f"secret must have {SECRET_BYTES} bytes, got {len(secret)}")
    if len(set(points)) != len(points) or not all(0 < point < PRIME for point in points):
        raise InvalidData("points must be distinct and at least 1")
    if not 1 <= threshold <= len(points):
        raise InvalidData(f"threshold must be from 1 to the {len(points)} points, got {threshold}")
    coefficients = [int.from_bytes(secret, "big")] + [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return {point: _value(coefficients, point).to_bytes(SHARE_BYTES, "big") for point in points}


def combine(shares: Mapping[int, bytes]) -> bytes:
    """Return the secret that lies on the polynomial through these shares; with wrong or too few, another one.

    Raises
    ------
    ProtocolError
        If the shares are not of the field, or give a number that is no 32-byte secret.
    """
    values = {point: int.from_bytes(share, "big") for point, share in shares.items()}
    if any(len(share) != SHARE_BYTES for share in shares.values()) or any(y >= PRIME for y in values.values()):
        raise ProtocolError("a share is a number below the prime, in 33 bytes")
    total = 0
    for point, value in values.items():
        above = below = 1
        for other in values:
            if other != point:
                above = above * other % PRIME
                below = below * (other - point) % PRIME
        total = (total + value * above * pow(below, -1, PRIME)) % PRIME
    if total >> (8 * SECRET_BYTES):
        raise ProtocolError("the shares do not belong to one secret")
    return total.to_bytes(SECRET_BYTES, "big")


def _value(coefficients: Sequence[int], point: int) -> int:
    value = 0
    for coefficient in reversed(coefficients):
        value = (value * point + coefficient) % PRIME
    return value
