"""The frequency-prior model: τ, the theorem by simulation, what privacy costs at least, a prior fitted to counts."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.training.memorization import FrequencyPrior, fit_prior, privacy_cost_by_group
from sfumato.training.memorization.cost import label_bound

N = 5000
PRIORS = {
    "zipf": FrequencyPrior.zipf(N),
    "uniform": FrequencyPrior.from_list(np.ones(N)),
    "bimodal": FrequencyPrior.from_list(np.concatenate([np.full(50, 1e4), np.ones(N - 50)])),
}


def test_tau_of_zipf_has_the_figures_of_our_notes():
    """20 draws leave an error of about 2 %; with 400 the first figure is .2735 and the others are within 1 %."""
    assert PRIORS["zipf"].tau(N, 5, random_state=1) * N == pytest.approx(
        [0.268, 0.516, 1.114, 2.01, 2.99, 3.98], rel=0.02
    )


def test_with_equal_frequencies_having_seen_a_point_says_nothing():
    assert PRIORS["uniform"].tau(N, 5, draws=1) * N == pytest.approx(np.ones(6))


def test_without_a_tail_a_singleton_is_worth_nothing():
    assert PRIORS["bimodal"].tau(N, 1, random_state=0)[1] * N == pytest.approx(0.01, rel=0.05)


def exact_tau(weights, n, times):
    """By enumeration of all draws of the weights, in fractions."""
    top = bottom = Fraction(0)
    for drawn in itertools.product(weights, repeat=3):
        alpha = Fraction(drawn[0], sum(drawn))
        seen = alpha**times * (1 - alpha) ** (n - times)
        top, bottom = top + alpha * seen, bottom + seen
    return float(top / bottom)


def test_tau_equals_enumeration():
    """Eight equally probable draws; 20,000 of them leave a relative error below 1.5 % (more than 6 deviations)."""
    found = FrequencyPrior([1, 9], n_points=3).tau(3, 3, draws=20_000, random_state=0)
    assert found == pytest.approx([exact_tau((1, 9), 3, times) for times in range(4)], rel=0.015)


def test_given_a_whole_sample_tau_is_not_exact_as_the_notes_say():
    def mean_frequency(sample):
        top = bottom = Fraction(0)
        for drawn in itertools.product((1, 9), repeat=3):
            alpha = [Fraction(w, sum(drawn)) for w in drawn]
            seen = Fraction(1)
            for each in sample:
                seen *= alpha[each]
            top, bottom = top + alpha[0] * seen, bottom + seen
        return float(top / bottom)

    assert mean_frequency((1, 1, 1)) == pytest.approx(0.157, abs=5e-4)
    assert mean_frequency((1, 1, 2)) == pytest.approx(0.165, abs=5e-4)
    assert mean_frequency((0, 1, 1)) != mean_frequency((0, 1, 2))


def not_fitting(prior, fits_from, n_classes, repeats, rng):
    """Excess error of a learner that guesses on points seen fewer times, and the theorem's, each sample for itself."""
    n = prior.n_points
    tau = prior.tau(n, fits_from - 1, draws=400, random_state=rng)
    differences, excesses = [], []
    for _ in range(repeats):
        alpha = prior.sample(rng)
        counts = rng.multinomial(n, alpha)
        wrong = (counts >= 1) & (counts < fits_from) & (rng.random(n) >= 1 / n_classes)
        errors = np.bincount(counts[wrong], minlength=fits_from)[1:fits_from]
        excesses.append(alpha[wrong].sum())
        differences.append(excesses[-1] - tau[1:] @ errors)
    return np.mean(excesses), np.array(differences)


@pytest.mark.parametrize("n_classes", [2, 10])
@pytest.mark.parametrize("name", PRIORS)
def test_the_theorem_holds_in_simulation(name, n_classes):
    """Within 4.9 standard errors: a false alarm with probability 1e-6; τ adds less than one."""
    excess, difference = not_fitting(PRIORS[name], 2, n_classes, 200, np.random.default_rng(5))
    # with equal frequencies every sample gives equality, and the standard error is rounding
    assert abs(difference.mean()) <= 4.9 * stats.sem(difference) + 1e-9 * excess
    if name == "zipf" and n_classes == 10:
        assert excess == pytest.approx(0.0897, rel=0.02)  # our notes


