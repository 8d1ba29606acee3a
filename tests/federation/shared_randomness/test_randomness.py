"""Directions: alike on every machine, different at every address."""

import secrets

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.federation.shared_randomness import Directions, official_seed
from sfumato.federation.shared_randomness.randomness import BLOCK, fingerprint, normal_quantiles

SEED = "5f" * 32


def test_any_number_of_threads_draws_the_same():
    size = 3 * BLOCK + 17
    alone = Directions(SEED).draw(4, 1, 2, size)
    for threads in (2, 3):
        assert Directions(SEED, threads).draw(4, 1, 2, size).tobytes() == alone.tobytes()


def test_a_shorter_direction_is_the_beginning_of_a_longer_one():
    """So z of a parameter does not depend on what comes after it."""
    long = Directions(SEED).draw(0, 0, 0, 2 * BLOCK)
    assert (Directions(SEED).draw(0, 0, 0, BLOCK + 5) == long[: BLOCK + 5]).all()


@pytest.mark.slow
def test_a_million_keys_are_distinct():
    directions = Directions(SEED)
    seen = {directions.key(t, u, j) for t in range(100) for u in range(100) for j in range(100)}
    assert len(seen) == 1_000_000


def test_the_published_seeds_collide_and_ours_do_not():
    assert official_seed(1, 1, 23) == official_seed(10, 12, 3) == 10000123
    assert official_seed(1, 100_000, 7) == official_seed(11, 0, 7)  # six digits overflow the padding
    ours = Directions(SEED)
    assert ours.key(1, 0, 1) != ours.key(10, 0, 12)
    assert ours.key(1, 0, 100_000) != ours.key(11, 0, 0)


def test_neighbouring_addresses_share_no_numbers():
    """A counter that ran into the next one's stretch would: then two of them had a run of eight numbers in common."""

    def runs(*address):
        numbers = Directions(SEED).draw(*address, 2 * BLOCK)
        return {numbers[i : i + 8].tobytes() for i in range(len(numbers) - 7)}

    base = runs(1, 1, 1)
    assert len(base) == 2 * BLOCK - 7
    for other in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        assert not base & runs(*other)


def test_the_numbers_are_normal():
    """Kolmogorov-Smirnov at 1e-7, on a fixed seed."""
    assert stats.kstest(Directions(SEED).draw(0, 0, 0, 100_000), "norm").pvalue > 1e-7


def test_the_values_are_symmetric_of_unit_variance_and_near_no_tie():
    """So no library's last bits decide how a quantile is rounded."""
    values = normal_quantiles().astype(np.float64)
    assert (values == -values[::-1]).all()
    assert (np.diff(values) >= 0).all()
    assert 0.9999 < np.mean(values**2) < 1
    exact = stats.norm.ppf((np.arange(1 << 16) + 0.5) / (1 << 16)) * 4096
    assert np.abs(np.rint(exact) - exact).max() < 0.5 - 1e-5
    assert np.abs(values * 4096 - exact).max() < 0.5


def test_moves_in_blocks_are_moves_of_the_whole():
    """The cache is used, and the order of the moves of each weight is kept, to the last bit."""
    moves = [((t, u, 3), 0.1 * t - u) for t in range(4) for u in range(3)]
    weights = np.random.default_rng(0).normal(size=2 * BLOCK + 5).astype(np.float32)
    one = weights.copy()
    for address, length in moves:
        z = Directions(SEED).draw(*address, size=len(weights))
        z *= np.float32(length)
        one -= z
    for threads in (1, 2):
        found = weights.copy()
        Directions(SEED, threads).subtract(found, moves)
        assert found.tobytes() == one.tobytes()


def test_the_stream_is_that_of_the_standard():
    """RFC 8439's block function by hand: a direction's second block begins with its keystream at counter 0, nonce 1."""
    key = Directions(SEED).key(0, 0, 0)
    words = (*_words(b"expand 32-byte k"), *_words(key), 0, 1, 0, 0)
    x = list(words)
    for _ in range(10):
        for a, b, c, d in QUARTERS:
            for (p, q, r), shift in zip(((a, b, d), (c, d, b)) * 2, (16, 12, 8, 7), strict=True):
                x[p] = (x[p] + x[q]) % 2**32
                x[r] ^= x[p]
                x[r] = (x[r] << shift | x[r] >> 32 - shift) % 2**32
    stream = b"".join(((a + b) % 2**32).to_bytes(4, "little") for a, b in zip(x, words, strict=True))
    expected = normal_quantiles()[np.frombuffer(stream, "<u2")]
    assert (Directions(SEED).draw(0, 0, 0, BLOCK + 32)[BLOCK:] == expected).all()


QUARTERS = [
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
]  # fmt: skip


def _words(text):
    return np.frombuffer(text, "<u4").tolist()


def test_a_changed_generator_is_noticed():
    """If this fails directions are others than before, and old logs do not replay: change the generator's name."""
    assert fingerprint() == "d6c015e1b07a86e0"


@pytest.mark.parametrize("seed", ["", 3, "5F" * 32, "5f" * 31])
def test_a_seed_is_64_digits(seed):
    with pytest.raises(InvalidData, match="run_seed"):
        Directions(seed)


def test_bad_addresses_and_threads():
    with pytest.raises(InvalidData, match="must fit 64 bits"):
        Directions(SEED).key(-1, 0, 0)
    with pytest.raises(InvalidData, match="threads"):
        Directions(SEED, 0)
    assert Directions(secrets.token_hex(32)).draw(0, 0, 0, 0).shape == (0,)
    assert np.isfinite(Directions(SEED).draw(0, 0, 0, 10)).all()
