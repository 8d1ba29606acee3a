import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.data.splits import split_by_label, split_evenly
from sfumato.errors import InvalidData


@given(size=st.integers(1, 200), parties=st.integers(1, 20), seed=st.integers(0, 9))
def test_every_row_goes_to_one_party(size, parties, seed):
    if size < parties:
        with pytest.raises(InvalidData, match="cannot be dealt out"):
            split_evenly(size, parties, random_state=seed)
        return
    parts = split_evenly(size, parties, random_state=seed)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(seed=st.integers(0, 99), shards=st.integers(1, 3))
def test_a_party_sees_few_labels(seed, shards):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(10), 60))
    parts = split_by_label(labels, 10, shards=shards, random_state=seed)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(600))
    # Pieces of 60 / shards rows never cross a border between labels, which lie 60 apart.
    assert all(len(np.unique(labels[part])) <= shards for part in parts)


@pytest.mark.parametrize("bad", [{"parties": 0}, {"parties": 3, "shards": 0}, {"parties": 6, "shards": 2}])
def test_bad_arguments_are_named(bad):
    with pytest.raises(InvalidData):
        split_by_label(np.arange(10), **bad)


def test_labels_are_one_column():
    with pytest.raises(InvalidData, match="one dimension"):
        split_by_label(np.zeros((3, 2)), 2)
