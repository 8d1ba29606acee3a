"""The repetitions of a game that are finished, on disk: a game of hours can be interrupted and goes on.

For `AttributeGame.run(journal=…)`. One JSON line a repetition; a line that a crash cut off is played again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from sfumato.errors import InvalidData


class GameJournal:
    """Remembers the finished repetitions of one game; without a path it remembers nothing.

    Parameters
    ----------
    path : str or Path, optional
    game : dict
        What identifies the game: another one may not go on in its journal.

    Raises
    ------
    InvalidData
        If the file is of another game or no journal.
    """

    def __init__(self, path: str | Path | None, game: dict[str, Any]) -> None:
        self.finished: dict[int, dict[str, Any]] = {}
        self._path = None if path is None else Path(path)
        if self._path is not None:
            self._read(self._path, game)

    def add(self, repetition: int, record: dict[str, Any]) -> None:
        """Remember a finished repetition."""
        self.finished[repetition] = record
        self._write({"repetition": repetition, "record": record})

    def _read(self, path: Path, game: dict[str, Any]) -> None:
        text = path.read_text() if path.exists() else ""
        whole, _, cut = text.rpartition("\n")
        if cut:
            os.truncate(path, len(whole.encode()) + (1 if whole else 0))
        try:
            first, *lines = [json.loads(line) for line in whole.splitlines()] or [None]
            if first is not None and first["game"] != game:
                raise InvalidData("the journal is of another game: give this one a file of its own")
            self.finished = {line["repetition"]: line["record"] for line in lines}
        except (KeyError, TypeError, json.JSONDecodeError):
            raise InvalidData("the journal cannot be read: give a new file") from None
        if first is None:
            self._write({"game": game})

    def _write(self, line: dict[str, Any]) -> None:
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps(line) + "\n")
