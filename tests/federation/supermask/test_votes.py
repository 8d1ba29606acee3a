"""Votes of whole silos: sensitivity and cost, what a silo answers and keeps; on Flower, and after a crash."""

import math

import numpy as np
import pytest
import torch
from scipy import special
from smallest.masks import network, records, supermask

from sfumato import ZCDP, ApproxDP, Ledger, PureDP
from sfumato.errors import InvalidClaim, InvalidData, ProtocolError, TooFewParties
from sfumato.federation import Checkpoint, InProcess, Message, Terms
from sfumato.federation.secure_sum import Participant, make_signing_key
from sfumato.federation.supermask import (
    OpenBallot,
    PrivateSteps,
    SignSupermask,
    SummedBallot,
    SupermaskVotes,
    make_ballot,
)
from sfumato.federation.supermask.votes import own_signs
from sfumato.privacy.bounds import RenyiDP
from sfumato.privacy.release import PrepaidNoise

SILOS = [records(k) for k in range(3)]
LOUD = OpenBallot(20, 1, 60.0, pure=True)  # a vote is turned with probability e^-60


def votes(ballot, **change):
    return SupermaskVotes(supermask(**change), ballot)


def first(computation):
    return Message(computation.request(Message(computation.start())))


def participants(silos=SILOS):
    keys = [make_signing_key() for _ in silos]
    return [public for _, public in keys], [Participant(k, data, keys[k][0]) for k, data in enumerate(silos)]


def test_open_votes_cost_what_many_randomized_responses_do():
    """Against the law of the number of right answers, which is all that two opposite vectors differ in."""
    a, m = 0.3, 12
    wrong = special.expit(-a)
    k = np.arange(m + 1)
    logs = np.log(special.comb(m, k)) + k * np.log1p(-wrong) + (m - k) * np.log(wrong)
    assert np.log(np.exp(logs - logs[::-1]).max()) == pytest.approx(m * a)
    assert OpenBallot(m, 1, a, pure=True).claim.bound.epsilon == pytest.approx(m * a)
    bound = OpenBallot(m, 1, a, pure=False).claim.bound
    for order in (1.5, 2.0, 8.0):
        divergence = special.logsumexp(order * logs + (1 - order) * logs[::-1]) / (order - 1)
        stated = np.interp(order, bound.orders, bound.epsilons)
        assert stated == pytest.approx(divergence, rel=0.01)


def test_summed_votes_move_by_the_stated_sensitivity():
    """All m votes of a silo flip, from -s to s; and so far do no others move."""
    ballot = SummedBallot(77, 1, 0.3, 3)
    for rng in map(np.random.default_rng, range(20)):
        a, b = rng.choice([-1, 1], (2, 77))
        assert np.linalg.norm(ballot.scale * (a - b)) <= ballot.sensitivity
        assert np.linalg.norm(ballot.scale * (a + a)) == pytest.approx(ballot.sensitivity)
    assert 3 * float(ballot.share) == pytest.approx(ballot.sensitivity**2 / (2 * 0.3))


@pytest.mark.parametrize(("m", "rho", "honest"), [(2, 2.0, 1), (2, 50.0, 30), (16_003, 0.1, 10)])
def test_a_share_of_the_noise_is_wide_enough_for_the_proof(m, rho, honest):
    ballot = SummedBallot(m, 1, rho, honest)
    assert math.sqrt(ballot.share) >= 16
    assert ballot.scale == 1 or math.sqrt(ballot.share) < 40  # and votes are no longer than that takes
    share = float(ballot.share)
    z = np.arange(-int(8 * math.sqrt(share)), int(8 * math.sqrt(share)) + 1)
    if len(z) < 2000:  # two shares against one discrete Gaussian of twice the variance
        one = np.exp(-(z**2) / (2 * share))
        two = np.convolve(one / one.sum(), one / one.sum())
        wide = np.arange(2 * z[0], 2 * z[-1] + 1)
        whole = np.exp(-(wide**2) / (4 * share))
        middle = np.abs(wide) < 4 * math.sqrt(share)
        assert two[middle] == pytest.approx((whole / whole.sum())[middle], rel=1e-9)


