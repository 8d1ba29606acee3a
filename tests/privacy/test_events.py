"""The exponential mechanism's cost: above every pair of neighbouring choices, and a quarter of what its ε implies."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sfumato import ZCDP, Claim, ClaimViolated, PureDP, Release
from sfumato.privacy.accounting import ORDERS, cost_of
from sfumato.privacy.events import ExponentialMechanismEvent


def log_choice(scores, epsilon):
    logits = epsilon * scores / 2
    return logits - np.logaddexp.reduce(logits)


@given(
    scores=arrays.arrays(float, 6, elements=st.floats(-30, 30)),
    moved=arrays.arrays(float, 6, elements=st.sampled_from([-1.0, 0.0, 0.3, 1.0])),
    epsilon=st.floats(0.01, 6),
)
def test_no_pair_of_neighbours_costs_more(scores, moved, epsilon):
    p, q = log_choice(scores, epsilon), log_choice(scores + moved, epsilon)
    cost = cost_of(ExponentialMechanismEvent(epsilon))
    orders = ORDERS[:, None]
    divergence = np.logaddexp.reduce(orders * p + (1 - orders) * q, axis=1) / (ORDERS - 1)
    assert np.max(np.abs(p - q)) <= cost.epsilon + 1e-9
    assert (divergence <= cost.rdp + 1e-9).all()
    assert (divergence <= cost.rho * ORDERS + 1e-9).all()


def test_it_is_tight_in_the_limit_of_small_epsilon():
    """Half of the mass moves up by one and half down: the variance of the loss is ε²/4, so its ρ is ε²/8."""
    p, q = log_choice(np.zeros(2), 0.1), log_choice(np.array([1.0, -1.0]), 0.1)
    order = 2.0
    divergence = np.logaddexp.reduce(order * p + (1 - order) * q) / (order - 1)
    assert divergence / (cost_of(ExponentialMechanismEvent(0.1)).rho * order) == pytest.approx(1, abs=0.01)


def test_a_release_pays_for_choices_by_their_bounded_range():
    claim = Claim(ZCDP(0.5), unit="record", neighbours="replace-one")
    with Release(claim, "four choices") as release:
        for _ in range(4):
            release.choose([0, 1, 2], sensitivity=1, epsilon=1.0)
        with pytest.raises(ClaimViolated):
            release.choose([0, 1, 2], sensitivity=1, epsilon=0.1)
    with Release(Claim(PureDP(1.0), unit="record", neighbours="replace-one"), "one") as release:
        release.choose([0, 1], sensitivity=1, epsilon=1.0)
        with pytest.raises(ClaimViolated):
            release.choose([0, 1], sensitivity=1, epsilon=0.1)
