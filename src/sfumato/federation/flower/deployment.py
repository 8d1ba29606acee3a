"""Deployment: a protocol on a SuperLink and the SuperNodes of its silos.

For the machine of the SuperLink, where the run's checkpoints lie. The silos' data stay where they are: the app that is
submitted says how a silo finds them.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sfumato.errors import InvalidData, MissingExtra, ProtocolError, TooFewParties
from sfumato.federation.flower.installed import require_flower
from sfumato.federation.protocol import Protocol
from sfumato.federation.rounds import Outcome, Terms, saved_outcome

_TOO_FEW = re.compile(r"TooFewParties: ?(.*)")


class Deployment:
    """Submit an app whose server runs the protocol, wait for it, and read the outcome from its checkpoint.

    Parameters
    ----------
    app : str or Path
        Folder of the Flower app, as `write_app` makes one.
    terms : Terms
        With `run` and `checkpoint`; its folder must be the SuperLink's.
    parties : int
        How many silos take part.
    superlink : str
        Name of the connection in `$FLWR_HOME/config.toml`.
    home : str or Path, optional
        `FLWR_HOME`; by default as the environment says.
    deadline : float
        Seconds for the whole run.
    """

    def __init__(
        self,
        app: str | Path,
        terms: Terms,
        *,
        parties: int,
        superlink: str,
        home: str | Path | None = None,
        deadline: float = 3600.0,
    ) -> None:
        self.app = app
        self.terms = terms
        self.parties = parties
        self.superlink = superlink
        self.home = home
        self.deadline = deadline

    def run(self, protocol: Protocol, silos: Sequence[Any] | None = None) -> Outcome:
        """Run the app, or go on with it, and return the outcome of one of its protocols.

        Raises
        ------
        InvalidData
            If `silos` are given, or the terms have no checkpoint.
        TooFewParties
            If a round had too few good replies.
        ProtocolError
            If the run ended otherwise without a result; the message is the end of its log.
        MissingExtra
            If Flower is not installed.
        """
        if silos is not None:
            raise InvalidData("silos must be None: in a deployment the data are with the silos")
        if (done := saved_outcome(protocol, self.terms)) is not None:
            return done
        with self.submit() as process:
            try:
                log, _ = process.communicate(timeout=self.deadline)
            except subprocess.TimeoutExpired:
                process.kill()
                raise ProtocolError(f"the run was not over after {self.deadline:g} seconds") from None
        if (done := saved_outcome(protocol, self.terms)) is not None:
            return done
        if found := _TOO_FEW.findall(log):
            raise TooFewParties(found[-1])
        raise ProtocolError(f"the run gave no result for {protocol.name!r}; its log ends: {log[-2000:]}")

    def submit(self) -> subprocess.Popen[str]:
        """Start `flwr run` and return the process, which streams the run's log and ends with the run.

        Raises
        ------
        InvalidData
            If the terms have no checkpoint.
        MissingExtra
            If Flower is not installed.
        """
        require_flower()
        if self.terms.checkpoint is None:
            raise InvalidData("terms must have a run and a checkpoint: the outcome is read from it")
        config: dict[str, str | int | float] = {
            "parties": self.parties,
            "min-parties": self.terms.min_parties or 0,
            "timeout": float(self.terms.timeout),
            "run": self.terms.run,
            "state-dir": str(self.terms.checkpoint.folder.absolute()),
        }
        return subprocess.Popen(
            [command("flwr"), "run", str(self.app), self.superlink, "--stream", "--run-config", toml_pairs(config)],
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


def command(name: str) -> str:
    """Return the path of one of Flower's commands, beside this Python or on the PATH.

    Raises
    ------
    MissingExtra
        If it is not there.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise MissingExtra("federation")
    return found


def environment(home: str | Path | None = None) -> dict[str, str]:
    """Return the environment of Flower's processes: nothing phones home, and `FLWR_HOME` if one is given."""
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "FLWR_DISABLE_UPDATE_CHECK": "1"}
    # Flower starts its own commands by name.
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    place = {} if home is None else {"FLWR_HOME": str(Path(home).absolute())}
    return {**os.environ, **quiet, **path, **place}


def toml_pairs(values: Mapping[str, str | int | float]) -> str:
    """Write values as Flower's command line reads them: ``key=value`` in TOML, separated by spaces."""
    return " ".join(f"{key}={json.dumps(value)}" for key, value in values.items())
