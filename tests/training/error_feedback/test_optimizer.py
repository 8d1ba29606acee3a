"""The optimizer: no clipping bias, DP-SGD where nothing is remembered, parts and ghost clipping as the whole."""

import copy

import numpy as np
import pytest
import torch
from opacus.grad_sample import GradSampleModule
from opacus.optimizers import DPOptimizer

from sfumato.errors import InvalidClaim, ScheduleViolation
from sfumato.training.error_feedback import ErrorFeedbackOptimizer, Schedule, TorchNoise
from sfumato.training.error_feedback.feedback import clip_weights

POINTS = torch.tensor([-3.0, -3.0, 9.0], dtype=torch.float64)
LOSS = torch.nn.CrossEntropyLoss()


def descend(variant, clip, paid=3.0, *, limit=float("inf"), rate=0.5, steps=3000):
    """Where gradient descent on ½(x - a)² over three points ends; the mean of the points is 1."""
    x = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = ErrorFeedbackOptimizer(
        torch.optim.SGD([x], lr=rate),
        max_grad_norm=clip,
        residual_norm=limit,
        feedback_norm=paid,
        expected_batch_size=3,
        variant=variant,
    )
    trail = []
    for _ in range(steps):
        x.grad_sample = (x.detach() - POINTS).reshape(3, 1)
        optimizer.step()
        trail.append(x.item())
    return float(np.mean(trail[-500:]))


@pytest.mark.parametrize(("clip", "bias"), [(0.1, -2.95), (1.0, -2.5), (5.0, -0.5)])
def test_three_points_clipped_without_feedback_stall_at_the_biased_point(clip, bias):
    assert descend("telescoped", clip, limit=clip) == pytest.approx(bias, abs=0.05)


@pytest.mark.parametrize("variant", ["paper", "official"])
@pytest.mark.parametrize("ratio", [1, 3, 10])
def test_three_points_with_feedback_reach_the_mean(variant, ratio):
    """C2 at the paper's C1 times ratio, in its unit, a mean over the batch: thrice that for a sum over three."""
    assert descend(variant, 1.0, 3.0 * ratio, rate=0.2, steps=3000) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("variant", ["paper", "official"])
def test_three_points_stall_with_feedback_that_cannot_pay_what_is_cut_off(variant):
    """C2 = C1 on the sum, as the published code reads a ratio of 1: what is owed grows without end."""
    assert descend(variant, 1.0, 1.0, rate=0.2, steps=3000) < 0


def test_three_points_telescoped_reach_the_fixed_point_of_clipping_at_the_residual_norm():
    """Which is the mean if no gradient there is longer, and biased towards it otherwise."""
    assert descend("telescoped", 1.0, limit=12.0, rate=0.2) == pytest.approx(1.0, abs=0.01)
    assert descend("telescoped", 1.0, limit=5.0, rate=0.2) == pytest.approx(-0.5, abs=0.01)


def network(dtype=torch.float32):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).to(dtype)


