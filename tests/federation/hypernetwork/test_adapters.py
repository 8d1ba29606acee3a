"""Adapters: strictly loaded, changed by phi and by nothing else; the backbone never moves."""

import numpy as np
import pytest
import torch
from small_silos import Watching, silos
from torch import nn
from torch.func import functional_call

from sfumato import ZCDP
from sfumato.errors import InvalidData
from sfumato.federation import InProcess
from sfumato.federation.hypernetwork import HyperFLAdapters, HyperNetwork
from sfumato.federation.hypernetwork.adapters import AdaptedBackbone


def stages():
    torch.manual_seed(0)
    return [
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Sequential(nn.Conv2d(4, 6, 3), nn.ReLU()),
    ]


def fit(**change):
    given = {
        "embedding_dim": 6,
        "hidden_dim": 4,
        "rounds": 2,
        "local_epochs": 2,
        "random_state": 0,
        "embedding_seed": 0,
    }
    return HyperFLAdapters(stages(), [4, 6], 3, **{**given, **change})


def test_adapters_change_when_phi_changes_and_only_they():
    """The official code's names lack a dot, and its load is not strict: this would have shown it."""
    backbone = AdaptedBackbone(stages(), [4, 6])
    network = HyperNetwork(backbone, 6, 4, random_state=0)
    v, x = torch.randn(6), torch.randn(2, 1, 8, 8)
    before = functional_call(backbone, network(v), (x,))
    names = set(network(v))
    assert names == {name for name, _ in backbone.named_parameters()}
    assert all(name.startswith("adapters.") for name in names)
    with torch.no_grad():
        for head in network.heads:
            head.bias.add_(0.5)
    assert not torch.allclose(functional_call(backbone, network(v), (x,)), before, atol=1e-3)
    with pytest.raises(RuntimeError, match=r"Missing key|Unexpected key"):
        backbone.load_state_dict({name.replace("adapters.0.", "adapters.0"): t for name, t in network(v).items()})


@pytest.mark.filterwarnings("ignore:statistics of normalisation")
def test_silos_train_adapters_on_a_backbone_that_stands_still():
    protocol = Watching(fit().protocol())
    InProcess().run(protocol, silos(rows=12))
    first, last = protocol.seen[0][2], protocol.seen[3][2]
    changed = {name for name in first if name.startswith("theta/") and not np.array_equal(first[name], last[name])}
    assert {"theta/adapters.0.mix.weight", "theta/adapters.1.mix.weight"} <= changed
    assert not any("stages" in name for name in (*first, *protocol.seen[0][0]))
    original = stages()[0].eval()
    model = protocol.work.model(last)
    images = torch.from_numpy(silos()[0][0])
    assert torch.equal(model[0].stages[0](images), original(images))


@pytest.mark.filterwarnings("ignore:statistics of normalisation")
def test_a_personal_model_carries_the_generated_adapters():
    model = fit(rounds=6, learning_rate=0.1).fit(silos())
    for each in model.models_:
        assert set(dict(each[0].named_parameters())) == set(model.hypernetwork_.shapes)
    assert model.score(silos()) > 0.6


def test_training_mode_leaves_the_stages_in_evaluation():
    backbone = AdaptedBackbone(stages(), [4, 6]).train()
    assert backbone.adapters.training
    assert not backbone.stages[0][1].training


def test_another_backbone_is_another_configuration():
    other = fit()
    other.stages[0][0].weight.data += 1
    with pytest.warns(UserWarning, match="normalisation"):
        assert other.protocol().config() != fit().protocol().config()


def test_with_a_record_claim_normalisation_is_refused_and_can_be_left_out():
    claim = {"claim": ZCDP(1.0), "unit": "record"}
    with pytest.raises(InvalidData, match="batch normalisation"), pytest.warns(UserWarning, match="normalisation"):
        fit(**claim).protocol()
    assert fit(**claim, normalise=False).fit(silos()).claim_.formal


def test_stages_need_channels():
    with pytest.raises(InvalidData, match="equal length"):
        HyperFLAdapters(stages(), [4], 3).protocol()
