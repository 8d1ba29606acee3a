"""`sfumato synth`: from a file to a published folder; every refusal one line without a value of the table."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.ledger import Ledger

SECRET = "SECRET-TOWN"


@pytest.fixture
def people(tmp_path):
    """A clean CSV of 300 people, one of whom is missing a town."""
    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "age": random.integers(18, 90, 300),
            "town": random.choice(["Ur", "Uruk"], 300),
            "member": random.choice(["true", "false"], 300),
            "score": random.random(300).round(3),
        }
    )
    frame.loc[7, "town"] = None
    frame.to_csv(tmp_path / "people.csv", index=False)
    return tmp_path / "people.csv"


DOMAIN = {
    "columns": [
        {"name": "age", "kind": "numeric", "bounds": [0, 100], "integer": True},
        {"name": "town", "kind": "categorical", "categories": ["Ur", "Uruk", "Eridu", None]},
        {"name": "member", "kind": "categorical", "categories": [True, False]},
        {"name": "score", "kind": "numeric", "bounds": [0, 1]},
    ]
}


def written(tmp_path, plain=DOMAIN):
    path = tmp_path / "domain.yaml"
    path.write_text(yaml.safe_dump(plain))
    return path


def options(tmp_path, *more):
    return ("--domain", written(tmp_path), "--epsilon", 1, "--out", tmp_path / "out", "--resolutions", "2,4", *more)


def test_a_table_is_made_with_claim_and_report(sfumato_command, people, tmp_path):
    outcome = sfumato_command("synth", people, *options(tmp_path, "--rows", 200, "--halfspaces", 3, "--prefixes", 3))
    assert outcome.code == 0, outcome.text
    assert "each record (replaced by another)" in outcome.out
    assert "ε = 1," in outcome.out
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "synthetic.csv", "claim.json", "report.html", "measurements.jsonl",
    }  # fmt: skip
    table = pd.read_csv(out / "synthetic.csv")
    assert list(table) == ["age", "town", "member", "score"]
    assert len(table) == 200
    assert table["age"].between(0, 100).all()
    assert set(table["member"]) <= {True, False}
    document = json.loads((out / "claim.json").read_text())
    assert document["claim"]["bound"]["kind"].lower().startswith("z")
    page = (out / "report.html").read_text()
    assert page.count("<img") >= 6
    assert "http" not in page.split("</style>")[1].replace("data:image", "")


def test_the_command_again_pays_nothing_again_and_changes_no_answer(sfumato_command, people, tmp_path):
    url = f"sqlite:///{tmp_path / 'b.db'}"
    Ledger(url, create=True).create("people", ZCDP(1.0), unit="record", neighbours="replace-one")
    command = ("synth", people, *options(tmp_path, "--rows", 50, "--ledger", url, "--dataset", "people", "--seed", 3))
    assert sfumato_command(*command).code == 0
    first = (tmp_path / "out" / "synthetic.csv").read_bytes(), Ledger(url).account("people").head
    assert Ledger(url).account("people").charges == 1
    again = sfumato_command(*command)
    assert again.code == 0
    assert "not paid for again" in again.out
    assert first == ((tmp_path / "out" / "synthetic.csv").read_bytes(), Ledger(url).account("people").head)


def test_an_exhausted_budget_exits_3_and_leaves_no_table(sfumato_command, people, tmp_path):
    url = f"sqlite:///{tmp_path / 'b.db'}"
    Ledger(url, create=True).create("people", ZCDP(1e-6), unit="record", neighbours="replace-one")
    outcome = sfumato_command("synth", people, *options(tmp_path, "--ledger", url, "--dataset", "people"))
    assert outcome.code == 3
    assert not (tmp_path / "out" / "synthetic.csv").exists()


def test_add_remove_needs_a_delta_and_then_counts_the_rows(sfumato_command, people, tmp_path):
    more = ("--neighbours", "add-remove", "--rows", 50)
    assert "delta must be given" in sfumato_command("synth", people, *options(tmp_path, *more)).err
    outcome = sfumato_command("synth", people, *options(tmp_path, *more, "--delta", 1e-6))
    assert outcome.code == 0, outcome.text
    assert "(added or removed)" in outcome.out


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("town", SECRET, "outside its 4 categories"),
        ("member", SECRET, "outside its 2 categories"),
        ("age", SECRET, "missing number"),
        ("age", 1234567, "outside [0, 100]"),
        ("age", 20.5, "not whole"),
        ("score", "", "missing number"),
    ],
)
def test_values_outside_the_domain_are_refused_in_one_line_without_them(
    sfumato_command, people, tmp_path, column, value, words
):
    frame = pd.read_csv(people, dtype=str)
    frame.loc[3, column] = value
    frame.to_csv(people, index=False)
    outcome = sfumato_command("synth", people, *options(tmp_path))
    assert outcome.code == 2
    assert outcome.err.count("\n") == 1
    assert words in outcome.err
    assert SECRET not in outcome.text
    assert "1234567" not in outcome.text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d | {"drafted": True}, "draft"),
        (lambda d: {"columns": []}, "at least one"),
        (lambda d: [1], "columns"),
        (lambda d: {"columns": [{"name": "height", "kind": "numeric", "bounds": [0, 3]}]}, "no column 'height'"),
        (lambda d: {"columns": [{"name": "town", "kind": "categorical", "categories": ["1", 1]}]}, "written alike"),
    ],
)
def test_domain_files_that_do_not_serve_are_refused(sfumato_command, people, tmp_path, change, words):
    command = ["synth", people, *options(tmp_path)]
    written(tmp_path, change(DOMAIN))
    outcome = sfumato_command(*command)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--epsilon", 0), "--epsilon"),
        (("--ledger", "sqlite:///x.db"), "go together"),
        (("--resolutions", "a"), "--resolutions"),
        (("--resolutions", "1"), "resolutions"),
        (("--strategy", "best"), "strategy"),
        (("--strategy", "adaptive"), "only"),
        (("--unit", "silo"), "unit"),
        (("--domain", "nowhere.yaml"), "--domain"),
        (("--rows", 2), "Try --help"),
    ],
)
def test_bad_options_are_one_line(sfumato_command, people, tmp_path, more, words):
    outcome = sfumato_command("synth", people, *options(tmp_path, *more))
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert words in outcome.err


def test_a_missing_file_and_a_domain_that_is_no_yaml_are_refused(sfumato_command, people, tmp_path):
    assert "there is no file" in sfumato_command("synth", tmp_path / "no.csv", *options(tmp_path)).err
    command = ["synth", people, *options(tmp_path)]
    (tmp_path / "domain.yaml").write_text("columns: [")
    assert "is not YAML" in sfumato_command(*command).err


def test_a_draft_is_refused_until_confirmed_and_then_serves(sfumato_command, people, tmp_path):
    draft = tmp_path / "drafted.yaml"
    outcome = sfumato_command("synth", "domain", people, "--out", draft)
    assert outcome.code == 0, outcome.text
    assert "looked at the data" in outcome.err
    assert draft.stat().st_mode & 0o077 == 0
    command = ("synth", people, "--domain", draft, "--epsilon", 1, "--out", tmp_path / "o", "--resolutions", 2)
    assert "draft" in sfumato_command(*command).err
    text = draft.read_text()
    assert text.startswith("# A DRAFT")
    draft.write_text(text.replace("drafted: true", "drafted: false"))
    outcome = sfumato_command(*command, "--rows", 20)
    assert outcome.code == 0, outcome.text


def test_a_draft_is_not_written_over_and_says_what_it_leaves_out(sfumato_command, people, tmp_path):
    frame = pd.read_csv(people).assign(name=[f"person {k}" for k in range(300)])
    frame.to_csv(people, index=False)
    outcome = sfumato_command("synth", "domain", people)
    assert "left out: column 'name' holds more than 200 categories" in outcome.err
    assert "person 7" not in outcome.text
    assert yaml.safe_load(outcome.out)["drafted"] is True
    (tmp_path / "there.yaml").write_text("mine")
    assert sfumato_command("synth", "domain", people, "--out", tmp_path / "there.yaml").code == 2
    assert (tmp_path / "there.yaml").read_text() == "mine"


def test_parquet_is_read_like_csv(sfumato_command, people, tmp_path):
    frame = pd.read_csv(people)
    frame.to_parquet(tmp_path / "people.parquet")
    outcome = sfumato_command("synth", tmp_path / "people.parquet", *options(tmp_path, "--rows", 20))
    assert outcome.code == 0, outcome.text
