"""The federation as Flower apps, run in this process by `run_locally`: Flower's simulation needs Ray."""

import os
import sys

import numpy as np
import pytest

from sfumato.attacks.subject_membership import FederationConfig, TrainingConfig, make_federation, train
from sfumato.errors import MissingExtra

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
pytest.importorskip("flwr")

from sfumato.attacks.subject_membership.flower import client_app, server_app
from sfumato.federation.flower import run_locally


def run_in_flower(federation, config, **options):
    kept = []
    nodes = [{"partition-id": k} for k in range(federation.config.silos)]
    server = server_app(federation, config, keep=kept.append, **options)
    run_locally(server, client_app(federation, config, **options), nodes)
    return kept[0]


@pytest.mark.parametrize("change", [{}, {"dropout": 0.5}, {"record_cap": 3}], ids=str)
def test_flower_and_the_plain_loop_give_the_same_models_in_every_round(change):
    federation = make_federation(FederationConfig(subjects=30, silos=3, dimension=8), random_state=1)
    config = TrainingConfig(hidden=(16,), rounds=4, **change)
    plain = train(federation, config, random_state=2).checkpoints
    flower = run_in_flower(federation, config, random_state=2)
    assert len(flower) == len(plain) == 5
    for ours, theirs in zip(plain, flower, strict=True):
        np.testing.assert_allclose(theirs.theta, ours.theta, rtol=0, atol=1e-9)
    assert np.abs(plain[0].theta - plain[-1].theta).max() > 1e-2  # something was trained


def test_without_flower_the_extra_is_named(monkeypatch):
    federation, config = make_federation(FederationConfig(subjects=4, records=1)), TrainingConfig(rounds=1)
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    for build in (client_app, lambda *parts: server_app(*parts, keep=print)):
        with pytest.raises(MissingExtra, match="federation"):
            build(federation, config)
