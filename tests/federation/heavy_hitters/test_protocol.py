"""The protocol over the engine: who is asked, what is refused, what is paid, what a crash leaves."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import Ledger, PureDP, Release
from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import Checkpoint, InProcess, Message, SiloStore, Terms
from sfumato.federation.heavy_hitters import FederatedHeavyHitters, HeavyHitterProtocol, speaking
from sfumato.federation.heavy_hitters.plan import METHODS

LOCAL = [method for method in METHODS if method != "triehh"]


def estimator(**parameters):
    defaults = {"k": 2, "epsilon": 4.0, "bits": 8, "levels": 4, "method": "tap", "random_state": 1}
    return FederatedHeavyHitters(**{**defaults, **parameters})


def people(*sizes, seed=0):
    """Each party's own favourite, one that all share, and anything else."""
    rng = np.random.default_rng(seed)
    return [
        np.where(rng.random(n) < 0.4, 7, np.where(rng.random(n) < 0.5, 100 + party, rng.integers(0, 256, n)))
        for party, n in enumerate(sizes)
    ]


@contextlib.contextmanager
def listening():
    """Who speaks: (party, positions of its users), a level each; and how many send a report, a draw each."""
    heard, reports = [], []
    choose = speaking.members

    def recorded(users, level, levels, seed, *, growing=False):
        heard.append((seed[1], choose(users, level, levels, seed, growing=growing)))
        return heard[-1][1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(speaking, "members", recorded)
        for name in ("randomized_response", "unary_encoding"):
            draw = getattr(Release, name)

            def counted(self, values, *, draw=draw, **terms):
                reports.append(len(values))
                return draw(self, values, **terms)

            patch.setattr(Release, name, counted)
        yield heard, reports


def assert_everyone_spoke_once(heard, sizes):
    for party, size in enumerate(sizes):
        asked = np.concatenate([places for number, places in heard if number == party])
        assert sorted(asked.tolist()) == list(range(size))


@pytest.mark.parametrize("method", LOCAL)
@given(sizes=st.lists(st.integers(8, 60), min_size=1, max_size=4))
@settings(max_examples=8, deadline=None)
def test_each_user_sends_exactly_one_report(method, sizes):
    with listening() as (heard, reports):
        InProcess().run(estimator(method=method).protocol(), people(*sizes))
    assert_everyone_spoke_once(heard, sizes)
    assert sum(reports) == sum(sizes)  # those who check for others included


def test_a_silo_pays_once_a_run_and_again_for_another(tmp_path):
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("silo", PureDP(9.0), unit="user", neighbours="replace-one")
    for charges in (1, 2):
        InProcess(ledgers=[(ledger, "silo")]).run(estimator(method="taps").protocol(), people(400))
        assert ledger.account("silo").charges == charges
    with pytest.raises(TooFewParties, match="exhausted"):
        InProcess(ledgers=[(ledger, "silo")]).run(estimator().protocol(), people(400))


def ask(protocol, memory=None, **change):
    request = {
        "seed": 5,
        "level": 0,
        "party": 0,
        "candidates": np.arange(4, dtype=np.uint64),
        "suspects": np.zeros(4, np.bool_),
        **change,
    }
    return protocol.client_step(Message(request), Message(memory or {}), people(100)[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"level": 4}, "'level' must be an integer"),
        ({"level": True}, "'level' must be an integer"),
        ({"seed": -1}, "'seed' must be an integer"),
        ({"candidates": np.arange(4)}, "'candidates' must be an array of uint64"),
        ({"candidates": np.arange(4, dtype=np.uint64)[::-1]}, "increasing order"),
        ({"candidates": np.array([0, 1, 1, 2], np.uint64)}, "increasing order"),
        ({"candidates": np.array([0, 1, 2, 4], np.uint64)}, "prefixes of this level"),
        ({"candidates": np.zeros(0, np.uint64), "suspects": np.zeros(0, np.bool_)}, "'candidates' must hold"),
        ({"suspects": np.zeros(3, np.bool_)}, "'suspects' must have shape"),
        ({"suspects": np.ones(4, np.bool_)}, "'suspects' must be empty"),
        ({"more": 1}, "expected the fields"),
    ],
)
def test_a_hostile_server_is_refused(change, reason):
    with pytest.raises(ProtocolError, match=reason):
        ask(estimator().protocol(), **change)


@pytest.mark.parametrize("change", [{"level": 1}, {"level": 0}, {"level": 2, "seed": 6}, {"level": 2, "party": 1}])
def test_a_server_that_would_let_users_report_twice_is_refused(change):
    protocol = estimator().protocol()
    _, memory = ask(protocol, level=1)
    assert memory == {"seed": 5, "party": 0, "level": 1}
    ask(protocol, memory, level=2)
    with pytest.raises(ProtocolError, match=r"one seed|asked once"):
        ask(protocol, memory, **change)


