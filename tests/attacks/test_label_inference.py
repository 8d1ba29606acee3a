"""Labels out of bag means: exact posteriors, advantage without noise, the ceiling with it, and overlapping bags."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from sfumato.attacks.label_inference import LabelInference, advantage_ceiling, solve_overlapping
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.statistics.aggregates import aggregate, make_bags

N = 4000


def coins(k, seed=0, **budget):
    y = np.random.default_rng(seed).integers(0, 2, N)
    bag_id = make_bags(N, k, random_state=seed)
    extra = {"bounds": (0, 1), "granules": 1} if budget else {}
    return y, bag_id, aggregate(y, bag_id, **extra, **budget)


def by_enumeration(prior, mean, variance):
    """Posterior of each of k people: every combination of labels, weighed."""
    k = len(prior)
    weights, labels = [], []
    for each in itertools.product((0, 1), repeat=k):
        w = math.prod(p if bit else 1 - p for p, bit in zip(prior, each, strict=True))
        gap = sum(each) / k - mean
        w *= math.exp(-abs(gap) / math.sqrt(variance / 2)) if variance else abs(gap) < 1e-9
        weights.append(w)
        labels.append(each)
    return np.average(labels, axis=0, weights=weights)


@pytest.mark.parametrize("variance", [0.0, 0.04])
def test_posteriors_are_those_of_enumeration(variance):
    from sfumato.attacks.label_inference import _given_sums

    rng = np.random.default_rng(0)
    ids = np.array([0, 1, 0, 1, 0, 1, 1, -1])
    prior = rng.uniform(0.1, 0.9, 8)
    means = np.array([2 / 3, 0.25])
    found = _given_sums(prior, ids, means, np.full(2, variance), "laplace")
    for bag in (0, 1):
        people = ids == bag
        assert found[people] == pytest.approx(by_enumeration(prior[people], means[bag], variance))
    assert found[-1] == prior[-1]


@pytest.mark.parametrize(("k", "expected"), [(2, 0.5), (4, 0.375)])
def test_exact_means_of_small_bags_betray_coins(k, expected):
    """The majority of a bag is right: the mean of |2s/k - 1| above a coin. False alarm below 1e-6."""
    y, bag_id, told = coins(k)
    found = LabelInference(bag_id).attack(told.means, y, told.claim, fair_coins=True, random_state=0)
    assert abs(found.value - expected) < 5 * 2 * math.sqrt(0.25 / N)
    assert found.interval[0] > 0
    assert found.verdict == "inconclusive"
    assert "promises nothing" in found.notes[0]


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 2.0])
def test_with_noise_the_advantage_keeps_below_the_ceiling(k, epsilon):
    """Right guesses are at most binomial: false alarm 1e-6 each."""
    y, bag_id, told = coins(k, epsilon=epsilon)
    attack = LabelInference(bag_id)
    found = attack.attack(
        told.means, y, told.claim, noise_variance=told.noise_variance, fair_coins=True, level=1 - 1e-6
    )
    assert found.verdict == "consistent"
    ceiling = math.expm1(epsilon) / (math.exp(epsilon) + 1)
    assert advantage_ceiling(told.claim) == pytest.approx(ceiling)
    right = round((found.value + 1) / 2 * N)
    assert stats.binom.sf(right - 1, N, (1 + ceiling) / 2) > 1e-6
    if k > 1:
        assert found.value < ceiling  # the noise of a bag hides the others too


def test_exact_means_under_a_formal_claim_are_falsified():
    y, bag_id, told = coins(2)
    lie = Claim(PureDP(1.0), neighbours="replace-one")
    sure = LabelInference(bag_id).attack(told.means, y, lie, guesses=N // 4, fair_coins=True)
    assert sure.verdict == "falsified"
    assert sure.value == 1
    assert sure.samples == N // 4
    gaussian = Claim(ZCDP(0.5), neighbours="replace-one")
    assert (
        LabelInference(bag_id).attack(told.means, y, gaussian, guesses=N // 4, fair_coins=True).verdict == "falsified"
    )


def test_half_the_noise_is_falsified():
    y, bag_id, told = coins(1, epsilon=3.0)
    lie = Claim(PureDP(1.0), neighbours="replace-one")
    found = LabelInference(bag_id).attack(told.means, y, lie, noise_variance=told.noise_variance, fair_coins=True)
    assert found.verdict == "falsified"


def test_gaussian_noise_and_void_claims_are_judged_by_their_bound():
    y, bag_id, told = coins(2, rho_zcdp=0.5, noise_seed=1)
    attack = LabelInference(bag_id, noise="gaussian")
    found = attack.attack(told.means, y, told.claim, noise_variance=told.noise_variance, fair_coins=True)
    assert not told.claim.formal
    assert found.verdict == "consistent"


def test_features_help_where_they_tell_of_labels_and_then_carry_no_verdict():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(N, 2))
    y = (X[:, 0] + 0.3 * rng.normal(size=N) > 0).astype(int)
    bag_id = make_bags(N, 8, random_state=0)
    told = aggregate(y, bag_id)
    blind = LabelInference(bag_id).attack(told.means, y, told.claim)
    seeing = LabelInference(bag_id, X).attack(told.means, y, told.claim)
    assert seeing.value > blind.value + 0.3
    assert seeing.verdict == "inconclusive"
    assert "population" in seeing.notes[1]


def test_overlapping_bags_give_everybody_away():
    y = np.random.default_rng(0).integers(0, 2, 400)
    bags = [make_bags(400, 4, random_state=i) for i in range(4)]
    means = [aggregate(y, each).means for each in bags]
    once = np.mean((solve_overlapping(bags[:1], means[:1]) > 0.5) == y)
    assert once < 0.8
    assert solve_overlapping(bags, means) == pytest.approx(y, abs=1e-3)


def test_no_formal_claim_has_no_ceiling():
    assert advantage_ceiling(Claim(Heuristic("none"))) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bag_id": [0.5]}, "bag_id"),
        ({"bag_id": []}, "bag_id"),
        ({"bag_id": [0, 1], "X": [[1.0]]}, "X must be"),
        ({"bag_id": [0, 1], "X": [[1.0], [np.nan]]}, "X must be"),
        ({"bag_id": [0], "noise": "cauchy"}, "noise must be"),
        ({"bag_id": [0], "rounds": -1}, "rounds"),
    ],
)
def test_bad_parameters_are_named(arguments, said):
    with pytest.raises(InvalidData, match=said):
        LabelInference(**arguments)


def test_bad_data_are_named():
    attack, claim = LabelInference([0, 0, 1]), Claim(PureDP(1.0))
    with pytest.raises(InvalidData, match="one entry a bag"):
        attack.posterior([0.5])
    with pytest.raises(InvalidData, match="one entry a bag"):
        attack.posterior([0.5, 1.0], [0.1])
    with pytest.raises(InvalidData, match="labels"):
        attack.attack([0.5, 1.0], [0, 1, 2], claim)
    with pytest.raises(InvalidData, match="guesses"):
        attack.attack([0.5, 1.0], [0, 1, 1], claim, guesses=4)
    with pytest.raises(InvalidData, match="as many vectors"):
        solve_overlapping([], [])
    with pytest.raises(InvalidData, match="one mean a bag"):
        solve_overlapping([[0, 1]], [[0.5]])
