"""Checkpoint: where a run stands after each round, on disk, so that a killed server goes on where it was.

For the ServerApp of a deployment, which Flower does not resume. A checkpoint is written before anything that follows
from it is sent.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from sfumato._version import __version__
from sfumato.durable import sync_folder, write_durably
from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message

FORMAT = "sfumato.checkpoint/1"
_ANY = 1 << 62
_DIGEST = 32


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds: the rounds done, the parties of the run, the state, and the history as JSON text."""

    round: int
    parties: tuple[int, ...]
    state: Message
    history: str


class Checkpoint:
    """The last checkpoints of the runs in a folder.

    A checkpoint is a file of its own, `<run>/round-000123.checkpoint`: written under another name, synced, renamed, and
    the folder synced, so that a crash at any instant leaves the older ones whole. Each ends with its SHA-256: one that
    is torn or was changed is passed over and the next older one is used. The digest has no key: somebody who may write
    to the folder can write a checkpoint of their own, so the folder belongs to the server alone.

    Parameters
    ----------
    folder : str or Path
        Made if it is not there.
    keep : int
        How many to keep of each run, at least 1.
    """

    def __init__(self, folder: str | Path, *, keep: int = 2) -> None:
        if keep < 1:
            raise InvalidData(f"keep must be at least 1, got {keep}")
        self.folder = Path(folder)
        self.keep = keep

    def save(self, run: str, saved: Saved) -> Path:
        """Write a checkpoint, durable when this returns; remove those beyond `keep`."""
        folder = self.folder / run
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.folder)
        body = Message(
            {
                "format": FORMAT,
                "run": run,
                "round": saved.round,
                "parties": ",".join(map(str, saved.parties)),
                "state": saved.state.to_bytes(),
                "history": saved.history,
                "sfumato": __version__,
            }
        ).to_bytes()
        path = folder / f"round-{saved.round:06d}.checkpoint"
        write_durably(path, lambda file: file.write(body + hashlib.sha256(body).digest()))
        for old in self._newest_first(run)[self.keep :]:
            old.unlink(missing_ok=True)
        return path

    def latest(self, run: str) -> Saved | None:
        """Return the newest checkpoint of a run that is whole, or None."""
        for path in self._newest_first(run):
            try:
                return _read(path, run)
            except ProtocolError:
                continue
        return None

    def _newest_first(self, run: str) -> list[Path]:
        return sorted((self.folder / run).glob("round-*.checkpoint"), reverse=True)


def _read(path: Path, run: str) -> Saved:
    data = path.read_bytes()
    body, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise ProtocolError("the checkpoint does not have the digest that it ends with")
    fields = Message.from_bytes(body, limit=_ANY)
    if fields.text("format", most=100) != FORMAT or fields.text("run", most=200) != run:
        raise ProtocolError("the checkpoint is of another format or run")
    return Saved(
        round=fields.integer("round", low=0, high=_ANY),
        parties=tuple(int(party) for party in fields.text("parties", most=_ANY).split(",")),
        state=Message.from_bytes(fields.blob("state"), limit=_ANY),
        history=fields.text("history", most=_ANY),
    )
