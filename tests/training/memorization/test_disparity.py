"""Who pays: drops by group with intervals that cover, groups by rareness, and the long-tailed mixture."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from sfumato.errors import InvalidData
from sfumato.training.memorization import (
    FrequencyPrior,
    disparate_effect,
    frequency_groups,
    long_tail_mixture,
    memorization_nearest,
    memorization_of_most_influential,
)
from sfumato.training.memorization.bootstrap import group_drops


def models(rates, groups, count, rng):
    """Models that are right, on records of truth 1, with the rate of their group."""

    def one():
        answers = (rng.random(len(groups)) < np.take(rates, groups)).astype(int)
        return lambda x: answers

    return [one() for _ in range(count)]


GROUPS = np.repeat([0, 1, 2], [300, 300, 300])
X, Y = np.zeros((900, 1)), np.ones(900, dtype=int)
FREQUENCIES = {0: 0.01, 1: 0.1, 2: 0.89}


def test_drops_worst_contrast_and_slope_are_those_of_the_groups():
    rng = np.random.default_rng(0)
    found = disparate_effect(
        models([0.9, 0.9, 0.9], GROUPS, 20, rng),
        models([0.5, 0.8, 0.88], GROUPS, 20, rng),
        X,
        Y,
        GROUPS,
        frequencies=FREQUENCIES,
        predicted={0: 0.4, 1: 0.1, 2: 0.0},
        random_state=0,
    )
    assert found.groups["drop"].tolist() == pytest.approx([0.4, 0.1, 0.02], abs=0.03)
    assert found.worst.value == found.groups["drop"][0]
    assert found.contrast.value == pytest.approx(0.38, abs=0.04)
    assert found.slope.high < 0
    assert found.slope.value == pytest.approx(np.polyfit(np.log([0.01, 0.1, 0.89]), found.groups["drop"], 1)[0])
    assert found.overall.value == pytest.approx(found.groups["drop"].mean())
    assert found.ratio > 2
    assert found.groups["predicted"].tolist() == [0.4, 0.1, 0.0]
    assert "worst group" in str(found)


def test_the_average_alone_hides_it():
    """The same average drop, on everybody or on the rarest."""
    rng = np.random.default_rng(1)
    base = models([0.9] * 3, GROUPS, 20, rng)
    even = disparate_effect(base, models([0.8] * 3, GROUPS, 20, rng), X, Y, GROUPS, frequencies=FREQUENCIES)
    uneven = disparate_effect(base, models([0.6, 0.9, 0.9], GROUPS, 20, rng), X, Y, GROUPS, frequencies=FREQUENCIES)
    assert even.overall.value == pytest.approx(uneven.overall.value, abs=0.02)
    assert even.contrast.low < 0.03
    assert uneven.contrast.low > 0.2


def drop_coverage(resample_models):
    """200 experiments whose models and test records both vary; the truth is the mean over both."""
    rng = np.random.default_rng(2)
    held, groups = 0, np.repeat([0, 1], 40)
    for _ in range(200):
        easy = rng.beta(2, 2, size=80)  # how hard a record is, for all models
        luck = rng.normal(scale=0.15, size=(2, 12, 1))  # how good a training was, for all records
        one, two = (rng.random((12, 80)) < np.clip(easy + shift, 0, 1) for shift in luck)
        if not resample_models:
            one, two = one.mean(axis=0, keepdims=True), two.mean(axis=0, keepdims=True)
        _, draws = group_drops(one, two, groups, 2, 400, rng)
        low, high = np.quantile(draws[:, 0], [0.025, 0.975])
        held += low <= 0 <= high
    return held / 200


def test_intervals_cover_what_another_training_on_other_records_would_give():
    """At a coverage of .92 (a bootstrap of 12 models), fewer than .80 of 200 have probability below 1e-6."""
    assert drop_coverage(resample_models=True) >= 0.80


def test_intervals_of_test_records_alone_would_not():
    assert drop_coverage(resample_models=False) < 0.80


def test_fitted_classifiers_are_models_too():
    data = long_tail_mixture(600, 20, random_state=0)
    groups = frequency_groups(data.frequencies[data.subpopulation])
    train, test = slice(0, 300), slice(300, None)
    nearest = [KNeighborsClassifier(1).fit(data.data[train], data.target[train])]
    centroid = [NearestCentroid().fit(data.data[train], data.target[train])]
    found = disparate_effect(nearest, centroid, data.data[test], data.target[test], groups[test], 50, random_state=0)
    assert found.groups["drop"].iloc[-1] < found.worst.value


def test_fifths_by_frequency_keep_equals_together():
    assert np.bincount(frequency_groups(np.arange(100))).tolist() == [20] * 5
    assert frequency_groups(np.array([0.0] * 90 + [1.0] * 10)).tolist() == [0] * 90 + [1] * 10
    assert frequency_groups(np.array([3, 1, 2]), 3).tolist() == [2, 0, 1]


def test_tailness_of_test_records():
    memorization, x = np.array([0.1, 0.9, 0.5]), np.array([[0.0], [1.0], [2.0]])
    assert memorization_nearest(memorization, x, np.array([[0.1], [1.9], [1.2]])).tolist() == [0.1, 0.5, 0.9]
    influence = np.array([[0.2, 0.0, np.nan], [0.3, 0.0, 0.0], [-0.9, -0.4, 0.6]], dtype=np.float32)
    assert memorization_of_most_influential(memorization, influence).tolist() == [0.9, 0.0, 0.5]
    with pytest.raises(InvalidData):
        memorization_nearest(memorization[:2], x, x)
    with pytest.raises(InvalidData):
        memorization_of_most_influential(memorization[:2], influence)


@pytest.mark.parametrize(
    "change",
    [
        {"groups": GROUPS[:-1]},
        {"groups": np.zeros(900)},
        {"baseline": []},
        {"frequencies": {0: 1.0}},
        {"frequencies": {0: 0.0, 1: 1.0, 2: 1.0}},
        {"predicted": {0: 1.0}},
        {"confidence": 1.0},
        {"n_boot": 0},
        {"y": Y.astype(float)},
    ],
)
def test_bad_input_is_refused(change):
    family = models([0.9] * 3, GROUPS, 2, np.random.default_rng(0))
    good = {"baseline": family, "limited": family, "X": X, "y": Y, "groups": GROUPS, "n_boot": 10}
    with pytest.raises(InvalidData):
        disparate_effect(**{**good, **change})
    with pytest.raises(InvalidData):
        frequency_groups([np.nan])


def test_the_mixture_is_what_it_says():
    prior = FrequencyPrior.zipf(50)
    data = long_tail_mixture(4000, 50, 100, n_classes=5, prior=prior, label_noise=0.1, random_state=0)
    assert data.data.shape == (4000, 100)
    nearest = np.linalg.norm(data.data[:200, np.newaxis] - data.centers, axis=2).argmin(axis=1)
    assert np.array_equal(nearest, data.subpopulation[:200])  # clusters are apart
    assert np.array_equal(data.labels[data.subpopulation], data.clean_target)
    assert (data.target != data.clean_target).mean() == pytest.approx(0.1, abs=0.03)  # more than 6 deviations
    assert data.frequencies.sum() == pytest.approx(1)
    again = long_tail_mixture(4000, 50, 100, n_classes=5, prior=prior, label_noise=0.1, random_state=0)
    assert np.array_equal(data.data, again.data)
    for bad in ({"prior": FrequencyPrior.zipf(3)}, {"label_noise": 1.0}, {"n_classes": 1}):
        with pytest.raises(InvalidData):
            long_tail_mixture(10, 50, **bad)


def accuracies(prior):
    data = long_tail_mixture(2000, 300, n_classes=10, prior=prior, random_state=1)
    train, test = slice(0, 600), slice(600, None)
    fits, smooth = KNeighborsClassifier(1), KNeighborsClassifier(15)
    return [
        m.fit(data.data[train], data.target[train]).score(data.data[test], data.clean_target[test])
        for m in (fits, smooth)
    ]


def test_fitting_pays_where_the_tail_is_long():
    long_fits, long_smooth = accuracies(FrequencyPrior.zipf(300))
    short_fits, short_smooth = accuracies(FrequencyPrior(np.r_[np.full(10, 1e3), np.ones(290)]))
    assert long_fits - long_smooth > 0.15
    assert long_fits - long_smooth > 5 * (short_fits - short_smooth)
