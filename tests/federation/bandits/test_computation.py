"""The bandit on the engine: the same in process, under a secure sum and on Flower; what a silo refuses."""

import numpy as np
import pytest

from sfumato import Ledger
from sfumato.errors import HorizonExceeded, InvalidData, ProtocolError
from sfumato.federation import InProcess, Message, SiloStore, Terms
from sfumato.federation.bandits import CentralJDP, FedLinUCB, NoPrivacy, SecureSumDP, SiloLDP
from sfumato.federation.bandits.computation import BanditComputation, RecordedUsers, bandit_protocol
from sfumato.federation.bandits.simulation import LinearContexts
from sfumato.federation.secure_sum import OpenlySummed, Participant, SecurelySummed, make_signing_key
from sfumato.privacy.bounds import ZCDP

KEYS = [make_signing_key() for _ in range(3)]
ROSTER = [public for _, public in KEYS]
OPTIONS = {"silos": 3, "horizon": 14, "batch": 3}  # four batches, three levels, two users of the tail


def recorded(silos=3, steps=14, d=3, arms=4):
    environment, rng = LinearContexts.random(d, arms, 0), np.random.default_rng(0)
    draws = [environment.users(silos, rng) for _ in range(steps)]
    rewards = [environment.rewards(means, rng) for _, means in draws]
    return [RecordedUsers(np.array([f[k] for f, _ in draws]), np.array([r[k] for r in rewards])) for k in range(silos)]


def participants(users):
    return [Participant(k, each, KEYS[k][0]) for k, each in enumerate(users)]


def computation(mechanism, **more):
    return BanditComputation(3, mechanism=mechanism, **OPTIONS | more)


def test_without_noise_the_federation_learns_what_the_learner_does():
    users = recorded()
    learner = FedLinUCB(3, mechanism=NoPrivacy(), **OPTIONS)
    for step in range(12):
        features = np.array([each.features[step] for each in users])
        actions = learner.act_all(features)
        rewards = [each.rewards[step, a] for each, a in zip(users, actions, strict=True)]
        learner.observe_all(features[np.arange(3), actions], rewards)
        if learner.sync_due(0):
            learner.sync()
    learned = InProcess().run(bandit_protocol(computation(NoPrivacy())), users).result
    assert learned.synchronised == 4
    np.testing.assert_allclose(learned.theta, learner.theta_, atol=1e-12)


def test_a_secure_sum_changes_nothing_but_who_sees_what():
    users = recorded()
    plain = InProcess().run(OpenlySummed(computation(NoPrivacy())), users)
    summed = InProcess().run(SecurelySummed(computation(NoPrivacy()), ROSTER), participants(users))
    np.testing.assert_array_equal(summed.result.prefix, plain.result.prefix)


@pytest.mark.parametrize("mechanism", [SiloLDP(1.0, 1e-5), SecureSumDP(1.0, 1e-5, tolerated=1)], ids=repr)
def test_the_noise_is_there_and_paid_for_once(mechanism, tmp_path):
    """A prefix of four batches is one node: its noise is within 6 standard deviations, and not all of it is small."""
    users, task = recorded(), computation(mechanism)
    protocol = bandit_protocol(task, ROSTER)
    exact = InProcess().run(bandit_protocol(computation(NoPrivacy())), users).result.prefix
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledgers = []
    for silo in range(3):
        ledger.create(f"silo {silo}", ZCDP(task.claim.bound.rho), unit="record", neighbours="replace-one")
        ledgers.append((ledger, f"silo {silo}"))
    data = users if isinstance(protocol, OpenlySummed) else participants(users)
    learned = InProcess(ledgers=ledgers).run(protocol, data).result
    assert learned.claim.formal
    noise = (learned.prefix[-3:] - exact[-3:]) / task.calibrated.sigma  # rewards of other actions are within 12 x 3
    assert np.abs(noise).max() < 6 + 24 / task.calibrated.sigma * 3
    assert np.abs(learned.prefix - exact).max() > 0.05 * task.calibrated.sigma
    assert [ledger.account(f"silo {k}").charges for k in range(3)] == [1, 1, 1]


