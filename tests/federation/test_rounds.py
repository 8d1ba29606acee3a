"""The loop of rounds, in process: what a silo may do to it, and what not."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from smallest.counting import Counting, Exact

from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import InProcess, Message, Silo, Terms, in_process, run_rounds
from sfumato.federation.envelope import Envelope
from sfumato.federation.in_process import DirectExchange
from sfumato.federation.protocol import config_hash, run_key

DATA = [[1, 10], [2, 20], [3, 30]]
TOTAL = np.array([6, 60]) * 6  # of three rounds, weighted 1, 2, 3


def test_rounds_add_up_and_memory_lasts():
    outcome = InProcess().run(Exact(), DATA)
    assert (outcome.result == TOTAL).all()
    assert outcome.state["round"] == 3
    assert [wave.answered for wave in outcome.history] == [(0, 1, 2)] * 3
    assert all(wave.lost == {} for wave in outcome.history)


def test_bytes_are_counted_as_they_are():
    outcome = InProcess().run(Exact(), DATA)
    request = Message({"round": 0, "total": np.zeros(2, np.int64)}).payload_bytes
    reply = Message({"counts": np.zeros(2, np.int64), "seen": 1}).payload_bytes
    for wave in outcome.history:
        assert (wave.payload_sent, wave.payload_received) == (3 * request, 3 * reply)
        assert wave.wire_sent > wave.payload_sent
        assert wave.wire_received > wave.payload_received
    assert outcome.payload_bytes == 9 * (request + reply)
    assert outcome.wire_bytes == sum(wave.wire_sent + wave.wire_received for wave in outcome.history)


class Hostile(Exact):
    """Silo 1 sends something else in round 2."""

    def __init__(self, reply):
        super().__init__()
        object.__setattr__(self, "reply", reply)

    def client_step(self, request, memory, data):
        reply, after = super().client_step(request, memory, data)
        if data == DATA[1] and request["round"] == 1:
            reply = self.reply(reply) if callable(self.reply) else self.reply
        return reply, after


def raises(error):
    def reply(_):
        raise error

    return reply


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ({"counts": np.array([np.nan, 0.0]), "seen": 2}, "'counts' holds NaN"),
        ({"counts": np.array([1.0, 2.0]), "seen": 2}, "array of int64"),
        ({"counts": np.zeros(3, np.int64), "seen": 2}, "shape"),
        ({"counts": np.zeros((2, 1), np.int64), "seen": 2}, "shape"),
        ({"counts": np.zeros(2, np.int64), "seen": 99}, "integer in 1"),
        ({"seen": 2}, "expected the fields"),
        ({}, "expected the fields"),
        ({"counts": np.zeros(2, np.int64), "seen": 2, "more": 1}, "expected the fields"),
        ({"counts": np.array([object()]), "seen": 2}, "'counts' must be an array"),
        (raises(ProtocolError("I will not")), "refused: I will not"),
        (raises(ValueError("John Smith, born 1950")), r"failed \(ValueError\)\)$"),
        (raises(KeyError("John Smith, born 1950")), r"failed \(KeyError\)\)$"),
    ],
)
def test_a_bad_reply_drops_its_silo_by_name_and_never_enters_the_sum(reply, reason):
    outcome = InProcess(Terms(min_parties=2)).run(Hostile(reply), DATA)
    wave = outcome.history[1]
    assert wave.answered == (0, 2)
    assert list(wave.lost) == [1]
    with pytest.raises(TooFewParties, match=f"silo 1: .*{reason}"):
        InProcess().run(Hostile(reply), DATA)
    assert "Smith" not in wave.lost[1]
    assert (outcome.result == TOTAL - 2 * np.array(DATA[1])).all()
    assert outcome.history[2].answered == (0, 1, 2)


def test_a_late_reply_is_discarded(monkeypatch):
    clock = SimpleNamespace(monotonic=lambda: clock.now, now=0.0)
    monkeypatch.setattr(in_process, "time", clock)

    def late(reply):
        clock.now += 601
        return reply

    outcome = InProcess(Terms(min_parties=2)).run(Hostile(late), DATA)
    assert outcome.history[1].lost == {1: "no reply in time"}
    assert (outcome.result == TOTAL - 2 * np.array(DATA[1])).all()


class Meddling:
    """A transport on which silo 1 answers with bytes of its own."""

    def __init__(self, protocol, change):
        self.direct = DirectExchange([Silo([protocol], lambda _, d=d: d, node=k) for k, d in enumerate(DATA)])
        self.change = change

    @property
    def parties(self):
        return self.direct.parties

    def __call__(self, requests, timeout):
        delivery = self.direct(requests, timeout)
        return replace(delivery, replies={**delivery.replies, 1: self.change(delivery.replies)})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda replies: b"", "cut off"),
        (lambda replies: b"\x80\x04garbage", "cut off|not a message"),
        (lambda replies: replies[1][:-1], "cut off"),
        (lambda replies: replies[1] + bytes(70 << 20), "limit"),
        (lambda replies: replies[0], "another node"),
        (lambda replies: changed(replies[1], round=7), "another round"),
        (lambda replies: changed(replies[1], run="another"), "another run"),
        (lambda replies: changed(replies[1], version=2), "another version"),
        (lambda replies: changed(replies[1], protocol="other"), "another protocol"),
        (lambda replies: changed(replies[1], config_hash=bytes(32)), "another config-hash"),
        (lambda replies: changed(replies[1], body=b"junk"), "cut off|not a message"),
        (lambda replies: changed(replies[1], refusal="no"), "refused: no"),
        (lambda replies: Message({"x": 1}).to_bytes(), "expected the fields"),
    ],
)
def test_bytes_that_are_no_reply_to_the_request_drop_their_silo(change, reason):
    with pytest.raises(TooFewParties, match=f"silo 1: .*({reason})"):
        run_rounds(Exact(), Meddling(Exact(), change), Terms())
    outcome = run_rounds(Exact(), Meddling(Exact(), change), Terms(min_parties=2))
    assert (outcome.result == TOTAL - 6 * np.array(DATA[1])).all()


def changed(reply, **fields):
    return replace(Envelope.from_bytes(reply), **fields).to_bytes()


def test_a_check_that_stumbles_drops_the_silo_too():
    class Careless(Exact):
        def check_reply(self, state, party, reply):
            if party == 2:
                reply["missing"]

    with pytest.raises(TooFewParties, match=r"silo 2: its reply could not be checked \(KeyError\)"):
        InProcess().run(Careless(), DATA)


def test_a_reply_that_nobody_asked_for_is_not_used():
    class Half(Exact):
        def requests(self, state, parties):
            return {party: {"round": state["round"], "total": state["total"]} for party in parties if party != 1}

    outcome = run_rounds(Half(), Meddling(Half(), lambda replies: replies[0]), Terms())
    assert (outcome.result == TOTAL - 6 * np.array(DATA[1])).all()
    assert [wave.asked for wave in outcome.history] == [(0, 2)] * 3


def test_requests_to_nobody_or_to_strangers_are_an_error_of_the_protocol():
    for asked in ({}, {9: {"round": 0}}):

        class Lost(Exact):
            def requests(self, state, parties, asked=asked):
                return asked

        with pytest.raises(InvalidData, match="at least one of its parties"):
            InProcess().run(Lost(), DATA)


def test_limits_hold_both_ways():
    request = Message({"round": 0, "total": np.zeros(2, np.int64)}).payload_bytes
    with pytest.raises(InvalidData, match="limit of 10"):
        InProcess(Terms(limit=10)).run(Exact(), DATA)

    class Long(Exact):
        def client_step(self, request, memory, data):
            return {"counts": np.zeros(1000, np.int64)}, {}

    with pytest.raises(TooFewParties, match="more than the limit"):
        InProcess(Terms(limit=request)).run(Long(), DATA)


def test_an_empty_federation_is_an_error():
    for silos in (None, []):
        with pytest.raises(InvalidData, match="silos"):
            InProcess().run(Exact(), silos)
    with pytest.raises(InvalidData, match="empty"):
        run_rounds(Exact(), DirectExchange([]), Terms())


def test_stores_and_ledgers_match_the_silos():
    for wrong in ({"stores": []}, {"ledgers": []}):
        with pytest.raises(InvalidData, match="3 silos"):
            InProcess(**wrong).run(Exact(), DATA)


@pytest.mark.parametrize(
    "wrong",
    [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": float("nan")}, {"min_parties": 0}, {"limit": 0}],
    ids=str,
)
def test_terms_are_checked(wrong):
    with pytest.raises(InvalidData, match=next(iter(wrong))):
        Terms(**wrong)


def test_state_that_is_not_finite_is_refused_by_name():
    class Diverging(Exact):
        def server_step(self, state, replies):
            return {"round": 3, "total": np.array([np.inf])}

    with pytest.raises(InvalidData, match="'total' holds NaN or infinite"):
        InProcess().run(Diverging(), DATA)


def test_the_configuration_is_part_of_the_names():
    assert config_hash(Counting()) == config_hash(Counting())
    assert config_hash(Counting(epsilon=2.0)) != config_hash(Counting())
    assert config_hash(Exact()) != config_hash(Counting())
    assert run_key(Counting(), "a") != run_key(Counting(), "b")

    class Bad(Exact):
        def config(self):
            return {"array": np.zeros(2)}

    with pytest.raises(InvalidData, match="config of"):
        config_hash(Bad())
