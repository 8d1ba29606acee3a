"""Encoders: from what users hold, text mostly, to the bit strings that a prefix tree is made of, and back.

For `FederatedHeavyHitters`. An item that an encoder does not know becomes `UNKNOWN`, on the user's side, and is
reported like any other item that is not asked about; no error shows that it was there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from typing import Protocol as Structural

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.federation.heavy_hitters.tree import MOST_BITS, UNKNOWN

Items = NDArray[np.uint64]


class Encoder(Structural):
    """What the estimator needs of an encoder."""

    @property
    def bits(self) -> int:
        """Length of an encoded item."""
        ...

    def encode(self, items: Iterable[Any]) -> Items:
        """Return the items as integers below 2^bits, and `UNKNOWN` for those that have no encoding."""
        ...

    def decode(self, codes: Items) -> list[Any]:
        """Return the items again; None for a code that no item has."""
        ...

    def config(self) -> Mapping[str, Any]:
        """Return all parameters as JSON values: server and silos must agree on them."""
        ...


class Integers:
    """Items that are integers in 0 .. 2^bits - 1 already.

    Parameters
    ----------
    bits : int
    """

    def __init__(self, bits: int) -> None:
        self.bits = bits

    def encode(self, items: Iterable[Any]) -> Items:
        values = np.asarray(items)
        if values.ndim != 1 or (values.size and values.dtype.kind not in "iu"):
            raise InvalidData(f"items must be a vector of integers, got {values.dtype} of {values.ndim} dimensions")
        codes = values.astype(np.uint64)  # negative ones wrap to the top, beyond 2^bits
        codes[codes >= np.uint64(1 << self.bits)] = UNKNOWN
        return codes

    def decode(self, codes: Items) -> list[int]:
        return [int(code) for code in codes]

    def config(self) -> dict[str, Any]:
        return {"kind": "integers", "bits": self.bits}


class FixedText:
    """Text over a public alphabet, a fixed number of bits a character: whoever reads the code reads the text.

    Heavy hitters that nobody has thought of can be found.

    Parameters
    ----------
    length : int
        Longest text. Longer ones are cut off there.
    alphabet : str
        The characters there are, in the order of their codes; a text with another one has no encoding.

    Examples
    --------
    >>> words = FixedText(4, "abcdefghijklmnopqrstuvwxyz")
    >>> words.decode(words.encode(["tea", "coffee"]))
    ['tea', 'coff']
    """

    def __init__(self, length: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> None:
        if not isinstance(alphabet, str) or len(set(alphabet)) != len(alphabet) or not alphabet:
            raise InvalidData("alphabet must be text of different characters")
        self.width = len(alphabet).bit_length()  # 0 is for the end
        self.length = length
        self.alphabet = alphabet
        self.bits = self.width * length
        if length < 1 or self.bits > MOST_BITS:
            raise InvalidData(f"length must be 1 .. {MOST_BITS // self.width} for this alphabet, got {length}")
        self._code = {character: code for code, character in enumerate(alphabet, 1)}

    def encode(self, items: Iterable[Any]) -> Items:
        known: dict[str, int] = {}
        return np.array([known.setdefault(item, self._encoded(item)) for item in _texts(items)], np.uint64)

    def decode(self, codes: Items) -> list[str | None]:
        return [self._decoded(int(code)) for code in codes]

    def config(self) -> dict[str, Any]:
        return {"kind": "text", "length": self.length, "alphabet": self.alphabet}

    def _encoded(self, item: str) -> int:
        code = 0
        for place in range(self.length):
            digit = self._code.get(item[place]) if place < len(item) else 0
            if digit is None:
                return int(UNKNOWN)
            code = code << self.width | digit
        return code

    def _decoded(self, code: int) -> str | None:
        digits = [code >> self.width * place & (1 << self.width) - 1 for place in reversed(range(self.length))]
        length = next((place for place, digit in enumerate(digits) if not digit), self.length)
        if any(digits[length:]) or max(digits) > len(self.alphabet):
            return None
        return "".join(self.alphabet[digit - 1] for digit in digits[:length])


class HashedItems:
    """Any text, by the first bits of its BLAKE2b hash; only what is in a public dictionary can be read back.

    So heavy hitters that nobody has thought of show as None. Two items share a code with probability 2^-bits.

    Parameters
    ----------
    dictionary : sequence of str
        What the analyst can enumerate. It does not limit what users may hold.
    bits : int
    """

    def __init__(self, dictionary: Sequence[str], *, bits: int = 48) -> None:
        if not 1 <= bits <= MOST_BITS:
            raise InvalidData(f"bits must be 1 .. {MOST_BITS}, got {bits}")
        self.bits = bits
        self._names = {self._hashed(item): item for item in reversed(list(_texts(dictionary)))}

    def encode(self, items: Iterable[Any]) -> Items:
        known: dict[str, int] = {}
        return np.array([known.setdefault(item, self._hashed(item)) for item in _texts(items)], np.uint64)

    def decode(self, codes: Items) -> list[str | None]:
        return [self._names.get(int(code)) for code in codes]

    def config(self) -> dict[str, Any]:
        return {"kind": "hashed", "bits": self.bits}

    def _hashed(self, item: str) -> int:
        digest = hashlib.blake2b(item.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        return int.from_bytes(digest, "big") >> (64 - self.bits)


def _texts(items: Iterable[Any]) -> Iterable[str]:
    for item in items:
        if not isinstance(item, str):
            raise InvalidData(f"items must be text for this encoder, got {type(item).__name__}")
        yield item
