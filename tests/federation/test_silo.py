"""A silo's end: it answers a round once, repeats the same bytes, and charges before it draws."""

import multiprocessing
import os
import signal
from dataclasses import replace

import numpy as np
import pytest
from smallest.counting import Counting, Exact

from sfumato import Ledger, PureDP
from sfumato.errors import ProtocolError
from sfumato.federation import Message, Silo, SiloStore
from sfumato.federation.envelope import Envelope
from sfumato.federation.protocol import config_hash, run_key

DATA = [5, 50]


def request(spoken, round_, *, run="first", total=(0, 0), **change):
    body = Message({"round": round_ - 1, "total": np.array(total, np.int64)}).to_bytes()
    key = run_key(spoken, run)
    envelope = Envelope(spoken.name, spoken.version, config_hash(spoken), key, round_, 0, body)
    return replace(envelope, **change).to_bytes()


def silo(protocol, store=None, **options):
    return Silo([protocol], lambda _: DATA, node=0, store=store, **options)


def opened(reply):
    envelope = Envelope.from_bytes(reply)
    assert envelope.refusal == ""
    return Message.from_bytes(envelope.body)


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("silo", PureDP(3.0))
    return ledger


def charges(ledger):
    return ledger.account("silo").charges


def test_a_round_is_noised_and_charged_once_also_after_a_restart(tmp_path, ledger):
    protocol = Counting()
    first = silo(protocol, SiloStore(tmp_path / "s.db"), ledger=ledger, dataset="silo").answer(request(protocol, 1))
    again = silo(protocol, SiloStore(tmp_path / "s.db"), ledger=ledger, dataset="silo").answer(request(protocol, 1))
    assert first == again
    assert charges(ledger) == 1


def test_memory_outlives_the_process(tmp_path):
    protocol = Exact()
    for round_ in (1, 2, 3):
        reply = silo(protocol, SiloStore(tmp_path / "s.db")).answer(request(protocol, round_))
        assert opened(reply)["seen"] == round_


def test_another_request_for_an_answered_round_is_refused_and_costs_nothing(ledger):
    protocol = Counting()
    end = silo(protocol, ledger=ledger, dataset="silo")
    for round_ in (1, 2):
        end.answer(request(protocol, round_))
    for again in (request(protocol, 2, total=(1, 1)), request(protocol, 1)):
        assert "answered already" in Envelope.from_bytes(end.answer(again)).refusal
    assert charges(ledger) == 2
    assert opened(end.answer(request(protocol, 1, run="second")))["seen"] == 1  # another run is another charge
    assert charges(ledger) == 3


def test_a_spent_budget_is_a_refusal_without_noise(ledger):
    protocol = Counting(rounds=9, epsilon=2.0)
    end = silo(protocol, ledger=ledger, dataset="silo")
    opened(end.answer(request(protocol, 1)))
    refused = Envelope.from_bytes(end.answer(request(protocol, 2)))
    assert "exhausted" in refused.refusal
    assert refused.body == b""
    assert charges(ledger) == 1


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"protocol": "other"}, "does not take part"),
        ({"version": 2}, "version 1"),
        ({"config_hash": bytes(32)}, "other parameters"),
        ({"node": 1}, "another silo"),
        ({"body": b"junk"}, "message"),
    ],
)
def test_a_request_that_was_not_agreed_to_never_reaches_the_data(change, reason):
    protocol = Exact()
    end = Silo([protocol], lambda _: pytest.fail("the data were touched"), node=0)
    refusal = Envelope.from_bytes(end.answer(request(protocol, 1, **change)))
    assert reason in refusal.refusal
    assert refusal.body == b""
    assert refusal.node == 0


def test_bytes_that_are_no_envelope_are_an_error():
    for raw in (b"", b"junk", Message({"x": 1}).to_bytes()):
        with pytest.raises(ProtocolError):
            silo(Exact()).answer(raw)


def _answer_and_die(path, ledger_path, at):
    """Answer round 1 and be killed between charge and reply, or between reply and sending."""

    class Dying(Counting):
        def client_step(self, request, memory, data):
            reply = super().client_step(request, memory, data)
            if at == "drawn":
                os.kill(os.getpid(), signal.SIGKILL)
            return reply

    protocol = Dying()
    ledger = Ledger(ledger_path)
    Silo([protocol], lambda _: DATA, node=0, store=SiloStore(path), ledger=ledger, dataset="silo").answer(
        request(Counting(), 1)
    )
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(("at", "charged"), [("drawn", 2), ("kept", 1)])
def test_a_silo_killed_at_any_point_never_noises_twice_under_one_charge(tmp_path, ledger, at, charged):
    """Killed after the draw, its noise is gone, stays paid for, and the next costs again; later, it is repeated."""
    child = multiprocessing.get_context("fork").Process(
        target=_answer_and_die, args=(tmp_path / "s.db", tmp_path / "ledger.db", at)
    )
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    assert charges(ledger) == 1
    end = silo(Counting(), SiloStore(tmp_path / "s.db"), ledger=ledger, dataset="silo")
    first = end.answer(request(Counting(), 1))
    assert charges(ledger) == charged
    assert end.answer(request(Counting(), 1)) == first
    assert charges(ledger) == charged


def test_what_a_protocol_lets_go_of_is_overwritten_on_disk(tmp_path):
    class Forgetting(Exact):
        def client_step(self, request, memory, data):
            reply, _ = super().client_step(request, memory, data)
            return reply, {"seen": 1, "secret": b"S3CRET" * 5000} if request["round"] == 0 else {}

    store = SiloStore(tmp_path / "s.db")
    end = silo(Forgetting(), store)
    end.answer(request(Forgetting(), 1))
    assert b"S3CRET" in (tmp_path / "s.db").read_bytes()
    end.answer(request(Forgetting(), 2))
    assert all(b"S3CRET" not in path.read_bytes() for path in tmp_path.iterdir())
