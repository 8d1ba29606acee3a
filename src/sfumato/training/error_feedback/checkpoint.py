"""Checkpoints of a private training: written whole or not at all, and gone on from once.

For `ErrorFeedbackEngine`. A step that is run again draws its noise again, and two noisy versions of one step are more
than the claim paid for. So the first step after a checkpoint leaves a mark beside it, before its noise is drawn; a
checkpoint with a mark may have been gone on from, and steps after it may have been seen.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import torch

from sfumato.durable import sync_folder, write_durably
from sfumato.errors import ClaimViolated, InvalidData

_FORMAT = 1


class Mark:
    """Says of one checkpoint whether a step was taken after it; a file beside it."""

    def __init__(self, checkpoint: Path, identity: str) -> None:
        self._path = checkpoint.with_name(f"{checkpoint.name}.{identity}.continued")

    @property
    def set(self) -> bool:
        """Whether somebody went on from the checkpoint."""
        return self._path.exists()

    def leave(self) -> None:
        """Claim the checkpoint's continuation, durably.

        Raises
        ------
        ClaimViolated
            If somebody else has.
        """
        try:
            with open(self._path, "xb") as file:
                os.fsync(file.fileno())
        except FileExistsError:
            raise ClaimViolated(
                "this checkpoint was gone on from already: two continuations are two trainings"
            ) from None
        sync_folder(self._path.parent)

    def remove(self) -> None:
        """Clear away: its checkpoint has been written over."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()


def write(path: Path, content: dict[str, Any]) -> Mark:
    """Write a checkpoint durably in one move, in place of an older one, and return its mark."""
    old = _identity(path)
    identity = secrets.token_hex(8)
    whole = {"format": _FORMAT, "private": True, "identity": identity, **content}
    write_durably(path, lambda file: torch.save(whole, file), mode=0o600)
    if old is not None:
        Mark(path, old).remove()  # only now: until the move, the older checkpoint was the one to go on from
    return Mark(path, identity)


def read(path: Path) -> tuple[dict[str, Any], Mark]:
    """Read a checkpoint and its mark.

    Raises
    ------
    InvalidData
        If it is not one of ours.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        fits = content["format"] == _FORMAT
        identity = content["identity"]
    except FileNotFoundError:
        raise
    except Exception:
        raise InvalidData("not a checkpoint of a private training") from None
    if not fits:
        raise InvalidData("a checkpoint of another version of sfumato")
    return content, Mark(path, identity)


def _identity(path: Path) -> str | None:
    try:
        return str(read(path)[0]["identity"])
    except (FileNotFoundError, InvalidData):
        return None
