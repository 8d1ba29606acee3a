"""The engine: claims, calibration, the ledger, resuming, ghost clipping, and what it refuses."""

import copy
import math
import warnings

import numpy as np
import pytest
import torch
from dp_accounting import dp_event
from torch.utils.data import DataLoader, TensorDataset

from sfumato import ZCDP, GaussianDP, Ledger
from sfumato.errors import (
    BudgetExceeded,
    ClaimViolated,
    InvalidClaim,
    InvalidData,
    ScheduleViolation,
    UnsoundClaimError,
    UnsoundClaimWarning,
    UnsupportedSamplingError,
)
from sfumato.privacy.release import PrepaidNoise
from sfumato.training.error_feedback import ErrorFeedbackEngine, telescoped_sensitivity
from sfumato.training.error_feedback.plan import Settings

RECORDS, BATCH = 24, 8
LOSS = torch.nn.CrossEntropyLoss()


def network(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3)).to(dtype)


def data(dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    x = 3 * torch.randn(RECORDS, 6, generator=generator, dtype=dtype)
    return TensorDataset(x, torch.randint(3, (RECORDS,), generator=generator))


def arguments(module=None, **change):
    module = network() if module is None else module
    base = {
        "module": module,
        "optimizer": torch.optim.Adam(module.parameters(), lr=0.05),
        "data_loader": DataLoader(data(), batch_size=BATCH),
        "epochs": 2,
        "noise_multiplier": 2.0,
        "random_state": 0,
    }
    return {**base, **change}


def made(**change):
    engine = ErrorFeedbackEngine()
    return engine, *engine.make_private(**arguments(**change))


def epoch(module, optimizer, loader, criterion=LOSS):
    for x, y in loader:
        optimizer.zero_grad()
        criterion(module(x), y).backward()
        optimizer.step()


def weights(module):
    return torch.cat([p.detach().reshape(-1) for p in module.parameters()])


@pytest.fixture
def without_noise(monkeypatch):
    monkeypatch.setattr(PrepaidNoise, "discrete_gaussian", lambda self, values, **declared: np.asarray(values))


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "budget.db", create=True)
    ledger.create("people", ZCDP(1.0), unit="record")
    return ledger


def test_the_claim_is_one_gaussian_of_the_telescoped_sensitivity():
    engine, *_ = made(noise="torch", noise_multiplier=3.0, max_grad_norm=0.7, residual_norm=2.0)
    sensitivity = telescoped_sensitivity(0.7, 2.0, 2)
    event = engine.settings.event()
    assert event == dp_event.GaussianDpEvent(event.noise_multiplier)
    assert event.noise_multiplier == pytest.approx(3.0 * 0.7 / sensitivity, abs=1e-9)
    assert isinstance(engine.claim.bound, GaussianDP)
    assert engine.claim.bound.mu == pytest.approx(sensitivity / 2.1, abs=1e-9)
    assert engine.claim.formal
    assert any("torch" in each for each in engine.claim.assumptions)


def test_exact_noise_is_zcdp_and_pays_for_its_grid():
    engine, *_ = made(noise_multiplier=3.0)
    rho = (telescoped_sensitivity(1.0, 2.0, 2) / 3.0) ** 2 / 2
    assert isinstance(engine.claim.bound, ZCDP)
    assert rho < engine.claim.bound.rho < rho * (1 + 2.1 * 2**-10)
    assert not any("torch" in each for each in engine.claim.assumptions)


@pytest.mark.parametrize("noise", ["exact", "torch"])
@pytest.mark.parametrize("privacy", ["telescoped", "naive"])
def test_a_target_is_met_and_not_missed_by_much(noise, privacy):
    engine, *_ = made(noise=noise, privacy=privacy, noise_multiplier=None, target_epsilon=2.0, target_delta=1e-5)
    assert 1.99 < engine.epsilon(1e-5) <= 2.0 + 1e-9


