"""Drafts: they take the table in, are marked as drafts, and leave out what nobody could list."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sfumato.errors import DomainError
from sfumato.synthesis import draft_domain


def test_columns_are_described_as_a_person_would():
    frame = pd.DataFrame(
        {
            "age": np.arange(17, 87),
            "share": np.linspace(0.013, 0.87, 70),
            "grade": [1, 2, 3, 4, 5] * 14,
            "town": ["Ur", "Uruk", None, "Ur", "Ur", "Uruk", "Ur"] * 10,
            "member": [True, False] * 35,
            "flag": [1.0, np.nan] * 35,
        }
    )
    domain, left_out = draft_domain(frame)
    assert domain.drafted
    assert not left_out
    kinds = {column.name: column.kind for column in domain.columns}
    assert kinds == {
        "age": "numeric", "share": "numeric", "grade": "ordinal", "town": "categorical", "member": "categorical",
        "flag": "categorical",
    }  # fmt: skip
    by_name = {column.name: column for column in domain.columns}
    assert by_name["age"].bounds == (10, 90)
    assert by_name["age"].integer
    assert by_name["share"].bounds == pytest.approx((0.0, 0.9))
    assert by_name["town"].categories == ("Ur", "Uruk", None)
    assert by_name["flag"].categories == (1, None)
    domain.encode(frame)


def test_what_cannot_be_listed_is_left_out_with_a_reason():
    frame = pd.DataFrame(
        {
            "name": [f"person {k}" for k in range(300)],
            "weight": [float(k) / 7 for k in range(299)] + [np.nan],
            "far": [float(k) for k in range(299)] + [np.inf],
            "born": pd.date_range("2000-01-01", periods=300),
            "kept": ["x", "y"] * 150,
        }
    )
    domain, left_out = draft_domain(frame)
    assert domain.names == ("kept",)
    assert set(left_out) == {"name", "weight", "far", "born"}
    assert not any("person" in reason for reason in left_out.values())
    with pytest.raises(DomainError, match="no column"):
        draft_domain(frame[["name"]])


@given(st.lists(st.integers(-(10**9), 10**9) | st.floats(-1e9, 1e9), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_bounds_take_every_number_in(numbers):
    frame = pd.DataFrame({"n": numbers})
    domain, _ = draft_domain(frame)
    domain.encode(frame)
