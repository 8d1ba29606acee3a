"""What limits networks, and the learner whose ε is known, of the study of memorisation."""

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_digits

from sfumato.errors import InvalidData
from sfumato.studies.memorization_disparity import falls_on_the_tail
from sfumato.studies.memorization_networks import long_tailed, prune, quantise, train_network
from sfumato.studies.memorization_private import label_randomised_response
from sfumato.studies.memorization_records import flipped_records
from sfumato.training.memorization import DisparateEffect, Estimate


@pytest.fixture(scope="module")
def network():
    images, labels = load_digits(return_X_y=True)
    return train_network(images[:400] / 16, labels[:400], epochs=30, random_state=0)


def right(network, many=400):
    return float((network(network.images[:many]).argmax(axis=1) == network.labels[:many].numpy()).mean())


def test_a_network_fits_and_training_is_repeatable(network):
    assert right(network) > 0.97
    again = train_network(network.images, network.labels, epochs=30, random_state=0)
    assert np.array_equal(again(network.images), network(network.images))


def test_pruned_weights_stay_zero_and_training_on_helps(network):
    before = network(network.images)
    bare, tuned = prune(network, 0.95), prune(network, 0.95, epochs=10)
    assert bare.zeros == pytest.approx(0.95, abs=0.001)
    assert tuned.zeros == pytest.approx(0.95, abs=0.001)
    assert right(bare) < right(tuned)
    assert np.array_equal(network(network.images), before)  # pruning works on a copy
    with pytest.raises(InvalidData, match="share"):
        prune(network, 1.0)


def test_int8_changes_little_but_something(network):
    difference = np.abs(quantise(network)(network.images) - network(network.images))
    assert 0 < difference.max() < 0.2


def test_classes_are_kept_as_one_over_their_rank():
    images, labels = load_digits(return_X_y=True)
    x, y, counts = long_tailed(images, labels, 100, 10, np.random.default_rng(0))
    assert sorted(counts.values(), reverse=True) == [100 // rank for rank in range(1, 11)]
    assert np.bincount(y).tolist() == [counts[c] for c in range(10)]
    assert len(x) == len(y)


@pytest.mark.parametrize("name", ["digits", "breast cancer"])
def test_five_percent_of_training_labels_are_wrong_and_none_of_the_test(name):
    x, y, x_test, y_test, wrong = flipped_records(name, 400, seed=1)
    _, same, _, same_test, _ = flipped_records(name, 400, seed=1)
    assert (len(x), len(y), wrong.sum()) == (400, 400, 20)
    assert np.array_equal(y, same)
    assert np.array_equal(y_test, same_test)
    assert len(x_test) > 100


@pytest.mark.parametrize(("share", "rate"), [(1.0, 1 / (1 + np.e)), (0.5, 0.5 / (1 + np.e))])
def test_labels_are_flipped_as_often_as_the_claim_needs(share, rate):
    """20,000 noisy labels: six deviations are 0.019."""
    train, x, y = label_randomised_response(1.0, flip_share=share)
    everyone = np.arange(len(y))
    flipped = [train(everyone, seed)(x) != y for seed in range(500)]
    assert np.mean(flipped) == pytest.approx(rate, abs=0.019)
    with pytest.raises(InvalidData):
        label_randomised_response(0.0)


@pytest.mark.parametrize(
    ("drops", "low", "falls"),
    [((0.2, 0.1), 0.05, True), ((0.2, 0.1), -0.01, False), ((0.2, 0.15), 0.01, False), ((0.1, -0.1), 0.1, True)],
)
def test_an_effect_falls_on_the_tail_if_it_is_twice_as_large_there_beyond_chance(drops, low, falls):
    estimate = Estimate(0.1, low, 0.3)
    table = pd.DataFrame({"drop": drops})
    assert falls_on_the_tail(DisparateEffect(table, estimate, estimate, estimate, estimate)) == falls
