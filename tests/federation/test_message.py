"""Messages: one encoding, which bytes from anybody either are or are not."""

import contextlib
import math
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation import Message
from sfumato.federation.message import DTYPES, LIMIT

MAGIC = Message({}).to_bytes()[:8]
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_./-]{0,30}", fullmatch=True)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(
        dtype,
        npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4),
        elements={"allow_nan": False, "allow_infinity": False} if dtype.kind == "f" else None,
    )
)
values = st.one_of(
    arrays,
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.binary(max_size=40),
)
messages = st.dictionaries(names, values, max_size=6).map(Message)


@given(messages)
def test_a_message_comes_back_as_it_was(message):
    back = Message.from_bytes(message.to_bytes())
    assert back == message
    assert hash(back) == hash(message)
    assert list(back) == sorted(message)
    for name, value in message.items():
        assert type(back[name]) is type(value)
        if isinstance(value, np.ndarray):
            assert (back[name].dtype, back[name].shape) == (value.dtype, value.shape)
            assert not back[name].flags.writeable


@settings(max_examples=300)
@given(messages, st.data())
def test_changed_bytes_are_refused_or_are_the_encoding_of_what_they_say(message, data):
    """There is no second encoding of anything, so nothing can be hidden in one."""
    raw = bytearray(message.to_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = Message.from_bytes(bytes(raw))
    except ProtocolError:
        return
    assert read.to_bytes() == bytes(raw)


@given(messages, st.data())
def test_every_truncation_and_extension_is_refused(message, data):
    raw = message.to_bytes()
    with pytest.raises(ProtocolError):
        Message.from_bytes(raw[: data.draw(st.integers(0, len(raw) - 1))])
    with pytest.raises(ProtocolError, match="follow"):
        Message.from_bytes(raw + data.draw(st.binary(min_size=1, max_size=4)))


@given(st.binary(max_size=200))
def test_bytes_from_anybody_raise_one_error(raw):
    for data in (raw, MAGIC + raw):
        with contextlib.suppress(ProtocolError):
            assert Message.from_bytes(data).to_bytes() == data


def one_field(kind, body, length=None):
    size = len(body) if length is None else length
    return MAGIC + struct.pack("<I", 1) + b"\x01x" + kind + struct.pack("<Q", size) + body


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (one_field(b"b", b"abc", 2**63), "cut off"),
        (one_field(b"a", bytes([4, 1]) + struct.pack("<Q", 2**61) + b"12345678"), "shape"),
        (one_field(b"a", bytes([4, 2]) + struct.pack("<QQ", 0, 2**62)), "shape"),
        (one_field(b"a", bytes([4, 8]) + struct.pack("<8Q", 0, *[2**40] * 7)), "shape"),
        (one_field(b"a", bytes([99, 0])), "dtype"),
        (one_field(b"a", bytes([4, 9]) + struct.pack("<9Q", *[1] * 9) + bytes(8)), "dimensions"),
        (one_field(b"a", bytes([0, 1]) + struct.pack("<Q", 3) + b"\x00\x02\x01"), "booleans"),
        (one_field(b"a", bytes([11, 1]) + struct.pack("<Qd", 1, math.nan)), "'x' holds NaN"),
        (one_field(b"f", struct.pack("<d", math.inf)), "'x' is NaN or infinite"),
        (one_field(b"?", b"\x02"), "kind"),
        (one_field(b"i", b"123"), "kind"),
        (one_field(b"O", b"pickle"), "kind"),
        (one_field(b"s", b"\xff"), "UTF-8"),
        (MAGIC + struct.pack("<I", 2**32 - 1), "cut off"),
        (
            MAGIC + struct.pack("<I", 2) + (b"\x01x?" + struct.pack("<Q", 1) + b"\x00") * 2,
            "sorted",
        ),
        (b"\x80\x04pickle", "cut off|not a message"),
        (b"sfumato\x02" + bytes(4), "version"),
    ],
)
def test_a_wrong_encoding_is_refused_by_reason(raw, reason):
    with pytest.raises(ProtocolError, match=reason):
        Message.from_bytes(raw)


def test_a_message_beyond_the_limit_is_refused_before_it_is_read():
    raw = Message({"x": bytes(1000)}).to_bytes()
    with pytest.raises(ProtocolError, match="limit of 999"):
        Message.from_bytes(raw, limit=999)
    assert LIMIT == 64 * 2**20
    with pytest.raises(ProtocolError, match="bytes"):
        Message.from_bytes("text")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"x": np.array([1.0, math.nan])}, "'x' holds NaN"),
        ({"x": math.inf}, "'x' is NaN or infinite"),
        ({"x": np.float32("nan")}, "'x' is NaN or infinite"),
        ({"x": 2**63}, "64 bits"),
        ({"x": np.array([object()])}, "'x' must be an array of"),
        ({"x": np.array(["text"])}, "'x' must be an array of"),
        ({"x": np.zeros((1,) * 9)}, "dimensions"),
        ({"x": None}, "'x' must be an array, a number"),
        ({"x": [1, 2]}, "got list"),
        ({"x": "\ud800"}, "UTF-8"),
        ({"1x": 1}, "name"),
        ({"": 1}, "name"),
        ({"x\n": 1}, "name"),
        ({3: 1}, "name"),
        ([("x", 1)], "mapping"),
    ],
)
def test_what_is_no_message_is_refused_by_name(fields, reason):
    with pytest.raises(InvalidData, match=reason):
        Message(fields)


def test_layout_and_byte_order_do_not_show():
    matrix = np.arange(6.0).reshape(2, 3)
    for same in (np.asfortranarray(matrix), matrix.astype(">f8"), matrix[::-1][::-1]):
        assert Message({"m": same, "a": 1}) == Message({"a": 1, "m": matrix})
    assert Message({"m": matrix}) != Message({"m": matrix.astype(np.float32)})
    assert Message({"x": 1}) != Message({"x": True})
    assert Message({"x": 1}) != Message({"x": 1.0})
    assert Message({"x": 1}) != {"x": 1}


def test_a_repr_shows_no_values():
    assert repr(Message({"x": np.array([123.0]), "y": 456})) == "Message(x: array of float64, shape (1,), y: int)"


def test_fields_are_taken_out_checked():
    message = Message({"a": np.zeros((2, 3), np.float32), "i": 3, "f": 0.5, "s": "four", "b": b"12", "t": True})
    assert message.array("a", dtype=np.float32, shape=(2, None)).shape == (2, 3)
    assert message.integer("i", low=0, high=3) == 3
    assert message.number("f") == 0.5
    assert message.text("s", most=4) == "four"
    assert message.blob("b", length=2) == message.blob("b") == b"12"
    message.expect("a", "i", "f", "s", "b", "t")
    for wrong in (
        lambda: message.array("a", dtype=np.float64, shape=(2, 3)),
        lambda: message.array("a", dtype=np.float32, shape=(3, 2)),
        lambda: message.array("a", dtype=np.float32, shape=(6,)),
        lambda: message.array("i", dtype=np.float32, shape=()),
        lambda: message.integer("i", low=4, high=9),
        lambda: message.integer("t", low=0, high=1),
        lambda: message.number("i"),
        lambda: message.number("f", low=0.6),
        lambda: message.text("s", most=3),
        lambda: message.text("b", most=3),
        lambda: message.blob("b", length=3),
        lambda: message.blob("s"),
        lambda: message.blob("absent"),
        lambda: message.expect("a"),
    ):
        with pytest.raises(ProtocolError):
            wrong()
