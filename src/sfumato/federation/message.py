"""Message: named arrays, numbers, text and bytes, with one encoding that is checked on the way in and on the way out.

For every protocol of `sfumato.federation`: requests, replies, the server's state and a silo's memory are messages. The
bytes may come from anybody, so nothing is unpickled and nothing is allocated before its length is checked.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError

#: What a field may hold. Arrays are of the dtypes in `DTYPES`, integers fit 64 bits, nothing is NaN or infinite.
Value: TypeAlias = "NDArray[Any] | int | float | bool | str | bytes"

#: Most bytes of a message, unless the run says otherwise: 64 MiB.
LIMIT = 64 << 20
#: The dtypes of arrays on the wire, in the order of their codes; little-endian there.
DTYPES = tuple(
    np.dtype(f"<{code}") for code in ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)
MAX_DIMENSIONS = 8
MAX_FIELDS = 1 << 16

_MAGIC = b"sfumato\x01"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,199}", re.ASCII)
_LENGTH = struct.Struct("<Q")
_COUNT = struct.Struct("<I")


@dataclass(frozen=True, eq=False)
class Message(Mapping[str, Value]):
    """A mapping of names to values that has exactly one encoding.

    Parameters
    ----------
    fields : mapping of str to array, int, float, bool, str or bytes
        Names are letters, digits and ``_ . / -``, at most 200, and start with a letter or ``_``. The order does not
        matter: two messages with equal fields have equal bytes. Byte order and memory layout of arrays are lost.

    Raises
    ------
    InvalidData
        If a name or a value is none of these, or holds NaN or an infinity. The message names the field.

    Examples
    --------
    >>> message = Message({"update": np.zeros(3, np.float32), "steps": 5})
    >>> Message.from_bytes(message.to_bytes()) == message
    True
    """

    fields: Mapping[str, Value]

    def __post_init__(self) -> None:
        if isinstance(self.fields, Message):
            object.__setattr__(self, "fields", self.fields.fields)
            return
        if not isinstance(self.fields, Mapping):
            raise InvalidData(f"fields must be a mapping of names to values, got {type(self.fields).__name__}")
        if len(self.fields) > MAX_FIELDS:
            raise InvalidData(f"a message has at most {MAX_FIELDS} fields, got {len(self.fields)}")
        checked = {_name(name): _value(name, value) for name, value in self.fields.items()}
        object.__setattr__(self, "fields", dict(sorted(checked.items())))

    def __getitem__(self, name: str) -> Value:
        return self.fields[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Message) and self.to_bytes() == other.to_bytes()

    def __hash__(self) -> int:
        return hash(self.to_bytes())

    def __repr__(self) -> str:
        return f"Message({', '.join(f'{name}: {_described(value)}' for name, value in self.fields.items())})"

    @property
    def payload_bytes(self) -> int:
        """Length of the encoding."""
        return len(self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the encoding."""
        parts = [_MAGIC, _COUNT.pack(len(self.fields))]
        for name, value in self.fields.items():
            kind, body = _encode(value)
            parts += [bytes([len(name)]), name.encode(), kind, _LENGTH.pack(len(body)), body]
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes, *, limit: int = LIMIT) -> Message:
        """Decode what `to_bytes` wrote; arrays come back read-only.

        Raises
        ------
        ProtocolError
            If `data` is longer than `limit`, or is not exactly what `to_bytes` writes for some message.
        """
        if not isinstance(data, bytes):
            raise ProtocolError(f"a message is bytes, got {type(data).__name__}")
        if len(data) > limit:
            raise ProtocolError(f"the message has {len(data)} bytes, more than the limit of {limit}")
        reader = _Reader(data)
        if reader.take(len(_MAGIC)) != _MAGIC:
            raise ProtocolError("not a message of this version of sfumato.federation")
        try:
            fields = dict(_read_fields(reader))
            reader.finish()
            return cls(fields)
        except InvalidData as error:
            raise ProtocolError(str(error)) from None

    def array(self, name: str, *, dtype: Any, shape: tuple[int | None, ...]) -> NDArray[Any]:
        """Return an array field, of exactly that dtype and shape; None in the shape stands for any length.

        Raises
        ------
        ProtocolError
            If the field is missing or is something else.
        """
        value = self._field(name)
        wanted = np.dtype(dtype)
        if not isinstance(value, np.ndarray) or value.dtype != wanted:
            raise ProtocolError(f"field {name!r} must be an array of {wanted}, got {_described(value)}")
        if len(value.shape) != len(shape) or any(n not in (None, m) for n, m in zip(shape, value.shape, strict=True)):
            raise ProtocolError(f"field {name!r} must have shape {shape}, got {value.shape}")
        return value

    def integer(self, name: str, *, low: int, high: int) -> int:
        """Return an integer field in low .. high, both included; ProtocolError if it is something else."""
        value = self._field(name)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ProtocolError(f"field {name!r} must be an integer in {low} .. {high}")
        return value

    def number(self, name: str, *, low: float = -math.inf, high: float = math.inf) -> float:
        """Return a float field in [low, high]; ProtocolError if it is something else."""
        value = self._field(name)
        if not isinstance(value, float) or not low <= value <= high:
            raise ProtocolError(f"field {name!r} must be a float in [{low}, {high}]")
        return value

    def text(self, name: str, *, most: int) -> str:
        """Return a text field of at most that many characters; ProtocolError if it is something else."""
        value = self._field(name)
        if not isinstance(value, str) or len(value) > most:
            raise ProtocolError(f"field {name!r} must be text of at most {most} characters")
        return value

    def blob(self, name: str, *, length: int | None = None) -> bytes:
        """Return a bytes field, of that length if one is given; ProtocolError if it is something else."""
        value = self._field(name)
        if not isinstance(value, bytes) or length not in (None, len(value)):
            raise ProtocolError(f"field {name!r} must be bytes{'' if length is None else f' of length {length}'}")
        return value

    def expect(self, *names: str) -> None:
        """Raise ProtocolError unless the message has exactly these fields."""
        if set(names) != set(self.fields):
            raise ProtocolError(f"expected the fields {sorted(names)}, got {len(self.fields)} fields that differ")

    def _field(self, name: str) -> Value:
        if name not in self.fields:
            raise ProtocolError(f"field {name!r} is missing")
        return self.fields[name]


