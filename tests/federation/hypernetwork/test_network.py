"""The hypernetwork: names and shapes on the wire, gradients three ways, scales at the start."""

import pytest
import torch
from torch import nn
from torch.func import functional_call

from sfumato.errors import InvalidData
from sfumato.federation.hypernetwork import HyperNetwork, make_extractor
from sfumato.federation.hypernetwork.extractors import EXTRACTORS

SHAPES = {"cnn-mnist": (1, 28, 28), "cnn-cifar": (3, 32, 32), "cnn-digits": (1, 8, 8), "mlp-digits": (1, 8, 8)}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_generated_weights_load_strictly_and_make_features(name):
    extractor = make_extractor(name)
    theta = HyperNetwork(extractor, 5, 3, random_state=0)(torch.randn(5))
    extractor.load_state_dict(theta, strict=True)
    assert extractor(torch.zeros(2, *SHAPES[name])).ndim == 2


def test_sizes_are_those_of_the_card():
    extractor = make_extractor("cnn-mnist")
    assert sum(p.numel() for p in extractor.parameters()) == 115_776
    network = HyperNetwork(extractor, random_state=0)
    assert sum(p.numel() for p in network.parameters()) == 64 * 128 + 128 + 129 * 115_776


def test_state_dict_keys_are_fixed():
    extractor = make_extractor("mlp-digits")
    keys = HyperNetwork(extractor, 5, 3).state_dict()
    assert {name: tuple(value.shape) for name, value in keys.items()} == {
        "hidden.weight": (3, 5),
        "hidden.bias": (3,),
        "heads.0.weight": (64 * 32, 3),
        "heads.0.bias": (64 * 32,),
        "heads.1.weight": (32, 3),
        "heads.1.bias": (32,),
    }
    assert not any(
        "heads" in key and "bias" in key for key in HyperNetwork(extractor, 5, 3, share_bias=False).state_dict()
    )


def loss_of(network, extractor, v, x):
    return functional_call(extractor, network(v), (x,)).square().sum()


@pytest.mark.parametrize("share_bias", [True, False])
def test_one_backward_equals_two_stages_and_finite_differences(share_bias):
    torch.manual_seed(0)
    extractor = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    network = HyperNetwork(extractor, 5, 6, share_bias=share_bias, random_state=1).double()
    v, x = torch.randn(5, dtype=torch.double, requires_grad=True), torch.randn(7, 3, dtype=torch.double)
    leaves = [v, *network.parameters()]
    one = torch.autograd.grad(loss_of(network, extractor, v, x), leaves)

    theta = network(v)
    extractor.load_state_dict(theta)  # as the official code does, which cuts the graph
    extractor(x).square().sum().backward()
    two = torch.autograd.grad(list(theta.values()), leaves, [p.grad for p in extractor.parameters()])
    for a, b in zip(one, two, strict=True):
        assert torch.allclose(a, b, rtol=1e-12, atol=1e-12)

    step = 1e-6
    for leaf, gradient in zip(leaves, one, strict=True):
        for place in range(min(6, leaf.numel())):
            with torch.no_grad():
                flat = leaf.view(-1)
                flat[place] += step
                above = loss_of(network, extractor, v, x)
                flat[place] -= 2 * step
                below = loss_of(network, extractor, v, x)
                flat[place] += step
            assert float(above - below) / (2 * step) == pytest.approx(
                float(gradient.reshape(-1)[place]), abs=1e-6, rel=1e-6
            )


def test_hyperfan_gives_kaimings_scale_and_the_official_one_does_not():
    """200 vectors; the standard deviation over all entries has a relative error of a few percent."""
    extractor = make_extractor("cnn-digits")
    torch.manual_seed(1)  # another than the network's, whose weights would be these very numbers
    draws = torch.randn(200, 64)

    def scales(init):
        network = HyperNetwork(extractor, init=init, random_state=0)
        with torch.no_grad():
            thetas = [network(v) for v in draws]
        return {name: torch.stack([theta[name] for theta in thetas]).square().mean().sqrt() for name in thetas[0]}

    ours = scales("hyperfan")
    for name, fan_in in (("0.weight", 9), ("4.weight", 128)):
        assert float(ours[name]) == pytest.approx((2 / fan_in) ** 0.5, rel=0.1)
    assert float(ours["0.bias"]) == float(ours["4.bias"]) == 0
    network = HyperNetwork(extractor, hidden_dim=512, random_state=0)
    with torch.no_grad():
        assert float(torch.relu(network.hidden(draws)).square().sum(1).mean()) == pytest.approx(8, rel=0.1)
    official = scales("official")
    assert float(official["4.weight"]) / float(official["0.weight"]) == pytest.approx(1, abs=0.1)


def test_normalisation_begins_at_one():
    extractor = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6))
    theta = HyperNetwork(extractor, 5, 3)(torch.randn(5))
    assert (theta["1.weight"] == 1).all()
    assert (theta["1.bias"] == 0).all()
    with pytest.raises(InvalidData, match=r"1\.weight"):
        HyperNetwork(extractor, 5, 3, share_bias=False)


def test_equal_seeds_give_equal_networks_whatever_torch_drew():
    extractor = make_extractor("mlp-digits")
    first = HyperNetwork(extractor, 5, 3, random_state=7).state_dict()
    torch.randn(3)
    second = HyperNetwork(make_extractor("mlp-digits"), 5, 3, random_state=7).state_dict()
    assert all((first[key] == second[key]).all() for key in first)
    third = HyperNetwork(extractor, 5, 3, random_state=8).state_dict()
    assert not (first["heads.0.weight"] == third["heads.0.weight"]).all()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"embedding_dim": 0}, "embedding_dim"),
        ({"hidden_dim": 0}, "hidden_dim"),
        ({"init": "xavier"}, "init"),
        ({"hidden_dim": 1_000_000}, "50,000,000"),
        ({"extractor": nn.Flatten()}, "no parameters|has none"),
    ],
)
def test_bad_arguments_are_named(change, match):
    with pytest.raises(InvalidData, match=match):
        HyperNetwork(**{"extractor": make_extractor("mlp-digits"), **change})


def test_an_unknown_extractor_is_named():
    with pytest.raises(InvalidData, match="resnet"):
        make_extractor("resnet")
