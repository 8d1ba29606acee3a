"""The theorem on the code that runs: with and without a record, along one sequence of releases, on real gradients."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from sfumato.privacy.release import PrepaidNoise
from sfumato.training.error_feedback import ErrorFeedbackEngine
from sfumato.training.error_feedback import optimizer as optimizers

RECORDS = 12


class Weighted(torch.nn.Module):
    """A network whose output a record can switch off: a weight of 0 is a record that is not there."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()

    def forward(self, x):
        return self.inner(x)


def transcript(x, labels, weights, change, forced=None):
    """Granules that a training is about to hide, and what it lets out; `forced`: what it lets out instead."""
    hidden, shown = [], []

    def draw(self, values, *, l2_sensitivity, sigma2):
        hidden.append((np.asarray(values).copy(), float(l2_sensitivity)))
        rng = np.random.default_rng(len(shown))
        shown.append(values + rng.integers(-(2**20), 2**20, values.shape) if forced is None else forced[len(shown)])
        return shown[-1]

    module = Weighted()
    engine = ErrorFeedbackEngine()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PrepaidNoise, "discrete_gaussian", draw)
        module, optimizer, loader = engine.make_private(
            module=module,
            optimizer=torch.optim.SGD(module.parameters(), lr=0.5),
            data_loader=DataLoader(TensorDataset(x, labels, weights), batch_size=4),
            noise_multiplier=3.0,
            random_state=2,
            **change,
        )
        while not engine.schedule.finished:
            for rows, truth, there in loader:
                optimizer.zero_grad()
                losses = torch.nn.functional.cross_entropy(module(rows), truth, reduction="none")
                (losses * there).mean().backward()
                optimizer.step()
    return hidden, shown


def share(seed, neighbours, **change):
    """Length of all shifts together over the sensitivity that was declared."""
    rng = np.random.default_rng(seed)
    scale = 10 ** rng.uniform(-1, 2)
    x = torch.from_numpy(rng.normal(size=(RECORDS, 3)) * scale)
    labels, weights = torch.from_numpy(rng.integers(2, size=RECORDS)), torch.ones(RECORDS, dtype=torch.float64)
    who = int(rng.integers(RECORDS))
    settings = {"epochs": int(rng.integers(1, 4)), "feedback_norm": float(10 ** rng.uniform(-1, 2)), **change}
    limit = float(1 + 10 ** rng.uniform(-1, 1))
    settings |= {"residual_norm": None if "privacy" in change else limit, "neighbours": neighbours}
    hidden, shown = transcript(x, labels, weights, settings)
    other_x, other_weights = x.clone(), weights.clone()
    if neighbours == "add-remove":
        other_weights[who] = 0
    else:
        other_x[who] *= -10
    other, _ = transcript(other_x, labels, other_weights, settings, forced=shown)
    squares = sum(float(((a - b).astype(float) ** 2).sum()) for (a, _), (b, _) in zip(hidden, other, strict=True))
    return np.sqrt(squares) / hidden[0][1]


@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
def test_one_record_moves_all_releases_together_by_the_sensitivity_and_no_more(neighbours):
    shares = [share(seed, neighbours) for seed in range(40)]
    assert max(shares) <= 1
    assert max(shares) > 0.7  # and the declared sensitivity is not far beyond what is needed


def test_without_a_limit_it_is_the_naive_sensitivity_that_holds():
    assert 0.4 < max(share(seed, "add-remove", privacy="naive") for seed in range(40)) <= 1


def test_a_twin_that_remembers_all_that_is_cut_off_is_caught(monkeypatch):
    original = optimizers.clip_weights
    monkeypatch.setattr(optimizers, "clip_weights", lambda norms, c1, c3: original(norms, c1, float("inf")))
    assert max(share(seed, "add-remove") for seed in range(40)) > 1.5


def test_a_twin_that_pays_out_and_keeps_is_caught(monkeypatch):
    original = optimizers.pay_out

    def keeping(error, residual, radius, variant):
        paid, _ = original(error, residual, radius, variant)
        return paid, [e + r for e, r in zip(error, residual, strict=True)]

    monkeypatch.setattr(optimizers, "pay_out", keeping)
    assert max(share(seed, "add-remove", epochs=1, feedback_norm=100.0) for seed in range(40)) > 1.05