def settings(**change):
    base = {"privacy": "telescoped", "noise": "exact", "neighbours": "add-remove", "max_grad_norm": 1.0}
    base |= {"residual_norm": 2.0, "feedback_norm": 1.0, "noise_multiplier": 5.0, "records": 1000, "batch_size": 10}
    base |= {"epochs": 2, "steps": 200, "dimension": 50}
    return Settings(**{**base, **change})


def test_epsilon_grows_with_participations_and_residuals_and_not_with_feedback():
    def epsilon(**change):
        return settings(**change).claim().epsilon_at(1e-5)

    assert epsilon(epochs=1) < epsilon() < epsilon(epochs=3)
    assert epsilon(residual_norm=1.5) < epsilon() < epsilon(residual_norm=4.0)
    assert epsilon() < epsilon(neighbours="replace-one")
    assert {epsilon(feedback_norm=c) for c in (0.01, 1.0, 100.0)} == {epsilon()}
    naive = {"privacy": "naive", "residual_norm": math.inf}
    assert epsilon(**naive) < epsilon(**naive, feedback_norm=2.0)
    assert epsilon() < epsilon(**naive)


@pytest.mark.parametrize("privacy", ["paper", "official"])
def test_the_published_calibrations_promise_nothing_and_say_so(privacy):
    with pytest.warns(UnsoundClaimWarning, match="transcript audit"):
        engine, module, optimizer, loader = made(
            privacy=privacy, noise_multiplier=None, target_epsilon=2.0, target_delta=1e-5
        )
    assert not engine.claim.formal
    with pytest.raises(UnsoundClaimError):
        engine.epsilon(1e-5)
    epoch(module, optimizer, loader)
    # the constant of the published code: C2 / C1 = 1
    assert engine.settings.deviation > math.sqrt(3) * 0.5


def test_training_pays_once_and_follows_the_schedule(ledger):
    with ledger.charging("people") as receipts:
        engine, module, optimizer, loader = made(noise_multiplier=8.0)
        for _ in range(2):
            epoch(module, optimizer, loader)
    assert len(receipts) == 1
    assert ledger.account("people").spent.rho == pytest.approx(engine.claim.bound.rho)
    with pytest.raises(ScheduleViolation):
        epoch(module, optimizer, loader)


def test_a_training_beyond_the_budget_does_not_begin(ledger):
    with ledger.charging("people"), pytest.raises(BudgetExceeded):
        made(noise_multiplier=0.5)
    assert ledger.account("people").charges == 0


def test_a_step_without_a_batch_from_the_loader_is_refused():
    _, module, optimizer, loader = made()
    x, y = next(iter(loader))
    for _ in range(2):
        optimizer.zero_grad()
        LOSS(module(x), y).backward()
        if _ == 0:
            optimizer.step()
            before = weights(module)
    with pytest.raises(ScheduleViolation, match="none was handed out"):
        optimizer.step()
    assert torch.equal(before, weights(module))


def test_a_batch_that_was_added_to_is_refused():
    _, module, optimizer, loader = made()
    x, y = next(iter(loader))
    LOSS(module(torch.cat([x, x])), torch.cat([y, y])).backward()
    with pytest.raises(ScheduleViolation, match="8 records here, gradients are of 16"):
        optimizer.step()


def test_noise_is_not_drawn_after_the_end():
    engine, module, optimizer, loader = made()
    engine.close()
    with pytest.raises(ClaimViolated):
        epoch(module, optimizer, loader)


def test_parts_of_a_batch_equal_the_whole(without_noise):
    _, whole, *rest = made()
    epoch(whole, *rest)
    _, parts, *rest = made(max_physical_batch_size=3)
    epoch(parts, *rest)
    assert torch.allclose(weights(whole), weights(parts), atol=1e-6)


