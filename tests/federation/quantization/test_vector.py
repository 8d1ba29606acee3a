"""QuantizedMean: clipping, rotation, the vector's claim against exact divergences, its releases."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato import ApproxDP, Ledger, RenyiDP
from sfumato.errors import InvalidClaim, InvalidData, ProtocolError
from sfumato.federation.quantization import PBM, RQM, VECTOR_ORDERS, QuantizedMean, coordinate_clip
from sfumato.federation.quantization.curve import moved
from sfumato.federation.quantization.divergence import log_convolve, log_power, renyi_divergence
from sfumato.federation.quantization.rotation import hadamard, padded, rotate, rotate_back

D = 1000
C = coordinate_clip(1.0, D)
MEANS = [
    QuantizedMean(RQM(C, C), D, "l2", 1.0),
    QuantizedMean(RQM(0.3, 0.1, 8, 0.7), D, "l2", 1.0, rotation=False),
    QuantizedMean(RQM(0.1, 0.2), D, "linf"),
    QuantizedMean(PBM(C, 0.25), D, "l2", 1.0),
]


def log_law(mechanism, x):
    with np.errstate(divide="ignore"):
        return np.log(mechanism.pmf(x))


def pairs(mean, count, rng):
    """Vectors far apart: opposite, sparse, dense, beyond the clip; and what is reported of them."""
    for k in range(count):
        x, y = rng.normal(size=(2, 1, D)) * 10.0 ** rng.uniform(-2, 2)
        if k % 4 == 1:
            y = -x
        if k % 4 == 2:
            x[:, int(rng.integers(1, D)) :] = 0
            y = -x
        if k % 4 == 3:
            x = np.sign(x)
            y = -x
        yield mean.prepare(x)[0], mean.prepare(y)[0]


@pytest.mark.parametrize("mean", MEANS, ids=lambda mean: f"{type(mean.mechanism).__name__}-{mean.clip}-{mean.rotation}")
def test_the_vector_claim_is_above_the_exact_divergence_of_pairs(mean):
    """Done when 7: 100 pairs at d = 1000."""
    claimed = dict(zip(VECTOR_ORDERS, mean.rdp(), strict=True))
    closest = 0.0
    for x, y in pairs(mean, 100, np.random.default_rng(0)):
        p, q = log_law(mean.mechanism, x), log_law(mean.mechanism, y)
        for order in VECTOR_ORDERS[::5]:
            exact = float(renyi_divergence(p, q, order).sum())
            assert exact <= claimed[order] * (1 + 1e-12)
            closest = max(closest, exact / claimed[order])
    assert closest > 0.3  # and it is not far above all of them


def test_the_claim_of_a_sum_is_above_the_exact_divergence():
    rng = np.random.default_rng(1)
    mean, n = QuantizedMean(RQM(C, C), D, "l2", 1.0), 5
    claimed = float(mean.rdp(n, (2.0,))[0])
    assert claimed < float(mean.rdp(None, (2.0,))[0])
    for x, y in pairs(mean, 4, rng):
        for held in (0.0, C):
            rest = log_power(log_law(mean.mechanism, held), n - 1)
            p, q = (log_convolve(log_law(mean.mechanism, each), rest) for each in (x, y))
            assert renyi_divergence(p, q, 2.0).sum() <= claimed


@settings(max_examples=25)
@given(st.integers(0, 2**32))
def test_moving_a_coordinate_costs_at_most_its_curve(seed):
    rng = np.random.default_rng(seed)
    rqm = RQM(1.0, float(rng.uniform(0.2, 2)), int(rng.integers(3, 20)), float(rng.uniform(0.1, 0.9)))
    between = np.abs(rqm.corners[:, None] - rqm.corners).ravel()
    distances = np.unique(np.concatenate((np.linspace(0.05, 2, 20), between[between > 0])))
    curve = moved(rqm, (1.5, 8.0), distances)
    x, y = rng.uniform(-1, 1, (2, 200))
    y = np.clip(x + rng.uniform(-0.3, 0.3, 200), -1, 1) if seed % 2 else y
    place = np.minimum(np.searchsorted(distances, np.abs(x - y)), len(distances) - 1)
    for row, order in enumerate((1.5, 8.0)):
        exact = renyi_divergence(np.log(rqm.pmf(x)), np.log(rqm.pmf(y)), order)
        assert (exact <= curve[row, place] * (1 + 1e-9) + 1e-12).all()


def test_linf_is_the_dimension_times_a_coordinate():
    mean = MEANS[2]
    price = mean.price(2.0, rounds=10)
    assert price.vector == pytest.approx(D * price.per_coordinate)
    assert price.all_rounds == pytest.approx(10 * price.vector)
    assert "a coordinate and round" in str(price)
    summed = mean.price(2.0, honest=5)
    assert D * summed.per_coordinate <= summed.vector < price.vector


def test_claims_say_who_sees_what():
    mean = MEANS[0]
    assert mean.claim.trust == "local"
    assert mean.claim.unit == "user"
    assert isinstance(mean.claim.bound, RenyiDP)
    assert mean.aggregate_claim(1).bound == mean.claim.bound  # nobody else hides anything
    summed = mean.aggregate_claim(5, rounds=3)
    assert summed.trust == "silo"
    assert any("secure summation" in each for each in summed.assumptions)
    assert np.array(summed.bound.epsilons) == pytest.approx(3 * mean.rdp(5))
    assert summed.to(ApproxDP, delta=1e-5).bound.epsilon > 1
    for bad in ({"honest": 0}, {"honest": 2.0}, {"honest": 5, "rounds": 0}):
        with pytest.raises(InvalidClaim):
            mean.aggregate_claim(**bad)
    with pytest.raises(InvalidClaim, match="use RQM"):
        MEANS[3].aggregate_claim(5)


def test_rotation_is_an_isometry_that_spreads():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3, D))
    turned = rotate(x, 7)
    assert turned.shape == (3, padded(D))
    assert np.linalg.norm(turned, axis=1) == pytest.approx(np.linalg.norm(x, axis=1))
    assert rotate_back(turned, D, 7) == pytest.approx(x)
    assert np.abs(rotate(np.eye(1, D), 7)) == pytest.approx(np.full((1, 1024), 1 / 32))
    assert hadamard(np.eye(4)) @ hadamard(np.eye(4)).T == pytest.approx(np.eye(4))
    assert padded(1) == 1


def test_clipping_keeps_the_norm_whatever_comes():
    rng = np.random.default_rng(3)
    mean = QuantizedMean(RQM(2.0, 1.0), 8, "l2", 1.5)
    x = rng.normal(size=(50, 8)) * 10.0 ** rng.uniform(-300, 300, (50, 1))
    x[0], x[1], x[2] = 0, 1e308, 1e-320
    norms = np.linalg.norm(mean.prepare(x), axis=1)
    assert norms.max() <= 1.5 * (1 + 1e-12)
    assert norms[0] == 0
    assert mean.prepare(np.full((1, 8), 0.1)) == pytest.approx(rotate(np.full((1, 8), 0.1), 0))


def test_the_clip_of_a_rotated_coordinate_is_rarely_reached():
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, D))
    x[::2, 1:] = 0
    reached = np.abs(rotate(x / np.linalg.norm(x, axis=1, keepdims=True), 5)).max(axis=1)
    assert np.mean(reached > C) <= 0.05
    assert coordinate_clip(2.0, 3) == 2.0


@pytest.mark.parametrize("mean", MEANS[:1] + MEANS[2:], ids=lambda mean: f"{mean.clip}-{type(mean.mechanism).__name__}")
def test_the_mean_is_estimated_without_bias(mean):
    """Squared error within 8 standard errors of the sum of variances."""
    rng = np.random.default_rng(5)
    x = np.clip(rng.normal(size=(40, D)) / 50, -0.09, 0.09)
    reports = mean.encode(x)
    assert reports.dtype == np.uint8
    assert reports.shape == (40, mean.size)
    estimate = mean.decode_sum(reports.sum(axis=0, dtype=np.int64), 40)
    expected = mean.mechanism.variance(mean.prepare(x)).sum() / 40**2
    error = np.sum((estimate - np.clip(x, -0.1, 0.1).mean(axis=0)) ** 2)
    assert error < expected * (1 + 8 * math.sqrt(2 / D))
    assert error > expected * (D / mean.size) * (1 - 8 * math.sqrt(2 / D))


def test_a_ledger_is_charged_for_the_vector(tmp_path):
    mean = QuantizedMean(RQM(0.5, 5.0, 4, 0.2), 4, "linf")
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("phone", ApproxDP(200.0, 1e-6), unit="user", neighbours="replace-one")
    with ledger.charging("phone"):
        mean.encode(np.zeros((1, 4)))
        mean.encode(np.zeros((1, 4)), honest=2)
    assert ledger.account("phone").charges == 2


@pytest.mark.parametrize(
    "parameters",
    [
        {"dimension": 0},
        {"dimension": True},
        {"clip": "l1"},
        {"l2_clip": None},
        {"l2_clip": math.inf},
        {"clip": "linf"},
    ],
    ids=str,
)
def test_parameters_are_checked(parameters):
    with pytest.raises(InvalidData):
        QuantizedMean(**{"mechanism": RQM(1.0, 1.0), "dimension": 4, "clip": "l2", "l2_clip": 1.0, **parameters})


def test_bad_vectors_and_sums_are_refused():
    mean = QuantizedMean(RQM(1.0, 1.0), 3, "l2", 1.0)
    for vectors in (np.zeros(3), np.zeros((2, 4)), np.full((1, 3), np.nan)):
        with pytest.raises(InvalidData):
            mean.encode(vectors)
    with pytest.raises(InvalidData, match="shape"):
        mean.decode_sum(np.zeros(3, int), 1)
    with pytest.raises(ProtocolError):
        mean.decode_sum(np.full(4, 16), 1)
