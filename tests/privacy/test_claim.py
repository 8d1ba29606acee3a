"""Claims: what they refuse, how they read, and that every conversion is implied and tight."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato import ZCDP, ApproxDP, Claim, Cryptographic, GaussianDP, Heuristic, InvalidClaim, PureDP, RenyiDP

epsilons = st.floats(1e-3, 20)
deltas = st.floats(1e-12, 0.5)


@pytest.mark.parametrize("bad", [-1, math.nan, math.inf, "one", None, True])
def test_a_bound_refuses_what_is_no_finite_nonnegative_number(bad):
    with pytest.raises(InvalidClaim, match="epsilon"):
        PureDP(bad)
    with pytest.raises(InvalidClaim, match="rho"):
        ZCDP(bad)


def test_delta_below_one_and_orders_above_one():
    with pytest.raises(InvalidClaim, match="delta"):
        ApproxDP(1, 1.0)
    with pytest.raises(InvalidClaim, match="order"):
        RenyiDP((1.0, 2.0), (0.1, 0.2))
    with pytest.raises(InvalidClaim, match="as many"):
        RenyiDP((2.0,), (0.1, 0.2))
    with pytest.raises(InvalidClaim, match="sequence"):
        RenyiDP(2.0, 0.1)


@pytest.mark.parametrize(
    "field", [{"unit": "people"}, {"neighbours": "add"}, {"trust": "me"}, {"assumptions": "one sentence"}]
)
def test_a_claim_refuses_words_that_are_not_the_fields(field):
    with pytest.raises(InvalidClaim, match=next(iter(field))):
        Claim(PureDP(1), **field)


def test_a_claim_is_a_sentence_that_names_unit_neighbours_trust_and_assumptions():
    text = str(Claim(PureDP(1), neighbours="replace-one", assumptions=("times lie in [0, 1022] days",)))
    for part in ("ε = 1", "person", "replaced by another", "curator", "times lie in [0, 1022] days"):
        assert part in text


def test_a_heuristic_and_a_void_claim_never_read_as_a_guarantee():
    heuristic = Claim(Heuristic("data-dependent scale"))
    void = Claim(PureDP(1), void="the noise is reproducible from a seed")
    assert not heuristic.formal
    assert not void.formal
    assert str(heuristic).startswith("No formal guarantee")
    assert str(void).startswith("No guarantee")
    with pytest.raises(InvalidClaim):
        heuristic.to(ApproxDP, delta=1e-6)


@pytest.mark.parametrize(
    "bound",
    [
        PureDP(1),
        ApproxDP(1, 1e-6),
        ZCDP(0.5),
        RenyiDP((2, 4.5), (0.1, 0.3)),
        GaussianDP(1),
        Cryptographic("ring LWE", "a semi-honest server"),
        Heuristic("why"),
    ],
)
def test_json_round_trip(bound):
    claim = Claim(bound, unit="user", trust="local", assumptions=("a", "b"))
    document = json.loads(json.dumps(claim.to_json()))
    assert Claim.from_json(document) == claim
    assert document["sentence"] == str(claim)


@pytest.mark.parametrize("document", [{}, [], {"bound": {}}, {"bound": {"kind": "PureDP", "rho": 1}}, None])
def test_from_json_refuses_what_is_no_claim(document):
    with pytest.raises(InvalidClaim):
        Claim.from_json(document)


@given(epsilons, st.floats(0, 25))
def test_the_pure_profile_is_that_of_randomized_response(epsilon, at):
    p = 1 / (1 + math.exp(-epsilon))
    q = math.exp(-epsilon) / (1 + math.exp(-epsilon))
    exact = max(0.0, p - math.exp(at) * q)
    assert Claim(PureDP(epsilon)).delta_at(at) == pytest.approx(exact, abs=1e-12)


@given(st.floats(0.01, 5), deltas)
def test_gaussian_conversion_is_exact_both_ways(mu, delta):
    claim = Claim(GaussianDP(mu))
    epsilon = claim.epsilon_at(delta)
    if epsilon > 0:
        assert claim.delta_at(epsilon) == pytest.approx(delta, rel=1e-6)


@given(epsilons, deltas)
def test_pure_to_approximate_inverts_the_profile(epsilon, delta):
    converted = Claim(PureDP(epsilon)).to(ApproxDP, delta=delta)
    assert converted.bound.epsilon <= epsilon
    if converted.bound.epsilon > 0:
        assert Claim(PureDP(epsilon)).delta_at(converted.bound.epsilon) == pytest.approx(delta, rel=1e-6)


@given(st.floats(1e-4, 5), deltas)
def test_zcdp_is_never_better_than_the_gaussian_it_covers(rho, delta):
    """A Gaussian mechanism is exactly rho-zCDP: no bound for all rho-zCDP may promise less than it spends."""
    gaussian = Claim(GaussianDP(math.sqrt(2 * rho)))
    assert Claim(ZCDP(rho)).epsilon_at(delta) >= gaussian.epsilon_at(delta) - 1e-9


@given(epsilons)
def test_pure_implies_zcdp_and_gaussian_no_less_than_randomized_response_needs(epsilon):
    """Randomized response is ε-DP; whatever ε-DP implies must cover it, and not by much."""
    claim = Claim(PureDP(epsilon))
    p, q = 1 / (1 + math.exp(-epsilon)), 1 / (1 + math.exp(epsilon))
    rho = claim.to(ZCDP).bound.rho
    orders = np.concatenate((1 + np.geomspace(1e-3, 10, 50), np.geomspace(11, 500, 50)))
    divergence = np.logaddexp(
        orders * math.log(p) + (1 - orders) * math.log(q), orders * math.log(q) + (1 - orders) * math.log(p)
    ) / (orders - 1)
    assert np.all(divergence <= rho * orders * (1 + 1e-6) + 1e-9)
    mu = claim.to(GaussianDP).bound.mu
    for at in np.linspace(0, epsilon, 7):
        assert Claim(GaussianDP(mu)).delta_at(float(at)) >= claim.delta_at(float(at)) - 1e-12


def test_impossible_conversions_are_refused():
    with pytest.raises(InvalidClaim, match="implies no PureDP"):
        Claim(ZCDP(1)).to(PureDP)
    with pytest.raises(InvalidClaim, match="delta="):
        Claim(PureDP(1)).to(ApproxDP)
    with pytest.raises(InvalidClaim, match="at delta"):
        Claim(ApproxDP(1, 1e-5)).to(ApproxDP, delta=1e-6)


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (PureDP(1), PureDP(2), PureDP(3)),
        (ZCDP(1), ZCDP(2), ZCDP(3)),
        (GaussianDP(3), GaussianDP(4), GaussianDP(5)),
        (ApproxDP(1, 1e-6), PureDP(1), ApproxDP(2, 1e-6)),
        (PureDP(1), ZCDP(0.5), ZCDP(0.5 + math.tanh(0.5))),
    ],
)
def test_composition(a, b, expected):
    composed = Claim(a, assumptions=("x",)).compose(Claim(b, assumptions=("x", "y")))
    assert composed.assumptions == ("x", "y")
    for name in vars(expected):
        assert getattr(composed.bound, name) == pytest.approx(getattr(expected, name))


def test_composition_refuses_other_units_and_mixtures_without_delta():
    with pytest.raises(InvalidClaim, match="neighbours"):
        Claim(PureDP(1)).compose(Claim(PureDP(1), neighbours="replace-one"))
    with pytest.raises(InvalidClaim, match="ApproxDP first"):
        Claim(ApproxDP(1, 1e-6)).compose(Claim(ZCDP(1)))
    mixed = Claim(RenyiDP((2.0, 8.0), (0.1, 0.2))).compose(Claim(PureDP(0.1)))
    assert isinstance(mixed.bound, RenyiDP)
