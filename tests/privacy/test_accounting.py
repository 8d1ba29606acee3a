"""Composition: sound against dp-accounting, tight beside a naive sum, exact where it must be."""

import json
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting import dp_event, pld, rdp
from hypothesis import given
from hypothesis import strategies as st

from sfumato import ZCDP, ApproxDP, GaussianDP, InvalidClaim, PureDP, RenyiDP, cost_of
from sfumato.privacy.accounting import ORDERS, Cost, pure_cost


def test_composition_is_far_below_the_naive_sum_and_not_below_the_exact_one():
    """100 pure events of 0.1 at δ = 1e-6: naive 10; the exact composition comes from dp-accounting's PLD."""
    event = dp_event.SelfComposedDpEvent(dp_event.DiscreteLaplaceDpEvent(0.1, 1), 100)
    ours = cost_of(event).epsilon_at(1e-6)
    exact = pld.PLDAccountant().compose(event).get_epsilon(1e-6)
    assert exact <= ours <= 1.15 * exact
    assert ours < 10 / 1.8


@pytest.mark.parametrize("sigma", [0.5, 2.0, 20.0])
@pytest.mark.parametrize("delta", [1e-10, 1e-6, 1e-3])
def test_gaussian_events_agree_with_dp_accounting(sigma, delta):
    event = dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(sigma), 10)
    theirs = rdp.RdpAccountant(ORDERS).compose(event).get_epsilon(delta)
    assert cost_of(event).epsilon_at(delta) == pytest.approx(theirs, rel=1e-9)


def test_sampling_is_composed_under_the_named_neighbours_only():
    event = dp_event.PoissonSampledDpEvent(0.01, dp_event.GaussianDpEvent(1.0))
    assert 0 < cost_of(event, "add-remove").epsilon_at(1e-6) < cost_of(dp_event.GaussianDpEvent(1.0)).epsilon_at(1e-6)
    with pytest.raises(InvalidClaim, match="replace-one"):
        cost_of(event, "replace-one")
    with pytest.raises(InvalidClaim, match="name them"):
        cost_of(event)


@pytest.mark.parametrize("bound", [PureDP(0.7), ZCDP(0.3), GaussianDP(0.9), ApproxDP(0.7, 1e-5)])
def test_a_bound_costs_itself_and_no_less(bound):
    cost = cost_of(bound)
    assert cost.fits(bound)
    first = next(iter(vars(bound)))
    smaller = type(bound)(**{**vars(bound), first: getattr(bound, first) * 0.999})
    assert not cost.fits(smaller)
    assert not (cost + cost).fits(bound)


def test_renyi_bounds_hold_between_their_orders_by_monotony():
    bound = RenyiDP((2.0, 10.0), (0.1, 0.4))
    cost = cost_of(bound)
    assert cost.fits(bound)
    assert np.all(cost.rdp[(ORDERS > 2.0 + 1e-9) & (ORDERS <= 10)] == 0.4)
    assert np.all(np.isinf(cost.rdp[ORDERS > 10 + 1e-9]))


def test_ten_tenths_fit_one_and_eleven_do_not():
    total = sum((pure_cost(0.1) for _ in range(10)), Cost.zero())
    assert total.fits(PureDP(1.0))
    assert not (total + pure_cost(1e-6)).fits(PureDP(1.0))


def test_only_matching_currencies_fit():
    assert pure_cost(0.5).fits(ZCDP(0.125))
    assert not cost_of(ZCDP(0.01)).fits(PureDP(100))
    assert cost_of(ZCDP(0.01)).fits(ApproxDP(1, 1e-6))
    assert not cost_of(ApproxDP(0.1, 1e-6)).fits(ZCDP(100))
    assert not cost_of(dp_event.NonPrivateDpEvent()).fits(ApproxDP(1e6, 0.999))


@given(st.lists(st.floats(1e-3, 3), min_size=1, max_size=8), st.floats(0, 5))
def test_the_composed_profile_covers_randomized_response(parts, at):
    """Brute force over all outcomes of k randomized responses: their exact δ(ε) is never above ours."""
    outcomes = np.array([0.0])
    probability = np.array([1.0])
    for epsilon in parts:
        p = 1 / (1 + math.exp(-epsilon))
        outcomes = np.concatenate((outcomes + epsilon, outcomes - epsilon))
        probability = np.concatenate((probability * p, probability * (1 - p)))
    exact = float(np.sum(probability * np.maximum(0, -np.expm1(at - outcomes))))
    total = sum((pure_cost(e) for e in parts), Cost.zero())
    assert total.delta_at(at) >= exact - 1e-12


def test_costs_survive_json_with_their_infinities():
    cost = cost_of(ZCDP(0.25)) + cost_of(ApproxDP(1, 1e-7))
    back = Cost.from_json(json.loads(json.dumps(cost.to_json())))
    assert math.isinf(back.epsilon)
    assert back.delta == cost.delta
    np.testing.assert_array_equal(back.rdp, cost.rdp)


def test_what_cannot_be_composed_is_refused():
    with pytest.raises(InvalidClaim):
        cost_of("everything")
    with pytest.raises(InvalidClaim):
        cost_of(dp_accounting.UnsupportedDpEvent(), "add-remove")
