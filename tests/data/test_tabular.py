"""Tables of people: their shapes, and that the generated ones are people with dependent attributes."""

import numpy as np
import pytest

from sfumato.data.tabular import ACS, ADULT, load_table, synthetic_census
from sfumato.errors import InvalidData


@pytest.mark.parametrize(("name", "shape"), [("fair", (6366, 9)), ("randhie", (20190, 10))])
def test_real_tables_come_whole(name, shape):
    frame = load_table(name)
    assert frame.shape == shape
    assert not frame.isna().any().any()


@pytest.mark.parametrize("cardinalities", [ACS, ADULT])
def test_a_census_has_its_attributes_and_repeats_by_seed(cardinalities):
    frame = synthetic_census(5000, cardinalities, random_state=3)
    assert list(frame) == list(cardinalities)
    assert all(frame[name].between(0, k - 1).all() for name, k in cardinalities.items())
    assert frame.equals(synthetic_census(5000, cardinalities, random_state=3))
    assert not frame.equals(synthetic_census(5000, cardinalities, random_state=4))


def test_attributes_go_together():
    frame = synthetic_census(20_000, ACS, random_state=0)
    joint = np.histogram2d(frame["MIG"], frame["RAC1P"], bins=(range(5), range(10)))[0] / len(frame)
    apart = joint.sum(1, keepdims=True) * joint.sum(0)
    assert np.abs(joint - apart).sum() > 0.05


def test_bad_requests_are_named():
    with pytest.raises(InvalidData, match="fair, randhie"):
        load_table("adult")
    for n, cardinalities in ((0, ACS), (10, {}), (10, {"a": 1})):
        with pytest.raises(InvalidData, match="census"):
            synthetic_census(n, cardinalities)