def test_a_wrong_tau_would_show():
    """The twin plugs in the frequencies of the list instead of drawing them, and asks for those that occur at all."""
    excess, difference = not_fitting(PRIORS["zipf"], 2, 10, 200, np.random.default_rng(5))
    tau = PRIORS["zipf"].tau(N, 2, random_state=0)
    twin = difference - (tau[2] - tau[1]) * 864
    assert abs(twin.mean()) > 20 * stats.sem(twin)
    assert excess > 0


def test_excess_error_adds_up():
    prior = PRIORS["zipf"]
    tau = prior.tau(N, 2, random_state=3)
    assert prior.excess_error(N, {1: 100, 2: 10}, random_state=3) == pytest.approx(100 * tau[1] + 10 * tau[2])
    assert PRIORS["zipf"].excess_error(N, {1: 864}, random_state=1) == pytest.approx(0.0897, rel=0.02)


def test_expected_multiplicities_are_those_of_samples():
    prior, rng = FrequencyPrior.zipf(300), np.random.default_rng(0)
    expected = prior.expected_multiplicities(200, 5, draws=2000, random_state=rng)
    counts = np.array([np.bincount(rng.multinomial(200, prior.sample(rng)), minlength=6)[:6] for _ in range(2000)])
    error = counts.std(axis=0) / np.sqrt(2000)
    assert (np.abs(counts.mean(axis=0) - expected) < 6 * error).all()
    assert prior.expected_multiplicities(200, 200, draws=5).sum() == pytest.approx(300)


def test_a_private_learner_of_known_cost_pays_at_least_the_bound():
    """Randomised response on the label of each example and a vote: ε-private for one example."""
    prior, epsilon, k, n, rng = FrequencyPrior.zipf(200), 1.0, 4, 300, np.random.default_rng(1)
    keep = np.exp(epsilon) / (np.exp(epsilon) + k - 1)
    paid, fits = [], []
    for _ in range(400):
        alpha = prior.sample(rng)
        counts = rng.multinomial(n, alpha)
        for x in np.flatnonzero(counts):
            kept = rng.binomial(counts[x], keep)
            votes = np.concatenate([[kept], rng.multinomial(counts[x] - kept, np.full(k - 1, 1 / (k - 1)))])
            fits.append(votes[0] + rng.random() > (votes[1:] + rng.random(k - 1)).max())
            paid.append(0.0 if fits[-1] else alpha[x])
    cost = prior.privacy_cost(n, epsilon, n_classes=k, draws=400, random_state=2)
    assert 0 < cost < sum(paid) / 400
    assert prior.privacy_cost(n, 0.0, n_classes=k, draws=400, random_state=2) > sum(paid) / 400  # the twin: ε = 0


def test_the_bound_on_naming_a_label():
    assert label_bound([0, 1, 2], 0.5, 0.0, 10) == pytest.approx([0.1, 0.1 * np.exp(0.5), 0.1 * np.exp(1.0)])
    assert label_bound([1, 2], 0.0, 0.01, 10) == pytest.approx([0.11, 0.12])
    assert label_bound([2], 1.0, 0.001, 10)[0] == pytest.approx(0.1 * np.exp(2) + 0.001 * (1 + np.e))
    assert label_bound([5000], 10.0, 0.0, 10)[0] == 1


def test_privacy_costs_less_with_more_epsilon_and_falls_on_the_rare():
    prior = FrequencyPrior.zipf(500)
    costs = [prior.privacy_cost(500, e, 1e-5, random_state=0) for e in (0, 0.1, 0.5, 1, 3)]
    assert costs == sorted(costs, reverse=True)
    assert costs[-1] == 0
    groups = {"rare": FrequencyPrior.zipf(100), "common": FrequencyPrior.zipf(100)}
    table = privacy_cost_by_group(groups, {"rare": 0.1, "common": 0.9}, 500, 0.5, random_state=0)
    assert table["drop"]["rare"] > 1.3 * table["drop"]["common"]
    assert table["cost"]["rare"] == pytest.approx(0.1 * table["drop"]["rare"])


