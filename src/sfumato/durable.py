"""Files that are there whole or not at all, whenever the machine stops.

For checkpoints, on which a privacy budget depends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_durably(path: Path, write: Callable[[BinaryIO], object], *, mode: int = 0o666) -> None:
    """Replace a file in one move: written under another name, synced, renamed, and the folder synced.

    Parameters
    ----------
    path : Path
    write : callable
        ``write(file)`` writes the content.
    mode : int, default 0o666
        Permissions, before the process's umask takes some away.
    """
    draft = path.with_name(f"{path.name}.part")
    draft.unlink(missing_ok=True)  # a crash may have left one, with other permissions
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        write(file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable: new files, renames, removals."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
