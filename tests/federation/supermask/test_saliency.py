"""Pruning without data: what is conserved, how much is kept, and what is refused."""

import hashlib
import subprocess
import sys
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sfumato.errors import InvalidData
from sfumato.federation.supermask import digit_network, make_subnetwork, synaptic_saliency
from sfumato.federation.supermask.saliency import largest, saliency_scores


def mlp(*widths, activation=nn.ReLU, bias=False):
    layers = [nn.Flatten()]
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b, bias=bias), activation()]
    return nn.Sequential(*layers[:-1])


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


@pytest.mark.parametrize(("build", "shape"), [(lambda: mlp(20, 30, 15, 5), (20,)), (digit_network, (784,))])
def test_each_layers_saliencies_add_up_to_the_flow(build, shape):
    scores, total = saliency_scores(build(), shape)
    for each in scores.values():
        assert float(each.sum()) == pytest.approx(total, rel=1e-9)


def test_average_pooling_biases_and_normalisation_conserve_too():
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 3)
    )
    net[1].running_mean.fill_(7.0)
    net[0].bias.data.fill_(5.0)
    scores, total = saliency_scores(net, (2, 8, 8))
    assert set(scores) == {"0.weight", "5.weight"}
    for each in scores.values():
        assert float(each.sum()) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize("keep", [1, 0.5, 0.2, 0.05, 0.01])
@pytest.mark.parametrize("constant", [False, True])
def test_the_number_kept_is_exact_even_where_all_scores_of_a_layer_tie(keep, constant):
    net = mlp(30, 40, 40, 10)
    if constant:
        for each in net.parameters():
            each.data = each.data.sign() * 0.1
    masks = synaptic_saliency(net, (30,), keep=keep, steps=20)
    size = sum(each.numel() for each in net.parameters())
    assert sum(int(mask.sum()) for mask in masks.values()) == -(-size * int(100 * keep) // 100)


@given(st.integers(1, 12), st.integers(1, 12), st.floats(0.3, 1.0), st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_any_small_network_keeps_what_was_asked_or_says_what_works(inputs, hidden, keep, steps):
    net = mlp(inputs, hidden, 3)
    size = inputs * hidden + hidden * 3
    try:
        masks = synaptic_saliency(net, (inputs,), keep=keep, steps=steps)
    except InvalidData as error:
        message = str(error)
    else:
        message = "the least that works"
        assert sum(int(mask.sum()) for mask in masks.values()) == int(np.ceil(size * keep - 1e-9))
    assert "the least that works" in message


@given(st.lists(st.sampled_from([-np.inf, 0.0, 1.0, 2.5]), min_size=1, max_size=30), st.data())
def test_the_largest_are_those_of_a_stable_sort(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    chosen = largest(np.array(scores), count)
    assert sorted(np.argsort(-np.array(scores), kind="stable")[:count]) == np.flatnonzero(chosen).tolist()


def test_fewer_are_kept_of_those_kept_before():
    net = mlp(20, 20, 5)
    few, more = (synaptic_saliency(net, (20,), keep=k, steps=1) for k in (0.3, 0.6))
    assert all(bool((~few[name] | more[name]).all()) for name in few)


def test_no_layer_empties_where_one_shot_magnitude_pruning_empties_one():
    net = mlp(64, 200, 100, 100, 100, 10)
    weights = [each.detach().abs() for each in net.parameters()]
    size = sum(each.numel() for each in weights)
    line = torch.cat([each.reshape(-1) for each in weights]).topk(int(0.01 * size)).values[-1]
    assert any(not bool((each >= line).any()) for each in weights)
    masks = synaptic_saliency(net, (64,), keep=0.01)
    assert all(bool(mask.any()) for mask in masks.values())


def test_too_small_a_keep_names_the_layer_and_one_that_works():
    net = mlp(10, 50, 50, 10)
    with pytest.raises(InvalidData, match=r"layer '\d.weight'|no path") as caught:
        synaptic_saliency(net, (10,), keep=1 / 3500, steps=5)
    least = float(str(caught.value).split("about ")[1])
    assert synaptic_saliency(net, (10,), keep=least, steps=5)


@pytest.mark.parametrize("activation", [nn.Sigmoid, nn.ReLU6])
def test_a_network_that_is_not_homogeneous_is_warned_of(activation):
    net = mlp(50, 50, 50, 5, activation=activation)
    for each in net.parameters():
        each.data *= 20  # so that the cap of ReLU6 is met
    with pytest.warns(RuntimeWarning, match="not positively homogeneous"):
        synaptic_saliency(net, (50,), keep=0.5, steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        synaptic_saliency(mlp(50, 50, 5, activation=nn.Identity), (50,), keep=0.5, steps=2)


def test_a_shared_weight_counts_once():
    net = mlp(8, 8, 8, 4)
    net[3].weight = net[1].weight
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        masks = synaptic_saliency(net, (8,), keep=0.5)
    assert sum(mask.numel() for mask in masks.values()) == 8 * 8 + 8 * 4


def test_a_deep_network_does_not_overflow():
    net = mlp(*[20] * 150, 3)
    for each in net.parameters():
        each.data *= 1e4
    scores, total = saliency_scores(net, (20,))
    assert np.isfinite(total)
    assert all(bool(torch.isfinite(each).all()) for each in scores.values())


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"keep": 0.0}, "keep"),
        ({"keep": 1.5}, "keep"),
        ({"keep": float("nan")}, "keep"),
        ({"steps": 0}, "steps"),
        ({"input_shape": (9,)}, "input_shape"),
        ({"network": nn.ReLU()}, "weights"),
    ],
)
def test_bad_input_is_named(change, reason):
    given = {"network": mlp(8, 8, 4), "input_shape": (8,), "keep": 0.5, **change}
    with pytest.raises(InvalidData, match=reason):
        synaptic_saliency(given.pop("network"), given.pop("input_shape"), **given)


