"""`sfumato survival`: what it writes, what it says, and that bad input spends nothing and shows no value."""

import json
import os
import re

import pandas as pd
import pytest

from sfumato.privacy.bounds import PureDP
from sfumato.privacy.ledger import Ledger
from sfumato.studies import survival_audit

SENTINEL = "987654.321"
SECRET = "SECRET-PATIENT"
COLUMNS = ("--duration", "days", "--event", "died", "--horizon", "700", "--epsilon", "1")
FILES = {"curve.csv", "curve.png", "claim.json", "report.html"}


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "budgets.db", create=True)
    ledger.create("trial", PureDP(1.5))
    return ledger


def charged(tmp_path):
    return ("--ledger", tmp_path / "budgets.db", "--dataset", "trial")


def assert_one_error_line(outcome, code, *words):
    assert outcome.code == code, outcome.text
    assert re.fullmatch(r"error: [^\n]+\n", outcome.err), outcome.err
    assert outcome.out == ""
    for word in words:
        assert word in outcome.err
    assert SENTINEL not in outcome.text
    assert SECRET not in outcome.text


def test_it_writes_four_files_and_ends_by_naming_them(sfumato_command, trial, tmp_path):
    out = tmp_path / "new" / "report"
    outcome = sfumato_command("survival", trial, *COLUMNS, "--out", out)
    assert outcome.code == 0, outcome.text
    assert {path.name for path in out.iterdir()} == FILES
    claim, *_, last = outcome.out.splitlines()
    assert "ε = 1" in claim
    assert "median" in outcome.out
    assert all(str(out / name) in last for name in FILES)
    table = pd.read_csv(out / "curve.csv")
    assert list(table) == ["timeline", "survival", "lower", "upper", "at_risk", "reliable"]
    assert table["survival"].between(0, 1).all()
    document = json.loads((out / "claim.json").read_text())
    assert document["claim"]["bound"]["epsilon"] == 1
    assert document["provenance"]["parameters"]["horizon"] == 700
    assert (out / "curve.png").read_bytes().startswith(b"\x89PNG")


def test_groups_are_compared_and_the_charge_is_in_the_report(sfumato_command, trial, tmp_path, ledger):
    out = tmp_path / "report"
    groups = ("--group", "arm", "--group-values", "a, b", "--title", "Arms <compared>")
    outcome = sfumato_command("survival", trial, *COLUMNS, *groups, *charged(tmp_path), "--out", out)
    assert outcome.code == 0, outcome.text
    assert "log-rank" in outcome.out
    (charge,) = ledger.history("trial")
    page = (out / "report.html").read_text()
    assert charge.hash in page
    assert "Arms &lt;compared&gt;" in page
    assert json.loads((out / "claim.json").read_text())["provenance"]["ledger"]["position"] == 1
    assert set(pd.read_csv(out / "curve.csv")["group"]) == {"a", "b"}


