"""Contamination curves: breakpoints of known estimators, and what growing failures say of an ε."""

import numpy as np
import pytest

from sfumato import ApproxDP, Claim, GaussianDP, PureDP
from sfumato.attacks.contamination import ContaminationCurve, contamination_curve
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.groups import probability_after


def claim(bound, **change):
    return Claim(bound, neighbours="replace-one", **change)


def curve(estimator, counts=(5, 20, 49, 52), **change):
    settings = {"corruptions": counts, "outlier": 1e6, "repeats": 40, "random_state": 0, **change}
    return contamination_curve(estimator, lambda rng: rng.normal(size=101), 0.0, **settings)


def test_the_mean_breaks_at_one_record_and_the_median_at_half():
    assert curve(np.mean).breakpoint(10.0) == 5
    assert curve(np.median).breakpoint(10.0) == 52
    assert curve(lambda x: 0.0).breakpoint(10.0) is None
    assert curve(lambda x: np.nan).breakpoint(10.0) == 0  # no estimate is no answer


def test_errors_of_a_robust_estimator_grow():
    medians = curve(np.median, repeats=200).quantile()
    assert np.all(np.diff(medians) > 0)
    assert medians[0] < 0.2


def test_failures_that_grow_too_fast_falsify_a_claim():
    """The mean of 101 records goes from never above 10 to always, with 5 replaced: ε = 0.1 would allow e^0.5 more."""
    found = curve(np.mean, counts=(5,), repeats=200).to_evidence(claim(PureDP(0.1)), 10.0, alpha=1e-6)
    assert found.verdict == "falsified"
    assert found.value > 0.1
    assert found.interval == (found.value, np.inf)
    assert found.claim.bound == PureDP(0.1)


def test_a_claim_that_allows_it_is_not_falsified():
    records = ContaminationCurve(100, np.array([0, 5]), np.array([[0.0] * 99 + [9.0], [0.0] * 95 + [9.0] * 5]))
    assert records.to_evidence(claim(PureDP(0.4)), 1.0).verdict == "consistent"
    assert records.to_evidence(claim(PureDP(4.0)), 1.0).verdict == "inconclusive"  # 100 runs cannot tell e^20
    assert records.to_evidence(claim(ApproxDP(0.1, 0.5)), 1.0).verdict != "falsified"


def test_evidence_needs_replaced_records_and_a_bound():
    records = ContaminationCurve(10, np.array([0, 1]), np.zeros((2, 5)))
    with pytest.raises(InvalidClaim, match="replace-one"):
        records.to_evidence(Claim(PureDP(1.0)), 1.0)
    with pytest.raises(InvalidClaim, match="bound"):
        records.to_evidence(claim(GaussianDP(1.0)), 1.0)


def test_vectors_are_measured_by_their_length():
    found = contamination_curve(
        lambda x: x.mean(axis=0), lambda rng: np.zeros((10, 2)), [0.0, 0.0], corruptions=[10], outlier=[3, 4], repeats=2
    )
    assert found.quantile().tolist() == [0, 5]


@pytest.mark.parametrize("change", [{"counts": (102,)}, {"counts": (-1,)}, {"counts": (0.5,)}, {"repeats": 0}])
def test_bad_input_is_named(change):
    with pytest.raises(InvalidData, match=r"corruptions|repeats"):
        curve(np.mean, **change)


def test_a_plot_names_its_axes():
    axes = curve(np.median, repeats=3).plot(label="median", unit="mg")
    assert axes.get_xlabel() == "records replaced, of 101"
    assert axes.get_ylabel() == "error of the estimate (mg)"


def test_group_privacy():
    assert probability_after(claim(PureDP(0.5)), 0.1, 2) == pytest.approx(0.1 * np.e)
    assert probability_after(claim(ApproxDP(0.5, 0.01)), 0.1, 2) == pytest.approx(
        np.exp(0.5) * (np.exp(0.5) * 0.1 + 0.01) + 0.01
    )
    assert probability_after(claim(ApproxDP(0.0, 0.01)), 0.1, 3) == pytest.approx(0.13)
    assert probability_after(claim(PureDP(1.0)), 1e-300, 10**6) == 1
    assert probability_after(claim(PureDP(1.0)), 0.0, 10**6) == 0
    for bad in ({"probability": 1.5}, {"changes": -1}, {"changes": 0.5}):
        with pytest.raises(InvalidData):
            probability_after(**{"claim": claim(PureDP(1.0)), "probability": 0.1, "changes": 1, **bad})
