"""The how-to page, pasted into three terminals and run: on a machine without a network where that can be had."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib as mpl
import pytest

from sfumato import Ledger
from sfumato.federation.flower import Loopback
from sfumato.federation.flower.loopback import free_port

pytest.importorskip("flwr")
PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "deploy-a-federation.md"
FENCE = re.compile(r"^```(\w+)(?: title=\"([^\"]*)\")?\n(.*?)^```", re.MULTILINE | re.DOTALL)
DEADLINE = 300


@pytest.fixture
def without_network():
    """Where to start a process so that it has loopback and nothing else: a namespace that a sleeper holds open."""
    hold = "ip link set lo up && echo up && exec sleep 1000000"
    try:
        sleeper = subprocess.Popen(["unshare", "-rn", "sh", "-c", hold], stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        pytest.skip("no unshare here")
    enter = ["nsenter", "-t", str(sleeper.pid), "-U", "-n", "--preserve-credentials"]
    try:
        if sleeper.stdout.readline() != "up\n" or subprocess.run([*enter, "true"], check=False).returncode:
            pytest.skip("namespaces of one's own are not allowed here")
        routes = subprocess.run([*enter, "cat", "/proc/net/route"], capture_output=True, text=True, check=True).stdout
        assert len(routes.splitlines()) <= 1, "there is a way out"  # a line of headings
        yield enter
    finally:
        sleeper.kill()
        sleeper.wait()
        sleeper.stdout.close()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc: processes cannot be followed")
@pytest.mark.skipif(not (Path(sys.executable).parent / "flower-superlink").exists(), reason="no flower-superlink")
@pytest.mark.parametrize("place", ["here", "without_network"])
def test_three_terminals(place, tmp_path, monkeypatch, request):
    enter = [] if place == "here" else request.getfixturevalue(place)
    page = PAGE.read_text()
    for port in ("9443", "9501", "9502"):
        page = page.replace(port, str(free_port()))
    found = FENCE.findall(page)
    python = [code for language, _, code in found if language == "python"]
    shell = {title: code for language, title, code in found if language == "text"}
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    namespace = {}
    for code in python[:-1]:
        exec(code, namespace)

    bin_ = Path(sys.executable).parent
    source = Path(sys.modules["sfumato"].__file__).parents[1]
    environment = os.environ | {
        "PATH": f"{bin_}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(source),
        "FLWR_HOME": str(tmp_path / "flwr"),
    }

    def paste(title):
        script = shell["every terminal"] + shell[title]
        return [*enter, shutil.which("bash"), "-ec", script], {"env": environment, "cwd": tmp_path, "text": True}

    def run(title):
        command, options = paste(title)
        return subprocess.run(command, **options, capture_output=True, timeout=DEADLINE, check=False)

    def open_terminal(title):
        command, options = paste(title)
        with (tmp_path / f"{title}.log").open("w") as log:
            subprocess.Popen(command, **options, stdout=log, stderr=log, start_new_session=True)

    cleaner = Loopback(tmp_path, [])
    assert cleaner.home == tmp_path / "flwr"
    try:
        open_terminal("terminal 1")
        end = time.monotonic() + DEADLINE
        while (registered := run("register")).returncode:
            assert time.monotonic() < end, registered.stdout + registered.stderr
        open_terminal("terminal 2")
        open_terminal("terminal 3")
        done = run("run")
    finally:
        cleaner.stop()
    assert "Pure ε-differential privacy with ε = 1" in done.stdout, done.stdout
    assert "median: " in done.stdout
    exec(python[-1], namespace)
    assert namespace["published"].result.noisy_counts_.sites == 2
    for name in ("north", "south"):
        assert Ledger(tmp_path / f"{name}-ledger.db").account(name).charges == 1
    assert cleaner.processes() == []
