"""The catalogue: every study runs at smoke scale, and the docs' table is the generated one."""

from pathlib import Path

import pytest

from sfumato.errors import InvalidData
from sfumato.studies import catalogue, get
from sfumato.studies.study import to_markdown
from sfumato.studies.systems import SYSTEMS
from sfumato.studies.systems import to_markdown as systems_table

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("study", catalogue(), ids=lambda study: study.slug)
def test_each_study_runs_at_smoke_scale_and_nothing_that_should_hold_fails(study):
    result = study.run("smoke", 0)
    assert [row.what for row in result.rows if row.holds is False] == []
    assert any(row.holds for row in result.rows)
    assert result.figures
    page = to_markdown(study, result)
    assert page.count("\n|") == len(result.rows) + 2
    assert (DOCS / "studies" / f"{study.number:02}-{study.slug}.md").is_file()


def test_there_are_47_systems_and_the_docs_table_is_generated():
    assert [s.number for s in SYSTEMS] == list(range(1, 48))
    assert (DOCS / "systems.md").read_text() == systems_table()


def test_an_unknown_study_lists_the_known_ones():
    with pytest.raises(InvalidData, match="dp-kaplan-meier"):
        get("none")
