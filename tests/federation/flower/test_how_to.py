"""The how-to page, pasted into three terminals and run."""

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


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc: processes cannot be followed")
@pytest.mark.skipif(not (Path(sys.executable).parent / "flower-superlink").exists(), reason="no flower-superlink")
def test_three_terminals(tmp_path, monkeypatch):
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
        return [shutil.which("bash"), "-ec", script], {"env": environment, "cwd": tmp_path, "text": True}

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
