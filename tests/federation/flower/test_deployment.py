"""A federation on loopback: TLS, node authentication, every system's smallest protocol, a killed server.

A minute or two: Flower 1.42 starts a process for each message, and a SuperNode looks for messages every 3 seconds.
"""

import contextlib
import os
import shutil
import signal
import socket
import ssl
import time
from pathlib import Path

import pytest
from smallest.agreement import assert_agrees
from smallest.protocols import PROTOCOLS, data_of

from sfumato import Ledger, PureDP
from sfumato.errors import InvalidData, MissingExtra, ProtocolError
from sfumato.federation import Checkpoint, InProcess, Terms, saved_outcome
from sfumato.federation.flower import Deployment, Loopback, make_node_key, make_server_keys
from sfumato.federation.flower.deployment import command
from sfumato.federation.protocol import run_key

pytest.importorskip("flwr")
APP = Path(__file__).parent.parent / "app"
DEADLINE = 300  # seconds, for what takes a few


def binaries():
    try:
        return bool(command("flower-superlink") and command("flower-supernode") and command("flwr"))
    except MissingExtra:
        return False


def until(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc: processes cannot be followed")
@pytest.mark.skipif(not binaries(), reason="flower-superlink, flower-supernode or flwr is not installed")
def test_every_protocol_on_loopback_with_a_server_that_is_killed(tmp_path, monkeypatch):
    source = str(Path(make_node_key.__code__.co_filename).parents[3])
    monkeypatch.setenv("PYTHONPATH", f"{source}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    nodes = []
    for k in range(2):
        ledger = Ledger(tmp_path / f"ledger-{k}.db", create=True)
        ledger.create("silo", PureDP(100.0))
        nodes.append(
            {
                "partition-id": k,
                "silo-store": str(tmp_path / f"silo-{k}.db"),
                "ledger": str(tmp_path / f"ledger-{k}.db"),
                "dataset": "silo",
            }
        )
    terms = Terms(timeout=DEADLINE, run="test", checkpoint=Checkpoint(tmp_path / "checkpoints"))
    with Loopback(tmp_path / "loopback", nodes) as federation:
        assert_strangers_are_refused(federation)
        deployment = Deployment(APP, terms, parties=2, superlink="loopback", home=federation.home, deadline=DEADLINE)
        first = terms.checkpoint.folder / run_key(PROTOCOLS[0], terms.run)
        with deployment.submit() as stream:
            started = next(line for line in stream.stdout if "Successfully started run" in line)
            until(lambda: (first / "round-000001.checkpoint").exists())
            servers = federation.processes("flwr-serverapp")
            assert servers
            for server in servers:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server, signal.SIGKILL)
            stream.kill()
        # Flower notices within a minute, and until then nodes may wait for the rest of a message; so say it.
        federation.flwr("stop", started.split()[-1], "loopback")
        assert saved_outcome(PROTOCOLS[0], terms) is None  # it was in the middle
        outcomes = {protocol.name: deployment.run(protocol) for protocol in PROTOCOLS}
    assert federation.processes() == []
    plain = {p.name: InProcess().run(p, [data_of(p.name, k) for k in range(2)]) for p in PROTOCOLS}
    for name, outcome in outcomes.items():
        assert_agrees(name, outcome, plain[name])
    for node in nodes:  # one of counting, one of the survival table, none of the exact rounds
        assert Ledger(node["ledger"]).account("silo").charges == 2


def assert_strangers_are_refused(federation):
    """A node whose key was not registered, and a server whose certificate another authority signed."""
    make_node_key(federation.folder, "stranger")
    stranger = federation.start_node("stranger", {"partition-id": 0})
    assert stranger.wait(DEADLINE) != 0
    log = federation.log("stranger")
    assert "Exit Code: 305" in log
    assert "code: 2004" in log
    other = make_server_keys(federation.folder / "other")["ca.crt"]
    host, port = federation.address.split(":")
    with socket.create_connection((host, int(port)), timeout=30) as raw, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context(cafile=str(other)).wrap_socket(raw, server_hostname=host)


def test_a_loopback_needs_an_empty_folder_and_leaves_nothing_when_it_cannot_start(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(InvalidData, match="empty"), Loopback(tmp_path / "full", []):
        pass
    false = shutil.which("false")
    monkeypatch.setattr("sfumato.federation.flower.loopback.command", lambda _: false)
    federation = Loopback(tmp_path / "new", [])
    with pytest.raises(ProtocolError, match="SuperLink ended"), federation:
        pass
    assert federation.processes() == []


def test_a_deployment_takes_no_data_and_needs_a_checkpoint(tmp_path):
    with pytest.raises(InvalidData, match="silos"):
        Deployment(APP, Terms(), parties=2, superlink="loopback").run(PROTOCOLS[0], [1])
    with pytest.raises(InvalidData, match="checkpoint"):
        Deployment(APP, Terms(), parties=2, superlink="loopback").run(PROTOCOLS[0])


def test_a_run_that_ends_without_a_result_says_how(tmp_path, monkeypatch):
    script = tmp_path / "flwr"
    monkeypatch.setattr("sfumato.federation.flower.deployment.command", lambda _: str(script))
    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path / "state"))
    deployment = Deployment(APP, terms, parties=2, superlink="loopback", deadline=60)
    for says, error in (("TooFewParties: round 1", "^round 1"), ("something else", "log ends: something else")):
        script.write_text(f"#!/bin/sh\necho '{says}'\n")
        script.chmod(0o755)
        with pytest.raises(Exception, match=error):
            deployment.run(PROTOCOLS[0])
