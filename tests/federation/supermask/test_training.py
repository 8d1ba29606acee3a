"""The straight-through gradient, and what training does to scores."""

import numpy as np
import pytest
import torch
from smallest.masks import network, records

from sfumato.errors import InvalidData
from sfumato.federation.supermask import make_subnetwork
from sfumato.federation.supermask.training import Training, coded, score_gradient, start_scores, train_scores


@pytest.fixture
def sub():
    return make_subnetwork(network(), (6,), keep=0.6, seed=1, steps=10)


def data():
    x, y = records(0)
    return torch.from_numpy(x), torch.from_numpy(y)


def test_the_gradient_is_that_of_the_effective_weight_times_the_weight(sub):
    """Finite differences in double precision, on the effective weights."""
    x, y = data()
    sub.network.double()
    values = sub.values.double()
    effective = values * coded(torch.randn(sub.kept, generator=torch.Generator().manual_seed(0)), "sign")
    found = score_gradient(sub, effective, x.double(), y)
    step = 1e-6
    for k in range(sub.kept):
        sides = []
        for side in (step, -step):
            moved = effective.clone()
            moved[k] += side
            sides.append(float(torch.nn.functional.cross_entropy(sub.logits(moved, x.double()), y)))
        assert float(found[k]) == pytest.approx((sides[0] - sides[1]) / (2 * step) * float(values[k]), abs=1e-7)


def test_a_pruned_weight_is_never_there(sub):
    x, y = data()
    scores = train_scores(sub, start_scores(None, sub.kept, 0, Training()), x, y, Training(), np.random.default_rng(0))
    for name, each in sub.weights(sub.values * coded(scores, "sign")).items():
        assert not each[~sub.masks[name]].any()
        assert each[sub.masks[name]].all()


def test_zero_is_a_plus():
    assert coded(torch.tensor([0.0, -0.0, -1e-30]), "sign").tolist() == [1, 1, -1]
    assert coded(torch.tensor([0.0, -1.0]), "binary").tolist() == [1, 0]


@pytest.mark.parametrize("code", ["sign", "binary"])
def test_training_lowers_the_loss(sub, code):
    x, y = data()
    how = Training(code=code, epochs=10)
    start = start_scores(None, sub.kept, 0, how)

    def loss(scores):
        return float(torch.nn.functional.cross_entropy(sub.logits(sub.values * coded(scores, code), x), y))

    assert loss(train_scores(sub, start, x, y, how, np.random.default_rng(0))) < 0.5 * loss(start)


def test_scores_that_explode_are_an_error(sub):
    x, y = data()
    how = Training(optimizer="sgd", learning_rate=1e38)
    with pytest.raises(InvalidData, match="not finite"):
        train_scores(sub, start_scores(None, sub.kept, 0, how), 1e30 * x, y, how, np.random.default_rng(0))


@pytest.mark.parametrize(
    "change",
    [
        {"code": "ternary"},
        {"optimizer": "lion"},
        {"epochs": 0},
        {"batch_size": 2.5},
        {"scores": 0.0},
        {"learning_rate": float("nan")},
    ],
    ids=str,
)
def test_bad_parameters_are_named(change):
    with pytest.raises(InvalidData, match=next(iter(change))):
        Training(**change)
