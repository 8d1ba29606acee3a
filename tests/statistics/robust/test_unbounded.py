"""Without a public range: the stability histogram; and back: what a claim alone says of robustness."""

import math

import numpy as np
import pytest

from sfumato import ApproxDP, Claim, PureDP, Release
from sfumato.attacks.contamination import contamination_curve
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.statistics.robust import DPMedian, DPTrimmedMean, robustness_of, withstand
from sfumato.statistics.robust.unbounded import occupied_range, threshold


def tail(epsilon, t):
    """P(1 + noise >= t) for discrete Laplace noise of scale 2/ε, summed."""
    q = math.exp(-epsilon / 2)
    return sum(math.tanh(epsilon / 4) * q ** abs(m) for m in range(t - 1, t + int(200 / epsilon)))


@pytest.mark.parametrize("epsilon", [0.05, 0.5, 1.0, 3.0, 8.0])
@pytest.mark.parametrize("delta", [0.1, 1e-3, 1e-6])
def test_the_threshold_keeps_a_lonely_record_below_delta(epsilon, delta):
    t = threshold(epsilon, delta)
    assert max(2, math.exp(epsilon / 2)) * tail(epsilon, t) <= delta
    assert max(2, math.exp(epsilon / 2)) * tail(epsilon, max(t - 3, 2)) > delta or t <= 4  # and is not far above


def test_spread_data_have_no_range():
    """1000 lonely records, each of which passes with probability at most δ / 2 = 5e-12; 20 fits: 1e-7 in all."""
    x = np.arange(1000.0) * 100
    mean = DPTrimmedMean(1.0, scale=1.0, delta=1e-11)
    assert all(math.isnan(mean.fit(x).estimate_) for _ in range(20))


def test_the_range_is_found_wherever_it_is():
    """The full bin of 4000 records passes a threshold of 117 but for noise beyond 480 scales of 8."""
    rng = np.random.default_rng(0)
    for centre in (0.0, 1e9, -1e9, 12345.678):
        x = rng.normal(centre, 1, 4000)
        assert abs(DPTrimmedMean(1.0, scale=1.0, delta=1e-6).fit(x).estimate_ - centre) < 0.5
    both = DPMedian(2.0, scale=1.0, delta=1e-6).fit(rng.normal([-1e9, 7], 1, (6000, 2)))
    assert np.abs(both.estimate_ - [-1e9, 7]).max() < 0.5
    assert both.claim_.bound == ApproxDP(2.0, 1e-6)


def test_a_range_is_its_bin_and_both_neighbours():
    with Release(Claim(ApproxDP(50.0, 1e-6), neighbours="replace-one"), "x") as release:
        assert occupied_range(release, np.full(100, 9.0), 4.0, epsilon=50.0, delta=1e-6) == (4.0, 16.0)
        assert len(release.events) == 1


def pure(epsilon):
    return Claim(PureDP(epsilon), neighbours="replace-one")


def test_robustness_of_a_claim():
    assert robustness_of(pure(0.1), 1e-4, 1e-2) == math.floor(math.log(100) / 0.1)
    assert robustness_of(pure(1.0), 0.05, 0.05) == 0
    assert robustness_of(pure(1e-30), 0.5, 0.6) == 2**60
    with_delta = Claim(ApproxDP(0.1, 1e-3), neighbours="replace-one")
    assert 0 < robustness_of(with_delta, 1e-4, 1e-2) < robustness_of(pure(0.1), 1e-4, 1e-2)
    with pytest.raises(InvalidClaim, match="replaced"):
        robustness_of(Claim(PureDP(1.0)), 0.1, 0.2)
    with pytest.raises(InvalidClaim, match="stands"):
        robustness_of(Claim(PureDP(1.0), neighbours="replace-one", void="seeded"), 0.1, 0.2)
    for beta, allowed in ((0, 0.1), (0.2, 0.1), (0.1, 1.0), (math.nan, 0.5)):
        with pytest.raises(InvalidData, match="beta"):
            robustness_of(pure(1.0), beta, allowed)


def test_the_contamination_curve_is_monotone_and_breaks_where_it_should():
    """A trimmed mean at ε = 1 must withstand its trimmed records less those that privacy spends, and break beyond them.

    n = 400, R = 100: it trims 60. With 10 wild records it is near; with 80, of which 20 stay in the mean, it is 12 off.
    """
    spent = withstand(1.0, 100 / 0.05)
    mean = DPTrimmedMean(1.0, bounds=(-100, 100), scale=1.0, trim=60)
    counts = [5, 10, 20, 60 - spent, 80, 120]
    curve = contamination_curve(
        lambda x: mean.fit(x).estimate_,
        lambda rng: rng.normal(size=400),
        0.0,
        corruptions=counts,
        outlier=100.0,
        repeats=100,
        random_state=0,
    )
    medians = curve.quantile()
    assert np.all(np.diff(medians) > -0.03)
    assert 60 - spent < curve.breakpoint(1.0) <= 80
    evidence = curve.to_evidence(mean.fit(np.random.default_rng(1).normal(size=400)).claim_, 1.0, alpha=1e-6)
    assert evidence.verdict != "falsified"