def hostile(reply):
    class Hostile(HeavyHitterProtocol):
        def client_step(self, request, memory, data):
            good, memory = super().client_step(request, memory, data)
            return (reply(good) if request["party"] == 1 else good), memory

    protocol = estimator().protocol()
    return Hostile(protocol.plan, protocol.encoder, random_state=1)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda good: {}, "expected the fields"),
        (lambda good: {**good, "support": good["support"].astype(float)}, "'support' must be an array of int64"),
        (lambda good: {**good, "support": good["support"] * np.nan}, "'support' holds NaN"),
        (lambda good: {**good, "support": good["support"][:-1]}, "'support' must have shape"),
        (lambda good: {**good, "support": good["support"] - 10**6}, "'support' must lie within"),
        (lambda good: {**good, "support": good["support"] + good["users"]}, "'support' must lie within"),
        (lambda good: {**good, "users": 0}, "'users' must be an integer"),
        (lambda good: {**good, "users": good["population"] + 1}, "'users' must be an integer"),
        (lambda good: {**good, "population": 1 << 62}, "'population' must be an integer"),
        (lambda good: {**good, "kept": ~good["kept"]}, "'kept' must keep"),
    ],
)
def test_garbage_from_a_party_never_enters_the_sum(reply, reason):
    data = people(200, 200, 200)
    with pytest.raises(TooFewParties, match=f"silo 1: .*{reason}"):
        InProcess().run(hostile(reply), data)
    outcome = InProcess(Terms(min_parties=2)).run(hostile(reply), data)
    assert outcome.result.users == 400
    assert outcome.history[1].asked == (0, 2)


def test_a_population_that_changes_is_refused():
    protocol = hostile(lambda good: good)
    calls = []

    def grown(good):
        calls.append(1)
        return {**good, "population": good["population"] + (len(calls) > 1)}

    protocol = hostile(grown)
    outcome = InProcess(Terms(min_parties=1)).run(protocol, people(200, 200))
    assert "that of the first level" in outcome.history[1].lost[1]
    assert outcome.result.users == 200
    assert not [name for name in outcome.state if name.endswith("/1")]


def test_a_party_that_drops_out_in_its_turn_ends_the_run():
    protocol = estimator(method="taps").protocol()

    class Flaky(HeavyHitterProtocol):
        def client_step(self, request, memory, data):
            if request["party"] == 0 and request["level"] == 2:
                raise OSError
            return super().client_step(request, memory, data)

    flaky = Flaky(protocol.plan, protocol.encoder, random_state=1)
    for terms in (Terms(), Terms(min_parties=1)):
        with pytest.raises(TooFewParties, match="silo 0"):
            InProcess(terms).run(flaky, people(300, 200, 100))


class Crash(BaseException):
    pass


@pytest.mark.parametrize("method", ["tap", "taps", "fedpem"])
@pytest.mark.parametrize("level", range(4))
def test_after_a_kill_at_any_level_nobody_reports_twice_and_nothing_is_paid_twice(tmp_path, method, level):
    data = people(200, 150)
    protocol = estimator(method=method).protocol()
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("silo", PureDP(100.0), unit="user", neighbours="replace-one")

    def run(name, protocol):
        stores = [SiloStore(tmp_path / f"{name}-{k}.db") for k in range(2)]
        terms = Terms(run=name, checkpoint=Checkpoint(tmp_path / name))
        return InProcess(terms, stores=stores, ledgers=[(ledger, "silo")] * 2).run(protocol, data)

    class Crashing(HeavyHitterProtocol):
        def server_step(self, state, replies):
            if state["level"] == level:
                raise Crash
            return super().server_step(state, replies)

    with listening() as (heard, reports):
        with pytest.raises(Crash):
            run("killed", Crashing(protocol.plan, protocol.encoder, random_state=1))
        outcome = run("killed", protocol)
    assert_everyone_spoke_once(heard, (200, 150))
    assert sum(reports) == 350
    assert ledger.account("silo").charges == 2
    again = run("killed", protocol)  # finished: nobody is asked
    assert again.state == outcome.state


def test_a_killed_run_of_simulated_sums_equals_the_uninterrupted_one(tmp_path):
    data = people(200, 150)
    protocol = estimator(simulate="aggregate").protocol()
    plain = InProcess().run(protocol, data)

    class Crashing(HeavyHitterProtocol):
        def server_step(self, state, replies):
            if state["level"] == 2:
                raise Crash
            return super().server_step(state, replies)

    terms = Terms(run="r", checkpoint=Checkpoint(tmp_path))
    with pytest.raises(Crash):
        InProcess(terms).run(Crashing(protocol.plan, protocol.encoder, random_state=1), data)
    outcome = InProcess(terms).run(protocol, data)
    assert outcome.resumed_after == 2
    assert outcome.state == plain.state


