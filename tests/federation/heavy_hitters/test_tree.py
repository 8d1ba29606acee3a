"""The tree of prefixes, who speaks where, and the encoders."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidData
from sfumato.federation.heavy_hitters import FixedText, HashedItems
from sfumato.federation.heavy_hitters.encoders import Integers
from sfumato.federation.heavy_hitters.tree import (
    UNKNOWN,
    best,
    cheapest_levels,
    grow,
    kth_largest,
    locate,
    members,
    prefix_lengths,
    survivors,
)


@given(st.integers(1, 500), st.integers(1, 12), st.integers(0, 2**62), st.booleans())
def test_each_user_speaks_at_exactly_one_level(users, levels, seed, growing):
    parts = [members(users, h, levels, (seed, 3), growing=growing) for h in range(levels)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(users))
    if users >= levels * (2 if growing else 1):
        assert min(map(len, parts)) >= 1
    if growing:
        assert np.all(np.diff([len(part) for part in parts]) >= -1)


def test_growing_groups_are_those_of_fedft():
    sizes = [len(members(4200, h, 6, (0,), growing=True)) for h in range(6)]
    assert sizes == [4200 // 12 + h * 4200 // 42 for h in range(1, 7)]


@given(st.integers(1, 60), st.data())
def test_prefixes_end_at_the_item_and_grow_by_every_continuation(bits, data):
    levels = data.draw(st.integers(1, bits))
    lengths = prefix_lengths(bits, levels)
    assert lengths[-1] == bits
    assert np.all(np.diff([0, *lengths]) >= 1)
    item = np.array([data.draw(st.integers(0, 2**bits - 1))], np.uint64)
    for shorter, longer in itertools.pairwise(lengths):
        if longer - shorter <= 8:
            prefix = item >> np.uint64(bits - shorter)
            grown = grow(prefix, longer - shorter)
            assert np.all(grown[1:] > grown[:-1])
            assert locate(item, bits, longer, grown)[0] >= 0


def test_neighbouring_long_prefixes_are_told_apart_and_the_unknown_is_nowhere():
    codes = np.array([2**60 - 1, 2**60 - 2, UNKNOWN], np.uint64)  # as doubles the first two would be equal
    assert locate(codes, 60, 60, codes[1:2]).tolist() == [-1, 0, -1]
    for length in (1, 30, 60):
        everything = np.array([(1 << length) - 1], np.uint64)
        assert locate(codes, 60, length, everything)[2] == -1


def test_survivors_are_those_near_the_kth_largest():
    counts = np.array([5.0, 9.0, 1.0, 4.5, 4.0, -3.0])
    assert kth_largest(counts, 2) == 5.0
    assert survivors(counts, 2, 1.0, z=0.0, most=2).tolist() == [0, 1]
    assert survivors(counts, 2, 1.0, z=1.0, most=9).tolist() == [0, 1, 3, 4]
    assert survivors(counts, 2, 1.0, z=1.0, most=3).tolist() == [0, 1, 3]
    assert survivors(counts, 9, 1.0, z=0.0, most=9).tolist() == list(range(6))
    assert best(np.array([1.0, 2.0, 2.0]), 2).tolist() == [1, 2]  # ties by prefix
    assert survivors(np.zeros(5), 2, 1.0, z=0.0, most=2).tolist() == [0, 1]


def test_auto_takes_the_fewest_levels_that_fit():
    levels = cheapest_levels(48, 40, 2**16)
    assert levels == 5
    assert 40 << -(-48 // levels) <= 2**16 < 40 << -(-48 // (levels - 1))
    assert cheapest_levels(1, 1, 2) == 1


@given(st.text("abcdefghijklmnopqrstuvwxyz", max_size=9))
def test_text_over_the_alphabet_comes_back(word):
    words = FixedText(9)
    assert words.bits == 45
    assert words.decode(words.encode([word])) == [word]


def test_text_beyond_the_alphabet_has_no_code_and_codes_of_no_text_are_none():
    words = FixedText(3, "ab")
    codes = words.encode(["abba", "é", "b", ""])
    assert codes[1] == UNKNOWN
    assert words.decode(codes[[0, 2, 3]]) == ["abb", "b", ""]
    assert words.decode(np.array([0b000100, 0b110000], np.uint64)) == [None, None]


def test_hashed_items_are_read_by_the_dictionary_only():
    names = HashedItems(["tea", "coffee"])
    codes = names.encode(["coffee", "tea", "milk"])
    assert names.decode(codes) == ["coffee", "tea", None]
    assert codes.max() < 2**48
    assert codes.tolist() == HashedItems([]).encode(["coffee", "tea", "milk"]).tolist()


def test_integers_out_of_range_are_reported_like_anything_unasked():
    codes = Integers(8).encode(np.array([0, 255, 256, -1]))
    assert codes.tolist() == [0, 255, int(UNKNOWN), int(UNKNOWN)]


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: FixedText(13), "length"),
        (lambda: FixedText(0), "length"),
        (lambda: FixedText(3, "aa"), "alphabet"),
        (lambda: FixedText(3, ""), "alphabet"),
        (lambda: HashedItems([], bits=61), "bits"),
        (lambda: HashedItems([3]), "items"),
        (lambda: FixedText(3).encode([1]), "items"),
        (lambda: Integers(8).encode([0.5]), "items"),
        (lambda: Integers(8).encode([float("nan")]), "items"),
        (lambda: Integers(8).encode([[1]]), "items"),
    ],
)
def test_bad_encoders_and_items_are_refused_by_name(make, name):
    with pytest.raises(InvalidData, match=name):
        make()
