"""Contracts of `sfumato.federation.quantization`: one number, a client's whole vector, a sum, a federated round.

The worst pair replaces one client's number, vector or data, the far pair those of two clients. Parameters are chosen
for an ε of about 1: large enough to be certified with these trials, small enough that the twins exceed it.
"""

import numpy as np
from contract import Contract

from sfumato.federation import InProcess
from sfumato.federation.quantization import PBM, RQM, QuantizedMean, QuantizedTraining, SoftmaxRegression

D = 4
QUIET = RQM(1.0, 3.0, levels=4, keep_probability=0.2)
COINS = PBM(1.0, 0.1, trials=3)
UP, DOWN = np.full((1, D), 0.5), np.full((1, D), -0.5)  # of norm 1


def one_replaced(rng, shape):
    values = rng.uniform(-1.5, 1.5, shape)
    other = values.copy()
    other[int(rng.integers(len(values)))] *= -1
    return values, other


def number(mechanism):
    return Contract(
        type(mechanism),
        "report",
        mechanism.claim,
        mechanism.encode,
        lambda rng: one_replaced(rng, int(rng.integers(1, 20))),
        lambda values, n, rng: mechanism.encode(np.tile(values, (n, 1))).astype(np.float64),
        [(np.array([1.0, 0.0]), np.array([-1.0, 0.0]))],
        [(np.array([1.0, 1.0]), np.array([-1.0, -1.0]))],
    )


def vector(mean, name, bug=3):
    """Vectors of norm 1 or of 1 in each coordinate; seen along the direction in which they differ."""
    scale = 2.0 if mean.clip == "linf" else 1.0
    along = np.sign(mean.prepare(scale * UP)[0])

    def outputs(values, n, rng):
        reports = mean.encode(np.tile(values, (n, 1))).astype(np.float64)
        return (reports @ along).reshape(n, -1)

    idle = np.zeros((1, D))
    pairs = [np.concatenate(each) * scale for each in ((UP, idle), (DOWN, idle), (UP, UP), (DOWN, DOWN))]
    return Contract(
        QuantizedMean,
        name,
        mean.claim,
        mean.encode,
        lambda rng: one_replaced(rng, (int(rng.integers(1, 6)), D)),
        outputs,
        [(pairs[0], pairs[1])],
        [(pairs[2], pairs[3])],
        bug=bug,
    )


def summed(honest=2):
    """What is seen is the sum. The blanket leaves a part of the bound unused."""
    mean = QuantizedMean(QUIET, D, "linf")

    def outputs(vectors, n, rng):
        reports = mean.encode(np.tile(vectors, (n, 1)), honest=honest)
        return reports.reshape(n, len(vectors), D).sum(axis=1, dtype=np.float64)

    up, down, far = (np.tile(2.0 * each, (honest, 1)) for each in (UP, UP, DOWN))
    down[0] *= -1
    return Contract(
        QuantizedMean,
        "sum",
        mean.aggregate_claim(honest),
        lambda vectors: mean.encode(vectors, honest=honest),
        lambda rng: one_replaced(rng, (honest, D)),
        outputs,
        [(up, down)],
        [(up, far)],
        bug=4,
    )


def training():
    """A round in the open. The audits look at the report of one client, of whom all the data are replaced."""
    model = SoftmaxRegression(1, 2)
    mean = QuantizedMean(QUIET, model.size, "linf")
    computation = QuantizedTraining(model, mean, rounds=1, learning_rate=1.0)
    request = {"round": 0, "weights": np.zeros(model.size)}

    def outputs(clients, n, rng):
        gradients = np.array([computation.gradient(request["weights"], (x, y)) for x, y in clients])
        reports = mean.encode(np.tile(gradients, (n, 1)))
        return reports.reshape(n, -1).astype(np.float64)

    def client(side):
        return np.full((1, 1), 9.0), np.array([side])

    def neighbours(rng):
        clients = [client(int(rng.integers(2))) for _ in range(int(rng.integers(1, 4)))]
        return clients, [client(1 - int(clients[0][1][0])), *clients[1:]]

    return Contract(
        QuantizedTraining,
        "round",
        computation.claim,
        lambda clients: InProcess().run(computation.openly(), clients),
        neighbours,
        outputs,
        [([client(0), client(0)], [client(1), client(0)])],
        [([client(0)] * 4, [client(1)] * 4)],  # of two, an audit certifies barely more than the claim
    )


CONTRACTS = [
    number(RQM(1.0, 2.0, levels=4, keep_probability=0.3)),
    number(COINS),
    vector(QuantizedMean(QUIET, D, "linf"), "linf"),
    vector(QuantizedMean(RQM(0.6, 1.8, levels=4, keep_probability=0.2), D, "l2", 1.0), "l2"),
    vector(QuantizedMean(PBM(0.6, 0.1, trials=3), D, "l2", 1.0, rotation=False), "coins"),
    summed(),
    training(),
]

WITHOUT_A_FORMAL_CLAIM = {}
