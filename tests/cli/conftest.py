"""A command line that runs in this process, and small tables with a value that no message may show."""

import contextlib
import io
from dataclasses import dataclass

import pytest

import sfumato.cli

SENTINEL = "987654.321"
SECRET = "SECRET-PATIENT"


@dataclass(frozen=True)
class Outcome:
    """Exit code and both streams of one command."""

    code: int
    out: str
    err: str

    @property
    def text(self):
        return self.out + self.err


def call(*arguments):
    """Run `sfumato` with these arguments; an exception that reaches us would be a traceback to a user."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            sfumato.cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            code = stop.code or 0
    return Outcome(code, out.getvalue(), err.getvalue())


@pytest.fixture
def sfumato_command(monkeypatch):
    monkeypatch.delenv("SFUMATO_DEBUG", raising=False)
    return call


@pytest.fixture
def trial(tmp_path):
    """A clean CSV of 60 people."""
    lines = ["days,died,arm"]
    lines += [f"{10 + 11 * i % 600},{i % 3 > 0:d},{'ab'[i % 2]}" for i in range(60)]
    path = tmp_path / "trial.csv"
    path.write_text("\n".join(lines) + "\n")
    return path
