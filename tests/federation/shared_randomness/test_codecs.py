"""One byte a scalar: what it keeps, what it loses, and what it refuses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.shared_randomness import Codec, decode_log8, encode_log8

ALL = bytes(range(256))


@pytest.mark.parametrize("name", ["log8", "int8"])
@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_all_256_bytes_come_back(name, rounding):
    codec = Codec(name, rounding)
    assert codec.encode(codec.decode(ALL, 256)) == ALL


def test_the_signs_and_the_floats_come_back():
    assert Codec("sign").encode(Codec("sign").decode(ALL, 2048)) == ALL
    floats = np.random.default_rng(0).normal(size=50).astype(np.float32)
    assert (Codec("f32").decode(Codec("f32").encode(floats), 50) == floats).all()


@given(st.floats(2.14e-3, 116.5), st.sampled_from([-1, 1]))
def test_the_relative_error_of_log8_is_at_most_4_4_percent(size, sign):
    assert abs(decode_log8(encode_log8(sign * size)) / (sign * size) - 1) <= 0.044


@given(st.lists(st.floats(-200, 200), min_size=2, max_size=2))
def test_log8_is_monotone(pair):
    low, high = sorted(pair)
    assert decode_log8(encode_log8(low)) <= decode_log8(encode_log8(high))


def test_levels_are_those_of_the_formula():
    values = Codec().decode(bytes(range(1, 128)), 127)
    np.testing.assert_allclose(values, 2 ** ((np.arange(1, 128) - 72) / 8), rtol=4e-16)
    assert decode_log8(0) == 0


@pytest.mark.parametrize("name", ["log8", "int8"])
@pytest.mark.parametrize("g", [0.0007, -0.0031, 0.4, -3.3, 55.5, 0.0])
def test_stochastic_rounding_is_right_on_average(name, g):
    """z-test; a correct codec fails with probability 1e-7, times 12."""
    codec, n = Codec(name, "stochastic", scale=60.0), 40_000
    decoded = codec.decode(codec.encode(np.full(n, g), np.random.default_rng(1)), n)
    error = decoded.std() / np.sqrt(n)
    assert abs(decoded.mean() - g) <= stats.norm.isf(0.5e-7) * error + 1e-12
    assert len(set(decoded)) <= 2


def test_nearest_is_biased_where_stochastic_is_not():
    """The test above can fail."""
    assert abs(decode_log8(encode_log8(0.4)) - 0.4) > 1e-3


@pytest.mark.parametrize("name", ["log8", "int8", "f32"])
def test_what_is_not_finite_is_skipped(name):
    codec = Codec(name)
    assert np.isnan(codec.decode(codec.encode([np.nan, np.inf, -np.inf]), 3)).all()
    if name != "f32":
        assert codec.encode([np.nan]) == b"\x80"


def test_a_sign_that_is_not_known_is_a_coin():
    """A fair coin lands outside with probability below 1e-6."""
    signs = Codec("sign").decode(Codec("sign").encode(np.full(10_000, np.nan), np.random.default_rng(0)), 10_000)
    assert abs(signs.sum()) < 500


@pytest.mark.parametrize("name", ["log8", "int8"])
def test_what_is_too_large_is_cut_off(name):
    codec = Codec(name)
    assert codec.decode(codec.encode([1e9, -1e9]), 2).tolist() == [codec.largest, -codec.largest]


@pytest.mark.parametrize("name", ["log8", "int8", "sign", "f32"])
def test_a_wrong_length_is_refused(name):
    with pytest.raises(ProtocolError, match=r"take .* bytes, got 0"):
        Codec(name).decode(b"", 3)


def test_bits_that_no_encoder_sets_are_refused():
    with pytest.raises(ProtocolError, match="fill up"):
        Codec("sign").decode(b"\xff", 3)
    with pytest.raises(ProtocolError, match="infinite"):
        Codec("f32").decode(np.array([np.inf], "<f4").tobytes(), 1)


def test_bad_parameters_are_named():
    for change in ({"name": "log9"}, {"rounding": "up"}, {"scale": 0.0}, {"name": "sign", "rounding": "stochastic"}):
        with pytest.raises(InvalidData):
            Codec(**change)
    with pytest.raises(InvalidData, match="one dimension"):
        Codec().encode(3.0)
    with pytest.raises(InvalidData, match=r"0 \.\. 255"):
        decode_log8(256)
