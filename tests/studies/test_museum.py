"""The museum: each exhibit is caught on its own pair, each fix passes, and every label is filled in."""

from dataclasses import replace
from pathlib import Path

import pytest

from sfumato.errors import InvalidData
from sfumato.studies.museum import audit_exhibit, exhibits, get

EXHIBITS = {each.name: each for each in exhibits()}


@pytest.mark.parametrize("name", EXHIBITS)
def test_each_exhibit_is_caught_and_its_fix_is_not(name):
    """A fix is accused with probability 1e-6: the noise of some comes from the system, whatever the seed."""
    exhibit = EXHIBITS[name]
    assert audit_exhibit(exhibit, seed=1).verdict == "violation"
    strict = replace(exhibit, settings={**exhibit.settings, "alpha": 1e-6})
    assert audit_exhibit(strict, fixed=True, seed=1).verdict == "no violation found"


def test_labels_are_complete_and_names_unique():
    assert len(EXHIBITS) == len(exhibits())
    for each in exhibits():
        for text in (each.title, each.source, each.wrong, each.fix):
            assert text.strip()
        assert each.wrong.endswith(".")


def test_the_docs_page_shows_every_exhibit_as_its_label_reads():
    page = (Path(__file__).parents[2] / "docs" / "museum.md").read_text()
    for each in exhibits():
        for text in (each.title, each.source, each.wrong, each.fix, each.told_apart, str(each.claim.bound)):
            assert text in page
    assert page.count("| certified | violation") == page.count("| the fix, audited | no violation") == len(EXHIBITS)


def test_an_unknown_exhibit_is_named():
    with pytest.raises(InvalidData, match="no exhibit 'mona-lisa'; there are float-laplace"):
        get("mona-lisa")
