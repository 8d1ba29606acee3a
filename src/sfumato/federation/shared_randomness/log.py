"""The log of a run: which machines took part in which step, and the bytes they sent. It *is* the checkpoint.

For `SharedRandomnessTuner`: weights are a function of base weights and log. On disk each record is chained to those
before it by a hash and synced before it is acted on, so a crash loses at most a record that nobody acted on.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from sfumato.durable import sync_folder, write_durably
from sfumato.errors import InvalidData, ProtocolError

_HEAD = struct.Struct("<QI")  # step, machines
_ENTRY = struct.Struct("<QI")  # machine, bytes
_LENGTH = struct.Struct("<I")
_MAGIC = b"sfumato zo log 2\n"
_CHECK = 16
_MOST_MACHINES = 1 << 20
_MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Record:
    """One committed step: its participants are the machines whose bytes it holds.

    Attributes
    ----------
    step : int
        From 0.
    payloads : mapping of int to bytes
        By machine. Applied in increasing order of machines.
    """

    step: int
    payloads: Mapping[int, bytes]

    def to_bytes(self) -> bytes:
        """Return the one encoding."""
        parts = [_HEAD.pack(self.step, len(self.payloads))]
        for machine in sorted(self.payloads):
            parts += [_ENTRY.pack(machine, len(self.payloads[machine])), self.payloads[machine]]
        return b"".join(parts)


def read_records(data: bytes) -> Iterator[Record]:
    """Read records that follow one another.

    Raises
    ------
    ProtocolError
        If the bytes are not what `Record.to_bytes` writes: a length is wrong, or machines are unsorted or double.
    """
    at = 0

    def take(n: int) -> bytes:
        nonlocal at
        if n > len(data) - at:
            raise ProtocolError("a record of the log is cut off, or a length in it is wrong")
        at += n
        return data[at - n : at]

    while at < len(data):
        step, machines = _HEAD.unpack(take(_HEAD.size))
        if machines > _MOST_MACHINES:
            raise ProtocolError(f"step {step} has more than {_MOST_MACHINES} machines")
        payloads: dict[int, bytes] = {}
        for _ in range(machines):
            machine, length = _ENTRY.unpack(take(_ENTRY.size))
            if payloads and machine <= max(payloads):
                raise ProtocolError(f"the machines of step {step} must be sorted, each once")
            payloads[machine] = take(length)
        yield Record(step, payloads)


@dataclass(frozen=True)
class Header:
    """What all machines of a run must have in common, to the last digit.

    Attributes
    ----------
    base_hash : str
        SHA-256 of all weights and buffers before the run.
    names_hash : str
        SHA-256 of the trainable parameters' names, shapes and dtypes, in their order.
    generator, fingerprint : str
        What draws the directions, and a hash of its first numbers.
    run_seed : str
    codec : str
        With its scale: how bytes are read.
    samples_per_step : int
    eps, lr : float
    average : str
    seed_pool : int or None
    """

    base_hash: str
    names_hash: str
    generator: str
    fingerprint: str
    run_seed: str
    codec: str
    samples_per_step: int
    eps: float
    lr: float
    average: str
    seed_pool: int | None

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object."""
        return asdict(self)

    def check_equals(self, other: Header) -> None:
        """Raise InvalidData with the names of the fields that differ."""
        differ = [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
        if differ:
            raise InvalidData(f"the log belongs to another run: {', '.join(differ)} differ")


class Log:
    """Header and records, in memory or in a file.

    Parameters
    ----------
    header : Header
    path : str or Path, optional
        A file. One that is there is read and gone on with; its header must be the same.
    first_step : int
        Of the first record, for a log in memory that goes on from weights that were kept.

    Raises
    ------
    InvalidData
        If the file is of another run, or was changed: a record that is torn at the very end is cut off, since a crash
        leaves such, and anything else is an error.
    """

    def __init__(self, header: Header, path: str | Path | None = None, *, first_step: int = 0) -> None:
        if path is not None and first_step:
            raise InvalidData("a log in a file begins with step 0")
        self.header = header
        self.first_step = first_step
        self.records: list[Record] = []
        self._path = None if path is None else Path(path)
        self._chain = _digest(b"", _written(header))
        if self._path is not None and self._path.exists():
            header.check_equals(self._read(self._path))
        elif self._path is not None:
            written = _written(header)
            write_durably(self._path, lambda file: file.write(written))
            sync_folder(self._path.parent)

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Read a log whose header is not known yet.

        Raises
        ------
        InvalidData
            If it is no log, or was changed.
        """
        return cls(_header(Path(path).read_bytes())[0], path)

    @property
    def next_step(self) -> int:
        """The step that comes next."""
        return self.first_step + len(self.records)

    @property
    def in_file(self) -> bool:
        """Whether the log is on disk."""
        return self._path is not None

    @property
    def scalar_bytes(self) -> int:
        """Bytes of all scalars, which is what machines had to tell each other."""
        return sum(len(payload) for record in self.records for payload in record.payloads.values())

    def append(self, record: Record) -> None:
        """Add the next step's record; on disk before this returns.

        Raises
        ------
        ProtocolError
            If it is of another step than the next.
        """
        if record.step != self.next_step:
            raise ProtocolError(f"the log expects step {self.next_step}, got {record.step}")
        body = record.to_bytes()
        chain = _digest(self._chain, body)
        if self._path is not None:
            with open(self._path, "ab") as file:
                file.write(_LENGTH.pack(len(body)) + body + chain)
                file.flush()
                os.fsync(file.fileno())
        self._chain = chain
        self.records.append(record)

    def _read(self, path: Path) -> Header:
        data = path.read_bytes()
        header, at = _header(data)
        self._chain = _digest(b"", data[:at])
        while at < len(data):
            whole = data[at : at + _LENGTH.size]
            length = _LENGTH.unpack(whole)[0] if len(whole) == _LENGTH.size else _MOST_BYTES
            end = at + _LENGTH.size + length + _CHECK
            if end > len(data):
                self._cut(path, at)
                break
            body = data[at + _LENGTH.size : end - _CHECK]
            chain = _digest(self._chain, body)
            if chain != data[end - _CHECK : end]:
                raise InvalidData(f"the log was changed: the record of step {self.next_step} does not fit its hash")
            (record,) = read_records(body)
            if record.step != self.next_step:
                raise InvalidData(f"the log has a gap: step {self.next_step} is missing")
            self.records.append(record)
            self._chain, at = chain, end
        return header

    @staticmethod
    def _cut(path: Path, at: int) -> None:
        with open(path, "r+b") as file:
            file.truncate(at)
            file.flush()
            os.fsync(file.fileno())


def _written(header: Header) -> bytes:
    text = json.dumps(header.to_json(), sort_keys=True).encode()
    return _MAGIC + _LENGTH.pack(len(text)) + text


def _header(data: bytes) -> tuple[Header, int]:
    """The header of a file's bytes, and where it ends."""
    start = len(_MAGIC) + _LENGTH.size
    try:
        if not data.startswith(_MAGIC):
            raise ValueError
        (length,) = _LENGTH.unpack(data[len(_MAGIC) : start])
        return Header(**json.loads(data[start : start + length])), start + length
    except (ValueError, TypeError, struct.error):
        raise InvalidData("not a log of this version of sfumato") from None


def _digest(before: bytes, body: bytes) -> bytes:
    return hashlib.blake2b(before + body, digest_size=_CHECK).digest()
