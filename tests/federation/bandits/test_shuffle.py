"""Shuffle protocols: bits whose sum is unbiased, noise bits by numbers, amplification that is shown or refused."""

import math

import numpy as np
import pytest
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy import stats

from sfumato.errors import InvalidClaim
from sfumato.federation.bandits import (
    Design,
    FedLinUCB,
    LinearContexts,
    ShuffleAmplified,
    ShuffleVectorSum,
    SiloLDP,
    TreePrefixSum,
    simulate,
    vector_sum,
)
from sfumato.federation.bandits.amplified import amplified_epsilon, official_sigma, shuffled_epsilon
from sfumato.privacy.bounds import ApproxDP


@pytest.mark.parametrize(("grid", "bits"), [(8, 12), (64, 4), (256, 400)])
def test_a_sum_of_bits_is_unbiased(grid, bits):
    """Means of 4000 runs of 5 users against the truth: 5 standard errors for 3 coordinates are 2e-6 unlikely."""
    rng = np.random.default_rng(0)
    values = np.tile(rng.uniform(-1, 1, (5, 3)), (4000, 1, 1))
    ones = vector_sum.encode(values.reshape(-1, 3), grid, bits, rng).reshape(4000, 5, 3).sum(axis=1)
    sums = vector_sum.decode(ones, 5, grid, bits)
    errors = (sums.mean(axis=0) - values[0].sum(axis=0)) / (sums.std(axis=0) / math.sqrt(4000))
    assert np.abs(errors).max() < 5
    assert ones.min() >= 0
    assert ones.max() <= 5 * (grid + bits)


def test_a_silo_that_adds_up_its_users_coins_has_the_noise_that_they_have():
    """Mean and variance of the noise over 3000 coordinates: 6 % of the variance and 5 standard errors of the mean."""
    design = Design(76, 1, 4, 2)
    assert design.length == 3002
    fitted = ShuffleVectorSum(3.0, 1e-3).calibrate(design)
    encoding = ShuffleVectorSum(3.0, 1e-3).encoding(design)
    expected = encoding.granule**2 * 2 * encoding.noise_bits[0] * 3 / 16
    simulated = ShuffleVectorSum(3.0, 1e-3, simulate=True).calibrate(design)
    assert simulated.claim.void
    noise = TreePrefixSum(simulated).push(np.zeros((1, design.length)))
    assert 0.87 < noise.var() / expected < 1.13
    assert abs(noise.mean()) < 5 * math.sqrt(expected / 3002)
    assert fitted.claim.bound == ApproxDP(3.0, 1e-3)
    small = Design(1, 1, 2, 1)  # two numbers a message: every coin is tossed
    tossed = [TreePrefixSum(ShuffleVectorSum(8.0, 1e-2).calibrate(small)).push(np.zeros((1, 2))) for _ in range(100)]
    bits = ShuffleVectorSum(8.0, 1e-2).encoding(small)
    expected = bits.granule**2 * bits.noise_bits[0] * 3 / 16
    assert 0.5 < np.var(tossed) / expected < 1.7


@pytest.mark.parametrize("epsilon", [0.2, 0.5, 2.0])
def test_the_numeric_bits_are_hundreds_of_times_fewer_than_the_theorems(epsilon):
    """For one node, so that nothing is lost by splitting ε over the tree, and with one grid for both."""
    design = Design(10, 100, 25, 25)
    assert design.levels == 1
    encoding = ShuffleVectorSum(epsilon, 1e-5).encoding(design)
    theorem = vector_sum.theorem_bits(encoding.grid, 2500, epsilon, 1e-5, design.length)
    assert theorem > 100 * encoding.noise_bits[0]
    assert min(ShuffleVectorSum(epsilon, 1e-5, "theorem").encoding(design).noise_bits) > 100 * encoding.noise_bits[0]


