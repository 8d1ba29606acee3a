"""Computations by sums: the same in the open and under secure summation, drop-outs, resumption, a lying server."""

import numpy as np
import pytest

from sfumato import Claim, Ledger, PureDP, Release
from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import Checkpoint, InProcess, Message, SiloStore, Terms
from sfumato.federation.secure_sum import OpenlySummed, Participant, SecurelySummed, make_signing_key

KEYS = [make_signing_key() for _ in range(5)]
ROSTER = [public for _, public in KEYS]


class Walk:
    """Each round a silo adds its step, as often as it was asked before, and the server adds all up."""

    name, version, length, bound = "walk", 3, 2, 100

    def __init__(self, rounds=3):
        self.rounds = rounds

    def config(self):
        return {"rounds": self.rounds}

    def start(self):
        return {"round": 0, "at": np.zeros(2, np.int64), "parties": np.zeros(0, np.int64)}

    def request(self, state):
        return {"round": state["round"]}

    def contribute(self, request, memory, data):
        times = memory.get("times", 0) + 1
        return np.array([data * times, request.integer("round", low=0, high=9)]), {"times": times}

    def absorb(self, state, total, parties):
        return {"round": state["round"] + 1, "at": state["at"] + total, "parties": np.array(parties)}

    def finished(self, state):
        return state["round"] == self.rounds

    def result(self, state):
        return state["at"].tolist()


class Noisy(Walk):
    """Draws under a charge, and writes down how often."""

    name = "noisy"

    def contribute(self, request, memory, data):
        claim = Claim(PureDP(1.0), unit="person", neighbours="add-remove")
        with Release(claim, purpose="a step") as release:
            noisy = release.discrete_laplace(np.array([data, 0]), l1_sensitivity=1, epsilon=1.0)
        return np.clip(noisy, -100, 100), {}


def members(values):
    return [Participant(k, value, KEYS[k][0]) for k, value in enumerate(values)]


def lose(protocol, faults):
    """Let silos fail at some stage of some sum: `faults` is a set of (sum, stage, party)."""
    step = protocol.client_step

    def client_step(request, memory, data):
        stage = Message.from_bytes(request["stage"])["stage"]
        if (request["sum-number"], stage, data.party) in faults:
            raise ProtocolError("gone")
        return step(request, memory, data)

    protocol.client_step = client_step
    return protocol


def test_both_ways_to_sum_agree():
    # Steps 1, 2, 4 once, twice and three times; and round numbers of three silos.
    expected = [7 * (1 + 2 + 3), 3 * (0 + 1 + 2)]
    secure = InProcess().run(SecurelySummed(Walk(), ROSTER[:3]), members([1, 2, 4]))
    openly = InProcess().run(OpenlySummed(Walk()), [1, 2, 4])
    assert secure.result == openly.result == expected
    assert (len(secure.history), len(openly.history)) == (15, 3)


def test_the_wire_of_the_open_sum_is_as_narrow_as_the_bound():
    protocol = OpenlySummed(Walk())
    assert protocol.dtype == np.int8
    protocol.check_reply(Message({}), 0, Message({"vector": np.array([100, -100], np.int8)}))
    for bad in (np.array([101, 0], np.int8), np.array([-128, 0], np.int8), np.zeros(3, np.int8), np.zeros(2, np.int64)):
        with pytest.raises(ProtocolError):
            protocol.check_reply(Message({}), 0, Message({"vector": bad}))


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_a_silo_that_missed_a_sum_takes_part_in_the_next(stage):
    protocol = lose(SecurelySummed(Walk(), ROSTER), {(2, stage, 4)})
    outcome = InProcess(Terms(min_parties=4)).run(protocol, members([1, 1, 1, 1, 50]))
    # The others give 1 + 2 + 3 each. Silo 4 missed the second sum before it made a vector, so it goes on with its
    # second in the third sum.
    assert outcome.result[0] == 4 * 6 + 50 + 50 * 2
    state = Message.from_bytes(outcome.state["computation"])
    assert state["parties"].tolist() == [0, 1, 2, 3, 4]