@pytest.mark.parametrize("honest", [None, 3])
def test_noise_is_calibrated_to_all_rounds(honest):
    ballot = make_ballot(ApproxDP(2.0, 1e-5), 10, 7, honest)
    assert 1.98 < ballot.claim.epsilon_at(1e-5) <= 2.0 + 1e-9
    assert make_ballot(PureDP(2.0), 10, 7, None).claim.bound.epsilon == pytest.approx(2.0)
    assert make_ballot(ZCDP(0.5), 10, 7, 3).claim.bound.rho == pytest.approx(0.5)


def test_many_votes_are_paid_together_and_few_one_by_one():
    many, one = (make_ballot(ApproxDP(2.0, 1e-5), bits, 1, None) for bits in (1000, 1))
    assert isinstance(many.claim.bound, RenyiDP)
    assert many.epsilon > 5 * 2.0 / 1000
    assert one.claim.bound == PureDP(2.0)


def test_estimates_are_right_on_average_and_shrunk():
    """Of 4,000 silos that all vote +: within 6 standard errors, beyond which a sound estimate is in 1 of 1e8."""
    silos = 4000
    for ballot in (make_ballot(PureDP(3.0), 5, 1, None), make_ballot(ZCDP(2.0), 5, 1, silos)):
        each = np.array([ballot.cast(np.ones(5, np.int64)) for _ in range(silos)])
        assert np.abs(each).max() <= ballot.bound
        mean = each.sum(axis=0) / (silos * ballot.scale)
        assert np.abs(mean - 1).max() < 6 * math.sqrt(ballot.variance(silos))


def test_turns_go_round_all_weights():
    computation = votes(OpenBallot(20, 8, 1.0, pure=True), rounds=8)
    kept = computation.base.subnetwork.kept
    seen = np.concatenate([computation.places(k) for k in range(8)])
    assert all(len(set(computation.places(k))) == 20 for k in range(8))
    assert set(seen[:kept].tolist()) == set(range(kept))
    assert computation.places(3).tolist() == votes(LOUD, rounds=8).places(3).tolist()  # public: no noise decides them


def test_only_the_weights_whose_turn_it_is_change_and_a_tie_leaves_the_sign():
    computation = votes(LOUD)
    start, places = Message(computation.start()), computation.places(0)
    total = np.full(20, -3)
    total[:2] = 0
    after = computation.absorb(start, total, (0, 1, 2))
    signs = computation.result(Message(after))
    assert (signs[places] == np.where(total < 0, -1, 1)).all()
    assert (np.delete(signs, places) == 1).all()
    moved = np.flatnonzero(after["average"] != start["average"])
    assert set(moved.tolist()) <= set(places.tolist())
    assert (after["average"][places[2:]] == -1).all()


def test_loud_votes_teach_what_plain_ones_do():
    """With noise that is not there, the global model classifies."""
    kept = supermask().subnetwork.kept
    computation = votes(OpenBallot(kept, 6, 60.0, pure=True), rounds=6)
    signs = InProcess().run(computation.openly(), SILOS).result
    sub, (x, y) = computation.base.subnetwork, records(9, rows=300)

    logits = sub.logits(sub.values * torch.from_numpy(signs), torch.from_numpy(x))
    assert (logits.argmax(1).numpy() == y).mean() > 0.9


def test_a_silo_votes_once_a_round_whatever_it_is_asked():
    computation = votes(LOUD, rounds=2)
    request = first(computation)
    vector, memory = computation.contribute(request, Message({}), SILOS[0])
    assert set(vector.tolist()) <= {-1, 1}
    for again in (request, Message({**request, "round": 0})):
        with pytest.raises(ProtocolError, match="round 0 or a later one was answered"):
            computation.contribute(again, Message(memory), SILOS[0])
    with pytest.raises(ProtocolError, match="round"):
        computation.contribute(Message({**request, "round": 2}), Message(memory), SILOS[0])
    computation.contribute(Message({**request, "round": 1}), Message(memory), SILOS[0])


