"""Exact samplers of quantisers: their laws, also where ties decide. Claims: tests/federation/quantization."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from sfumato import Claim, PureDP, Release
from sfumato.errors import ClaimViolated, InvalidClaim, InvalidData
from sfumato.privacy import quantized
from sfumato.privacy.entropy import Entropy
from sfumato.privacy.quantized import binomial_quantization, randomized_quantization

ONE = 1 << 32


class Scripted(Entropy):
    """Bits from a list, to walk the rare paths."""

    def __init__(self, uint16=(), uint32=(), integers=(), uint64=()):
        super().__init__(0)
        self.lists = {"uint16": uint16, "uint32": uint32, "uint64": uint64}
        self.integers = list(integers)

    def uint16(self, n):
        return np.full(n, self.lists["uint16"][0], np.uint16)

    def uint32(self, n):
        return np.full(n, self.lists["uint32"][0], np.uint32)

    def uint64(self, n):
        return np.full(n, self.lists["uint64"][0], np.uint64)

    def integer(self, bits):
        return self.integers.pop(0)


def exact_law(u, levels, keep):
    """Enumerate all sets of kept levels, in fractions."""
    law = [Fraction(0)] * levels
    for subset in range(1 << (levels - 2)):
        kept = [0, *(i + 1 for i in range(levels - 2) if subset >> i & 1), levels - 1]
        weight = Fraction(1)
        for i in range(levels - 2):
            weight *= keep if subset >> i & 1 else 1 - keep
        a = max(k for k in kept if k <= u)
        b = min(k for k in kept if k > u)
        law[b] += weight * (u - a) / (b - a)
        law[a] += weight * (1 - (u - a) / (b - a))
    return law


@pytest.mark.parametrize("levels", [3, 4, 9])
@pytest.mark.parametrize("keep", [Fraction(1, 4), Fraction(0.42), Fraction(9, 10)])
@pytest.mark.parametrize("place", [0.01, 0.37, 1, 1.5])
def test_reports_have_the_enumerated_law(levels, keep, place):
    """36 chi-square tests of 10^5 draws at 1e-8 each: a sound sampler fails with probability 4e-7."""
    drawn = randomized_quantization(np.full(100_000, round(place * ONE)), levels, keep, Entropy())
    law = np.array([float(p) for p in exact_law(Fraction(round(place * ONE), ONE), levels, keep)])
    counts = np.bincount(drawn, minlength=levels)
    assert counts[law == 0].sum() == 0
    assert stats.chisquare(counts[law > 0], law[law > 0] * len(drawn)).pvalue > 1e-8


def test_binomial_reports_have_the_binomial_law():
    """Three tests at 1e-8."""
    for p in (0.25, 0.5, 0.61):
        drawn = binomial_quantization(np.full(100_000, round(p * ONE)), 7, Entropy())
        law = stats.binom.pmf(np.arange(8), 7, round(p * ONE) / ONE)
        assert stats.chisquare(np.bincount(drawn, minlength=8), law * len(drawn)).pvalue > 1e-8
    assert (binomial_quantization(np.full(50, ONE), 255, Entropy()) == 255).all()
    assert (binomial_quantization(np.zeros(50, np.int64), 255, Entropy()) == 0).all()


def test_ties_of_the_first_digits_are_refined_exactly():
    """keep = 2/3: a run of 1 or more has probability 1/3 = 0.0101..., whose first 16 digits are 0x5555."""
    third = Fraction(2, 3)
    table, thresholds = quantized._table(5, third)
    assert table[0x5555] == quantized._TIE
    assert table[0x5554] == 1
    assert table[0x5556] == 0
    assert quantized._run(thresholds, 0x5555, Scripted(integers=[0x5555555555555554])) == 1
    assert quantized._run(thresholds, 0x5555, Scripted(integers=[0x5555555555555556])) == 0
    assert quantized._run(thresholds, 0x5555, Scripted(integers=[0x5555555555555555, 1])) == 1
    table, _ = quantized._table(4, Fraction(1, 2))  # thresholds 1/2 and 1/4 are decided by 16 digits
    assert (table != quantized._TIE).all()


def test_the_last_digits_of_a_share_are_a_fraction():
    """A share of 1/3: u = floor(2^32/3) leaves a third of its digit."""
    u = ONE // 3
    numerator, denominator = np.array([ONE]), np.array([3])
    for digits, expected in ((0, True), (1, False), (2, False)):
        scripted = Scripted(uint32=[u], uint64=[digits])
        assert quantized._below_ratio(numerator, denominator, scripted)[0] == expected
    assert quantized._below_ratio(numerator, denominator, Scripted(uint32=[u - 1]))[0]
    assert not quantized._below_ratio(numerator, denominator, Scripted(uint32=[u + 1]))[0]


@pytest.mark.parametrize(
    ("positions", "levels", "keep"),
    [([-1], 4, 0.5), ([3 * ONE], 4, 0.5), ([0], 2, 0.5), ([0], 257, 0.5), ([0], 4, 0.0), ([0], 4, 1.0)],
)
def test_what_has_no_law_is_refused(positions, levels, keep):
    with pytest.raises((InvalidData, InvalidClaim)):
        randomized_quantization(np.array(positions), levels, Fraction(keep), Entropy())


def test_binomial_refuses_what_has_no_law():
    for positions, trials in (([-1], 3), ([ONE + 1], 3), ([0], 0), ([0], 256)):
        with pytest.raises((InvalidData, InvalidClaim)):
            binomial_quantization(np.array(positions), trials, Entropy())


def test_they_are_drawn_in_an_open_release_and_keep_their_shape():
    with Release(Claim(PureDP(1.0), neighbours="replace-one", trust="local"), "test") as release:
        noise = release.prepaid(PureDP(1.0))
        declared = {"sensitivity": 1.0, "norm": "linf"}
        assert noise.randomized_quantization(np.zeros((2, 3), int), levels=4, keep=0.5, **declared).shape == (2, 3)
        assert noise.binomial_quantization(np.zeros((0, 3), int), trials=4, **declared).shape == (0, 3)
        with pytest.raises(InvalidData, match="integers"):
            noise.randomized_quantization([0.5], levels=4, keep=0.5, **declared)
        with pytest.raises(InvalidClaim, match="sensitivity"):
            noise.binomial_quantization([0], trials=4, sensitivity=0.0, norm="l2")
    with pytest.raises(ClaimViolated, match="inside"):
        noise.binomial_quantization([0], trials=4, **declared)


def test_random_bits_of_32():
    drawn = Entropy(1).uint32(1000)
    assert drawn.dtype == np.uint32
    assert drawn.max() > 1 << 31
