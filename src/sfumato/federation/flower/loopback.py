"""Loopback: a whole federation on this machine, over TLS and with node authentication.

For rehearsing a deployment and for its tests: one SuperLink and a SuperNode for each silo, in processes of their own,
none of which is left when the scope ends. Linux only: it finds what is left through /proc.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.flower.deployment import command, environment, toml_pairs
from sfumato.federation.flower.installed import require_flower
from sfumato.federation.flower.keys import CA, CERTIFICATE, KEY, make_node_key, make_server_keys

HOST = "127.0.0.1"
#: Name of the connection in Flower's configuration.
NAME = "loopback"


class Loopback:
    """The scope in which the federation runs.

    Parameters
    ----------
    folder : str or Path
        For keys, logs and Flower's state; new or empty.
    node_configs : sequence of mapping
        One for each silo: what its ClientApp finds in `context.node_config`.
    timeout : float
        Seconds for each daemon to start, and to stop.

    Raises
    ------
    InvalidData
        If the folder is not empty.
    ProtocolError
        If a daemon does not start; the message is the end of its log.
    MissingExtra
        If Flower is not installed.

    Attributes
    ----------
    home : Path
        `FLWR_HOME` of all its processes.
    address : str
        Of the SuperLink.
    """

    def __init__(
        self, folder: str | Path, node_configs: Sequence[Mapping[str, str | int | float]], *, timeout: float = 60.0
    ) -> None:
        self.folder = Path(folder).absolute()
        self.home = self.folder / "flwr"
        self._node_configs = list(node_configs)
        self._timeout = timeout
        self._daemons: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        require_flower()
        if self.folder.exists() and any(self.folder.iterdir()):
            raise InvalidData("folder must be empty: keys are made once")
        self.home.mkdir(parents=True)
        make_server_keys(self.folder)
        self.address = f"{HOST}:{free_port()}"
        (self.home / "config.toml").write_text(
            f'[superlink]\ndefault = "{NAME}"\n[superlink.{NAME}]\naddress = "{self.address}"\n'
            f'root-certificates = "{self.folder / CA}"\n'
        )
        try:
            self._start_superlink()
            for number, config in enumerate(self._node_configs):
                name = f"node-{number}"
                public = make_node_key(self.folder, name)[f"{name}.pub"]
                self.flwr("supernode", "register", str(public), NAME)
                self.start_node(name, config)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start_node(self, name: str, config: Mapping[str, str | int | float]) -> subprocess.Popen[bytes]:
        """Start a SuperNode that holds the key `name`; whether the SuperLink admits it is the SuperLink's to say."""
        arguments = [
            *("--superlink", self.address, "--root-certificates", str(self.folder / CA)),
            *("--auth-supernode-private-key", str(self.folder / name)),
            *("--host", HOST, "--port", str(free_port()), *self._tls()),
            *("--node-config", toml_pairs(config)),
        ]
        return self._start(name, "flower-supernode", arguments)

    def flwr(self, *arguments: str) -> None:
        """Run a command of `flwr` against this federation, such as ``flwr("stop", run, "loopback")``.

        Raises
        ------
        ProtocolError
            If it fails.
        """
        done = subprocess.run(
            [command("flwr"), *arguments],
            env=environment(self.home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=self._timeout,
            check=False,
        )
        if done.returncode:
            raise ProtocolError(f"flwr {' '.join(arguments)} failed: {(done.stdout + done.stderr)[-2000:]}")

    def processes(self, name: str = "") -> list[int]:
        """Return the ids of this federation's live processes whose command line contains `name`."""
        mark = f"FLWR_HOME={self.home}".encode()
        return [
            pid
            for pid in (int(entry) for entry in os.listdir("/proc") if entry.isdigit())
            if mark in _read(pid, "environ").split(b"\0") and name.encode() in _read(pid, "cmdline")
        ]

    def log(self, name: str) -> str:
        """Return the log of a daemon so far."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        """End all processes of this federation: ask them, then kill what is left.

        They are found by their `FLWR_HOME`, not by their groups: the SuperLink starts its executor in a session of its
        own, which outlives it.
        """
        self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            self._wait(lambda: not self.processes(), self._timeout / 4)
        while self.processes():
            self._signal(signal.SIGKILL)
            time.sleep(0.05)
        for daemon in self._daemons:
            daemon.wait()

    def _signal(self, number: signal.Signals) -> None:
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _start_superlink(self) -> None:
        host, port = self.address.split(":")
        state = self.folder / "state"
        state.mkdir()
        arguments = [
            *("--host", host, "--port", port, *self._tls(), "--enable-supernode-auth"),
            *("--disable-runtime-dependency-installation", "--database", str(state / "superlink.db")),
        ]
        daemon = self._start("superlink", "flower-superlink", arguments)
        trusting = ssl.create_default_context(cafile=str(self.folder / CA))

        def healthy() -> bool:
            if daemon.poll() is not None:
                raise ProtocolError(f"the SuperLink ended; its log ends: {self.log('superlink')[-2000:]}")
            try:
                with urllib.request.urlopen(f"https://{self.address}/health", context=trusting, timeout=2) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False

        try:
            self._wait(healthy, self._timeout)
        except TimeoutError:
            raise ProtocolError(f"the SuperLink did not start; its log ends: {self.log('superlink')[-2000:]}") from None

    def _start(self, name: str, program: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("wb") as log:
            daemon = subprocess.Popen(
                [command(program), *arguments],
                env=environment(self.home),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._daemons.append(daemon)
        return daemon

    def _tls(self) -> tuple[str, ...]:
        at = self.folder
        return (
            *("--ssl-ca-certfile", str(at / CA), "--ssl-certfile", str(at / CERTIFICATE)),
            *("--ssl-keyfile", str(at / KEY)),
        )

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        until = time.monotonic() + seconds
        while not condition():
            for daemon in self._daemons:
                daemon.poll()
            if time.monotonic() > until:
                raise TimeoutError
            time.sleep(0.1)


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def write_app(folder: str | Path) -> Path:
    """Copy the app of federated survival curves into a new folder, to be edited: `pyproject.toml` and three modules.

    Raises
    ------
    InvalidData
        If the folder is there already.
    """
    target = Path(folder)
    if target.exists():
        raise InvalidData(f"{target} is there already")
    shutil.copytree(Path(__file__).parent / "template", target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


def _read(pid: int, what: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{what}").read_bytes()
    except OSError:  # it ended meanwhile, or is another user's
        return b""
