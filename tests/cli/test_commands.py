"""`sfumato ledger`, `study`, `systems` and the root: output, exit codes, help that teaches."""

import json
import sqlite3

import pytest

from sfumato import __version__
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.studies import Row, Study, StudyResult


def test_version_and_help(sfumato_command):
    assert sfumato_command("--version").out == f"sfumato {__version__}\n"
    assert "Start with" in sfumato_command("--help").out
    for command in (
        ["survival"],
        ["synth"],
        ["synth", "domain"],
        ["ledger"],
        ["ledger", "create"],
        ["study"],
        ["systems"],
    ):
        outcome = sfumato_command(*command, "--help")
        assert outcome.code == 0
        assert outcome.out
    assert "PUBLIC" in sfumato_command("survival", "--help").out


@pytest.mark.parametrize("command", [["paint"], ["ledger", "paint"], ["study", "run"], ["study", "run", "no-such"]])
def test_bad_usage_is_one_line(sfumato_command, command):
    outcome = sfumato_command(*command)
    assert outcome.code == 2
    assert outcome.err.startswith("error: ")
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("command", [[], ["synth"], ["ledger"], ["study"]])
def test_a_bare_command_shows_its_help(sfumato_command, command):
    outcome = sfumato_command(*command)
    assert outcome.code in (0, 2)
    assert "Usage" in outcome.text


@pytest.mark.parametrize(
    ("options", "said"),
    [(("--epsilon", 3), "ε = 3"), (("--epsilon", 3, "--delta", 1e-6), "δ"), (("--rho", 0.5), "0.5")],
)
def test_a_ledger_is_created_shown_and_verified(sfumato_command, tmp_path, options, said):
    url = f"sqlite:///{tmp_path / 'b.db'}"
    created = sfumato_command("ledger", "create", url, "--dataset", "trial", *options)
    assert created.code == 0, created.text
    assert said in created.out
    Ledger(url).charge("trial", Claim(PureDP(0.25)), "a test")
    assert "trial\t1\t" in sfumato_command("ledger", "show", url).out
    shown = sfumato_command("ledger", "show", url, "--dataset", "trial").out
    assert "a test" in shown
    assert Ledger(url).account("trial").head in shown
    verified = sfumato_command("ledger", "verify", url)
    assert (verified.code, verified.out[:19]) == (0, "verified: 1 charges"[:19])


def test_an_edited_ledger_exits_1(sfumato_command, tmp_path):
    path = tmp_path / "b.db"
    ledger = Ledger(path, create=True)
    ledger.create("trial", PureDP(3))
    ledger.charge("trial", Claim(PureDP(1)), "original")
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            if "purpose" in columns:
                connection.execute(f"UPDATE {table} SET purpose = 'edited'")
    outcome = sfumato_command("ledger", "verify", path)
    assert outcome.code == 1
    assert outcome.err.startswith("error: ")
    assert "trial" in outcome.err


@pytest.mark.parametrize(
    "options", [(), ("--epsilon", 1, "--rho", 1), ("--rho", 1, "--delta", 0.1), ("--epsilon", -1), ("--epsilon", "nan")]
)
def test_a_bad_budget_is_refused_and_makes_no_ledger(sfumato_command, tmp_path, options):
    outcome = sfumato_command("ledger", "create", tmp_path / "b.db", "--dataset", "trial", *options)
    assert outcome.code == 2, outcome.text
    assert outcome.err.startswith("error: ")
    assert not (tmp_path / "b.db").exists()


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_missing_ledger_is_not_made(sfumato_command, tmp_path, command):
    outcome = sfumato_command("ledger", command, tmp_path / "b.db")
    assert outcome.code == 2
    assert not (tmp_path / "b.db").exists()


def test_systems_and_studies_are_listed(sfumato_command):
    systems = sfumato_command("systems").out.splitlines()
    assert len(systems) == 48
    assert "dp-kaplan-meier" in sfumato_command("study", "list").out


@pytest.mark.parametrize(("holds", "code"), [(True, 0), (None, 0), (False, 1)])
def test_a_study_that_does_not_hold_exits_1(sfumato_command, monkeypatch, holds, code):
    result = StudyResult([Row("error", "2 %", "3 %", holds)], "smoke", 0.1)
    study = Study(1, "made-up", "A study", "Why.", run=lambda scale, seed: result)
    monkeypatch.setattr("sfumato.studies.get", lambda slug: study)
    assert sfumato_command("study", "run", "made-up").code == code
    printed = sfumato_command("study", "run", "made-up", "--json")
    assert printed.code == code
    assert json.loads(printed.out)["rows"] == [{"what": "error", "paper": "2 %", "measured": "3 %", "holds": holds}]


def test_a_scale_is_one_of_three(sfumato_command):
    outcome = sfumato_command("study", "run", "dp-kaplan-meier", "--scale", "huge")
    assert outcome.code == 2
    assert "small" in outcome.err