def test_the_network_itself_is_not_changed():
    net = mlp(8, 8, 4, bias=True).train()
    before = {name: each.clone() for name, each in net.state_dict().items()}
    with torch.no_grad():  # a caller's, which is none of its business
        synaptic_saliency(net, (8,), keep=0.5)
    assert net.training
    assert all(torch.equal(before[name], each) for name, each in net.state_dict().items())


@pytest.mark.slow
def test_another_process_finds_the_same_subnetwork():
    """From the seed alone: neither torch's generator nor any data enter."""
    code = (
        "import torch; torch.manual_seed(77); from sfumato.federation.supermask import digit_network, make_subnetwork;"
        "print(make_subnetwork(digit_network(), (784,), keep=.1, seed=3, steps=10).identity().hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = make_subnetwork(digit_network(), (784,), keep=0.1, seed=3, steps=10)
    assert done.stdout.strip() == here.identity().hex()
    assert here.identity() != make_subnetwork(digit_network(), (784,), keep=0.1, seed=4, steps=10).identity()


def test_constants_are_set_after_saliency_and_scaled_to_what_is_kept():
    net = mlp(30, 40, 10)
    sub = make_subnetwork(net, (30,), keep=0.2, seed=0, steps=20)
    normal = make_subnetwork(net, (30,), keep=0.2, seed=0, steps=20, weights="normal")
    assert sub.packed_masks() == normal.packed_masks()
    assert torch.equal(sub.values.sign(), normal.values.sign())
    for name, each in sub.weights(sub.values).items():
        mask = sub.masks[name]
        share = float(mask.sum()) / mask.numel()
        assert each[mask].abs().unique().numel() == 1
        assert float(each[mask].abs().max()) == pytest.approx((2 / (each.shape[1] * share)) ** 0.5, rel=1e-6)
        assert not each[~mask].any()


def test_random_masks_keep_the_same_share_of_each_layer():
    sub = make_subnetwork(mlp(30, 40, 10), (30,), keep=0.2, seed=0, prune="random")
    assert [int(mask.sum()) for mask in sub.masks.values()] == [240, 80]
    assert hashlib.sha256(sub.packed_masks()).digest() != sub.identity()
