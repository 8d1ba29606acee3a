"""`sfumato audit`: exhibits by name, a user's mechanism with its pairs, files, exit codes, interruption."""

import json

import pytest

MINE = """
import numpy as np

def geometric(x, n, rng):
    p = 1 - np.exp(-1.0)
    return np.sum(x) + rng.geometric(p, n) - rng.geometric(p, n)

def once(x, rng):
    return float(np.sum(x)) if rng.random() < 0.5 else None

def interrupted(x, n, rng):
    if n == 12_500:
        raise KeyboardInterrupt
    return geometric(x, n, rng)

number = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_mechanism.py").write_text(MINE)
    (tmp_path / "pairs.json").write_text("[[[1, 1, 1], [1, 1]], [0, 1]]")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_exhibits_are_listed_and_audited(sfumato_command, folder):
    listed = sfumato_command("audit", "--list")
    assert listed.code == 0
    assert "float-laplace\t" in listed.out
    outcome = sfumato_command("audit", "float-laplace", "--trials", 20_000, "--seed", 1, "--out", "report")
    assert outcome.code == 1, outcome.text
    assert "verdict: violation" in outcome.out
    assert "could have certified at most" in outcome.out
    document = json.loads((folder / "report" / "audit.json").read_text())
    assert document["report"]["verdict"] == "violation"
    page = (folder / "report" / "audit.html").read_text()
    assert "does not keep the promise" in page
    assert "http" not in page
    fixed = sfumato_command("audit", "float-laplace", "--fixed", "--trials", 20_000, "--seed", 1)
    assert fixed.code == 0


def test_a_mechanism_of_ones_own(sfumato_command, folder):
    options = ("--pairs", "pairs.json", "--seed", 1, "--trials", 50_000)
    kept = sfumato_command("audit", "my_mechanism:geometric", "--epsilon", 1, *options, "--json")
    assert kept.code == 0, kept.text
    assert json.loads(kept.out)["verdict"] == "no violation found"
    assert sfumato_command("audit", "my_mechanism:geometric", "--epsilon", 0.8, *options).code == 1
    assert sfumato_command("audit", "my_mechanism:geometric", "--rho", 0.5, *options).code == 0
    once = ("audit", "my_mechanism:once", "--one-shot", "--epsilon", 1, "--pairs", "pairs.json", "--trials", 400)
    assert sfumato_command(*once).code == 1


def test_too_few_runs_exit_4(sfumato_command, folder):
    outcome = sfumato_command(
        "audit", "my_mechanism:geometric", "--epsilon", 9, "--pairs", "pairs.json", "--trials", 100
    )
    assert outcome.code == 4
    assert "underpowered" in outcome.out


def test_an_interrupted_audit_says_how_to_go_on(sfumato_command, folder):
    command = ("--epsilon", 1, "--pairs", "pairs.json", "--trials", 100_000, "--seed", 1, "--journal", "j.jsonl")
    stopped = sfumato_command("audit", "my_mechanism:interrupted", *command)
    assert stopped.code == 130
    assert "goes on from j.jsonl" in stopped.err
    went_on = sfumato_command("audit", "my_mechanism:geometric", *command)
    assert went_on.code == 0, went_on.text


@pytest.mark.parametrize(
    ("command", "named"),
    [
        ((), "name an exhibit"),
        (("mona-lisa",), "no exhibit 'mona-lisa'"),
        (("float-laplace", "--epsilon", 1), "its own claim"),
        (("my_mechanism:geometric", "--pairs", "pairs.json"), "--epsilon"),
        (("my_mechanism:geometric", "--epsilon", 1, "--rho", 1, "--pairs", "pairs.json"), "--rho"),
        (("my_mechanism:geometric", "--epsilon", -1, "--pairs", "pairs.json"), "epsilon"),
        (("my_mechanism:geometric", "--epsilon", 1), "--pairs"),
        (("my_mechanism:geometric", "--epsilon", 1, "--pairs", "none.json"), "no pair file"),
        (("my_mechanism:geometric", "--epsilon", 1, "--pairs", "my_mechanism.py"), "JSON"),
        (("my_mechanism:geometric", "--epsilon", 1, "--pairs", "flat.json"), "list of pairs"),
        (("no_module:x", "--epsilon", 1, "--pairs", "pairs.json"), "no module"),
        (("my_mechanism:x", "--epsilon", 1, "--pairs", "pairs.json"), "has no 'x'"),
        (("my_mechanism:number", "--epsilon", 1, "--pairs", "pairs.json"), "not callable"),
        (("my_mechanism:geometric", "--fixed", "--epsilon", 1, "--pairs", "pairs.json"), "--fixed"),
        (("float-laplace", "--out", "my_mechanism.py"), "--out"),
    ],
)
def test_bad_requests_are_one_line(sfumato_command, folder, command, named):
    (folder / "flat.json").write_text("[1, 2, 3]")
    outcome = sfumato_command("audit", *command)
    assert outcome.code == 2, outcome.text
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1
    assert named in outcome.err
