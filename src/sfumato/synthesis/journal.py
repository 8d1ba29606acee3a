"""Journal: which rounds of a synthesizer were paid for, and what they measured; on disk before anything uses it.

For `Synthesizer.fit`, which goes on from it after a crash without paying twice. It holds noisy answers only.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.durable import sync_folder
from sfumato.errors import InvalidData

FORMAT = "sfumato.synthesis/1"


class Journal:
    """Rounds that were started, and the results of those that were measured.

    A round is started, then charged, then measured, then recorded. One that was started and never recorded may have
    been charged and drawn, so it counts as spent, and its noise is lost: it is never drawn again.

    Whose table the rounds measured is not written down: any digest of it would tell of its rows. So a journal belongs
    to one table, and whoever fits another one under it gets the first table's answers.

    Parameters
    ----------
    file : file or None
        None keeps nothing.
    entries : list of dict
        What is in it already.
    """

    def __init__(self, file: IO[str] | None = None, entries: list[dict[str, Any]] | None = None) -> None:
        self._file = file
        self._started: set[int] = set()
        self._measured: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        for entry in entries or []:
            self._take(entry)

    def started(self, number: int) -> bool:
        """Whether a round was started, in this run or an earlier one, and its budget counts as spent."""
        return number in self._started

    def result(self, number: int) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """Return a round's workloads and their noisy counts, or None if they were lost."""
        return self._measured.get(number)

    def lost(self, number: int) -> bool:
        """Whether a round was paid for in an earlier run, which was stopped before it had the result."""
        return self.started(number) and self.result(number) is None

    def start(self, number: int) -> None:
        """Record that a round is about to be charged; durable when this returns."""
        self._append({"round": number, "state": "started"})

    def refused(self, number: int) -> None:
        """Record that the ledger took nothing for a round: it can be started again."""
        self._append({"round": number, "state": "refused"})

    def measured(self, number: int, which: NDArray[np.int64], counts: NDArray[np.int64]) -> None:
        """Record a round's workloads and their noisy counts; durable when this returns."""
        self._append({"round": number, "state": "measured", "which": which.tolist(), "counts": counts.tolist()})

    def _append(self, entry: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        self._take(entry)

    def _take(self, entry: dict[str, Any]) -> None:
        number = int(entry["round"])
        if entry["state"] == "started":
            self._started.add(number)
        elif entry["state"] == "refused":
            self._started.discard(number)
        else:
            self._measured[number] = (np.array(entry["which"], np.int64), np.array(entry["counts"], np.int64))


@contextmanager
def opened(path: str | Path | None, identity: dict[str, Any]) -> Iterator[Journal]:
    """Open the journal of a fit, or go on with it; one process at a time.

    Parameters
    ----------
    path : path or None
        None keeps no journal.
    identity : dict
        What the fit is, in public terms: its plan, domain and workloads. A journal of another fit is refused.

    Raises
    ------
    InvalidData
        If the file is no journal, is of another fit, is in use by another process, or its folder is missing.
    """
    if path is None:
        yield Journal()
        return
    path = Path(path)
    if not path.parent.is_dir():
        raise InvalidData(f"journal: there is no folder {str(path.parent)!r}")
    with open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InvalidData(f"journal: {str(path)!r} is in use by another process") from None
        lines, whole = _whole_lines(file.read())
        file.seek(whole)  # a line that a crash cut short was never acted on: it is written over
        file.truncate()
        header = {"format": FORMAT} | identity
        if lines and lines[0] != header:
            raise InvalidData(f"journal: {str(path)!r} is not of this fit: another plan, domain, workload or size")
        if not lines:
            file.write(json.dumps(header, separators=(",", ":")) + "\n")
            file.flush()
            os.fsync(file.fileno())
            sync_folder(path.parent)
        yield Journal(file, lines[1:])


def _whole_lines(text: str) -> tuple[list[dict[str, Any]], int]:
    """The entries, and how many bytes of the file they take."""
    whole = text[: text.rfind("\n") + 1]
    try:
        entries = [json.loads(line) for line in whole.splitlines()]
    except json.JSONDecodeError:
        raise InvalidData("journal: the file is not a journal") from None
    if not all(isinstance(entry, dict) for entry in entries):
        raise InvalidData("journal: the file is not a journal")
    return entries, len(whole.encode())
