"""What a claim about records says about their subject."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato import ZCDP, ApproxDP, Claim, GaussianDP, PureDP, RenyiDP
from sfumato.attacks.subject_membership import group_claim
from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import Heuristic


def of_group(bound, m):
    return group_claim(Claim(bound, unit="record"), m).bound


def test_closed_forms():
    assert of_group(PureDP(0.5), 4) == PureDP(2.0)
    assert of_group(ZCDP(0.25), 3) == ZCDP(2.25)
    assert of_group(GaussianDP(0.5), 3) == GaussianDP(1.5)
    claim = group_claim(Claim(PureDP(0.5), unit="record", assumptions=("a",)), 4)
    assert claim.unit == "subject"
    assert claim.assumptions == ("a", "a subject has at most 4 records in all")


@given(st.floats(0.01, 1.5), st.floats(1e-14, 1e-9), st.integers(1, 10))
def test_the_delta_of_a_group_follows_from_one_record_at_a_time(epsilon, delta, m):
    """(ε₁, δ₁) then (ε₂, δ₂) between neighbours give (ε₁ + ε₂, δ₁ + e^ε₁·δ₂): m - 1 times."""
    total = 0.0
    for k in range(m):
        total += math.exp(k * epsilon) * delta
    bound = of_group(ApproxDP(epsilon, delta), m)
    assert bound.epsilon == pytest.approx(m * epsilon)
    assert bound.delta == pytest.approx(total, rel=1e-12)
    assert bound.delta <= m * math.exp((m - 1) * epsilon) * delta * (1 + 1e-12)  # the form on the card


@given(st.floats(0.001, 0.2), st.integers(1, 8))
def test_group_bounds_are_never_below_what_a_gaussian_of_that_reach_spends(rho, m):
    """One record moves a Gaussian by 1, m of them by m: then ρ is m²ρ, and no conversion may promise more."""
    one, true = Claim(ZCDP(rho), unit="record"), Claim(ZCDP(m**2 * rho), unit="record")
    assert of_group(ZCDP(rho), m) == true.bound
    curve = of_group(one.to(RenyiDP).bound, m)
    exact = true.to(RenyiDP).bound
    spent = dict(zip(exact.orders, exact.epsilons, strict=True))
    assert all(e >= spent[a] * (1 - 1e-9) for a, e in zip(curve.orders, curve.epsilons, strict=True) if a in spent)
    assert any(a in spent for a in curve.orders)


def test_nothing_is_left_for_large_groups():
    with pytest.raises(InvalidClaim, match="δ reaches 1"):
        of_group(ApproxDP(8.0, 1e-5), 20)  # twenty records under the item level of a common training
    with pytest.raises(InvalidClaim, match="order"):
        of_group(RenyiDP((2.0, 4.0), (0.1, 0.2)), 20)


@pytest.mark.parametrize("m", [0, -1, 2.5, True])
def test_the_size_of_a_group_is_a_whole_number(m):
    with pytest.raises(InvalidClaim, match="whole number"):
        of_group(PureDP(1.0), m)


@pytest.mark.parametrize("claim", [Claim(Heuristic("x")), Claim(PureDP(1.0), void="seeded")], ids=str)
def test_what_promises_nothing_promises_groups_nothing(claim):
    with pytest.raises(InvalidClaim, match="formal"):
        group_claim(claim, 2)
