"""Directions: alike on every machine, different at every address."""

import secrets

import numpy as np
import pytest
from scipy import stats

from sfumato.errors import InvalidData
from sfumato.federation.shared_randomness import Directions, official_seed
from sfumato.federation.shared_randomness.randomness import BLOCK, fingerprint

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
def test_a_million_addresses_are_distinct():
    directions = Directions(SEED)
    seen = {directions.address(t, u, j) for t in range(100) for u in range(100) for j in range(100)}
    assert len(seen) == 1_000_000


def test_the_published_seeds_collide_and_ours_do_not():
    assert official_seed(1, 1, 23) == official_seed(10, 12, 3) == 10000123
    assert official_seed(1, 100_000, 7) == official_seed(11, 0, 7)  # six digits overflow the padding
    ours = Directions(SEED)
    assert ours.address(1, 0, 1) != ours.address(10, 0, 12)
    assert ours.address(1, 0, 100_000) != ours.address(11, 0, 0)


def test_neighbouring_addresses_share_no_numbers():
    """A counter that ran into the next one's stretch would."""
    base = set(Directions(SEED).draw(1, 1, 1, 4096).tolist())
    for other in ((2, 1, 1), (1, 2, 1), (1, 1, 2)):
        assert len(base & set(Directions(SEED).draw(*other, 4096).tolist())) < 64  # single precision repeats a few


def test_the_numbers_are_normal():
    """Kolmogorov-Smirnov at 1e-7, on a fixed seed."""
    assert stats.kstest(Directions(SEED).draw(0, 0, 0, 100_000), "norm").pvalue > 1e-7


def test_a_changed_generator_is_noticed():
    """If this fails NumPy draws differently than before: old logs do not replay with it. Raise the generator's name."""
    assert fingerprint() == "190963f81feb1a49"


@pytest.mark.parametrize("seed", ["", 3, "5F" * 32, "5f" * 31])
def test_a_seed_is_64_digits(seed):
    with pytest.raises(InvalidData, match="run_seed"):
        Directions(seed)


def test_bad_addresses_and_threads():
    with pytest.raises(InvalidData, match="must fit 64 bits"):
        Directions(SEED).address(-1, 0, 0)
    with pytest.raises(InvalidData, match="threads"):
        Directions(SEED, 0)
    assert Directions(secrets.token_hex(32)).draw(0, 0, 0, 0).shape == (0,)
    assert np.isfinite(Directions(SEED).draw(0, 0, 0, 10)).all()
