"""The census-income loader: the file as UCI has it, the cached table, and files that are not it."""

import pytest

from sfumato.data.census_income import COLUMNS, cache_path, load_census_income
from sfumato.errors import InvalidData


def line(**values):
    return ", ".join(str(values.get(column, "?")) for column in COLUMNS)


def test_it_reads_the_files_own_categories(tmp_path):
    file = tmp_path / "census.csv"
    file.write_text(line(age=73, weight=1700.09, sex="Female") + "\n" + line(age=58, weight=1.5, sex="Male") + "\n")
    frame = load_census_income(file)
    assert tuple(frame) == COLUMNS
    assert frame["age"].tolist() == [73, 58]
    assert frame["sex"].tolist() == ["Female", "Male"]
    assert frame["state_before"].tolist() == ["?", "?"]
    assert not frame.isna().any().any()
    frame.to_parquet(tmp_path / "census.parquet")
    assert load_census_income(tmp_path / "census.parquet").equals(frame)


def test_another_file_is_refused(tmp_path, monkeypatch):
    file = tmp_path / "other.csv"
    file.write_text("1, 2, 3\n")
    with pytest.raises(InvalidData, match="42 columns"):
        load_census_income(file)
    monkeypatch.setenv("SFUMATO_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InvalidData, match=r"-m sfumato\.data\.census_income"):
        load_census_income()
    assert cache_path().parent == tmp_path / "nowhere"
