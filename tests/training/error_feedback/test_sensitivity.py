"""The telescoped bound: no sequence of gradients moves the sums by more, and broken error states move them further."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InvalidClaim
from sfumato.training.error_feedback.feedback import pay_out
from sfumato.training.error_feedback.sensitivity import naive_sensitivity, official_noise, telescoped_sensitivity


def project(e, radius):
    return e * min(1.0, radius / max(np.linalg.norm(e), 1e-300))


def clip(g, norm):
    return project(g, norm)


def ball(e, radius):
    """What is paid and what remains, by the code under test."""
    paid, remaining = pay_out([torch.from_numpy(e)], [torch.zeros(len(e), dtype=torch.float64)], radius, "telescoped")
    return paid[0].numpy(), remaining[0].numpy()


def truncated(e, radius):
    paid, remaining = pay_out([torch.from_numpy(e)], [torch.zeros(len(e), dtype=torch.float64)], radius, "official")
    return paid[0].numpy(), remaining[0].numpy()


def box(e, radius):
    paid = np.clip(e, -radius, radius)
    return paid, e - paid


def pays_and_keeps(e, radius):
    return project(e, radius), e


def normalised(e, radius):
    paid = e * radius / max(np.linalg.norm(e), 1e-300)
    return paid, e - paid


def squared_shifts(others, targets, steps, c1, c3, c2, split=ball):
    """Sum of squared differences of the noiseless sums with and without one record, the rest of the world equal."""
    e = np.zeros(others.shape[1])
    other_e, total = e.copy(), 0.0
    for t in range(steps):
        (p, q), (p2, q2) = split(e, c2), split(other_e, c2)
        g = targets.get(t)
        c = np.zeros_like(e) if g is None else clip(g, c1)
        r = np.zeros_like(e) if g is None else clip(g, c3) - c
        total += float(np.sum((p2 + c - p) ** 2))
        e, other_e = q + others[t], q2 + others[t] + r
    return total


def instance(seed, d, k):
    rng = np.random.default_rng(seed)
    c1, ratio, c2 = 1.0, 10 ** rng.uniform(-2, 2), 10 ** rng.uniform(-2, 2)
    steps = int(rng.integers(k, 60))
    others = rng.normal(size=(steps, d)) * 10 ** rng.uniform(-2, 2) * (rng.random() < 0.7)
    base = rng.normal(size=d)
    targets = {
        int(t): (base + rng.normal(size=d) * rng.choice([0, 0.3, 3])) * 10 ** rng.uniform(-1, 4)
        for t in rng.choice(steps, size=k, replace=False)
    }
    return others, targets, steps, c1, c1 * (1 + ratio), c2


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 30), k=st.integers(1, 5))
def test_no_stream_of_gradients_moves_the_sums_further_than_the_bound(seed, d, k):
    others, targets, steps, c1, c3, c2 = instance(seed, d, k)
    bound = telescoped_sensitivity(c1, c3, k) ** 2
    assert squared_shifts(others, targets, steps, c1, c3, c2) <= bound * (1 + 1e-9)
    assert squared_shifts(others, targets, steps, c1, c3, c2, box) <= bound * (1 + 1e-9)  # a projection, too


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), d=st.integers(1, 30), k=st.integers(1, 4))
def test_truncating_the_memory_does_no_harm_as_long_as_residuals_are_limited(seed, d, k):
    """min(c, 1 - c)·e is e - π(e), projected once more: what broke the published code is residuals without limit."""
    others, targets, steps, c1, c3, c2 = instance(seed, d, k)
    bound = telescoped_sensitivity(c1, c3, k)
    slack = 1e-5 * steps * (1 + c2)  # the 1e-6 in its quotient
    assert math.sqrt(squared_shifts(others, targets, steps, c1, c3, c2, truncated)) <= bound + slack


def test_one_participation_attains_the_bound():
    target = {0: np.array([5.0, 0.0])}
    assert squared_shifts(np.zeros((3, 2)), target, 3, 1.0, 3.0, 10.0) == pytest.approx(1 + 4)
    assert telescoped_sensitivity(1.0, 3.0, 1) == pytest.approx(math.sqrt(5))


@pytest.mark.parametrize(("k", "at_least"), [(2, 0.93), (3, 0.92), (5, 0.92)])
def test_several_participations_come_near_it(k, at_least):
    """All that is remembered is kept by a far larger error state of others, then paid at once."""
    targets = {t: np.array([1e9]) for t in range(k)}
    others = np.zeros((k + 2, 1))
    others[0] = 1e6
    others[k - 1] = -(1e6 - 10.0 * (k - 1))  # what is left of it then
    found = squared_shifts(others, targets, k + 2, 1.0, 2.0, 10.0)
    assert at_least <= math.sqrt(found) / telescoped_sensitivity(1.0, 2.0, k) <= 1


@pytest.mark.parametrize("broken", [pays_and_keeps, normalised])
def test_an_error_state_that_is_no_projection_is_caught(broken):
    worst = 0.0
    for seed in range(200):
        others, targets, steps, c1, c3, c2 = instance(seed, 2, 1)
        ratio = squared_shifts(others, targets, steps, c1, c3, c2, broken) / telescoped_sensitivity(c1, c3, 1) ** 2
        worst = max(worst, ratio)
    assert worst > 1.5


def test_residuals_without_limit_are_caught():
    found = squared_shifts(np.zeros((150, 1)), {0: np.array([1000.0])}, 150, 1.0, math.inf, 10.0)
    assert found > 9_900  # 99 steps pay 10 each
    assert math.sqrt(found) <= naive_sensitivity(1.0, 10.0, 1, 150)


@settings(max_examples=100, deadline=None)
@given(c1=st.floats(0.01, 10), ratio=st.floats(1, 100), k=st.integers(1, 30))
def test_it_is_no_worse_than_the_triangle_inequality_and_grows_with_everything(c1, ratio, k):
    c3 = c1 * ratio
    found = telescoped_sensitivity(c1, c3, k)
    assert found <= (math.sqrt(k) * c1 + k * (c3 - c1)) * (1 + 1e-12)
    assert found >= math.hypot(math.sqrt(k) * c1, k * (c3 - c1)) * (1 - 1e-12)
    assert telescoped_sensitivity(c1, c3, k + 1) > found
    assert telescoped_sensitivity(c1, c3 * 1.1, k) > found
    assert telescoped_sensitivity(c1, c3, k, "replace-one") == pytest.approx(2 * found)


def test_without_a_residual_it_is_that_of_plain_clipping():
    assert telescoped_sensitivity(2.0, 2.0, 9) == pytest.approx(6.0)


def test_the_published_constants():
    assert official_noise(1.0, 1.0, 1.0) == pytest.approx(math.sqrt(3))
    assert official_noise(1.0, 10.0, 1.0) == pytest.approx(math.sqrt(21))


@pytest.mark.parametrize(
    "arguments",
    [
        (0.0, 1.0, 1),
        (2.0, 1.0, 1),
        (1.0, math.inf, 1),
        (1.0, math.nan, 1),
        (1.0, 2.0, 0),
        (1.0, 2.0, 1.5),
        ("1", 2.0, 1),
    ],
)
def test_what_is_out_of_range_is_refused(arguments):
    with pytest.raises(InvalidClaim):
        telescoped_sensitivity(*arguments)


def test_other_neighbours_are_refused():
    with pytest.raises(InvalidClaim):
        telescoped_sensitivity(1.0, 2.0, 1, "zero-out")
    with pytest.raises(InvalidClaim, match="participations"):
        naive_sensitivity(1.0, 1.0, 5, 4)