def _name(name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidData("a field's name is letters, digits and _ . / -, at most 200, and starts with a letter or _")
    return name


def _value(name: str, value: Any) -> Value:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return _array(name, value)
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidData(f"field {name!r} is NaN or infinite")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise InvalidData(f"field {name!r} is an integer that does not fit 64 bits")
    if isinstance(value, str):
        _utf8(name, value)
    if not isinstance(value, (int, float, str, bytes)):
        raise InvalidData(f"field {name!r} must be an array, a number, text or bytes, got {type(value).__name__}")
    return value


def _array(name: str, value: NDArray[Any]) -> NDArray[Any]:
    little = value.dtype.newbyteorder("<") if value.dtype.kind in "biuf" else value.dtype
    if little not in DTYPES:
        raise InvalidData(f"field {name!r} must be an array of {', '.join(str(d) for d in DTYPES)}, got {value.dtype}")
    if value.ndim > MAX_DIMENSIONS:
        raise InvalidData(f"field {name!r} must have at most {MAX_DIMENSIONS} dimensions, got {value.ndim}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise InvalidData(f"field {name!r} holds NaN or infinite values")
    return np.ascontiguousarray(value, little).reshape(value.shape)


def _utf8(name: str, value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidData(f"field {name!r} must be text that UTF-8 can write") from None


def _encode(value: Value) -> tuple[bytes, bytes]:
    match value:
        case bool():
            return b"?", bytes([value])
        case int():
            return b"i", struct.pack("<q", value)
        case float():
            return b"f", struct.pack("<d", value)
        case str():
            return b"s", value.encode()
        case bytes():
            return b"b", value
    head = bytes([DTYPES.index(value.dtype), value.ndim]) + b"".join(map(_LENGTH.pack, value.shape))
    return b"a", head + value.tobytes()


def _read_fields(reader: _Reader) -> Iterator[tuple[str, Value]]:
    (count,) = _COUNT.unpack(reader.take(_COUNT.size))
    before = ""
    for _ in range(count):
        name = _ascii(reader.take(reader.take(1)[0]))
        if name <= before:
            raise ProtocolError("the fields of a message must be sorted by name, each once")
        before = name
        kind = reader.take(1)
        (length,) = _LENGTH.unpack(reader.take(_LENGTH.size))
        yield name, _decode(name, kind, reader.take(length))


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise ProtocolError("a field's name must be ASCII") from None


def _decode(name: str, kind: bytes, body: bytes) -> Value:
    match kind:
        case b"?" if body in (b"\x00", b"\x01"):
            return body == b"\x01"
        case b"i" if len(body) == 8:
            return int(struct.unpack("<q", body)[0])
        case b"f" if len(body) == 8:
            return float(struct.unpack("<d", body)[0])
        case b"s":
            try:
                return body.decode()
            except UnicodeDecodeError:
                raise ProtocolError(f"field {name!r} is not UTF-8") from None
        case b"b":
            return body
        case b"a":
            return _decode_array(name, _Reader(body))
    raise ProtocolError(f"field {name!r} is of no known kind, or of a wrong length")


def _decode_array(name: str, reader: _Reader) -> NDArray[Any]:
    code, dimensions = reader.take(2)
    if code >= len(DTYPES) or dimensions > MAX_DIMENSIONS:
        raise ProtocolError(f"field {name!r} has an unknown dtype, or more than {MAX_DIMENSIONS} dimensions")
    shape = [_LENGTH.unpack(reader.take(_LENGTH.size))[0] for _ in range(dimensions)]
    data = reader.rest()
    # An axis of length 0 hides the others' lengths from the product of all, but not from NumPy.
    if math.prod(max(n, 1) for n in shape) > max(len(data), LIMIT) or math.prod(shape) * DTYPES[code].itemsize != len(
        data
    ):
        raise ProtocolError(f"field {name!r} has a shape that its {len(data)} bytes do not fill")
    if DTYPES[code].kind == "b" and data.strip(b"\x00\x01"):
        raise ProtocolError(f"field {name!r} holds bytes that are no booleans")
    return np.frombuffer(data, DTYPES[code]).reshape(shape)


def _described(value: Value) -> str:
    if isinstance(value, np.ndarray):
        return f"array of {value.dtype}, shape {value.shape}"
    return type(value).__name__


class _Reader:
    """Takes bytes from the front, and never more than there are."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, n: int) -> bytes:
        if n > len(self._data) - self._at:
            raise ProtocolError("the message is cut off, or a length in it is wrong")
        self._at += n
        return self._data[self._at - n : self._at]

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)

    def finish(self) -> None:
        if self._at != len(self._data):
            raise ProtocolError("bytes follow the message")
