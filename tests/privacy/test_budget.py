"""From an estimator's parameters to its bound, and the ρ that fits into an (ε, δ)."""

import pytest

from sfumato import ZCDP, ApproxDP, Cost, InvalidClaim, PureDP, cost_of
from sfumato.privacy.budget import largest_rho, privacy_bound


def test_parameters_state_a_bound():
    assert privacy_bound(None) == PureDP(1.0)
    assert privacy_bound(2) == PureDP(2.0)
    assert privacy_bound(2.0, delta=1e-6) == ApproxDP(2.0, 1e-6)
    assert privacy_bound(None, rho=0.5) == privacy_bound(None, rho=0.5, delta=1e-6) == ZCDP(0.5)


@pytest.mark.parametrize(
    ("epsilon", "rho", "delta"),
    [(1, 1, None), (0, None, None), (None, 0, None), (1, None, 0), (1, None, 1), (True, None, None), ("1", None, None)],
)
def test_what_states_none_is_refused(epsilon, rho, delta):
    with pytest.raises(InvalidClaim):
        privacy_bound(epsilon, rho, delta)


def test_the_largest_rho_fits_and_no_larger_one_does():
    bound = ApproxDP(1.0, 1e-6)
    for spent in (Cost.zero(), cost_of(PureDP(0.3))):
        rho = largest_rho(bound, spent)
        assert (spent + cost_of(ZCDP(rho))).fits(bound)
        assert not (spent + cost_of(ZCDP(rho * 1.001))).fits(bound)
    assert largest_rho(ApproxDP(1.0, 0.0), Cost.zero()) == 0
