"""The cohorts: columns, codes and public facts as declared."""

import pytest

from sfumato.data import load, names
from sfumato.errors import InvalidData, MissingExtra


@pytest.mark.parametrize("name", names())
def test_each_cohort_is_what_its_metadata_says(name):
    try:
        cohort = load(name)
    except MissingExtra as missing:
        pytest.skip(str(missing))
    frame = cohort.frame
    assert set(frame[cohort.event].unique()) == {0, 1}
    assert (frame[cohort.duration] >= 0).all()
    for column, labels in cohort.groups.items():
        assert set(frame[column].unique()) == set(labels)


def test_lung_has_the_figures_that_the_card_gives():
    lung = load("lung")
    assert len(lung.frame) == 228
    assert lung.frame[lung.event].sum() == 165
    assert lung.frame[lung.duration].nunique() == 186
    assert lung.horizon == 1095


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(InvalidData, match="lung"):
        load("lungs")