@pytest.mark.parametrize("name", ["lung", "rossi"])
def test_a_bundled_cohort_brings_its_public_facts(sfumato_command, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    outcome = sfumato_command("survival", name, "--epsilon", 1, "--out", "report")
    assert outcome.code == 0, outcome.text


def test_parquet_and_booleans_are_read(sfumato_command, trial, tmp_path):
    frame = pd.read_csv(trial).astype({"died": bool})
    frame.to_parquet(tmp_path / "trial.parquet")
    outcome = sfumato_command("survival", tmp_path / "trial.parquet", *COLUMNS, "--out", tmp_path / "report")
    assert outcome.code == 0, outcome.text


def test_several_records_a_person_need_a_bound(sfumato_command, trial, tmp_path, ledger):
    frame = pd.read_csv(trial).assign(who=[i // 2 for i in range(60)])
    frame.to_csv(trial, index=False)
    command = ("survival", trial, *COLUMNS, "--person", "who", *charged(tmp_path), "--out", tmp_path / "report")
    assert_one_error_line(sfumato_command(*command), 2, "who", "max_records")
    assert ledger.history("trial") == []
    assert sfumato_command(*command, "--max-records", 2).code == 0


def test_the_audit_is_reported(sfumato_command, trial, tmp_path, monkeypatch):
    monkeypatch.setattr("sfumato.cli.survival.AUDIT_TRIALS", 1000)
    outcome = sfumato_command("survival", trial, *COLUMNS, "--bins", 5, "--audit", "--out", tmp_path / "report")
    # 1 in 20 sound releases is falsified: that is the audit's stated level
    assert outcome.code in (0, 1), outcome.text
    assert "audit:" in outcome.out
    assert "An audit can falsify a claim" in (tmp_path / "report" / "report.html").read_text()


def test_a_falsified_claim_exits_1_after_writing(sfumato_command, trial, tmp_path, monkeypatch):
    from dataclasses import replace

    real = survival_audit.audit_release

    def falsified(fit, trials):
        return replace(real(fit, 200), verdict="falsified")

    monkeypatch.setattr(survival_audit, "audit_release", falsified)
    outcome = sfumato_command("survival", trial, *COLUMNS, "--bins", 5, "--audit", "--out", tmp_path / "report")
    assert outcome.code == 1
    assert {path.name for path in (tmp_path / "report").iterdir()} == FILES


def test_an_exhausted_budget_exits_3_and_writes_nothing(sfumato_command, trial, tmp_path, ledger):
    command = ("survival", trial, *COLUMNS, *charged(tmp_path))
    assert sfumato_command(*command, "--out", tmp_path / "first").code == 0
    outcome = sfumato_command(*command, "--out", tmp_path / "second")
    assert_one_error_line(outcome, 3, "trial", "0.5")
    assert len(ledger.history("trial")) == 1
    assert not (tmp_path / "second").exists()


BAD_TABLES = {
    "empty file": ("", "empty"),
    "header only": ("days,died,arm\n", "no rows"),
    "missing column": (f"time,died,arm\n{SENTINEL},1,a\n", "days"),
    "no header": (f"{SENTINEL},1,a\n{SENTINEL},0,b\n", "days"),
    "missing time": (f"days,died,arm\n{SENTINEL},1,a\n,0,b\n", "days"),
    "NaN": (f"days,died,arm\n{SENTINEL},1,a\nnan,0,b\n", "days"),
    "infinite": (f"days,died,arm\n{SENTINEL},1,a\ninf,0,b\n", "days"),
    "negative": (f"days,died,arm\n-{SENTINEL},1,a\n5,0,b\n", "days"),
    "text among numbers": (f"days,died,arm\n{SECRET},1,a\n5,0,b\n", "days"),
    "event 2": (f"days,died,arm\n5,2,a\n{SENTINEL},0,b\n", "died"),
    "event of text": (f"days,died,arm\n5,{SECRET},a\n7,0,b\n", "died"),
    "event 0.5": (f"days,died,arm\n5,0.5,a\n{SENTINEL},0,b\n", "died"),
    "missing event": (f"days,died,arm\n5,,a\n{SENTINEL},0,b\n", "died"),
    "undeclared group": (f"days,died,arm\n5,1,a\n7,0,{SECRET}\n", "arm"),
    "missing group": (f"days,died,arm\n5,1,a\n{SENTINEL},0,\n", "arm"),
    "ragged": (f"days,died,arm\n5,1,a\n7,0,b,{SECRET},{SENTINEL}\n", "CSV"),
    "one field too many in every row": (f"days,died,arm\n{SENTINEL},5,1,a\n{SENTINEL},7,0,b\n", "CSV"),
    "open quote": (f'days,died,arm\n5,1,"{SECRET}\n7,0,b\n', ""),
    "column twice": (f"days,days,died,arm\n5,{SENTINEL},1,a\n", "days"),
}


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_one_line_without_its_values_and_spends_nothing(
    sfumato_command, tmp_path, ledger, case, recwarn
):
    text, word = BAD_TABLES[case]
    path = tmp_path / "bad.csv"
    path.write_text(text)
    groups = ("--group", "arm", "--group-values", "a,b")
    outcome = sfumato_command("survival", path, *COLUMNS, *groups, *charged(tmp_path), "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2, word)
    assert ledger.history("trial") == []
    assert not (tmp_path / "out").exists()
    assert not any(SECRET in str(w.message) or SENTINEL in str(w.message) for w in recwarn)


BAD_OPTIONS = {
    "no horizon": (("--duration", "days", "--event", "died", "--epsilon", "1"), "--horizon"),
    "no duration": (("--event", "died", "--epsilon", "1", "--horizon", "9"), "--duration"),
    "no epsilon": (("--duration", "days", "--event", "died", "--horizon", "9"), "--epsilon"),
    "epsilon 0": ((*COLUMNS, "--epsilon", "0"), "--epsilon"),
    "epsilon negative": ((*COLUMNS, "--epsilon", "-1"), "--epsilon"),
    "epsilon nan": ((*COLUMNS, "--epsilon", "nan"), "--epsilon"),
    "epsilon inf": ((*COLUMNS, "--epsilon", "inf"), "--epsilon"),
    "epsilon text": ((*COLUMNS, "--epsilon", "much"), "--epsilon"),
    "horizon nan": ((*COLUMNS, "--horizon", "nan"), "--horizon"),
    "horizon 0": ((*COLUMNS, "--horizon", "0"), "--horizon"),
    "group without values": ((*COLUMNS, "--group", "arm"), "--group-values"),
    "values without group": ((*COLUMNS, "--group-values", "a,b"), "--group"),
    "a value twice": ((*COLUMNS, "--group", "arm", "--group-values", "a,a"), "distinct"),
    "neighbours": ((*COLUMNS, "--neighbours", "friends"), "neighbours"),
    "bins 0": ((*COLUMNS, "--bins", "0"), "--bins"),
    "records without person": ((*COLUMNS, "--max-records", "2"), "person"),
    "one column for two things": ((*COLUMNS, "--event", "days"), "different"),
    "unknown option": ((*COLUMNS, "--espilon", "1"), "--espilon"),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_a_bad_option_is_one_line_that_names_it(sfumato_command, trial, tmp_path, ledger, case):
    options, word = BAD_OPTIONS[case]
    outcome = sfumato_command("survival", trial, *options, *charged(tmp_path), "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2, word)
    assert ledger.history("trial") == []


@pytest.mark.parametrize("name", ["nowhere.csv", "nowhere", "a.xlsx"])
def test_a_missing_file_is_named(sfumato_command, tmp_path, name):
    outcome = sfumato_command("survival", name, *COLUMNS, "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2, name)


def test_a_folder_that_cannot_be_written_is_found_before_spending(sfumato_command, trial, tmp_path, ledger):
    out = tmp_path / "taken"
    out.write_text("a file, not a folder")
    outcome = sfumato_command("survival", trial, *COLUMNS, *charged(tmp_path), "--out", out)
    assert_one_error_line(outcome, 2, "--out")
    assert ledger.history("trial") == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_found_before_spending(sfumato_command, trial, tmp_path, ledger):
    (tmp_path / "sealed").mkdir(mode=0o500)
    outcome = sfumato_command("survival", trial, *COLUMNS, *charged(tmp_path), "--out", tmp_path / "sealed")
    assert_one_error_line(outcome, 2, "--out")
    assert ledger.history("trial") == []


@pytest.mark.parametrize("trouble", ["missing", "no ledger at all", "another data set", "without --dataset"])
def test_ledger_trouble_is_one_line(sfumato_command, trial, tmp_path, ledger, trouble):
    (tmp_path / "text.db").write_text("this is not a database, and long enough to be read as one " * 100)
    options = {
        "missing": ("--ledger", tmp_path / "nowhere.db", "--dataset", "trial"),
        "no ledger at all": ("--ledger", tmp_path / "text.db", "--dataset", "trial"),
        "another data set": ("--ledger", tmp_path / "budgets.db", "--dataset", "other"),
        "without --dataset": ("--ledger", tmp_path / "budgets.db"),
    }
    outcome = sfumato_command("survival", trial, *COLUMNS, *options[trouble], "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2)
    assert ledger.history("trial") == []
    assert not (tmp_path / "nowhere.db").exists()


def test_an_unforeseen_error_keeps_its_message_to_itself(sfumato_command, trial, tmp_path, monkeypatch):
    def break_down(*_):
        raise RuntimeError(f"the value was {SENTINEL} of {SECRET}")

    monkeypatch.setattr("sfumato.cli.survival.read", break_down)
    command = ("survival", trial, *COLUMNS, "--out", tmp_path / "out")
    assert_one_error_line(sfumato_command(*command), 2, "internal error (RuntimeError)")
    monkeypatch.setenv("SFUMATO_DEBUG", "1")
    with pytest.raises(RuntimeError, match=SECRET):
        sfumato_command(*command)


def test_a_failed_write_leaves_no_partial_file(sfumato_command, trial, tmp_path, monkeypatch):
    monkeypatch.setattr("sfumato.report.survival_page", lambda *_, **__: "\ud800 cannot be encoded")
    outcome = sfumato_command("survival", trial, *COLUMNS, "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2, "internal error")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_fills_up_is_said_with_what_was_spent(sfumato_command, trial, tmp_path, ledger, monkeypatch):
    def full(path, content):
        raise OSError(28, f"No space left on device: {SECRET}")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    outcome = sfumato_command("survival", trial, *COLUMNS, *charged(tmp_path), "--out", tmp_path / "out")
    assert_one_error_line(outcome, 2, "--out", "charged")
    assert not (tmp_path / "out").exists()
    assert len(ledger.history("trial")) == 1


def test_a_locked_ledger_is_one_line(sfumato_command, trial, tmp_path, ledger, monkeypatch):
    import sqlite3

    from sfumato.cli import survival

    class Impatient(Ledger):
        def __init__(self, url):
            super().__init__(url, timeout=0.2)

    monkeypatch.setattr(survival, "Ledger", Impatient)
    with sqlite3.connect(tmp_path / "budgets.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        outcome = sfumato_command("survival", trial, *COLUMNS, *charged(tmp_path), "--out", tmp_path / "out")
        other.execute("ROLLBACK")
    assert_one_error_line(outcome, 2, "locked")
    assert ledger.history("trial") == []


def test_the_picture_of_a_bundled_cohort_keeps_its_claim_beside_the_unit(sfumato_command, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    labels = []
    real = Figure.savefig

    def spy(figure, *arguments, **options):
        labels.append(figure.axes[0].get_xlabel())
        return real(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", spy)
    monkeypatch.chdir(tmp_path)
    assert sfumato_command("survival", "lung", "--epsilon", 1, "--out", "report").code == 0
    (label,) = labels
    assert label.startswith("time (days)")
    assert "ε = 1" in label


def test_labels_that_look_like_markup_or_formulas_are_shown_as_they_are(sfumato_command, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("days,died,arm\n" + "5,1,[red]\n7,0,$x$\n" * 20)
    groups = ("--group", "arm", "--group-values", "[red],$x$")
    outcome = sfumato_command("survival", path, *COLUMNS, *groups, "--bins", 3, "--out", tmp_path / "out")
    assert outcome.code == 0, outcome.text
    assert "[red]" in outcome.out