def test_flower_gives_the_same_state_byte_for_byte(tmp_path):
    pytest.importorskip("flwr")
    from sfumato.federation.flower import run_locally, to_client_app, to_server_app

    users, protocol, outcomes = recorded(), bandit_protocol(computation(NoPrivacy())), {}
    server = to_server_app([protocol], finished=lambda protocol, outcome: outcomes.update({protocol.name: outcome}))
    client = to_client_app([protocol], lambda _, config: users[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(3)]
    run_locally(server, client, nodes, {"parties": 3, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""})
    plain = InProcess().run(protocol, users)
    assert outcomes["bandit"].state.to_bytes() == plain.state.to_bytes()
    assert outcomes["bandit"].payload_bytes == plain.payload_bytes


def test_a_silo_that_missed_a_sum_is_whole_again_in_a_higher_node():
    users, task = recorded(), computation(NoPrivacy())
    protocol = OpenlySummed(task)
    step = protocol.client_step

    def gone_once(request, memory, data):
        if request["batch"] == 3 and data is users[1]:
            raise ProtocolError("gone")
        return step(request, memory, data)

    protocol.client_step = gone_once
    outcome = InProcess(Terms(min_parties=2)).run(protocol, users)
    assert [wave.answered for wave in outcome.history] == [(0, 1, 2), (0, 1, 2), (0, 2), (0, 1, 2)]
    # Trace of the Gram matrix: all 36 users have unit features.
    assert np.isclose(outcome.result.prefix[[0, 3, 5]].sum(), 36)


def test_a_silo_answers_each_batch_once_in_order_and_only_what_was_planned():
    users, task = recorded(), computation(SiloLDP(1.0, 1e-5))
    prefix = np.zeros(9, np.int64)
    _, memory = task.contribute(Message({"batch": 2, "prefix": prefix}), Message({"prefix": prefix}), users[0])
    for batch in (1, 2, 5, 0, -1):
        with pytest.raises(ProtocolError):
            task.contribute(Message({"batch": batch, "prefix": prefix}), Message(memory), users[0])
    for bad in ({"batch": 3}, {"batch": 3, "prefix": prefix[:-1]}, {"batch": 3, "prefix": prefix.astype(float)}):
        with pytest.raises(ProtocolError):
            task.contribute(Message(bad), Message(memory), users[0])
    task.contribute(Message({"batch": 3, "prefix": prefix}), Message(memory), users[0])


def test_claims_about_a_sum_are_not_made_in_the_open():
    task = computation(SecureSumDP(1.0, 1e-5, tolerated=1))
    with pytest.raises(InvalidData, match="roster"):
        bandit_protocol(task)
    with pytest.raises(InvalidData, match="roster"):
        bandit_protocol(task, ROSTER[:2])
    with pytest.raises(InvalidData, match="threshold must be at least 2"):
        bandit_protocol(task, ROSTER, threshold=1)
    assert isinstance(bandit_protocol(task, ROSTER), SecurelySummed)
    with pytest.raises(InvalidData, match="CentralJDP"):
        computation(CentralJDP(1.0, 1e-5))


def test_a_silo_with_too_few_or_other_users_is_an_error_of_its_own():
    task = computation(NoPrivacy())
    request = Message({"batch": 1, "prefix": np.zeros(9, np.int64)})
    with pytest.raises(HorizonExceeded):
        task.contribute(request, Message({}), recorded(steps=2)[0])
    with pytest.raises((InvalidData, ValueError)):
        task.contribute(request, Message({}), recorded(d=4)[0])
    with pytest.raises(InvalidData):
        RecordedUsers(np.zeros((3, 2, 2)), np.zeros((3, 3)))


def test_size_and_number_of_messages_do_not_depend_on_the_data():
    users = recorded()
    others = [RecordedUsers(-each.features, np.ones_like(each.rewards)) for each in users]
    histories = []
    for data in (users, others):
        outcome = InProcess(stores=[SiloStore() for _ in range(3)]).run(
            bandit_protocol(computation(SiloLDP(1.0, 1e-5))), data
        )
        histories.append([(w.round, w.payload_sent, w.payload_received, w.answered) for w in outcome.history])
    assert histories[0] == histories[1]
    assert len(histories[0]) == 4