def test_what_a_silo_remembers_does_not_enter_its_votes():
    """With loud noise votes are what training gives: the same for a silo that remembers another model."""
    computation = votes(LOUD, rounds=2)
    request = Message({**first(computation), "round": 1})
    memories = [Message({}), Message(computation.contribute(first(computation), Message({}), SILOS[1])[1])]
    a, b = (computation.contribute(request, memory, SILOS[0])[0] for memory in memories)
    assert (a == b).all()


def test_the_vector_is_all_that_leaves_a_silo_and_it_follows_from_noisy_votes(monkeypatch):
    fixed = np.arange(20) % 2
    monkeypatch.setattr(PrepaidNoise, "randomized_response", lambda self, values, **_: fixed)
    computation = votes(OpenBallot(20, 2, 0.1, pure=True), rounds=2)
    outcomes = [InProcess().run(computation.openly(), [records(k, rows=20 + k)]).state for k in range(2)]
    assert outcomes[0] == outcomes[1]
    assert set(outcomes[0]) == {"round", "average", "signs"}


def test_each_round_is_charged_before_its_noise_and_an_empty_budget_stops_the_silo(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("two", PureDP(2.0), unit="silo", neighbours="replace-one")
    protocol = votes(make_ballot(PureDP(3.0), 4, 3, None), rounds=3).openly()
    with pytest.raises(TooFewParties, match=r"round 3 .* it refused"):
        InProcess(ledgers=[(ledger, "two")]).run(protocol, SILOS[:1])
    assert len(ledger.history("two")) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subnetwork": bytes(32)}, "another subnetwork"),
        ({"round": 1}, "'round'"),
        ({"average": np.zeros(3, "<f2")}, "'average'"),
        ({"average": np.full(77, 2, "<f2")}, r"must lie in \[-1, 1\]"),
        ({"average": np.zeros(77)}, "'average'"),
        ({"party": 1}, "expected the fields"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused(change, reason):
    computation = votes(LOUD)
    with pytest.raises(ProtocolError, match=reason):
        computation.contribute(Message({**first(computation), **change}), Message({}), SILOS[0])


@pytest.mark.parametrize(
    ("ballot", "change", "reason"),
    [
        (LOUD, {"private": PrivateSteps(1.0)}, "protect records"),
        (LOUD, {"aggregate": "majority"}, "aggregate"),
        (LOUD, {"send_mask": True}, "send_mask"),
        (OpenBallot(78, 1, 1.0, pure=True), {}, "at most the 77"),
    ],
)
def test_what_does_not_go_together_is_refused(ballot, change, reason):
    with pytest.raises(InvalidData, match=reason):
        votes(ballot, **change)


def test_a_claim_about_sums_is_not_run_in_the_open_nor_with_too_few_silos():
    computation = votes(make_ballot(ZCDP(1.0), 20, 1, 3))
    with pytest.raises(InvalidData, match="honest must not be given"):
        computation.openly()
    with pytest.raises(InvalidData, match="at most the 2 silos"):
        computation.securely(participants(SILOS[:2])[0])
    with pytest.raises(TooFewParties, match="2 silos arrived"):
        computation.absorb(Message(computation.start()), np.zeros(20, np.int64), (0, 1))
    with pytest.raises(InvalidData, match="honest must be given"):
        votes(LOUD).securely(participants()[0])
    assert computation.securely(participants()[0]).summing.threshold == 3


@pytest.mark.parametrize(
    ("claim", "honest"),
    [(PureDP(0.0), None), (ZCDP(1.0), None), (ApproxDP(0.0, 0.1), None), (PureDP(1.0), 2), (ApproxDP(1.0, 0.0), 2)],
)
def test_bounds_that_leave_no_noise_to_choose_are_refused(claim, honest):
    with pytest.raises(InvalidClaim, match="claim must"):
        make_ballot(claim, 4, 1, honest)


def test_a_secure_sum_gives_the_sum_and_nothing_else(monkeypatch):
    """Without noise: the state is what the votes in the open give."""
    monkeypatch.setattr(PrepaidNoise, "discrete_gaussian", lambda self, values, **_: np.asarray(values))
    roster, silos = participants()
    computation = votes(make_ballot(ZCDP(1.0), 20, 1, 3))
    outcome = InProcess().run(computation.securely(roster), silos)
    plain = InProcess().run(votes(LOUD).openly(), SILOS)
    assert (outcome.result == plain.result).all()
    assert len(outcome.history) == 5


def test_flower_gives_the_same_state_byte_for_byte(tmp_path, monkeypatch):
    pytest.importorskip("flwr")
    from sfumato.federation.flower import run_locally, to_client_app, to_server_app

    protocol, outcomes = votes(OpenBallot(20, 2, 60.0, pure=True), rounds=2).openly(), {}
    server = to_server_app([protocol], finished=lambda each, outcome: outcomes.update({each.name: outcome}))
    client = to_client_app([protocol], lambda _, config: SILOS[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    run = {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""}
    run_locally(server, client, nodes, run)
    plain = InProcess().run(protocol, SILOS)
    assert outcomes["supermask-votes"].state.to_bytes() == plain.state.to_bytes()
    assert outcomes["supermask-votes"].payload_bytes == plain.payload_bytes


def test_a_run_that_was_killed_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def watch(number, signs, personal):
        assert personal == {}
        if number == 2:
            raise Killed

    ballot, terms = OpenBallot(20, 3, 60.0, pure=True), Terms(run="r", checkpoint=Checkpoint(tmp_path))
    with pytest.raises(Killed):
        InProcess(terms).run(votes(ballot, rounds=3, watch=watch).openly(), SILOS)
    outcome = InProcess(terms).run(votes(ballot, rounds=3).openly(), SILOS)
    assert outcome.resumed_after == 1
    assert outcome.state == InProcess().run(votes(ballot, rounds=3).openly(), SILOS).state


@pytest.mark.parametrize(("claim", "honest"), [(PureDP(8.0), None), (ApproxDP(8.0, 1e-4), 3)])
def test_the_estimator_keeps_each_silos_own_model_and_says_what_it_promises(claim, honest):
    given = {"keep": 0.6, "rounds": 2, "local_epochs": 4, "random_state": 0, "saliency_steps": 10}
    model = SignSupermask(network(), 2, claim=claim, unit="silo", honest=honest, bits_per_round=9, **given)
    fitted = model.fit(SILOS, validation=[records(10 + k, rows=80) for k in range(3)])
    assert fitted.claim_.formal
    assert fitted.claim_.unit == "silo"
    assert fitted.claim_.neighbours == "replace-one"
    assert fitted.claim_.epsilon_at(1e-4) <= 8.0 + 1e-9
    assert "own model" in str(fitted.claim_.assumptions)
    assert set(fitted.personal_signs_) == {0, 1, 2}
    assert len(fitted.history_) == 2
    assert math.isnan(fitted.history_[0]["personal_accuracy"])
    assert fitted.history_[1]["personal_accuracy"] > 0.8  # trained without noise, and kept
    waves = 5 if honest else 1
    assert fitted.history_[1]["bytes_up"] == sum(w.payload_received for w in fitted.outcome_.history[-waves:])
    x, _ = records(20)
    assert len(fitted.predict(x, silo=2)) == len(fitted.predict(x)) == len(x)
    assert len(SignSupermask.load(fitted.export(1), network(), (6,))(torch.from_numpy(x))) == len(x)


def test_summed_votes_elsewhere_need_the_silos_keys():
    model = SignSupermask(network(), 2, claim=ZCDP(1.0), unit="silo", honest=2, keep=0.6, input_shape=(6,))
    with pytest.raises(InvalidData, match="roster"):
        model.protocol()
    with pytest.raises(InvalidData, match="silos must be given with honest"):
        model.fit(None)
    assert model.protocol(roster=participants()[0]).summing.length == 77


def test_of_a_run_that_never_voted_there_is_no_own_model():
    assert own_signs(Message({"computation": Message({}).to_bytes()}), 77) is None
