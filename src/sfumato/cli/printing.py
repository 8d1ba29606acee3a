"""What the terminal sees: tables when it is one, plain lines when it is a pipe.

For the commands of this package.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def fail(message: str, code: int) -> NoReturn:
    """Print one line on stderr and exit."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def say(message: str) -> None:
    """Print a line, wrapped on a terminal only."""
    if sys.stdout.isatty():
        stdout.print(message, markup=False)
    else:
        print(message)


def rows(header: Sequence[str], lines: Sequence[Sequence[str]], title: str = "") -> None:
    """Print a table: drawn on a terminal, tab-separated in a pipe."""
    if not sys.stdout.isatty():
        for line in (header, *lines):
            print("\t".join(line))
        return
    table = Table(*header, title=title or None)
    for line in lines:
        table.add_row(*map(escape, line))  # a label may look like rich's markup
    stdout.print(table)


@contextlib.contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal's stderr that something is under way."""
    if sys.stderr.isatty():
        with stderr.status(what):
            yield
    else:
        yield