def test_the_rényi_bound_is_above_exact_divergences_and_not_far():
    for trials, largest, order in ((20_000, 9, 5.0), (50_000, 40, 10.0)):
        bound = vector_sum.shift_cost(trials, largest, order)
        x = np.arange(trials + 1)
        exact = []
        for k in (1, largest // 2, largest):
            p, q = stats.binom.logpmf(x[:-k], trials, 0.25), stats.binom.logpmf(x[k:], trials, 0.25)
            keep = np.maximum(p, q) > -60
            for a, b in ((p, q), (q, p)):
                exact.append(np.log(np.exp(order * a + (1 - order) * b)[keep].sum()) / (order - 1) / k**2)
        assert max(exact) <= bound * (1 + 1e-6)
        assert bound <= 1.1 * max(exact)


def test_the_numeric_calibration_holds_on_privacy_loss_distributions():
    """The hockey-stick divergence of allocations of the L2 budget to coordinates, composed exactly: below δ at ε."""
    epsilon, delta, kappa, apart, largest = 1.0, 1e-3, 2, 6.0, 5
    trials = vector_sum.numeric_trials(epsilon, delta, kappa, apart, largest)
    x = np.arange(trials + 1)
    logs = stats.binom.logpmf(x, trials, 0.25)
    for shifts in ((5, 3, 1, 1), (3, 3, 3, 3), (1,) * 36):
        assert sum(k * k for k in shifts) <= apart**2
        total = None
        for k in shifts * kappa:
            shifted = {int(a) + k: float(b) for a, b in zip(x, logs, strict=True)}
            plain = {int(a): float(b) for a, b in zip(x, logs, strict=True)}
            each = pld.from_two_probability_mass_functions(plain, shifted, value_discretization_interval=1e-3)
            total = each if total is None else total.compose(each)
        reached = total.get_delta_for_epsilon(epsilon)
        assert reached <= delta
    assert reached > delta / 10  # and the bound is not far off


def test_amplification_is_refused_where_it_is_not_shown():
    few = Design(4, 100, 1000, 25)
    with pytest.raises(InvalidClaim, match=r"more than 1\d\d for any amplification"):
        ShuffleAmplified(0.5, 1e-4).calibrate(few)
    many = Design(4, 2000, 50, 25)
    with pytest.raises(InvalidClaim, match="scale must be at least") as refusal:
        ShuffleAmplified(0.5, 1e-4).calibrate(many)
    least = float(str(refusal.value).split("at least ")[1].split()[0])
    shown = ShuffleAmplified(0.5, 1e-4, scale=1.01 * least).calibrate(many)
    assert shown.claim.formal
    assert shown.claim.bound == ApproxDP(0.5, 1e-4)
    assert shown.sigma > SiloLDP(0.5, 1e-4).calibrate(many).sigma  # sound, and of no use
    assert math.isclose(shown.sigma, 1.01 * least * official_sigma(many, 0.5, 1e-4) * math.sqrt(2000), rel_tol=1e-9)


def test_amplification_follows_the_closed_form():
    assert amplified_epsilon(1.0, 100, 1e-6) == math.inf
    value = amplified_epsilon(1.0, 10**5, 1e-6)
    by_hand = math.log(
        1 + (math.e - 1) / (math.e + 1) * (8 * math.sqrt(math.e * math.log(4e6) / 1e5) + 8 * math.e / 1e5)
    )
    assert math.isclose(value, by_hand)
    design = Design(4, 2000, 50, 25)
    assert shuffled_epsilon(design, 1e5, 1e-4) < shuffled_epsilon(design, 3e4, 1e-4)


def test_the_papers_noise_can_be_drawn_without_a_claim():
    learner = FedLinUCB(4, silos=4, horizon=50, mechanism=ShuffleAmplified(0.2, 0.1, unchecked=True), noise_seed=0)
    assert not learner.claim_.formal
    tree = TreePrefixSum(ShuffleAmplified(0.2, 0.1, unchecked=True).calibrate(Design(40, 4, 50, 25)))
    assert 0.8 < tree.push(np.zeros((4, 860))).std() / tree.mechanism.sigma < 1.25
    regret = simulate(
        lambda seed: LinearContexts.random(4, 5, seed),
        lambda seed: FedLinUCB(4, silos=4, horizon=50, mechanism=ShuffleVectorSum(1.0, 1e-3, simulate=True)),
        silos=4,
        horizon=50,
        seeds=[0],
    )
    assert regret.per_silo > 0


def test_parameters_out_of_range_are_refused():
    with pytest.raises(InvalidClaim, match="constants"):
        ShuffleVectorSum(1.0, 1e-5, constants="none")
    with pytest.raises(InvalidClaim, match="epsilon"):
        ShuffleVectorSum(0.0, 1e-5)
    with pytest.raises(InvalidClaim, match="scale"):
        ShuffleAmplified(1.0, 1e-5, scale=0.0)
