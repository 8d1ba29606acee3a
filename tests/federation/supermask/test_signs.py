"""Bits on the wire: exact lengths, round trips, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.supermask import pack_signs, unpack_signs
from sfumato.federation.supermask.signs import pack_counts, unpack_counts


@given(st.lists(st.sampled_from([-1, 1]), max_size=70))
def test_signs_come_back_from_a_bit_each(signs):
    data = pack_signs(np.array(signs, np.int8))
    assert len(data) == -(-len(signs) // 8)
    back = unpack_signs(data, len(signs))
    assert back.dtype == np.int8
    assert back.tolist() == signs


@given(st.integers(1, 300), st.data())
def test_counts_come_back_from_the_bits_they_need(most, data):
    counts = data.draw(st.lists(st.integers(0, most), max_size=40))
    packed = pack_counts(np.array(counts, np.int64), most)
    assert len(packed) == -(-len(counts) * int(np.ceil(np.log2(most + 1))) // 8)
    assert unpack_counts(packed, len(counts), most).tolist() == counts


@pytest.mark.parametrize("signs", [[0, 1], [2], [[1, -1]], [1.5], [np.nan]])
def test_nothing_else_is_a_sign(signs):
    with pytest.raises(InvalidData, match="-1 and"):
        pack_signs(signs)


@pytest.mark.parametrize("data", [b"", b"\x80\x00\x00", b"\x80\x01", b"\xff\xff", "text", None])
def test_a_wrong_length_or_bits_in_the_padding_are_refused(data):
    with pytest.raises(ProtocolError, match=r"bytes|zeros"):
        unpack_signs(data, 10)


def test_counts_out_of_range_are_refused_on_both_ways():
    with pytest.raises(InvalidData, match=r"0 \.\. 2"):
        pack_counts([3], 2)
    with pytest.raises(ProtocolError, match="at most 2"):
        unpack_counts(b"\xc0", 1, 2)
