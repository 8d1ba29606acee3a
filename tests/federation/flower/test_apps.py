"""The protocols as Flower apps, in this process: what comes out is what `InProcess` gives, to the last bit."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from smallest.counting import Exact
from smallest.protocols import PROTOCOLS

from sfumato.errors import InvalidData, MissingExtra, ProtocolError, TooFewParties
from sfumato.federation import InProcess
from sfumato.federation.flower import Simulation, apps, installed, run_locally, to_client_app, to_server_app
from sfumato.federation.flower.exchange import wire_size

pytest.importorskip("flwr")
from flwr.app import ConfigRecord, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.supercore.task_identity import TaskIdentity

DATA = [[1, 10], [2, 20], [3, 30]]
RUN = {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""}


def run(protocols, folder, *, client=None, nodes=None, **run_config):
    outcomes = {}
    server = to_server_app(protocols, finished=lambda protocol, outcome: outcomes.update({protocol.name: outcome}))
    client = to_client_app(protocols, lambda _, config: DATA[config["partition-id"]]) if client is None else client
    nodes = [{"partition-id": k, "silo-store": str(folder / f"{k}.db")} for k in range(3)] if nodes is None else nodes
    run_locally(server, client, nodes, {**RUN, **run_config})
    return outcomes


class Another(Exact):
    name: str = property(lambda self: "another")

    def __init__(self):
        object.__setattr__(self, "rounds", 2)
        object.__setattr__(self, "epsilon", 1.0)


def test_flower_gives_the_same_state_byte_for_byte(tmp_path):
    protocols = [Exact(), Another()]
    outcomes = run(protocols, tmp_path)
    for protocol in protocols:
        plain = InProcess().run(protocol, DATA)
        outcome = outcomes[protocol.name]
        assert outcome.state.to_bytes() == plain.state.to_bytes()
        assert outcome.payload_bytes == plain.payload_bytes
        assert [wave.answered for wave in outcome.history] == [wave.answered for wave in plain.history]


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda protocol: protocol.name)
def test_a_protocol_can_be_copied_to_another_process(protocol):
    """Ray serialises what silos run; a copy goes by the same methods of the object."""
    assert copy.deepcopy(protocol).config() == protocol.config()


def test_wire_bytes_are_those_of_flowers_protobuf(tmp_path):
    """Flower's own `message_size_mod` counts the records; the protobuf adds metadata of a few hundred bytes at most."""
    from flwr.clientapp.mod import message_size_mod

    sizes = []

    def count(message, context, call_next):
        reply = message_size_mod(message, context, call_next)
        sizes.append([sum(record.count_bytes() for record in m.content.values()) for m in (message, reply)])
        return reply

    client = to_client_app([Exact()], lambda _, config: DATA[config["partition-id"]])
    outcome = run([Exact()], tmp_path, client=lambda message, context: count(message, context, client))["exact"]
    steps = np.array(sizes[3:])  # the first wave is the joining
    assert steps.shape == (9, 2)
    sent = sum(wave.wire_sent for wave in outcome.history)
    received = sum(wave.wire_received for wave in outcome.history)
    for wire, records in ((sent, steps[:, 0].sum()), (received, steps[:, 1].sum())):
        assert records < wire < records + 9 * 300


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    class Crash(BaseException):
        pass

    class Crashing(Exact):
        def server_step(self, state, replies):
            if state["round"] == 1:
                raise Crash
            return super().server_step(state, replies)

    state = {"state-dir": str(tmp_path / "state")}
    with pytest.raises(Crash):
        run([Crashing()], tmp_path, **state)
    outcome = run([Exact()], tmp_path, **state)["exact"]
    assert outcome.resumed_after == 1
    assert outcome.state == InProcess().run(Exact(), DATA).state


