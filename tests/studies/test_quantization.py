"""The exhibit of one coordinate's ε, the attacks on reports, and the discrete Gaussian beside them."""

import numpy as np
import pytest

from sfumato import Claim, PureDP
from sfumato.federation.quantization import RQM, QuantizedMean
from sfumato.studies.museum import audit_exhibit
from sfumato.studies.quantization_attacked import QUIET, reconstructed, two_candidates
from sfumato.studies.quantization_digits import Digits, average, discrete_gaussian, quantized
from sfumato.studies.quantization_exhibit import quantization


def test_the_exhibit_is_caught_and_its_fix_is_not():
    (exhibit,) = quantization()
    assert audit_exhibit(exhibit, trials=20_000).verdict == "violation"
    assert audit_exhibit(exhibit, fixed=True, trials=20_000).verdict == "no violation found"


def test_two_candidates_are_told_apart_as_far_as_the_vector_is_and_no_further():
    """The claim of one coordinate is falsified; the composed one never is, whatever falls."""
    mean = QuantizedMean(QUIET, 64, "linf")
    first, second = np.full(64, 0.1), np.full(64, -0.1)
    one = Claim(PureDP(QUIET.epsilon_local()), unit="user", neighbours="replace-one", trust="local")
    assert two_candidates(mean, first, second, one, 500).verdict == "falsified"
    assert two_candidates(mean, first, second, mean.claim, 500).verdict == "consistent"
    alike = two_candidates(mean, first, first, one, 500)
    assert alike.verdict == "consistent"


def test_an_image_is_read_off_its_gradient_exactly_without_noise():
    digits = Digits.load()
    gradient = digits.model.gradient(np.zeros(digits.model.size), digits.x[[5]], digits.y[[5]])
    assert reconstructed(gradient, int(digits.y[5]), 64, 10) == pytest.approx(digits.x[5])


def test_all_ways_estimate_the_mean():
    """Root mean squared errors within a factor of 1.5 of what the variances say, or of 0."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(40, 650)) / 50
    gradients *= 0.9 / np.linalg.norm(gradients, axis=1, keepdims=True)
    mean = QuantizedMean(RQM(0.17, 0.17), 650, "l2", 1.0)
    sigma = 2 / np.sqrt(2 * 25.0)
    ways = {
        "plain": (average(1.0), 1e-12),
        "rqm": (quantized(mean), np.sqrt(mean.mechanism.variance(0.0) / 40)),
        "gaussian": (discrete_gaussian(mean, rho=25.0, clients=40, bits=10), sigma / 40),
    }
    for way, expected in ways.values():
        error = np.sqrt(np.mean((way(gradients) - gradients.mean(axis=0)) ** 2))
        assert error < 1.5 * expected + 1e-12
        assert expected < 1e-9 or error > expected / 1.5
