"""Checkpoints: whole or passed over, and a resumed run ends where an uninterrupted one does."""

import numpy as np
import pytest
from smallest.counting import Counting, Exact

from sfumato import Ledger, PureDP
from sfumato.errors import InvalidData, TooFewParties
from sfumato.federation import Checkpoint, InProcess, Message, SiloStore, Terms
from sfumato.federation.checkpoint import Saved
from sfumato.federation.protocol import run_key

DATA = [[1, 10], [2, 20], [3, 30]]


def saved(round_):
    return Saved(round_, (0, 1, 2), Message({"total": np.arange(round_, 500 + round_)}), "[]")


def test_the_newest_is_read_and_two_are_kept(tmp_path):
    checkpoint = Checkpoint(tmp_path / "new" / "folder")
    assert checkpoint.latest("run") is None
    for round_ in range(4):
        path = checkpoint.save("run", saved(round_))
    assert sorted(p.name for p in path.parent.iterdir()) == ["round-000002.checkpoint", "round-000003.checkpoint"]
    assert checkpoint.latest("run") == saved(3)
    assert checkpoint.latest("another") is None


@pytest.mark.parametrize("damage", ["torn", "flipped", "empty", "renamed"])
def test_a_damaged_one_is_passed_over(tmp_path, damage):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("run", saved(1))
    path = checkpoint.save("run", saved(2))
    raw = bytearray(path.read_bytes())
    if damage == "renamed":
        raw = bytearray(checkpoint.save("other", saved(2)).read_bytes())
    elif damage == "flipped":
        raw[len(raw) // 2] ^= 1
    path.write_bytes(raw[: {"torn": len(raw) // 2, "empty": 0}.get(damage, len(raw))])
    assert checkpoint.latest("run") == saved(1)


def test_a_crash_while_writing_leaves_the_older_one(tmp_path, monkeypatch):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save("run", saved(1))
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("crash")))
        with pytest.raises(OSError, match="crash"):
            checkpoint.save("run", saved(2))
    assert checkpoint.latest("run") == saved(1)


class Crash(BaseException):
    """The server's process ends."""


def crashing(protocol, after):
    class Crashing(type(protocol)):
        def server_step(self, state, replies):
            if state["round"] == after:
                raise Crash
            return super().server_step(state, replies)

    return Crashing()


@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_resumed_run_ends_as_an_uninterrupted_one(tmp_path, after):
    whole = InProcess().run(Exact(), DATA)
    stores = [SiloStore() for _ in DATA]
    runtime = InProcess(Terms(run="r", checkpoint=Checkpoint(tmp_path)), stores=stores)
    with pytest.raises(Crash):
        runtime.run(crashing(Exact(), after), DATA)
    resumed = runtime.run(Exact(), DATA)
    assert resumed.resumed_after == after
    assert resumed.state == whole.state
    assert [wave.round for wave in resumed.history] == [1, 2, 3]
    assert resumed.payload_bytes == whole.payload_bytes
    assert runtime.run(Exact(), DATA).resumed_after == 3  # a finished run is not run again
    another = InProcess(Terms(run="another", checkpoint=Checkpoint(tmp_path)), stores=stores)
    assert another.run(Exact(), DATA).resumed_after == 0


def test_noise_is_the_same_after_the_crash_and_is_charged_once(tmp_path):
    """The replies of the round that the server lost come again, byte for byte."""
    ledgers = []
    for k in range(3):
        ledgers.append((Ledger(tmp_path / f"{k}.db", create=True), "silo"))
        ledgers[k][0].create("silo", PureDP(100.0))
    seen = []

    class Watching(Counting):
        def server_step(self, state, replies):
            seen.append({party: reply.to_bytes() for party, reply in replies.items()})
            if len(seen) == 2:
                raise Crash
            return super().server_step(state, replies)

    stores = [SiloStore() for _ in DATA]
    runtime = InProcess(Terms(run="r", checkpoint=Checkpoint(tmp_path)), stores=stores, ledgers=ledgers)
    with pytest.raises(Crash):
        runtime.run(Watching(), DATA)
    outcome = runtime.run(Watching(), DATA)
    assert len(seen) == 4
    assert seen[1] == seen[2]
    assert seen[2] != seen[3]
    assert [ledger.account("silo").charges for ledger, _ in ledgers] == [3, 3, 3]
    total = sum(Message.from_bytes(reply)["counts"] for wave in (seen[0], *seen[2:]) for reply in wave.values())
    assert (outcome.result == total).all()


def test_without_the_silos_stores_the_noise_is_fresh_and_is_paid_for_again(tmp_path):
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("silo", PureDP(100.0))
    runtime = InProcess(Terms(run="r", checkpoint=Checkpoint(tmp_path)), ledgers=[(ledger, "silo")])
    with pytest.raises(Crash):
        runtime.run(crashing(Counting(), 1), DATA[:1])
    runtime.run(Counting(), DATA[:1])
    assert ledger.account("silo").charges == 4


def test_a_resumed_run_keeps_its_parties(tmp_path):
    runtime = InProcess(Terms(run="r", checkpoint=Checkpoint(tmp_path)))
    with pytest.raises(Crash):
        runtime.run(crashing(Exact(), 1), DATA)
    with pytest.raises(TooFewParties, match="silo 2: it is not there"):
        runtime.run(Exact(), DATA[:2])


def test_a_checkpoint_needs_a_run_and_keeps_at_least_one(tmp_path):
    with pytest.raises(InvalidData, match="run="):
        Terms(checkpoint=Checkpoint(tmp_path))
    with pytest.raises(InvalidData, match="keep"):
        Checkpoint(tmp_path, keep=0)


def test_another_configuration_is_another_run(tmp_path):
    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path))
    InProcess(terms).run(Exact(), DATA)
    assert InProcess(terms).run(Exact(rounds=2), DATA).resumed_after == 0
    assert run_key(Exact(rounds=2), "r") != run_key(Exact(), "r")