def test_a_group_that_is_all_has_the_cost_of_its_prior():
    prior = FrequencyPrior.zipf(100)
    table = privacy_cost_by_group({"all": prior}, {"all": 1.0}, 200, 0.3, random_state=0)
    assert table["cost"]["all"] == pytest.approx(prior.privacy_cost(200, 0.3, random_state=0))


def test_the_weight_of_a_tail():
    prior = FrequencyPrior.zipf(N)
    assert prior.weight(0, 1) == pytest.approx(1)
    assert prior.weight(0.5 / N, 2 / N, random_state=0) > 0.1
    assert PRIORS["bimodal"].weight(0.5 / N, 2 / N, random_state=0) == 0
    assert FrequencyPrior.geometric(N, 0.9).weight(0.5 / N, 2 / N, random_state=0) < 0.01


def test_a_fitted_prior_has_the_tau_of_the_one_that_made_the_counts():
    truth = FrequencyPrior.zipf(2000)
    counts = np.random.default_rng(1).multinomial(8000, truth.sample(1))
    fitted = fit_prior(counts).tau(8000, 4, random_state=0)[1:] * 8000
    assert fitted == pytest.approx(truth.tau(8000, 4, random_state=0)[1:] * 8000, rel=0.2)
    # the twin takes counts for frequencies: whoever was never seen never comes
    assert FrequencyPrior.empirical(counts).tau(8000, 1, random_state=0)[0] * 8000 < 0.5 * truth.tau(8000, 1)[0] * 8000


def test_a_million_points_do_not_underflow():
    tau = FrequencyPrior.zipf(1000).tau(2_000_000, 3, draws=2, random_state=0)
    assert np.isfinite(tau).all()
    assert (tau > 0).all()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: FrequencyPrior([]), "values"),
        (lambda: FrequencyPrior([0, 0]), "positive total"),
        (lambda: FrequencyPrior([1, -1]), "at least 0"),
        (lambda: FrequencyPrior([1, np.nan]), "finite"),
        (lambda: FrequencyPrior([1]), "n_points"),
        (lambda: FrequencyPrior([1, 2], probabilities=[1]), "probabilities"),
        (lambda: FrequencyPrior.geometric(5, 1.0), "ratio"),
        (lambda: FrequencyPrior.zipf(2.5), "whole number"),
        (lambda: FrequencyPrior([1, 0], n_points=2).tau(5, 1, draws=50, random_state=0), "all of the frequency"),
        (lambda: FrequencyPrior.zipf(5).tau(5, 6), "max_multiplicity"),
        (lambda: FrequencyPrior.zipf(5).weight(0.5, 0.1), "low and high"),
        (lambda: FrequencyPrior.zipf(5).excess_error(5, {0: 1}), "multiplicities"),
        (lambda: FrequencyPrior.zipf(5).excess_error(5, {1: -1}), "at least 0"),
        (lambda: FrequencyPrior.zipf(5).privacy_cost(5, -1), "epsilon"),
        (lambda: FrequencyPrior.zipf(5).privacy_cost(5, 1, n_classes=1), "at least 2"),
        (lambda: privacy_cost_by_group({"a": FrequencyPrior.zipf(5)}, {"a": 0.5}, 5, 1), "sum to 1"),
        (lambda: privacy_cost_by_group({"a": FrequencyPrior.zipf(5)}, {"b": 1.0}, 5, 1), "same groups"),
        (lambda: fit_prior([1.5, 2.0]), "whole numbers"),
        (lambda: fit_prior([0, 0]), "not all 0"),
    ],
)
def test_bad_input_is_named(make, said):
    with pytest.raises(InvalidData, match=said):
        make()
