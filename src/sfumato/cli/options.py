"""Options that several commands share: a privacy bound from its numbers, and a folder to write to.

For the commands of this package.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import typer

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP, FormalBound, GaussianDP, PureDP


def read_bound(epsilon: float | None, delta: float | None, rho: float | None, mu: float | None = None) -> FormalBound:
    """Return the bound that is meant by --epsilon, --epsilon with --delta, --rho or --mu.

    Raises
    ------
    InvalidClaim
        If none or several are given, or a number is out of range.
    """
    given = [name for name, value in (("epsilon", epsilon), ("rho", rho), ("mu", mu)) if value is not None]
    if len(given) != 1 or (delta is not None and epsilon is None):
        raise InvalidClaim("give one of --epsilon, --epsilon with --delta, --rho or --mu")
    if rho is not None:
        return ZCDP(rho)
    if mu is not None:
        return GaussianDP(mu)
    assert epsilon is not None
    return PureDP(epsilon) if delta is None else ApproxDP(epsilon, delta)


def writable(out: Path, context: typer.Context) -> Path:
    """Return the folder, made if it is not there; InvalidData if nothing can be written to it.

    A folder that was made for a command which then writes nothing goes again.
    """
    if not out.exists():
        context.call_on_close(lambda: _remove_if_empty(out))
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            return out
    except OSError:
        raise InvalidData(f"--out must be a folder that can be written to: {out}") from None


def _remove_if_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()
