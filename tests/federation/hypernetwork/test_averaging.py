"""The baselines: one round by hand, what is shared, and that they learn."""

import numpy as np
import pytest
import torch
from small_silos import Watching, silos
from torch import nn
from torch.nn import functional

from sfumato.errors import InvalidData
from sfumato.federation import InProcess
from sfumato.federation.hypernetwork import FederatedAveraging

SHARED = {
    "all": {"theta/1.weight", "theta/1.bias", "head/weight", "head/bias"},
    "extractor": {"theta/1.weight", "theta/1.bias"},
    "nothing": set(),
}


def estimator(**change):
    given = {"extractor": "mlp-digits", "num_classes": 3, "rounds": 2, "batch_size": 8, "random_state": 0}
    return FederatedAveraging(**{**given, **change})


@pytest.mark.parametrize("share", SHARED)
def test_what_is_shared_is_sent_and_nothing_else(share):
    protocol = Watching(estimator(share=share).protocol())
    InProcess().run(protocol, silos())
    for request, reply, memory in protocol.seen:
        assert set(request) == SHARED[share] | {"round", "party"}
        assert set(reply) == SHARED[share] | {"examples"}
        assert set(memory) == SHARED["all"] | {"round"}


@pytest.mark.parametrize("share", SHARED)
def test_silos_learn(share):
    model = estimator(share=share, rounds=4).fit(silos())
    assert model.score(silos()) > 0.9
    assert not model.claim_.formal
    assert set(model.shared_) == SHARED[share]


def test_one_round_of_federated_averaging_by_hand():
    data = silos()
    protocol = estimator(rounds=1).protocol()
    after = InProcess().run(protocol, data).result
    start = protocol.work.start()
    ends = []
    for party, (images, labels) in enumerate(data):
        model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.LeakyReLU(), nn.Linear(32, 3))
        names = ["theta/1.weight", "theta/1.bias", "head/weight", "head/bias"]
        with torch.no_grad():
            for name, parameter in zip(names, model.parameters(), strict=True):
                parameter.copy_(start[name])
        optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.5, weight_decay=5e-4)
        for rows in protocol.work.settings.batches(20, 5, protocol.work.settings.random(party, 0)):
            optimizer.zero_grad()
            functional.cross_entropy(model(torch.from_numpy(images[rows])), torch.from_numpy(labels[rows])).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 50.0)
            optimizer.step()
        ends.append([parameter.detach().numpy() for parameter in model.parameters()])
    for name, values in zip(names, zip(*ends, strict=True), strict=True):
        assert np.allclose(after[name], np.mean(values, axis=0), atol=1e-6)


def test_silos_alone_do_not_influence_each_other():
    data = silos()
    together = estimator(share="nothing").fit(data)
    alone = estimator(share="nothing").fit(data[:1])
    images = torch.from_numpy(data[0][0])
    assert (together.models_[0](images) == alone.models_[0](images)).all()


def test_an_unknown_share_is_named():
    with pytest.raises(InvalidData, match="share must be one of all, extractor, nothing"):
        estimator(share="head").protocol()
