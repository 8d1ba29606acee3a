"""The run on the engine: one byte a scalar on the wire, silos that come and go, crashes, and Flower."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from one_byte import SEED, examples, losses, small_model

import sfumato.federation.shared_randomness as package
from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation import Checkpoint, InProcess, Message, SiloStore, Terms, run_rounds
from sfumato.federation.envelope import Envelope
from sfumato.federation.in_process import DirectExchange
from sfumato.federation.rounds import Delivery
from sfumato.federation.shared_randomness import (
    Codec,
    Record,
    Settings,
    SharedRandomnessProtocol,
    SharedRandomnessTuner,
    read_records,
)
from sfumato.federation.silo import Silo

SETTINGS = Settings(SEED, lr=0.02, samples_per_step=5)
DATA = [examples(k) for k in range(3)]


def protocol(steps=4, *, settings=SETTINGS, **change):
    return SharedRandomnessProtocol(small_model(), losses, settings=settings, steps=steps, **change)


def replayed(records, settings=SETTINGS):
    one = SharedRandomnessTuner(small_model(), losses, settings=settings)
    one.replay(records)
    return one


class Captured(DirectExchange):
    """Lets some silos go missing in some rounds, and keeps what travelled."""

    def __init__(self, made, stores=None, absent=lambda round, party: False, deaf=lambda round, party: False):
        stores = stores or [SiloStore() for _ in DATA]
        self.silos = [Silo([made], lambda _, data=data: data, node=k, store=stores[k]) for k, data in enumerate(DATA)]
        super().__init__(self.silos)
        self.absent, self.deaf = absent, deaf
        self.bodies = []
        self.round = 0

    def __call__(self, requests, timeout):
        self.round += 1
        there = {p: r for p, r in requests.items() if not self.absent(self.round, p)}
        found = super().__call__(there, timeout)
        replies = {p: r for p, r in found.replies.items() if not self.deaf(self.round, p)}
        for each in (requests, replies):
            self.bodies.append({p: Envelope.from_bytes(r, limit=1 << 20) for p, r in each.items()})
        return Delivery(replies, {}, found.sent, found.received)


def run(made, exchange, **terms):
    return run_rounds(made, exchange, Terms(**terms))


@pytest.mark.slow
def test_the_run_is_that_of_tuners_without_a_network():
    outcome = InProcess().run(protocol(), DATA)
    machines = [SharedRandomnessTuner(small_model(), losses, settings=SETTINGS, machine=u) for u in range(3)]
    for step in range(4):
        payloads = {t.machine: t.local_step([DATA[t.machine][:]] * 5) for t in machines}
        for each in machines:
            each.apply(step, payloads)
    assert outcome.result.log.records == machines[0].log_.records
    assert outcome.result.weights_hash == machines[0].weights_hash()
    assert outcome.result.disagreements == 0


def test_one_byte_a_scalar_on_the_wire():
    """Everything that travelled: a reply's only field is S bytes, a request's records hold S bytes a machine."""
    made = protocol(hash_every=100)
    exchange = Captured(made)
    run(made, exchange)
    requests, replies = exchange.bodies[0:8:2], exchange.bodies[1:8:2]
    for wave in replies:
        for envelope in wave.values():
            message = Message.from_bytes(envelope.body)
            assert {name: type(value) for name, value in message.items()} == {"scalars": bytes}
            assert len(message["scalars"]) == SETTINGS.samples_per_step
            empty = Message({"scalars": b""}).payload_bytes
            assert len(envelope.body) == empty + SETTINGS.samples_per_step
    for step, wave in enumerate(requests):
        for envelope in wave.values():
            message = Message.from_bytes(envelope.body)
            assert {type(value) for value in message.values()} <= {int, bytes}  # no float, no array of floats
            records = list(read_records(message["records"]))
            assert [record.step for record in records] == ([] if step == 0 else [step - 1])
            assert all(len(payload) == 5 for record in records for payload in record.payloads.values())
            framing = sum(12 + 12 * len(record.payloads) for record in records)
            assert len(message["records"]) == framing + 5 * 3 * len(records)


def test_no_pickle_in_the_package():
    source = "".join(path.read_text() for path in Path(package.__file__).parent.glob("*.py"))
    assert not re.search(
        r"pickle\.|import pickle|torch\.(save|load)|eval\(|marshal|shelve", source.replace(".eval()", "")
    )


def test_silos_come_and_go_and_catch_up():
    """Silo 2 joins in round 5; silo 0 is gone in rounds 3 and 4 and comes back; silo 1 leaves for good after 7."""
    made = protocol(steps=9)

    def absent(round, party):
        return (party == 2 and round < 5) or (party == 0 and round in (3, 4)) or (party == 1 and round > 7)

    exchange = Captured(made, absent=absent)
    outcome = run(made, exchange, min_parties=1)
    records = outcome.result.log.records
    assert [sorted(r.payloads) for r in records] == [
        [0, 1], [0, 1], [1], [1], [0, 1, 2], [0, 1, 2], [0, 1, 2], [0, 2], [0, 2],
    ]  # fmt: skip
    assert outcome.result.weights_hash == replayed(records).weights_hash()
    assert outcome.result.disagreements == 0


def test_a_reply_that_is_lost_does_not_count_for_anybody():
    """The silo has computed it, and applied nothing of its own: the record says who took part."""
    made = protocol(steps=5)
    exchange = Captured(made, deaf=lambda round, party: party == 1 and round in (2, 3))
    outcome = run(made, exchange, min_parties=2)
    assert [sorted(r.payloads) for r in outcome.result.log.records] == [[0, 1, 2], [0, 2], [0, 2], [0, 1, 2], [0, 1, 2]]
    assert outcome.result.weights_hash == replayed(outcome.result.log.records).weights_hash()


def test_a_silo_that_lost_its_memory_rebuilds_from_the_log():
    made = protocol(steps=6)
    exchange = Captured(made)
    original = exchange.__call__

    def lose(requests, timeout):
        if exchange.round == 3:
            exchange._silos[1] = Silo([made], lambda _: DATA[1], node=1)
        return original(requests, timeout)

    outcome = run_rounds(made, type("E", (), {"parties": exchange.parties, "__call__": staticmethod(lose)})(),
                         Terms(min_parties=2))  # fmt: skip
    assert [sorted(r.payloads) for r in outcome.result.log.records][3] == [0, 2]  # it could not go on from step 2 ...
    assert sorted(outcome.result.log.records[4].payloads) == [0, 1, 2]  # ... and did from the whole log
    assert outcome.result.weights_hash == replayed(outcome.result.log.records).weights_hash()


@pytest.mark.slow
def test_weights_that_differ_are_noticed_and_rebuilt():
    made = protocol(steps=6, hash_every=2)
    stores = [SiloStore() for _ in DATA]
    exchange = Captured(made, stores)
    original = exchange.__call__

    def spoil(requests, timeout):
        if exchange.round == 2:
            run = Envelope.from_bytes(requests[2], limit=1 << 20).run
            with stores[2].transaction():
                last = stores[2].last(run, 2)
                weights = last.memory["state"].copy()
                weights[0] += 1e-7
                stores[2].keep(run, 2, replace(last, memory=Message({**last.memory, "state": weights})))
        return original(requests, timeout)

    outcome = run_rounds(made, type("E", (), {"parties": exchange.parties, "__call__": staticmethod(spoil)})(), Terms())
    assert outcome.result.disagreements == 1
    assert outcome.result.weights_hash == replayed(outcome.result.log.records).weights_hash()


def test_a_server_and_silos_that_are_killed_go_on(tmp_path):
    """Batches are random here, so a silo that computed its answer again would show."""

    class Crash(BaseException):
        pass

    class Crashing(SharedRandomnessProtocol):
        replies = None

        def server_step(self, state, replies):
            if state["step"] == 2:
                Crashing.replies = {party: reply["scalars"] for party, reply in replies.items()}
                raise Crash
            return super().server_step(state, replies)

    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path / "checkpoints"))

    def runtime():
        return InProcess(terms, stores=[SiloStore(tmp_path / f"{k}.db") for k in range(3)])

    with pytest.raises(Crash):
        runtime().run(Crashing(small_model(), losses, settings=SETTINGS, steps=4, batch_size=7), DATA)
    outcome = runtime().run(protocol(batch_size=7), DATA)
    assert outcome.resumed_after == 2
    assert dict(outcome.result.log.records[2].payloads) == Crashing.replies
    assert outcome.result.weights_hash == replayed(outcome.result.log.records).weights_hash()


def test_flowers_local_exchange_gives_the_same_bytes(tmp_path):
    pytest.importorskip("flwr")
    from sfumato.federation.flower import run_locally, to_client_app, to_server_app

    made, found = protocol(steps=2), {}
    server = to_server_app([made], finished=lambda each, outcome: found.update({each.name: outcome}))
    client = to_client_app([made], lambda _, config: DATA[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    run_locally(server, client, nodes, {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""})
    plain = InProcess().run(protocol(steps=2), DATA)
    outcome = found["shared-randomness"]
    assert outcome.state.to_bytes() == plain.state.to_bytes()
    assert outcome.payload_bytes == plain.payload_bytes


def client(**change):
    record = Record(0, {0: b"abcde"}).to_bytes()
    request = {"machine": 0, "step": 1, "first": 0, "records": record, **change}
    return lambda made=protocol(), memory=None: made.client_step(Message(request), Message(memory or {}), DATA[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"extra": 1}, "expected the fields"),
        ({"machine": -1}, "machine"),
        ({"step": 5}, "step"),
        ({"first": 2}, "first"),
        ({"records": b""}, "must be those of steps 0"),
        ({"records": b"xyz"}, "cut off"),
        ({"records": Record(0, {0: b"abcd"}).to_bytes()}, "machine 0, step 0: 5 scalars take 5 bytes"),
        ({"step": 2, "first": 1, "records": Record(1, {0: b"abcde"}).to_bytes()}, "needs the whole log"),
    ],
    ids=str,
)
def test_a_hostile_request_is_refused(change, reason):
    with pytest.raises(ProtocolError, match=reason):
        client(**change)()


@pytest.mark.parametrize("forged", ["a bit", "all"])
def test_a_relay_that_changes_a_silos_bytes_is_found_out_by_it(forged):
    made = protocol()
    reply, memory = made.client_step(Message(made.requests(Message(made.start()), (1,))[1]), Message({}), DATA[1])
    own = reply["scalars"]
    other = bytes([own[0] ^ 1]) + own[1:] if forged == "a bit" else made.settings.codec.encode([1.0] * 5)
    for payloads, wrong in (({1: own}, False), ({0: other}, False), ({0: own, 1: other}, True)):
        request = Message({"machine": 1, "step": 1, "first": 0, "records": Record(0, payloads).to_bytes()})
        if wrong:
            with pytest.raises(ProtocolError, match="step 0 has other bytes than this silo, 1, sent"):
                made.client_step(request, Message(memory), DATA[1])
        else:  # its own, or none: then it was late
            made.client_step(request, Message(memory), DATA[1])


def test_a_silo_is_asked_about_each_step_once():
    reply, memory = client()()
    assert len(reply["scalars"]) == 5
    with pytest.raises(ProtocolError, match="answered already"):
        client()(memory=memory)


@pytest.mark.parametrize(
    ("step", "reply", "reason"),
    [
        (0, {}, "expected the fields"),
        (0, {"scalars": b"abcd"}, "length 5"),
        (0, {"scalars": "abcde"}, "bytes"),
        (0, {"scalars": np.zeros(5)}, "bytes"),
        (4, {"weights_hash": "zz"}, "hexadecimal"),
        (4, {"weights_hash": "a" * 64, "scalars": b"abcde"}, "expected the fields"),
    ],
    ids=str,
)
def test_a_hostile_reply_is_refused(step, reply, reason):
    made = protocol()
    with pytest.raises(ProtocolError, match=reason):
        made.check_reply(Message({**made.start(), "step": step}), 0, Message(reply))


def test_bad_parameters_are_named():
    for change in ({"steps": 0}, {"batch_size": 0}, {"hash_every": True}):
        with pytest.raises(InvalidData, match=next(iter(change))):
            protocol(**change)
    with pytest.raises(InvalidData, match="codec must be one of"):
        protocol(settings=replace(SETTINGS, codec=Codec("x")))
    assert not protocol().claim.formal
