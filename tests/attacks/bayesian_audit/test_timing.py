"""Timings: information, clearly said to be no more than that. Nothing here asserts how long anything takes."""

import pytest

from sfumato.attacks.bayesian_audit import compare_timings
from sfumato.errors import InvalidData


def test_both_inputs_are_timed_as_often_and_the_label_is_honest():
    seen = []
    report = compare_timings(seen.append, ("a", "b"), calls=20, random_state=0)
    assert seen[:4] == ["a", "b", "a", "b"]
    assert (seen[4:].count("a"), seen[4:].count("b")) == (20, 20)
    assert seen[4:] != sorted(seen[4:])
    assert 0 <= report.pvalue <= 1
    assert "information only" in str(report)
    assert not hasattr(report, "verdict")


def test_too_few_calls_are_refused():
    with pytest.raises(InvalidData, match="calls"):
        compare_timings(lambda x: x, (0, 1), calls=5)
