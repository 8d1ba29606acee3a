"""The protocol: bytes, states, what is refused, and the same run on Flower and after a crash."""

import numpy as np
import pytest
import torch
from smallest.masks import network, records, supermask
from torch import nn

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import Checkpoint, InProcess, Message, Terms
from sfumato.federation.supermask import PrivateSteps, pack_signs, unpack_signs
from sfumato.federation.supermask.protocol import silo_tensors

SILOS = [records(k) for k in range(3)]


def first_request(protocol, party=0):
    return Message(protocol.requests(protocol.start(), (0, 1, 2))[party])


def test_a_silo_uploads_a_bit_a_kept_weight():
    protocol = supermask()
    reply, memory = protocol.client_step(first_request(protocol), Message({}), SILOS[0])
    assert set(reply) == {"signs"}
    assert len(reply["signs"]) == -(-protocol.subnetwork.kept // 8)
    assert memory == {"round": 0}
    frame = Message({"signs": b""}).payload_bytes
    outcome = InProcess().run(supermask(rounds=3), SILOS)
    assert [w.payload_received for w in outcome.history] == 3 * [3 * (frame + len(reply["signs"]))]


def test_a_silo_uploads_once_a_round_whatever_it_is_asked():
    """A server that asked on would have more uploads than the claim of all rounds is about."""
    protocol = supermask(rounds=2)
    request = first_request(protocol)
    _, memory = protocol.client_step(request, Message({}), SILOS[0])
    with pytest.raises(ProtocolError, match="round 0 or a later one was answered"):
        protocol.client_step(request, Message(memory), SILOS[0])
    with pytest.raises(ProtocolError, match="round"):
        protocol.client_step(Message({**request, "round": 2}), Message(memory), SILOS[0])
    protocol.client_step(Message({**request, "round": 1}), Message(memory), SILOS[0])


def test_the_server_sends_how_silos_voted():
    """Of three silos, two bits a weight, or one; nothing in the first round."""
    kept = supermask().subnetwork.kept
    for aggregate, bits in (("mean", 2), ("majority", 1)):
        protocol = supermask(rounds=2, aggregate=aggregate)
        requests = []
        InProcess().run(_Spied(protocol, requests), SILOS)
        assert len(requests[0]["votes"]) == 0
        assert len(requests[-1]["votes"]) == -(-bits * kept // 8)


class _Spied:
    """A protocol that notes its requests."""

    def __init__(self, protocol, into):
        self._protocol, self._into = protocol, into

    def __getattr__(self, name):
        return getattr(self._protocol, name)

    def client_step(self, request, memory, data):
        self._into.append(request)
        return self._protocol.client_step(request, memory, data)


def test_votes_are_counted_and_a_tie_leaves_the_sign():
    protocol = supermask()
    kept = protocol.subnetwork.kept
    start = protocol.start() | {"signs": pack_signs(np.array([-1, 1] * kept)[:kept])}
    up, down = np.ones(kept, np.int8), -np.ones(kept, np.int8)
    state = protocol.server_step(start, {0: {"signs": pack_signs(up)}, 1: {"signs": pack_signs(down)}})
    assert (state["counts"] == 1).all()
    assert state["signs"] == start["signs"]
    votes = {k: {"signs": pack_signs(signs)} for k, signs in enumerate([up, down, down])}
    assert (unpack_signs(protocol.server_step(start, votes)["signs"], kept) == -1).all()


def test_silos_start_from_what_the_server_counted():
    protocol = supermask(rounds=2)
    outcome = InProcess().run(protocol, SILOS)
    found = protocol.result(outcome.state)
    assert set(found.personal) == {0, 1, 2}
    assert (np.sum([s > 0 for s in found.personal.values()], axis=0) == outcome.state["counts"]).all()


def test_a_model_comes_out_that_classifies():
    protocol = supermask(rounds=4)
    found = InProcess().run(protocol, SILOS).result
    x, y = records(9, rows=300)
    for signs in (found.signs, found.personal[1]):
        logits = protocol.subnetwork.logits(protocol.subnetwork.values * torch.from_numpy(signs), torch.from_numpy(x))
        assert (logits.argmax(1).numpy() == y).mean() > 0.9


def test_the_server_may_prune_for_the_silos():
    plain, sent = supermask(rounds=2), supermask(rounds=2, send_mask=True)
    a, b = InProcess().run(plain, SILOS), InProcess().run(sent, SILOS)
    assert a.state == b.state
    masks = -(-(6 * 16 + 16 * 2) // 8)
    assert [y.payload_sent - x.payload_sent for x, y in zip(a.history, b.history, strict=True)] == [3 * masks, 0]


def test_flower_gives_the_same_state_byte_for_byte(tmp_path):
    pytest.importorskip("flwr")
    from sfumato.federation.flower import run_locally, to_client_app, to_server_app

    protocol, outcomes = supermask(rounds=2), {}
    server = to_server_app([protocol], finished=lambda each, outcome: outcomes.update({each.name: outcome}))
    client = to_client_app([protocol], lambda _, config: SILOS[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    run = {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""}
    run_locally(server, client, nodes, run)
    plain = InProcess().run(protocol, SILOS)
    assert outcomes["supermask"].state.to_bytes() == plain.state.to_bytes()
    assert outcomes["supermask"].payload_bytes == plain.payload_bytes


def test_a_run_that_was_killed_gives_the_same_signs(tmp_path):
    class Killed(BaseException):
        pass

    def watch(number, signs, personal):
        if number == 2:
            raise Killed

    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path))
    with pytest.raises(Killed):
        InProcess(terms).run(supermask(rounds=3, watch=watch), SILOS)
    outcome = InProcess(terms).run(supermask(rounds=3), SILOS)
    assert outcome.resumed_after == 1
    assert outcome.state == InProcess().run(supermask(rounds=3), SILOS).state


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signs": b"\x00"}, "bits are"),
        ({"signs": 3}, "must be bytes"),
        ({}, "expected the fields"),
        ({"signs": b"\xff" * 10, "scores": np.zeros(3)}, "expected the fields"),
    ],
    ids=str,
)
def test_a_bad_reply_is_a_drop_out(change, reason):
    protocol = supermask()
    with pytest.raises(ProtocolError, match=reason):
        protocol.check_reply(protocol.start(), 0, Message(change))


def test_bits_in_the_padding_are_refused():
    protocol = supermask()
    kept = protocol.subnetwork.kept
    assert kept % 8
    with pytest.raises(ProtocolError, match="zeros"):
        protocol.check_reply(protocol.start(), 0, Message({"signs": b"\xff" * -(-kept // 8)}))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subnetwork": bytes(32)}, "another subnetwork"),
        ({"subnetwork": b""}, "length 32"),
        ({"round": 1}, "'round'"),
        ({"party": -1}, "'party'"),
        ({"replies": 1 << 16}, "'replies'"),
        ({"votes": b"\x00"}, "nobody has voted"),
        ({"replies": 3}, "bits are"),
        ({"mask": b"\x00"}, "prune for themselves"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused(change, reason):
    protocol = supermask()
    request = Message({**first_request(protocol).fields, **change})
    with pytest.raises(ProtocolError, match=reason):
        protocol.client_step(request, Message({}), SILOS[0])


@pytest.mark.parametrize("mask", [b"", b"\x00" * 16, b"\xff" * 16], ids=["none", "nothing-kept", "all-kept"])
def test_a_bad_mask_is_refused(mask):
    protocol = supermask(send_mask=True)
    request = Message({**first_request(protocol).fields, "mask": mask})
    with pytest.raises(ProtocolError, match=r"bits are|keeps no weight|another subnetwork"):
        protocol.client_step(request, Message({}), SILOS[0])


def test_a_silo_of_another_seed_refuses():
    """By the hash of the configuration, before its data are touched; so for every parameter."""
    from sfumato.federation.protocol import config_hash

    changes = [{}, {"seed": 1}, {"keep": 0.5}, {"rounds": 2}, {"aggregate": "majority"}, {"private": PrivateSteps(1.0)}]
    assert len({config_hash(supermask(**change)) for change in changes}) == len(changes)
    assert config_hash(supermask(watch=print)) == config_hash(supermask())


def test_bad_data_stop_a_silo_and_not_the_others():
    x, y = records(2)
    bad = (np.where(x > 2, np.nan, x), y)
    with pytest.raises(TooFewParties, match=r"silo 2: it refused: the silo's step failed \(InvalidData\)"):
        InProcess().run(supermask(), [*SILOS[:2], bad])
    outcome = InProcess(Terms(min_parties=2)).run(supermask(rounds=2), [*SILOS[:2], bad])
    assert set(outcome.result.personal) == {0, 1}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "must be"),
        ((np.zeros((3, 5)), np.zeros(3, int)), "shape"),
        ((np.zeros((0, 6)), np.zeros(0, int)), "shape"),
        ((np.full((2, 6), np.inf), np.zeros(2, int)), "finite"),
        ((np.zeros((2, 6)), np.zeros(3, int)), "y must"),
        ((np.zeros((2, 6)), np.zeros(2)), "y must"),
        ((np.zeros((2, 6)), np.array([0, 2])), "0 .. 1"),
        ((np.zeros((2, 6)), np.array([0, -1])), "0 .. 1"),
    ],
)
def test_a_silos_data_are_checked(data, reason):
    with pytest.raises(InvalidData, match=reason):
        silo_tensors(data, (6,), 2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rounds": 0}, "rounds"),
        ({"aggregate": "median"}, "aggregate"),
        ({"num_classes": 1}, "num_classes"),
        ({"weights": "zero"}, "weights"),
        ({"prune": "magnitude"}, "prune"),
        ({"seed": -1}, "seed"),
    ],
    ids=str,
)
def test_bad_parameters_are_named(change, reason):
    from sfumato.federation.supermask import SupermaskProtocol

    given = {"keep": 0.6, "num_classes": 2, **change}
    with pytest.raises(InvalidData, match=reason):
        SupermaskProtocol(network(), (6,), **given).start()


def test_the_network_must_fit_the_classes():
    from sfumato.federation.supermask import SupermaskProtocol

    with pytest.raises(InvalidData, match="3 outputs"):
        SupermaskProtocol(network(), (6,), 3, keep=0.6).start()
    with pytest.raises(InvalidData, match="weights"):
        SupermaskProtocol(nn.ReLU(), (6,), 3, keep=0.6).start()
