"""The real tables of the study of system 24, with their domains.

The domains are those of whole published files, which stand for the codebooks: for the study, and for nothing private.
"""

from __future__ import annotations

import pandas as pd

from sfumato.data.census_income import cache_path, load_census_income
from sfumato.data.tabular import load_table
from sfumato.synthesis import Column, Domain

#: 21 columns of the census-income table, two of them numeric.
CENSUS = (
    "age", "worker_class", "industry", "education", "enrolled", "marital", "major_industry", "major_occupation", "race",
    "hispanic_origin", "sex", "union_member", "employment", "tax_filer", "household", "household_summary",
    "employer_size", "citizenship", "weeks_worked", "year", "income",
)  # fmt: skip

#: Its seven numeric columns, with bounds by the survey's coding, and two binary ones.
CENSUS_NUMBERS = {
    "age": (0, 90), "wage_per_hour": (0, 9999), "capital_gains": (0, 99_999), "capital_losses": (0, 4999),
    "dividends": (0, 99_999), "employer_size": (0, 6), "weeks_worked": (0, 52),
}  # fmt: skip
CENSUS_TARGETS = ("sex", "income")


def census_is_here() -> bool:
    """Whether the census-income table was fetched to this machine."""
    return cache_path().is_file()


def census(n: int, seed: int = 0) -> tuple[pd.DataFrame, Domain]:
    """Return n people of the census-income table, and the domain of `CENSUS`."""
    table = load_census_income()
    columns = []
    for name in CENSUS:
        if name in ("age", "weeks_worked"):
            columns.append(Column.numeric(name, *CENSUS_NUMBERS[name], integer=True))
        else:
            columns.append(_categories(table, name))
    return table.sample(n, random_state=seed).reset_index(drop=True), Domain(tuple(columns))


def census_numbers(n: int, seed: int = 0) -> tuple[pd.DataFrame, Domain]:
    """Return n people of the census-income table with its numeric columns and two binary ones."""
    table = load_census_income()
    numbers = [Column.numeric(name, *bounds, integer=True) for name, bounds in CENSUS_NUMBERS.items()]
    domain = Domain((*numbers, *(_categories(table, name) for name in CENSUS_TARGETS)))
    return table.sample(n, random_state=seed).reset_index(drop=True), domain


def visits() -> tuple[pd.DataFrame, Domain]:
    """Return the 20,190 person-years of the RAND Health Insurance Experiment: five numbers, four binary columns."""
    table = load_table("randhie")
    columns = (
        Column.numeric("mdvis", 0, 80, integer=True),
        Column.numeric("lpi", 0, 8),
        Column.numeric("fmde", 0, 9),
        Column.numeric("physlm", 0, 1),
        Column.numeric("disea", 0, 60),
        *(Column.categorical(name, (0, 1)) for name in ("idp", "hlthg", "hlthf", "hlthp")),
    )
    return table, Domain(columns)


def marriages() -> tuple[pd.DataFrame, Domain]:
    """Return the 6,366 women of Fair's survey: eight numbers, and whether they had an affair."""
    table = load_table("fair")
    frame = table.drop(columns="affairs").assign(affair=(table["affairs"] > 0).astype(int))
    bounds = {
        "rate_marriage": (1, 5), "age": (15, 45), "yrs_married": (0, 25), "children": (0, 6), "religious": (1, 4),
        "educ": (9, 20), "occupation": (1, 6), "occupation_husb": (1, 6),
    }  # fmt: skip
    numbers = tuple(Column.numeric(name, *ends) for name, ends in bounds.items())
    return frame, Domain((*numbers, Column.categorical("affair", (0, 1))))


def _categories(table: pd.DataFrame, name: str) -> Column:
    return Column.categorical(name, sorted(table[name].unique().tolist()))