def test_a_node_whose_app_fails_is_a_drop_out(tmp_path):
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(2)] + [{"partition-id": 2}]
    with pytest.raises(TooFewParties, match="silo 2: Flower reports error 2"):
        run([Exact()], tmp_path, nodes=nodes)
    outcome = run([Exact()], tmp_path, nodes=nodes, **{"min-parties": 2, "run": "two"})["exact"]
    assert (outcome.result == 6 * np.array([3, 30])).all()


def test_two_nodes_that_say_they_are_the_same_silo_are_an_error(tmp_path):
    nodes = [{"partition-id": min(k, 1), "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    with pytest.raises(ProtocolError, match="both say that they are party 1"):
        run([Exact()], tmp_path, nodes=nodes)


@pytest.mark.parametrize("party", [{}, {"partition-id": "one"}, {"partition-id": -1}, {"partition-id": True}], ids=str)
def test_a_node_that_does_not_know_its_number_cannot_join(tmp_path, party):
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(2)] + [party]
    with pytest.raises(TooFewParties, match="2 of 3 nodes"):
        run([Exact()], tmp_path, nodes=nodes)


def test_nodes_that_do_not_come_are_waited_for_and_then_missed(tmp_path):
    with pytest.raises(TooFewParties, match="3 of 4 nodes were there"):
        run([Exact()], tmp_path, parties=4, timeout=0.01)


def hostile(record):
    client = to_client_app([Exact()], lambda _, config: DATA[config["partition-id"]])
    honest = client._registered_funcs["query.sfumato_step"]

    def step(message, context):
        if context.node_config["partition-id"] != 1:
            return honest(message, context)
        return Message(RecordDict(record), reply_to=message)

    client._registered_funcs["query.sfumato_step"] = step
    return client


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({}, "no record of ours"),
        ({"sfumato": ConfigRecord({})}, "no envelope"),
        ({"sfumato": ConfigRecord({"envelope": "text"})}, "no envelope"),
        ({"sfumato": ConfigRecord({"envelope": b"\x80\x04pickle"})}, "cut off|not a message"),
    ],
)
def test_a_hostile_node_is_dropped_by_reason(tmp_path, record, reason):
    with pytest.raises(TooFewParties, match=f"silo 1: .*({reason})"):
        run([Exact()], tmp_path, client=hostile(record))


def test_other_actions_are_not_answered(tmp_path):
    outcomes = {}
    with pytest.raises(TooFewParties, match="0 of 3 nodes said"):
        outcomes = run([Exact()], tmp_path, client=ClientApp())
    assert outcomes == {}


def test_configurations_are_checked_by_name():
    with pytest.raises(InvalidData, match="parties, min-parties, timeout, run, state-dir"):
        apps.terms_of({})
    with pytest.raises(InvalidData, match="state-dir"):
        apps.terms_of({key: value for key, value in RUN.items() if key != "state-dir"})
    with pytest.raises(InvalidData, match="both ledger and dataset"):
        apps._silo([], None, {"partition-id": 0, "silo-store": "x", "ledger": "y"}, None, 1)
    assert apps.terms_of({**RUN, "min-parties": 2}).min_parties == 2


def test_messages_need_an_identity():
    """If this fails, Flower's internals have changed, and `_identity` in `local` may no longer be needed."""
    assert TaskIdentity._run_id is None
    with pytest.raises(RuntimeError, match="TaskIdentity"):
        wire_size(Message(RecordDict(), dst_node_id=1, message_type="train"))


def test_without_flower_or_with_another_one_the_extra_is_named(monkeypatch):
    for version in ("1.40.0", "2.0.0"):
        monkeypatch.setattr(installed.metadata, "version", lambda _, version=version: version)
        with pytest.raises(MissingExtra, match="federation"):
            to_server_app([Exact()])
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "flwr.app", None)
    for build in (to_client_app, Simulation().run):
        with pytest.raises(MissingExtra, match="federation"):
            build(Exact(), DATA)


def test_the_engine_does_not_load_flower():
    code = "import sys, sfumato.federation, sfumato.federation.flower; print([m for m in sys.modules if 'flwr' == m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
