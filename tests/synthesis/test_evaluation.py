"""query_error against errors counted by hand."""

import pandas as pd
import pytest

from sfumato.errors import DomainError, InvalidData
from sfumato.synthesis import Column, Domain, marginals
from sfumato.synthesis.evaluation import query_error

DOMAIN = Domain((Column.categorical("sex", "fm"), Column.numeric("age", 0, 100)))
REAL = pd.DataFrame({"sex": list("ffmm"), "age": [10.0, 60.0, 20.0, 30.0]})
SYNTHETIC = pd.DataFrame({"sex": list("fm"), "age": [10.0, 90.0]})


def test_it_compares_cell_by_cell():
    workloads = marginals(DOMAIN, 1, resolutions=(2,)) + marginals(DOMAIN, 2, resolutions=(2,))
    found = query_error(REAL, SYNTHETIC, workloads)
    assert found["columns"].tolist() == ["sex", "age", "sex, age"]
    assert found["cells"].tolist() == [2, 2, 4]
    # real: f 1/2; young 3/4; f-young 1/4, f-old 1/4, m-young 1/2, m-old 0. synthetic: f-young 1/2, m-old 1/2
    assert found["max_error"].tolist() == [0, 0.25, 0.5]
    assert found["mean_error"].tolist() == [0, 0.25, (0.25 + 0.25 + 0.5 + 0.5) / 4]
    assert found.attrs["private"] is False


def test_empty_tables_and_tables_outside_the_domain_are_refused():
    workloads = marginals(DOMAIN, 1, resolutions=(2,))
    with pytest.raises(InvalidData, match="rows"):
        query_error(REAL, SYNTHETIC.iloc[:0], workloads)
    with pytest.raises(DomainError, match="sex"):
        query_error(REAL, SYNTHETIC.assign(sex="x"), workloads)
