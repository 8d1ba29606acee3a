"""Every code block of the README and the docs runs, in the order of its page, in a fresh folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^```(\w+)[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

#: Commands that set up or run this very suite; `.ci/run` runs each of them for real.
RUN_BY_CI = ("make demo", "make test", "make check")
#: Commands that fetch from a registry: the clone at hand is what they would install.
SET_UP = ("pip install", "git clone", "cd ")


def blocks(page):
    return [(match[1], match[2]) for match in FENCE.finditer(page.read_text())]


WITH_CODE = [page for page in PAGES if blocks(page)]


def run_shell(script):
    for line in script.replace("\\\n", " ").splitlines():
        command = line.split("  #")[0].strip()
        if not command or command.startswith(("#", *RUN_BY_CI, *SET_UP)):
            continue
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(shlex.split(command), env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_pages_code_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mpl.use("Agg")
    namespace = {"__name__": "__main__"}
    for language, code in blocks(page):
        if language == "python":
            exec(compile(code, str(page.relative_to(ROOT)), "exec"), namespace)
        elif language == "bash":
            run_shell(code)
        else:
            assert language == "text", f"{page.name}: a block marked {language} is neither run nor plain text"


def test_the_readme_names_the_two_commands_that_ci_runs():
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    for command in ("make demo", "make test"):
        assert command in readme
        assert command in ci
