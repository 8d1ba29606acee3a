"""QuantizedTraining: under secure summation and in the open, on Flower's exchange, drop-outs, refusals."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from sfumato import Ledger
from sfumato.errors import InvalidData, ProtocolError, TooFewParties
from sfumato.federation import InProcess, Message, Terms
from sfumato.federation.quantization import PBM, RQM, QuantizedMean, QuantizedTraining, SoftmaxRegression
from sfumato.federation.secure_sum import Participant, make_signing_key
from sfumato.privacy import release as releases
from sfumato.privacy.entropy import Entropy

CLIENTS = 3
KEYS = [make_signing_key() for _ in range(CLIENTS)]
ROSTER = [public for _, public in KEYS]
MODEL = SoftmaxRegression(2, 2)
RNG = np.random.default_rng(0)
DATA = [(RNG.normal(k, 1, (20, 2)), np.arange(20) % 2) for k in range(CLIENTS)]


def training(rounds=2, honest=3, **parameters):
    mean = QuantizedMean(RQM(1.0, 1.0), MODEL.size, "l2", 1.0)
    return QuantizedTraining(MODEL, mean, rounds=rounds, learning_rate=0.5, honest=honest, **parameters)


def members(data=DATA):
    return [Participant(k, each, KEYS[k][0]) for k, each in enumerate(data)]


class Seeded(Entropy):
    """The same noise for every release: so that two runs can be compared to the last bit."""

    def __init__(self, seed=None):
        super().__init__(11)


@pytest.fixture
def same_noise(monkeypatch):
    monkeypatch.setattr(releases, "Entropy", Seeded)


def by_hand(computation, rounds, data=DATA):
    """The same training, every report summed in the clear."""
    weights = np.zeros(MODEL.size)
    for _ in range(rounds):
        reports = [computation.mean.encode(computation.gradient(weights, each)[None])[0] for each in data]
        total = np.sum(reports, axis=0, dtype=np.int64)
        weights = weights - 0.5 * computation.mean.decode_sum(total, len(data))
    return weights


@pytest.mark.usefixtures("same_noise")
def test_the_secure_sum_decodes_to_what_the_sum_in_the_clear_does():
    """Done when 10, to the last bit; and the open protocol does too."""
    computation = training()
    secure = InProcess().run(computation.securely(ROSTER), members())
    assert np.array_equal(secure.result, by_hand(computation, 2))
    in_the_open = InProcess().run(training(honest=None).openly(), DATA)
    assert np.array_equal(secure.result, in_the_open.result)


@pytest.mark.usefixtures("same_noise")
def test_flower_gives_the_same_bytes(tmp_path):
    pytest.importorskip("flwr")
    from sfumato.federation.flower import run_locally, to_client_app, to_server_app

    protocol = training(rounds=1, honest=None).openly()
    outcomes = []
    server = to_server_app([protocol], finished=lambda _, outcome: outcomes.append(outcome))
    client = to_client_app([protocol], lambda _, config: DATA[config["partition-id"]])
    nodes = [{"partition-id": k, "silo-store": str(tmp_path / f"{k}.db")} for k in range(CLIENTS)]
    run = {"parties": CLIENTS, "min-parties": 0, "timeout": 60, "run": "r", "state-dir": ""}
    run_locally(server, client, nodes, run)
    plain = InProcess().run(protocol, DATA)
    assert outcomes[0].state.to_bytes() == plain.state.to_bytes()
    assert outcomes[0].payload_bytes == plain.payload_bytes


def test_each_round_charges_each_client_once(tmp_path):
    computation = training(rounds=2)
    stores = [(Ledger(tmp_path / f"{k}.db", create=True), "phone") for k in range(CLIENTS)]
    for each, _ in stores:
        each.create("phone", computation.claim.bound, unit="user", neighbours="replace-one")
    InProcess(ledgers=stores).run(computation.securely(ROSTER), members())
    assert [each.account("phone").charges for each, _ in stores] == [2, 2, 2]


def test_rounds_add_up_in_the_claim():
    one, two = training(rounds=1).claim, training(rounds=2).claim
    assert np.array(two.bound.epsilons) == pytest.approx(2 * np.array(one.bound.epsilons))
    assert two.trust == "silo"
    local = training(honest=None).claim
    assert local.trust == "local"
    assert local.bound.epsilons > two.bound.epsilons


def test_too_few_arrivals_have_no_sum():
    """Client 2 has data that cannot be read: it drops out."""
    broken = [DATA[0], DATA[1], (np.full((1, 2), np.nan), [0])]
    terms = Terms(min_parties=2)
    with pytest.raises((TooFewParties, ProtocolError)):
        InProcess(terms).run(training(rounds=1, honest=3).securely(ROSTER), members(broken))
    with pytest.raises((TooFewParties, ProtocolError)):
        InProcess(terms).run(training(rounds=1, honest=2, colluding=1).securely(ROSTER), members(broken))
    outcome = InProcess(terms).run(training(rounds=1, honest=2).securely(ROSTER), members(broken))
    assert outcome.result.shape == (MODEL.size,)
    with pytest.raises(TooFewParties, match="the claim counts 3"):
        training().absorb(Message(training().start()), np.zeros(8, np.int64), (0, 1))


def test_a_client_reports_once_a_round_whatever_the_server_says():
    computation = training(honest=None)
    weights = np.zeros(MODEL.size)
    first = Message({"round": 0, "weights": weights})
    reports, memory = computation.contribute(first, Message({}), DATA[0])
    assert reports.dtype == np.int64
    assert 0 <= reports.min() <= reports.max() <= computation.bound
    with pytest.raises(ProtocolError, match="once a round"):
        computation.contribute(first, Message(memory), DATA[0])
    for fields in (
        {"round": 2, "weights": weights},
        {"round": 0, "weights": weights[1:]},
        {"round": 0, "weights": weights.astype(np.float32)},
        {"round": 0},
        {"round": 0, "weights": weights, "more": 1},
    ):
        with pytest.raises(ProtocolError):
            computation.contribute(Message(fields), Message({}), DATA[0])


def test_digits_are_learnt_by_clients_with_little_privacy():
    """Also FedAvg: three local steps."""
    x, y = load_digits(return_X_y=True)
    x = x / 16
    model = SoftmaxRegression(64, 10)
    parts = [(x[k:1500:30], y[k:1500:30]) for k in range(30)]
    mean = QuantizedMean(RQM(0.1, 0.1), model.size, "linf")
    for steps in (1, 3):
        computation = QuantizedTraining(model, mean, rounds=40, learning_rate=2.0, local_steps=steps)
        weights = np.zeros(model.size)
        for _ in range(computation.rounds):
            gradients = np.array([computation.gradient(weights, part) for part in parts])
            total = mean.encode(gradients).sum(axis=0, dtype=np.int64)
            weights = weights - 2.0 * mean.decode_sum(total, len(parts))
        assert np.mean(model.predict(weights, x[1500:]) == y[1500:]) > 0.8


def test_the_gradient_is_that_of_the_loss():
    weights = np.random.default_rng(1).normal(size=MODEL.size)
    x, y = DATA[0]

    def loss(w):
        scores = MODEL._scores(w, x)
        return np.mean(np.log(np.exp(scores).sum(axis=1)) - scores[np.arange(len(y)), y])

    numeric = [(loss(weights + h) - loss(weights - h)) / 2e-6 for h in 1e-6 * np.eye(MODEL.size)]
    assert MODEL.gradient(weights, x, y) == pytest.approx(numeric, abs=1e-6)


@pytest.mark.parametrize(
    "parameters",
    [{"rounds": 0}, {"learning_rate": 0.0}, {"honest": 0}, {"colluding": -1}, {"local_steps": True}],
    ids=str,
)
def test_parameters_are_checked(parameters):
    mean = QuantizedMean(RQM(1.0, 1.0), MODEL.size, "l2", 1.0)
    with pytest.raises(InvalidData):
        QuantizedTraining(MODEL, mean, **{"rounds": 1, "learning_rate": 1.0, **parameters})


def test_what_does_not_fit_together_is_refused():
    with pytest.raises(InvalidData, match="weights"):
        QuantizedTraining(SoftmaxRegression(3, 2), training().mean, rounds=1, learning_rate=1.0)
    with pytest.raises(InvalidData, match="local claim"):
        training().openly()
    with pytest.raises(InvalidData, match="honest must be given"):
        training(honest=None).securely(ROSTER)
    with pytest.raises(InvalidData, match="roster has 3"):
        training(honest=3, colluding=1).securely(ROSTER)
    with pytest.raises(InvalidData):
        SoftmaxRegression(0, 2)
    for data in ((np.zeros((2, 3)), [0, 1]), (np.zeros((2, 2)), [0, 2]), (np.zeros((0, 2)), np.zeros(0, int))):
        with pytest.raises(InvalidData):
            MODEL.check(data)
    mean = QuantizedMean(PBM(1.0, 0.25), MODEL.size, "l2", 1.0)
    config = QuantizedTraining(MODEL, mean, rounds=1, learning_rate=1.0).config()
    assert config["mean"]["mechanism"] == {"kind": "PBM", "clip": 1.0, "theta": 0.25, "trials": 15}