def test_too_few_end_the_run():
    protocol = lose(SecurelySummed(Walk(), ROSTER), {(2, 3, 0), (2, 3, 1)})
    with pytest.raises((TooFewParties, ProtocolError)):
        InProcess(Terms(min_parties=1)).run(protocol, members([1] * 5))


def test_a_run_goes_on_from_any_of_its_checkpoints_without_a_second_charge(tmp_path):
    protocol, data = SecurelySummed(Noisy(rounds=2), ROSTER[:3]), members([10, 20, 30])
    for stop in range(1, 10):
        folder = tmp_path / str(stop)
        folder.mkdir()
        stores, ledgers = [], []
        for k in range(3):
            stores.append(SiloStore(folder / f"{k}.db"))
            ledger = Ledger(folder / f"ledger-{k}.db", create=True)
            ledger.create("silo", PureDP(2.0))
            ledgers.append((ledger, "silo"))
        terms = Terms(run="r", checkpoint=Checkpoint(folder / "checkpoints"))
        saves = iter(range(100))
        save = terms.checkpoint.save

        def dying(key, saved, save=save, saves=saves, stop=stop):
            if next(saves) == stop:
                raise KeyboardInterrupt
            save(key, saved)

        object.__setattr__(terms.checkpoint, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            InProcess(terms, stores=stores, ledgers=ledgers).run(protocol, data)
        object.__setattr__(terms.checkpoint, "save", save)
        outcome = InProcess(terms, stores=stores, ledgers=ledgers).run(protocol, data)
        assert outcome.resumed_after == stop - 1
        # The budget is for two draws, and there were two: a third would have been refused.
        assert [ledger.account("silo").charges for ledger, _ in ledgers] == [2, 2, 2]


class Server:
    """One that asks two silos what it likes."""

    def __init__(self):
        self.protocol = SecurelySummed(Walk(), ROSTER[:2])
        self.data = members([1, 2])
        self.memory = [Message({}), Message({})]
        self.state = Message(self.protocol.start())

    def ask(self, change=lambda fields: fields):
        replies = {}
        for party, fields in self.protocol.requests(self.state, (0, 1)).items():
            reply, after = self.protocol.client_step(Message(change(fields)), self.memory[party], self.data[party])
            replies[party], self.memory[party] = Message(reply), Message(after)
        return replies

    def go(self):
        self.state = Message(self.protocol.server_step(self.state, self.ask()))


def test_no_vector_is_made_out_of_order():
    server = Server()
    server.go()
    server.go()
    masked = server.ask()  # the vectors leave; the server asks again, with another request of the computation
    assert set(masked[0]) == {"masked"}
    with pytest.raises(ProtocolError, match="out of order"):
        server.ask(lambda fields: {**fields, "request": Message({"round": 7}).to_bytes()})


def test_no_vector_is_made_for_a_sum_that_has_not_begun_or_is_over():
    server = Server()
    server.go()
    server.go()
    with pytest.raises(ProtocolError, match="out of order"):
        server.ask(lambda fields: {**fields, "sum-number": 2})
    for _ in range(3):
        server.go()
    assert server.state["sum-number"] == 2
    server.go()
    with pytest.raises(ProtocolError, match="is over"):
        server.ask(lambda fields: {**fields, "sum-number": 1})


@pytest.mark.parametrize("fields", [{"extra": 1}, {"sum-number": 0}, {"sum-number": True}, {"stage": b"no"}])
def test_garbage_is_refused(fields):
    server = Server()
    with pytest.raises(ProtocolError):
        server.ask(lambda right: {**right, **fields})


def test_a_request_before_the_vectors_are_due_is_refused():
    server = Server()
    with pytest.raises(ProtocolError, match="expected the fields"):
        server.ask(lambda right: {**right, "request": Message({}).to_bytes()})


def test_what_a_computation_must_keep_to():
    protocol = OpenlySummed(Walk())
    for bad in (np.array([101, 0]), np.array([0.0, 1.0]), np.array([1])):
        protocol.computation.contribute = lambda *_, bad=bad: (bad, {})
        with pytest.raises(InvalidData):
            protocol.client_step(Message({}), Message({}), 1)
    with pytest.raises(InvalidData, match="Participant"):
        SecurelySummed(Walk(), ROSTER).client_step(Message({"sum-number": 1}), Message({}), 1)
