"""Shamir's sharing: vectors, the field, and what fewer shares say."""

import contextlib
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.secure_sum.shamir import PRIME, SHARE_BYTES, combine, split

secrets = st.binary(min_size=32, max_size=32)


def number(value):
    return value.to_bytes(SHARE_BYTES, "big")


def test_the_modulus_is_the_least_prime_above_2_to_the_256():
    def is_probably_prime(n):  # Miller-Rabin
        d, s = n - 1, 0
        while d % 2 == 0:
            d, s = d // 2, s + 1
        for base in (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37):
            x = pow(base, d, n)
            if x not in (1, n - 1) and all((x := x * x % n) != n - 1 for _ in range(s - 1)):
                return False
        return True

    assert [k for k in range(1, 298) if is_probably_prime(2**256 + k)] == [PRIME - 2**256]


def test_vectors_computed_by_hand():
    """5 + 7x + 11x² at 1, 2, 3, 4; and a line through (1, 0) and (2, -1), whose secret is 1."""
    values = {1: 23, 2: 63, 3: 125, 4: 209}
    for points in combinations(values, 3):
        assert combine({point: number(values[point]) for point in points}) == (5).to_bytes(32, "big")
    assert combine({1: number(0), 2: number(PRIME - 1)}) == (1).to_bytes(32, "big")


@given(secrets, st.integers(1, 6), st.data())
def test_any_threshold_shares_give_the_secret(secret, threshold, data):
    points = data.draw(st.lists(st.integers(1, 1000), min_size=threshold, max_size=8, unique=True))
    shares = split(secret, threshold, points)
    chosen = data.draw(st.permutations(points))[:threshold]
    assert combine({point: shares[point] for point in chosen}) == secret
    assert combine(shares) == secret


@given(secrets, secrets)
def test_fewer_shares_are_consistent_with_every_secret(secret, other):
    """With two of three shares, any other secret is reached by some third share in the field."""
    shares = split(secret, 3, [1, 2, 3])
    # Lagrange through (0, other), (1, s1), (2, s2), at 3
    y0, y1, y2 = (int.from_bytes(part, "big") for part in (other, shares[1], shares[2]))
    third = (y0 - 3 * y1 + 3 * y2) % PRIME
    assert combine({1: shares[1], 2: shares[2], 3: number(third)}) == other


def test_two_sharings_of_one_secret_differ():
    assert split(bytes(32), 2, [1, 2]) != split(bytes(32), 2, [1, 2])


def test_a_wrong_share_gives_another_secret_or_an_error():
    shares = split(b"s" * 32, 3, [1, 2, 3])
    for wrong in (number(0), number(PRIME - 1)):
        with contextlib.suppress(ProtocolError):
            assert combine({**shares, 2: wrong}) != b"s" * 32


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((b"short", 2, [1, 2]), "32 bytes"),
        ((bytes(32), 3, [1, 2]), "threshold"),
        ((bytes(32), 0, [1, 2]), "threshold"),
        ((bytes(32), 2, [0, 1]), "points"),
        ((bytes(32), 2, [1, 1]), "points"),
    ],
)
def test_parameters_are_checked(arguments, reason):
    with pytest.raises(InvalidData, match=reason):
        split(*arguments)


def test_shares_are_checked():
    for share in (bytes(32), bytes(34), number(PRIME)):
        with pytest.raises(ProtocolError, match="share"):
            combine({1: share})
    with pytest.raises(ProtocolError, match="one secret"):
        combine({1: number(PRIME - 1)})