def test_only_counts_travel_up_and_their_number_depends_on_no_item():
    sizes = set()
    for seed in range(3):
        outcome = InProcess().run(estimator(extension="fixed").protocol(), people(300, 200, seed=seed))
        sizes.add(tuple(wave.payload_received for wave in outcome.history))
    assert len(sizes) == 1


def test_parties_share_candidates_at_shared_levels_and_search_alone_after():
    data = [np.full(500, 3), np.full(500, 200)]
    for shared, alike in ((1, {0: True, 1: True, 2: False}), (4, {0: True, 1: True, 2: True})):
        protocol = estimator(k=1, epsilon=8.0, extension="fixed", shared_levels=shared).protocol()
        state = protocol.start()
        for level in range(3):
            requests = protocol.requests(Message(state), (0, 1))
            same = np.array_equal(requests[0]["candidates"], requests[1]["candidates"])
            assert same or not alike[level]
            replies = {p: protocol.client_step(Message(r), Message({}), data[p])[0] for p, r in requests.items()}
            state = protocol.server_step(Message(state), replies)


def test_later_parties_drop_what_two_earlier_ones_and_their_own_users_find_rare():
    """Three parties: the third may drop what the first two found rare, unless its own users hold it."""
    protocol = estimator(method="taps", k=1, epsilon=8.0, shared_levels=1, levels=2, bits=6, t_max=8).protocol()
    big = np.repeat(np.arange(0, 64, 8), [4000, 5, 5, 5, 5, 5, 5, 970])
    data = [big, big, np.repeat([0, 8], [300, 700])]
    outcome = InProcess().run(protocol, data)
    assert [wave.asked for wave in outcome.history] == [(0, 1, 2), (0,), (1,), (2,)]
    rows = {row["party"]: row for row in outcome.result.trace if row["level"] == 1}
    assert rows[0]["candidates"] == rows[1]["candidates"] > rows[2]["candidates"]
    assert outcome.result.codes.tolist() == [0]


def test_a_suspect_that_its_own_users_hold_is_kept():
    plan = estimator(method="taps", k=2, epsilon=8.0).protocol().plan
    suspects = np.array([True, True, True, False])
    asked = speaking.Asked(0, 1, 0, np.arange(4, dtype=np.uint64), suspects)
    kept = speaking._confirm(plan, asked, np.array([900, 0, 0, 100]), 1000)
    assert kept.tolist() == [True, False, False, True]
    everything = speaking.Asked(0, 1, 0, asked.candidates, np.ones(4, np.bool_))
    assert speaking._confirm(plan, everything, np.array([5, 0, 0, 5]), 10).tolist() == [True, False, False, True]
    assert speaking._confirm(plan, everything, np.zeros(4, np.int64), 0).all()


def test_earlier_parties_best_prefixes_come_back_to_a_party_that_had_dropped_them():
    protocol = estimator(method="taps", k=1, extension="fixed", epsilon=8.0, shared_levels=1).protocol()
    state = {
        "seed": 1,
        "level": 2,
        "turn": 1,
        "parties": np.array([0, 1]),
        "population/0": 90,
        "population/1": 80,
        "candidates/0": np.arange(4, dtype=np.uint64),
        "candidates/1": np.arange(8, 12, dtype=np.uint64),
        "top/0": np.array([2], np.uint64),
        "rare/0": np.array([3, 9], np.uint64),
    }
    (request,) = protocol.requests(Message(state), (0, 1)).values()
    assert request["candidates"].tolist() == [2, 8, 9, 10, 11]
    assert request["suspects"].tolist() == [False, False, True, False, False]


def test_the_configuration_says_all_that_the_reports_depend_on():
    base = estimator().protocol().config()
    changes = (
        {"epsilon": 1.0},
        {"k": 3},
        {"levels": 2},
        {"oracle": "oue"},
        {"method": "taps"},
        {"simulate": "aggregate"},
    )
    for change in changes:
        assert estimator(**change).protocol().config() != base
    assert estimator(random_state=None).protocol().config() == base


def test_a_party_that_is_too_small_refuses_without_a_charge(tmp_path):
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("silo", PureDP(9.0), unit="user", neighbours="replace-one")
    for data in ([1, 2, 3], ["a"] * 9, [0.5] * 9):
        with pytest.raises(TooFewParties, match="step failed"):
            InProcess(ledgers=[(ledger, "silo")]).run(estimator().protocol(), [data])
    assert ledger.account("silo").charges == 0


def test_an_encoder_of_another_length_is_refused():
    protocol = estimator().protocol()
    with pytest.raises(InvalidData, match="bits"):
        HeavyHitterProtocol(protocol.plan, estimator(bits=9).protocol().encoder)
