"""Keys and masks: vectors, all 256 bits of a key used, no bias."""

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import ProtocolError
from sfumato.federation.secure_sum.masks import agreed_key, mask, public_of, seal, unseal


def test_the_keystream_is_that_of_rfc_8439():
    """Appendix A.1, test vector 1."""
    first = bytes.fromhex("76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7")
    for bits in (32, 64):
        assert mask(bytes(32), 32 * 8 // bits, bits).tobytes() == first


def test_keys_agree_and_depend_on_purpose_and_run():
    a, b = bytes(range(32, 64)), bytes(range(32))
    key = agreed_key(a, public_of(b), "x", bytes(32))
    assert key == agreed_key(b, public_of(a), "x", bytes(32))
    assert len({key, agreed_key(a, public_of(b), "y", bytes(32)), agreed_key(a, public_of(b), "x", b"n" * 32)}) == 3


def test_keys_whose_32_bit_folds_agree_give_different_masks():
    """Flower 1.42's SecAgg folds the key to 32 bits before it seeds its generator, so there these two masks are one."""
    key = bytearray(range(32))
    other = bytearray(key)
    other[0] ^= 255
    other[4] ^= 255
    folds = {int(np.bitwise_xor.reduce(np.frombuffer(bytes(k), "<u4"))) for k in (key, other)}
    assert len(folds) == 1
    assert (mask(bytes(key), 100, 32) != mask(bytes(other), 100, 32)).sum() > 90


def test_every_bit_of_a_key_counts():
    keys = [bytes(32), *((1 << bit).to_bytes(32, "little") for bit in range(256))]
    assert len({mask(key, 4, 64).tobytes() for key in keys}) == 257


def test_masks_are_uniform_in_every_bit():
    """A fair generator fails with probability below 1e-6: chi-square over 256 values of each byte."""
    for bits in (32, 64):
        words = mask(b"k" * 32, 40_000, bits)
        counts = [np.bincount(words.view(np.uint8)[at :: bits // 8], minlength=256) for at in range(bits // 8)]
        assert min(stats.chisquare(count).pvalue for count in counts) > 1e-6 / len(counts)


def test_a_point_of_small_order_is_refused():
    for point in (bytes(32), b"\x01" + bytes(31)):
        with pytest.raises(ProtocolError, match="small order"):
            agreed_key(bytes(range(32)), point, "x", bytes(32))


def test_a_box_opens_with_its_key_and_header_only():
    box = seal(b"k" * 32, b"text", b"header")
    assert unseal(b"k" * 32, box, b"header") == b"text"
    assert unseal(b"l" * 32, box, b"header") is None
    assert unseal(b"k" * 32, box, b"other") is None
    assert unseal(b"k" * 32, box[:-1] + bytes([box[-1] ^ 1]), b"header") is None
