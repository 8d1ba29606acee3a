"""Codecs: a scalar gradient as one byte, or one bit, or four bytes to compare with.

For `SharedRandomnessTuner`. The logarithmic byte follows Zelikman et al. 2023 (arXiv 2306.10015), whose code needs nine
bits for its own; stochastic rounding makes it unbiased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData, ProtocolError

Floats: TypeAlias = NDArray[np.float64]
Name: TypeAlias = Literal["log8", "int8", "sign", "f32"]
Rounding: TypeAlias = Literal["nearest", "stochastic"]

#: 2^(i/8), i = 0 .. 7, written out: a machine's own power function may differ from another's in the last bit.
_EIGHTHS = np.array(
    [
        1.0,
        1.0905077326652577,
        1.189207115002721,
        1.2968395546510096,
        1.4142135623730951,
        1.5422108254079407,
        1.681792830507429,
        1.8340080864093424,
    ]
)
_CODES = np.arange(1, 128) - 72
_LOG_LEVELS = np.concatenate([[0.0], np.ldexp(_EIGHTHS[_CODES % 8], _CODES // 8)])
_SIGN_BIT, _SKIP = 0x80, 0x80


@dataclass(frozen=True)
class Codec:
    """Turns scalars to bytes and back.

    Parameters
    ----------
    name : {"log8", "int8", "sign", "f32"}
        "log8": a sign bit and seven bits k of a logarithm, |g| = 2^((k - 72)/8), from 0.0021 to 117, off by 4.4 % at
        most; k = 0 is 0. "int8": whole multiples of scale/127. "sign": one bit. "f32": the four bytes of a float32.
    rounding : {"nearest", "stochastic"}
        To the nearer of the two neighbouring codes; or to either, at random, so that the decoded value is right on
        average. Not for "sign" and "f32".
    scale : float
        Largest value of "int8". Public: the data must not choose it.

    Raises
    ------
    InvalidData
        If a parameter is none of these.
    """

    name: Name = "log8"
    rounding: Rounding = "nearest"
    scale: float = 100.0

    def __post_init__(self) -> None:
        for what, value, choices in (("codec", self.name, Name), ("rounding", self.rounding, Rounding)):
            if value not in get_args(choices):
                raise InvalidData(f"{what} must be one of {', '.join(get_args(choices))}, got {value!r}")
        if isinstance(self.scale, bool) or not isinstance(self.scale, (int, float)) or not 0 < self.scale < np.inf:
            raise InvalidData(f"scale must be a finite number above 0, got {self.scale!r}")
        if self.rounding == "stochastic" and self.name in ("sign", "f32"):
            raise InvalidData(f"the codec {self.name!r} does not round: leave rounding as it is")

    def length(self, scalars: int) -> int:
        """Bytes of so many scalars."""
        return {"sign": (scalars + 7) // 8, "f32": 4 * scalars}.get(self.name, scalars)

    @property
    def largest(self) -> float:
        """Largest absolute value that is not cut off."""
        return {"log8": float(_LOG_LEVELS[-1]), "int8": float(self.scale), "sign": np.inf}.get(
            self.name, float(np.finfo(np.float32).max)
        )

    def encode(self, scalars: ArrayLike, random: np.random.Generator | None = None) -> bytes:
        """Return the bytes of scalars.

        A scalar that is not finite becomes a code that says "skip"; for "sign", which has none, a fair coin. Values
        that are too large are cut off at the largest code.

        Parameters
        ----------
        scalars : array_like of float, shape (S,)
        random : numpy.random.Generator, optional
            For stochastic rounding and those coins; keep it from others. By default seeded by the system.
        """
        values = np.asarray(scalars, np.float64)
        if values.ndim != 1:
            raise InvalidData(f"scalars must have one dimension, got shape {values.shape}")
        skipped = ~np.isfinite(values)
        generator = np.random.default_rng() if random is None else random
        if self.name == "sign":
            coins = generator.random(len(values)) < 0.5
            return np.packbits(np.where(skipped, coins, values < 0)).tobytes()
        if self.name == "f32":
            cut = np.clip(values, -self.largest, self.largest)
            return np.where(skipped, np.nan, cut).astype("<f4").tobytes()
        finite = np.where(skipped, 0.0, values)
        codes = self._codes(np.abs(finite), generator)
        negative = (finite < 0) & (codes > 0)
        if self.name == "log8":
            whole = codes | np.where(negative, _SIGN_BIT, 0)
        else:
            whole = np.where(negative, 256 - codes, codes)
        return np.where(skipped, _SKIP, whole).astype(np.uint8).tobytes()

    def decode(self, payload: bytes, scalars: int) -> Floats:
        """Return the scalars of a payload, shape (S,); NaN for a skipped one. The same bits on every machine.

        Raises
        ------
        ProtocolError
            If the payload has another length than so many scalars take, or bits that no encoder sets.
        """
        if len(payload) != self.length(scalars):
            raise ProtocolError(f"{scalars} scalars take {self.length(scalars)} bytes, got {len(payload)}")
        raw = np.frombuffer(payload, np.uint8)
        if self.name == "sign":
            bits = np.unpackbits(raw)
            if bits[scalars:].any():
                raise ProtocolError("the bits that fill up the last byte must be 0")
            return np.where(bits[:scalars] == 1, -1.0, 1.0)
        if self.name == "f32":
            floats = np.frombuffer(payload, "<f4").astype(np.float64)
            if np.isinf(floats).any():
                raise ProtocolError("a scalar is infinite")
            return floats
        return np.asarray(self._table()[raw])

    def _codes(self, sizes: Floats, random: np.random.Generator) -> NDArray[np.int64]:
        """Codes 0 .. 127 of absolute values."""
        levels = self._levels()
        low = np.clip(np.searchsorted(levels, sizes, side="right") - 1, 0, 126)
        place = np.clip((sizes - levels[low]) / (levels[low + 1] - levels[low]), 0.0, 1.0)
        threshold = random.random(len(sizes)) if self.rounding == "stochastic" else 0.5
        return low + (place > threshold)

    def _levels(self) -> Floats:
        return _LOG_LEVELS if self.name == "log8" else np.arange(128, dtype=np.float64) * (self.scale / 127)

    def _table(self) -> Floats:
        """Value of each byte."""
        levels = self._levels()
        if self.name == "log8":
            return np.concatenate([levels, [np.nan], -levels[1:]])
        return np.concatenate([levels, [np.nan], -levels[:0:-1]])


def encode_log8(scalar: float) -> int:
    """Return the logarithmic byte of one scalar, 0 .. 255; 0x80 for what is not finite."""
    return Codec().encode([scalar])[0]


def decode_log8(byte: int) -> float:
    """Return the scalar of a logarithmic byte; NaN for 0x80, which says "skip"."""
    if isinstance(byte, bool) or not isinstance(byte, int) or not 0 <= byte <= 255:
        raise InvalidData("a byte is a whole number in 0 .. 255")
    return float(Codec().decode(bytes([byte]), 1)[0])
