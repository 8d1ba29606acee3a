"""The federation as Flower apps, run in this process by a grid of our own: Flower's simulation needs Ray."""

import contextlib
import itertools
import os
import sys

import numpy as np
import pytest

from sfumato.attacks.subject_membership import FederationConfig, TrainingConfig, make_federation, train
from sfumato.errors import MissingExtra

os.environ.setdefault("FLWR_TELEMETRY_ENABLED", "0")
pytest.importorskip("flwr")

from flwr.app import Context, Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.task_identity import TaskIdentity

from sfumato.attacks.subject_membership.flower import client_app, server_app

RUN = 1


@contextlib.contextmanager
def identity():
    """What `Message` reads from the process; internal to Flower, so an upgrade may break it here and say so."""
    before = TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id
    TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, RUN, 1
    try:
        yield
    finally:
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = before


class InProcess(Grid):
    """Calls the client app of each node directly; each node keeps its own context."""

    def __init__(self, app, nodes):
        self.app = app
        self.contexts = {
            10 + k: Context(RUN, 10 + k, {"partition-id": k, "num-partitions": nodes}, RecordDict(), {})
            for k in range(nodes)
        }
        self.ids = map(str, itertools.count(1))

    def set_run(self, run):
        pass

    @property
    def run(self):
        raise NotImplementedError

    def create_message(self, *_args, **_options):
        raise NotImplementedError

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        raise NotImplementedError

    def pull_messages(self, message_ids):
        raise NotImplementedError

    def send_and_receive(self, messages, *, timeout=None):
        for message in messages:
            message.metadata.__dict__["_message_id"] = next(self.ids)
            yield self.app(message, self.contexts[message.metadata.dst_node_id])


def run_in_flower(federation, config, **options):
    kept = []
    with identity():
        grid = InProcess(client_app(federation, config, **options), federation.config.silos)
        app = server_app(federation, config, keep=kept.append, **options)
        app(grid, Context(RUN, 1, {}, RecordDict(), {}))
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


def test_messages_need_an_identity():
    """If this fails, Flower's internals have changed, and `identity` above may no longer be needed."""
    with pytest.raises(RuntimeError, match="TaskIdentity"):
        Message(RecordDict(), dst_node_id=1, message_type="train")


def test_without_flower_the_extra_is_named(monkeypatch):
    federation, config = make_federation(FederationConfig(subjects=4, records=1)), TrainingConfig(rounds=1)
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    for build in (client_app, lambda *parts: server_app(*parts, keep=print)):
        with pytest.raises(MissingExtra, match="federation"):
            build(federation, config)