@pytest.mark.parametrize("limit", [1.0, 2.0])
@pytest.mark.parametrize("max_physical_batch_size", [None, 3])
def test_ghost_clipping_equals_per_sample_gradients(without_noise, limit, max_physical_batch_size):
    change = {"residual_norm": limit, "max_physical_batch_size": max_physical_batch_size}
    _, hooks, one, loader = made(**change)
    epoch(hooks, one, loader)
    _, ghost, two, criterion, loader = made(**change, grad_sample_mode="ghost", criterion=torch.nn.CrossEntropyLoss())
    epoch(ghost, two, loader, criterion)
    assert torch.allclose(weights(hooks), weights(ghost), atol=1e-5)
    for a, b in zip(one.error_state(allow_private=True), two.error_state(allow_private=True), strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def test_ghost_clipping_names_a_gradient_that_is_not_finite():
    _, module, optimizer, criterion, loader = made(grad_sample_mode="ghost", criterion=torch.nn.CrossEntropyLoss())
    x, y = next(iter(loader))
    x[0, 0] = math.nan
    with pytest.raises(FloatingPointError, match=r"0\.weight"):
        criterion(module(x), y).backward()
    with pytest.raises(ScheduleViolation, match="no per-sample gradients"):
        optimizer.step()


def test_ghost_clipping_needs_a_mean_loss():
    with pytest.raises(InvalidData, match="reduction"):
        made(grad_sample_mode="ghost")
    with pytest.raises(InvalidData, match="reduction"):
        made(grad_sample_mode="ghost", criterion=torch.nn.CrossEntropyLoss(reduction="sum"))


def resumed(path, **change):
    engine = ErrorFeedbackEngine()
    base = arguments()
    return engine, *engine.resume(
        path, module=base["module"], optimizer=base["optimizer"], data_loader=base["data_loader"], **change
    )


def test_a_resumed_training_forgets_nothing(without_noise, tmp_path):
    engine, module, optimizer, loader = made()
    for _ in range(2):
        epoch(module, optimizer, loader)
    there, first, step, loader = made()
    batches = iter(loader)
    for _ in range(2):  # into the first epoch
        x, y = next(batches)
        step.zero_grad()
        LOSS(first(x), y).backward()
        step.step()
    there.save(tmp_path / "run.pt")
    assert (tmp_path / "run.pt").stat().st_mode & 0o077 == 0
    again, second, step, loader = resumed(tmp_path / "run.pt")
    assert again.schedule.position == 2
    assert any(e.any() for e in step.error_state(allow_private=True))
    while not again.schedule.finished:
        epoch(second, step, loader)
    assert torch.allclose(weights(module), weights(second), atol=1e-12)
    assert again.claim == engine.claim


def test_a_resumed_training_is_charged_once(ledger, tmp_path):
    with ledger.charging("people"):
        engine, module, optimizer, loader = made(noise_multiplier=8.0)
        epoch(module, optimizer, loader)
        engine.save(tmp_path / "run.pt")
    with ledger.charging("people") as receipts:
        again, module, optimizer, loader = resumed(tmp_path / "run.pt")
        epoch(module, optimizer, loader)
    assert receipts == []
    assert ledger.account("people").charges == 1
    assert again.claim == engine.claim
    assert ledger.account("people").spent.rho == pytest.approx(again.claim.bound.rho)


def test_a_ledger_that_was_never_charged_is_when_the_training_resumes(ledger, tmp_path):
    engine, *_ = made(noise_multiplier=8.0)
    engine.save(tmp_path / "run.pt")
    with ledger.charging("people"):
        resumed(tmp_path / "run.pt")
    assert ledger.account("people").charges == 1


def test_steps_that_may_have_been_seen_are_not_run_again_for_nothing(ledger, tmp_path):
    with ledger.charging("people"):
        engine, module, optimizer, loader = made(noise_multiplier=8.0)
        engine.save(tmp_path / "run.pt")
        epoch(module, optimizer, loader)  # and then it crashes
        with pytest.raises(ClaimViolated, match="one more training"):
            resumed(tmp_path / "run.pt")
        assert ledger.account("people").charges == 1
        again, module, optimizer, loader = resumed(tmp_path / "run.pt", repeated_steps="charge")
        assert ledger.account("people").charges == 2
        assert again.claim.bound.rho == pytest.approx(2 * engine.claim.bound.rho)
        epoch(module, optimizer, loader)
        again.save(tmp_path / "run.pt")
        third, *_ = resumed(tmp_path / "run.pt")
    assert third.claim == again.claim
    assert ledger.account("people").charges == 2


def test_of_two_continuations_one_is_refused_before_its_noise(tmp_path):
    engine, *_ = made()
    engine.save(tmp_path / "a.pt")
    engine.save(tmp_path / "b.pt")
    _, module, optimizer, loader = resumed(tmp_path / "a.pt")
    _, other, late, other_loader = resumed(tmp_path / "a.pt")
    epoch(module, optimizer, loader)
    before = weights(other)
    with pytest.raises(ClaimViolated, match="gone on from already"):
        epoch(other, late, other_loader)
    assert torch.equal(before, weights(other))


def test_going_on_marks_every_checkpoint_at_this_place(tmp_path):
    engine, module, optimizer, loader = made()
    engine.save(tmp_path / "a.pt")
    engine.save(tmp_path / "b.pt")
    epoch(module, optimizer, loader)
    for name in ("a.pt", "b.pt"):
        with pytest.raises(ClaimViolated):
            resumed(tmp_path / name)
    engine.save(tmp_path / "a.pt")
    resumed(tmp_path / "a.pt")


def test_a_checkpoint_is_for_the_same_model_and_records(tmp_path):
    engine, *_ = made()
    engine.save(tmp_path / "run.pt")
    (tmp_path / "other.pt").write_bytes(b"nothing")
    with pytest.raises(InvalidData, match="not a checkpoint"):
        resumed(tmp_path / "other.pt")
    linear = torch.nn.Linear(6, 3).double()
    base = arguments(linear)
    with pytest.raises(InvalidData, match="sizes differ"):
        ErrorFeedbackEngine().resume(
            tmp_path / "run.pt", module=linear, optimizer=base["optimizer"], data_loader=base["data_loader"]
        )


def test_an_old_error_state_is_not_put_back(tmp_path):
    """It would be paid out twice, which the bound does not cover."""
    _, module, optimizer, loader = made()
    state = copy.deepcopy(optimizer.state_dict())
    epoch(module, optimizer, loader)
    with pytest.raises(ScheduleViolation, match="resume only"):
        optimizer.load_state_dict(state)
    with pytest.raises(AttributeError):
        optimizer.max_grad_norm = 100.0


def test_resuming_with_another_optimizer_fails_before_it_is_paid_for(ledger, tmp_path):
    with ledger.charging("people"):
        engine, module, optimizer, loader = made(noise_multiplier=8.0)
        engine.save(tmp_path / "run.pt")
        epoch(module, optimizer, loader)
        base = arguments()
        two = [{"params": [p]} for p in base["module"].parameters()]
        with pytest.raises(ValueError, match="parameter group"):
            ErrorFeedbackEngine().resume(
                tmp_path / "run.pt",
                module=base["module"],
                optimizer=torch.optim.Adam(two),
                data_loader=base["data_loader"],
                repeated_steps="charge",
            )
    assert ledger.account("people").charges == 1


def test_no_checkpoint_in_the_middle_of_a_batch(tmp_path):
    engine, module, optimizer, loader = made(max_physical_batch_size=3)
    x, y = next(iter(loader))
    LOSS(module(x), y).backward()
    optimizer.step()
    with pytest.raises(ScheduleViolation, match="middle of a batch"):
        engine.save(tmp_path / "run.pt")
    assert not (tmp_path / "run.pt").exists()


def test_the_noise_cannot_be_copied():
    _, _, optimizer, _ = made()
    with pytest.raises(ClaimViolated):
        copy.deepcopy(optimizer)


def test_reproducible_noise_voids_the_claim():
    runs = []
    for _ in range(2):
        engine, module, optimizer, loader = made(noise_seed=3)
        epoch(module, optimizer, loader)
        runs.append(weights(module))
    assert torch.equal(*runs)
    assert not engine.claim.formal


@pytest.mark.parametrize("noise", ["exact", "torch"])
def test_the_noise_on_a_step_has_the_deviation_that_was_stated(noise):
    """20,000 coordinates of gradient 0; off by 10 standard errors: a false alarm has probability below 1e-20."""
    module = torch.nn.Linear(200, 100, bias=False).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=1.0)
    records = DataLoader(TensorDataset(torch.zeros(4, 200, dtype=torch.float64)), batch_size=4)
    engine = ErrorFeedbackEngine()
    module, optimizer, loader = engine.make_private(
        module=module, optimizer=optimizer, data_loader=records, epochs=1, noise_multiplier=3.0, noise=noise
    )
    before = weights(module)
    for (x,) in loader:
        module(x).mean(dim=1).mean().backward()
        optimizer.step()
    moved = 4 * (weights(module) - before)  # the divisor is the batch size
    assert float(moved.std()) == pytest.approx(3.0, rel=0.05)
    assert abs(float(moved.mean())) < 10 * 3.0 / math.sqrt(20_000)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"noise_multiplier": None}, InvalidClaim),
        ({"target_epsilon": 1.0}, InvalidClaim),
        ({"noise_multiplier": None, "target_epsilon": -1.0, "target_delta": 1e-5}, InvalidClaim),
        ({"noise_multiplier": None, "target_epsilon": 1.0, "target_delta": 1.5}, InvalidClaim),
        ({"noise_multiplier": 0.0}, InvalidClaim),
        ({"max_grad_norm": -1.0}, InvalidClaim),
        ({"residual_norm": 0.5}, InvalidClaim),
        ({"feedback_norm": math.inf}, InvalidClaim),
        ({"privacy": "naive", "residual_norm": 2.0}, InvalidClaim),
        ({"privacy": "amplified"}, InvalidClaim),
        ({"noise": "numpy"}, InvalidClaim),
        ({"neighbours": "zero-out"}, InvalidClaim),
        ({"epochs": 0}, InvalidData),
        ({"grad_sample_mode": "ghost"}, InvalidData),
        ({"module": torch.nn.Sequential(torch.nn.Linear(6, 3), torch.nn.BatchNorm1d(3))}, InvalidData),
        ({"optimizer": torch.optim.SGD(network().parameters(), lr=1.0)}, InvalidData),
        ({"data_loader": DataLoader(data(), batch_sampler=[[0], [0]])}, UnsupportedSamplingError),
    ],
)
def test_what_is_refused_is_refused_before_anything_is_spent(ledger, change, error):
    if "module" in change:
        change = {**change, "optimizer": torch.optim.SGD(change["module"].parameters(), lr=1.0)}
    with ledger.charging("people"), pytest.raises(error):
        made(**change)
    assert ledger.account("people").charges == 0


def test_a_poisson_loader_of_opacus_is_refused():
    from opacus.data_loader import DPDataLoader

    loader = DPDataLoader.from_data_loader(DataLoader(data(), batch_size=BATCH))
    with pytest.raises(UnsupportedSamplingError, match="amplification"):
        made(data_loader=loader)


def test_one_engine_one_training():
    engine, *_ = made()
    with pytest.raises(ClaimViolated, match="one training"):
        engine.make_private(**arguments())
    with pytest.raises(ClaimViolated, match="nothing was made private"):
        _ = ErrorFeedbackEngine().claim


def test_a_switch_from_opacus_takes_no_other_change():
    """The loop of Opacus' own tutorial, with three lines of it changed."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", UnsoundClaimWarning)
        _, module, optimizer, loader = made(
            noise_multiplier=None, target_epsilon=8.0, target_delta=1e-3, max_grad_norm=1.0
        )
    for _ in range(2):
        epoch(module, optimizer, loader)
    assert torch.isfinite(weights(module)).all()
