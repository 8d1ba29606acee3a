"""Memorisation as evidence on ε: a learner whose ε is known exactly, its broken twin, and what a choice must pay."""

import math

import numpy as np
import pytest

from sfumato import ApproxDP, Claim, PureDP
from sfumato.errors import InvalidData
from sfumato.training.memorization import MemorizationEstimator
from sfumato.training.memorization.epsilon import _lower_ends, lower_bound

RECORDS, OUTLIERS = 40, 4


def records():
    """Two clusters, and four records in the midst of the other one."""
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], RECORDS // 2)
    x = rng.normal(scale=0.1, size=RECORDS) + 5 * y
    y[:OUTLIERS] = 1 - y[:OUTLIERS]
    return x, y


def randomised_response(epsilon, seed=0):
    """Each label is flipped with probability 1/(1 + e^ε), then 1-NN: what it says of a record is one flipped label.

    So its probability lies between 1/(1 + e^ε) and e^ε/(1 + e^ε) with and without the record: ε-DP for these events.
    """
    x, y = records()
    order = np.argsort(np.abs(x[:, np.newaxis] - x), axis=1)

    def train(indices, model):
        rng = np.random.default_rng([seed, model])
        noisy = np.where(rng.random(RECORDS) < 1 / (1 + math.exp(epsilon)), 1 - y, y)
        present = np.zeros(RECORDS, dtype=bool)
        present[indices] = True
        nearest = order[np.arange(RECORDS), present[order].argmax(axis=1)]
        return lambda _: noisy[nearest]

    return train


@pytest.fixture(scope="module")
def attacked():
    """Fitted once for each true ε."""
    x, y = records()
    made = {}

    def fit(epsilon):
        if epsilon not in made:
            estimator = MemorizationEstimator(randomised_response(epsilon), n_models=4000, progress=False)
            made[epsilon] = estimator.fit(x, y)
        return made[epsilon]

    return fit


@pytest.mark.parametrize("correction", ["held-out", "bonferroni"])
@pytest.mark.parametrize("epsilon", [1.0, 2.0])
def test_the_bound_is_below_epsilon_and_near_it(epsilon, correction, attacked):
    """With confidence 1 - 1e-6 it is above ε with probability 1e-6 at most; with .95 it reaches .7 ε."""
    estimator, claim = attacked(epsilon), Claim(PureDP(epsilon), unit="record", neighbours="replace-one")
    sure = estimator.epsilon_lower_bound(0.0, 1 - 1e-6, claim=claim, correction=correction)
    assert sure.value <= epsilon
    assert sure.verdict == "consistent"
    usual = estimator.epsilon_lower_bound(0.0, 0.95, claim=claim, correction=correction)
    assert 0.7 * epsilon <= usual.value <= epsilon
    assert usual.level == 0.95


def test_half_the_flips_are_caught(attacked):
    """The broken twin of ε = 1: flips with half the probability that 1-DP needs."""
    flip = 1 / (1 + math.e)
    actual = math.log((1 - flip / 2) / (flip / 2))
    claim = Claim(PureDP(1.0), unit="record", neighbours="replace-one")
    found = attacked(actual).epsilon_lower_bound(0.0, 1 - 1e-6, claim=claim)
    assert found.verdict == "falsified"
    assert 1 < found.value < actual


def test_a_claim_about_adding_or_removing_allows_two_steps(attacked):
    """What is 2-private for replacing one may be 1-private for adding one; ½ is refuted."""
    estimator = attacked(2.0)
    for epsilon, verdict in ((1.0, "consistent"), (0.5, "falsified")):
        claim = Claim(PureDP(epsilon), unit="record", neighbours="add-remove")
        assert estimator.epsilon_lower_bound(0.0, claim=claim).verdict == verdict


def test_the_largest_score_without_correction_would_accuse_the_innocent():
    """The twin: all models choose and are counted, at the confidence of one record. The learner is 0-private."""
    rng, wrong, accused = np.random.default_rng(0), 0, {"held-out": 0, "bonferroni": 0}
    claim = Claim(PureDP(1e-6), unit="record", neighbours="replace-one")
    for _ in range(40):
        members, correct = rng.random((200, 4000)) < 0.7, rng.integers(2, size=(200, 4000))
        low, high = _lower_ends(members, correct, 0.05)
        wrong += (low > high).any()
        for correction in accused:
            found = lower_bound(members, correct, claim=claim, correction=correction)
            accused[correction] += found.verdict == "falsified"
    assert wrong > 25
    assert max(accused.values()) <= 11  # at most 5 % each: more than 11 of 40 has probability below 1e-6


def test_delta_is_taken_off(attacked):
    estimator = attacked(2.0)
    values = [estimator.epsilon_lower_bound(delta).value for delta in (0.0, 0.1, 0.5)]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[2]
    claim = Claim(ApproxDP(1.0, 0.5), unit="record", neighbours="replace-one")
    assert estimator.epsilon_lower_bound(0.5, claim=claim).verdict == "consistent"


def test_too_few_models_are_inconclusive_and_no_claim_has_no_verdict(attacked):
    members = np.tile([[True], [False]], (10, 3))
    claim = Claim(PureDP(8.0), unit="record", neighbours="replace-one")
    few = lower_bound(members, members.astype(int), claim=claim)
    assert few.verdict == "inconclusive"
    assert any("could have shown" in note for note in few.notes)
    assert attacked(1.0).epsilon_lower_bound().verdict == "inconclusive"
    assert "nothing was promised" in str(attacked(1.0).epsilon_lower_bound().claim)


def test_a_learner_that_keeps_everything_shows_as_much_as_the_models_can():
    members = np.random.default_rng(0).random((400, 5)) < 0.7
    found = lower_bound(members, members.astype(int), correction="bonferroni")
    assert f"at most {found.value:.2f}" in found.notes[1]
    assert found.value > 2


@pytest.mark.parametrize(
    "change",
    [
        {"delta": 1.0},
        {"confidence": 1.0},
        {"correction": "none"},
        {"correct": np.full((4, 3), 0.5)},
        {"members": np.ones((3, 3), dtype=bool)},
        {"claim": Claim(PureDP(1.0), unit="silo")},
    ],
)
def test_bad_input_is_refused(change):
    good = {"members": np.tile([[True], [False]], (2, 3)), "correct": np.zeros((4, 3), dtype=int)}
    with pytest.raises(InvalidData):
        lower_bound(**{**good, **change})