def batches(n, size=16, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [
        (3 * torch.randn(size, 6, generator=generator, dtype=dtype), torch.randint(3, (size,), generator=generator))
        for _ in range(n)
    ]


def private(module, **change):
    settings = {"max_grad_norm": 0.5, "residual_norm": 1.0, "feedback_norm": 0.3, "expected_batch_size": 16}
    base = change.pop("base", torch.optim.SGD(module.parameters(), lr=0.3, momentum=0.9))
    return ErrorFeedbackOptimizer(base, **{**settings, **change})


def train(module, optimizer, data):
    for x, y in data:
        optimizer.zero_grad()
        LOSS(module(x), y).backward()
        optimizer.step()
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


@pytest.mark.parametrize("feedback_norm", [0.01, 1.0, 100.0])
def test_with_nothing_remembered_it_is_opacus_dp_sgd_bit_for_bit(feedback_norm):
    ours, theirs = GradSampleModule(network()), GradSampleModule(network())
    noise = TorchNoise(1.3 * 0.5, torch.Generator().manual_seed(5), rounded=False)
    optimizer = private(ours, residual_norm=0.5, feedback_norm=feedback_norm, noise=noise)
    dp = DPOptimizer(
        torch.optim.SGD(theirs.parameters(), lr=0.3, momentum=0.9),
        noise_multiplier=1.3,
        max_grad_norm=0.5,
        expected_batch_size=16,
        generator=torch.Generator().manual_seed(5),
    )
    data = batches(20)
    assert torch.equal(train(ours, optimizer, data), train(theirs, dp, data))
    assert all(not e.any() for e in optimizer.error_state(allow_private=True))


def test_what_is_paid_and_remembered_adds_up_to_gradients_clipped_at_the_residual_norm():
    """Without noise and steps: Σ of all sums + the last error = Σ clip(g, C3)."""
    module = GradSampleModule(network(torch.float64))
    optimizer = private(module, base=torch.optim.SGD(module.parameters(), lr=1e-12), expected_batch_size=1)
    total = expected = 0
    for x, y in batches(8, dtype=torch.float64):
        optimizer.zero_grad()
        LOSS(module(x), y).backward()
        g = torch.cat([p.grad_sample.reshape(16, -1) for p in module.parameters()], dim=1)
        weights, rest = clip_weights(g.norm(dim=1), 0.5, 1.0)
        assert torch.allclose(weights + rest, (1.0 / (g.norm(dim=1) + 1e-6)).clamp(max=1))
        expected = expected + ((weights + rest)[:, None] * g).sum(0)
        optimizer.step()
        total = total + torch.cat([p.grad.reshape(-1) for p in module.parameters()])
    error = torch.cat([e.reshape(-1) for e in optimizer.error_state(allow_private=True)])
    assert error.norm() > 0.3
    assert torch.allclose(total + error, expected, atol=1e-9)


def test_no_record_is_remembered_beyond_the_limit():
    norms = torch.cat([torch.tensor([0.0, 1e-12, 1.0, 2.0, 1e30]), torch.linspace(0.99, 2.01, 2001)]).double()
    clipped, rest = clip_weights(norms, 1.0, 2.0)
    assert float((clipped * norms).max()) <= 1.0
    assert float((rest * norms).max()) <= 1.0
    assert float(rest.min()) >= 0
    assert float(clipped[0]) == 1


@pytest.mark.parametrize("base", [torch.optim.SGD, torch.optim.Adam])
def test_parts_of_a_batch_equal_the_whole(base):
    whole, parts = (GradSampleModule(network(torch.float64)) for _ in range(2))
    one, eight = (private(m, base=base(m.parameters(), lr=0.01)) for m in (whole, parts))
    eight.schedule = Schedule(16 * 5, 16, 1, max_physical_batch_size=2)
    for x, y in batches(5, dtype=torch.float64):
        train(whole, one, [(x, y)])
        before = [p.clone() for p in parts.parameters()]
        for i in range(8):
            eight.schedule.hand_out(2, i == 7)
            train(parts, eight, [(x[2 * i : 2 * i + 2], y[2 * i : 2 * i + 2])])
            if i < 7:
                assert all(torch.equal(a, b) for a, b in zip(before, parts.parameters(), strict=True))
                with pytest.raises(ScheduleViolation, match="middle of a batch"):
                    eight.state_dict()
    for a, b in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    for a, b in zip(one.error_state(allow_private=True), eight.error_state(allow_private=True), strict=True):
        assert torch.allclose(a, b, atol=1e-6)


def test_adam_sees_the_same_sums():
    """Algorithm 3: the error state does not know which optimizer it feeds."""
    module = GradSampleModule(network(torch.float64))
    optimizer = private(module, base=torch.optim.Adam(module.parameters(), lr=0.05))
    x, y = batches(1, dtype=torch.float64)[0]

    @torch.no_grad()
    def loss():
        return LOSS(module(x), y).item()

    before = loss()
    train(module, optimizer, [(x, y)] * 60)
    assert loss() < before / 2


def test_a_learning_rate_schedule_reaches_the_wrapped_optimizer():
    module = GradSampleModule(network())
    optimizer = private(module)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.5)
    train(module, optimizer, batches(1))
    schedule.step()
    assert optimizer.original_optimizer.param_groups[0]["lr"] == pytest.approx(0.15)


def test_state_goes_over_to_another_optimizer():
    first, second = GradSampleModule(network()), GradSampleModule(network())
    a, b = private(first), private(second)
    train(first, a, batches(3))
    state = copy.deepcopy(a.state_dict())
    assert state["private"] is True
    second.load_state_dict(first.state_dict())
    b.load_state_dict(state)
    assert torch.equal(train(first, a, batches(3)), train(second, b, batches(3)))


def test_a_gradient_that_is_not_finite_stops_the_step_before_anything_changes():
    module = GradSampleModule(network())
    optimizer = private(module)
    train(module, optimizer, batches(2))
    before = copy.deepcopy((module.state_dict(), optimizer.state_dict()))
    x, y = batches(1)[0]
    x[3, 0] = float("inf")
    optimizer.zero_grad()
    LOSS(module(x), y).backward()
    with pytest.raises(FloatingPointError, match="parameter 0: the gradient of a record is not finite"):
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before[0].values(), module.state_dict().values(), strict=True))
    after = optimizer.state_dict()
    assert all(torch.equal(a, b) for a, b in zip(before[1]["error"], after["error"], strict=True))


def test_the_parameters_cannot_change_and_the_error_state_is_not_handed_out():
    module = GradSampleModule(network())
    optimizer = private(module)
    with pytest.raises(RuntimeError):
        optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    with pytest.raises(ScheduleViolation, match="allow_private"):
        optimizer.error_state()
    with pytest.raises(ScheduleViolation, match="no per-sample gradients"):
        optimizer.step()
    optimizer.original_optimizer.add_param_group({"params": [torch.nn.Parameter(torch.zeros(1))]})
    with pytest.raises(RuntimeError, match="have changed"):
        train(module, optimizer, batches(1))


@pytest.mark.parametrize(
    "change",
    [
        {"max_grad_norm": 0.0},
        {"feedback_norm": -1.0},
        {"residual_norm": 0.1},
        {"residual_norm": float("inf")},
        {"residual_norm": float("nan")},
        {"variant": "paper"},
        {"variant": "dice"},
    ],
)
def test_norms_that_do_not_go_together_are_refused(change):
    with pytest.raises(InvalidClaim):
        private(GradSampleModule(network()), **change)


def test_the_default_noise_does_not_follow_torchs_global_seed():
    sums = [torch.zeros(1000)]
    torch.manual_seed(0)
    first = TorchNoise(2.0)(sums)[0]
    torch.manual_seed(0)
    second = TorchNoise(2.0)(sums)[0]
    assert not torch.equal(first, second)
    assert 1.6 < float(first.std()) < 2.4  # off by 9 standard errors: a false alarm has probability below 1e-15
