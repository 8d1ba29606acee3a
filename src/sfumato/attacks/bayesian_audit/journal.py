"""What an audit has counted so far, on disk: a long audit can be interrupted and goes on where it stopped.

For `Auditor.audit(journal=…)`. The events that were chosen come first, then the counts of each finished chunk of
trials; a line that was cut off by a crash is forgotten, and its trials are drawn again with other randomness.
The events are pickled: open no journal that you did not write.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import pickle
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sfumato.errors import InvalidData

Counts = npt.NDArray[np.int64]
Place = tuple[int, int, int]  # pair, side, chunk


class Journal:
    """Remembers the chosen events and finished counts of one audit; without a path, in memory only.

    Parameters
    ----------
    path : Path or None
    audit : dict
        What identifies the audit: another one may not go on in its journal.
    seed : int, optional
        Of the chunks' randomness.
    """

    def __init__(self, path: Path | None, audit: dict[str, Any], seed: int | None) -> None:
        self._path = path
        self._entropy = secrets.randbits(64) if seed is None else seed
        self._chosen: Any = None
        self._counts: dict[Place, Counts] = {}
        self._attempt = 0
        if path is not None:
            self._read(path, hashlib.sha256(json.dumps(audit, sort_keys=True).encode()).hexdigest())

    def chosen(self, choose: Callable[[], Any]) -> Any:
        """Return what was chosen before, or choose now and remember it."""
        if self._chosen is None:
            self._chosen = choose()
            self._write({"chosen": base64.b64encode(pickle.dumps(self._chosen)).decode()})
        return self._chosen

    def counted(self, place: Place) -> Counts | None:
        """Return a chunk's counts from before, if there are any."""
        return self._counts.get(place)

    def source(self, place: Place) -> np.random.Generator:
        """Return the random source of a chunk: another one for each chunk and after each interruption."""
        return np.random.default_rng([self._entropy, *place, self._attempt])

    def add(self, place: Place, hits: Counts) -> None:
        """Remember a chunk's counts."""
        self._counts[place] = hits
        self._write({"at": list(place), "hits": hits.tolist()})

    def _read(self, path: Path, fingerprint: str) -> None:
        text = path.read_text() if path.exists() else ""
        whole, _, cut = text.rpartition("\n")
        if cut:
            os.truncate(path, len(whole.encode()) + (1 if whole else 0))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            if lines and lines[0]["audit"] != fingerprint:
                raise InvalidData("the journal is of another audit: give this one a file of its own")
            for line in lines[1:]:
                self._remember(line)
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidData):
                raise
            raise InvalidData("the journal cannot be read: give a new file") from None
        self._write({"resumed": self._attempt} if lines else {"audit": fingerprint})

    def _remember(self, line: dict[str, Any]) -> None:
        if "resumed" in line:
            self._attempt = line["resumed"] + 1
        elif "chosen" in line:
            self._chosen = pickle.loads(base64.b64decode(line["chosen"]))
            self._attempt = max(self._attempt, 1)
        else:
            self._counts[tuple(line["at"])] = np.array(line["hits"], dtype=np.int64)

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
