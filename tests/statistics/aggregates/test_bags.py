"""Bags: random, public, whole; and what is refused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.errors import InvalidData
from sfumato.statistics.aggregates import easyllp_labels, make_bags
from sfumato.statistics.aggregates.bags import read_bags


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["larger", "drop"]), st.integers(0, 5))
def test_everybody_is_in_one_bag_of_the_stated_size(n, k, remainder, seed):
    k = min(k, n)
    bag_id = make_bags(n, k, remainder=remainder, random_state=seed)
    bags = read_bags(bag_id, n)
    assert len(bags) == n // k
    if remainder == "drop":
        assert (bags.sizes == k).all()
        assert (bag_id == -1).sum() == n % k
    else:
        assert bags.sizes.tolist() == [k] * (n // k - 1) + [k + n % k]


def test_bags_stay_within_public_groups():
    groups = np.array(["a"] * 7 + ["b"] * 9)
    bag_id = make_bags(16, 3, groups=groups, remainder="larger", random_state=0)
    assert all(len(set(groups[bag_id == b])) == 1 for b in range(bag_id.max() + 1))
    assert np.bincount(bag_id).tolist() == [3, 4, 3, 3, 3]
    left_out = make_bags(16, 3, groups=groups, remainder="drop", random_state=0)
    assert (left_out == -1).sum() == 1


def test_bags_are_random_and_repeat_with_their_seed():
    first, second = make_bags(100, 5, random_state=1), make_bags(100, 5, random_state=2)
    assert (first != second).any()
    assert (first == make_bags(100, 5, random_state=1)).all()
    together = [len(set(make_bags(8, 4, random_state=i)[:2].tolist())) == 1 for i in range(2000)]
    # two people share a bag with probability 3/7; 6 standard deviations: a false alarm below 1e-8
    assert abs(np.mean(together) - 3 / 7) < 6 * np.sqrt(12 / 49 / 2000)


@pytest.mark.parametrize(
    ("n", "k", "change", "said"),
    [
        (10, 0, {}, "k must be a whole number"),
        (10, 2.0, {}, "k must be a whole number"),
        (10, True, {}, "k must be a whole number"),
        (0, 1, {}, "n must be a whole number"),
        (10, 11, {}, "k must be at most n"),
        (10, 3, {}, "remainder="),
        (10, 3, {"remainder": "smaller"}, "remainder must be"),
        (10, 5, {"groups": [0, 1]}, "one label a person"),
        (4, 2, {"groups": [0, 0, 0, 1], "remainder": "larger"}, "fewer than k"),
        (4, 3, {"groups": [0, 0, 1, 1], "remainder": "drop"}, "exceeds every group"),
    ],
)
def test_bad_bags_are_refused(n, k, change, said):
    with pytest.raises(InvalidData, match=said):
        make_bags(n, k, **change)


@pytest.mark.parametrize(
    ("bag_id", "said"),
    [
        ([], "nonempty"),
        ([[0, 1]], "nonempty vector"),
        ([0, 2], "nobody in it"),
        ([0, 0, 1, 3], "nobody in it"),
        ([0, 10**12], "nobody in it"),
        ([0.0, np.nan], "missing"),
        ([0.5, 1.0], "whole numbers"),
        (["a", "b"], "whole numbers"),
        ([0, -2], "-1 for people left out"),
        ([-1, -1], "everybody out"),
    ],
)
def test_what_is_no_partition_is_refused(bag_id, said):
    with pytest.raises(InvalidData, match=said):
        read_bags(bag_id)


def test_sums_of_whole_numbers_are_exact():
    bags = read_bags(np.repeat([0, 1], 3))
    big = np.array([2**53, 1, 1, 2**60, 1, 0])
    assert bags.sums(big).tolist() == [2**53 + 2, 2**60 + 1]


def test_easyllp_labels_are_right_on_average_over_the_draw_of_bags():
    rng = np.random.default_rng(0)
    y, n, k = rng.normal(size=12), 12, 3
    drawn = []
    for i in range(4000):
        bag_id = make_bags(n, k, random_state=i)
        drawn.append(easyllp_labels(read_bags(bag_id).means(y), bag_id))
    mean, error = np.mean(drawn, axis=0), np.std(drawn, axis=0) / np.sqrt(4000)
    # in a finite population the others of the bag are drawn from all but the person
    expected = y + (k - 1) * (y.mean() - y) / (n - 1)
    assert (np.abs(mean - expected) < 6 * error).all()  # false alarm below 1e-7


def test_easyllp_leaves_out_whom_no_bag_holds():
    labels = easyllp_labels([1.0], [0, 0, -1])
    assert np.isnan(labels).tolist() == [False, False, True]
    with pytest.raises(InvalidData, match="one entry a bag"):
        easyllp_labels([1.0, 2.0], [0, 0])
