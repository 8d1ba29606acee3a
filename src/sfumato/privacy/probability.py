"""Probabilities as real numbers whose binary digits can be asked for, one by one and exactly.

For the samplers in `noise`, which compare them with random bits. exp(x) of a rational x ≠ 0 is irrational, so
an enclosure that shrinks always decides its digits.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import MAX_EMAX, MIN_EMIN, ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction

_SMALLEST = 2**17

Enclosure = tuple[Fraction, Fraction]


class Probability:
    """A number in [0, 1], known by enclosures as narrow as asked for.

    Parameters
    ----------
    enclose : callable
        From a number of decimal digits to rational lower and upper ends.
    """

    def __init__(self, enclose: Callable[[int], Enclosure]) -> None:
        self._enclose = enclose
        self._floors: dict[int, int] = {}

    def floor(self, bits: int) -> int:
        """Return floor(p · 2**bits): the first `bits` binary digits."""
        if bits not in self._floors:
            self._floors[bits] = self._find_floor(bits)
        return self._floors[bits]

    def _find_floor(self, bits: int) -> int:
        digits = 20 + bits // 3
        while True:
            low, high = self._enclose(digits)
            first, last = (int(end * 2**bits // 1) for end in (low, high))
            if first == last:
                return first
            digits *= 2


def rational(p: Fraction) -> Probability:
    """Return p itself."""
    return Probability(lambda _: (p, p))


def exp_minus(x: Fraction) -> Probability:
    """Return exp(-x), for x ≥ 0."""
    if x == 0:
        return rational(Fraction(1))
    return Probability(lambda digits: enclose_exp(-x, digits))


def odds(factor: int, x: Fraction) -> Probability:
    """Return 1 / (1 + factor · exp(x))."""
    if x == 0:
        return rational(Fraction(1, 1 + factor))

    def enclose(digits: int) -> Enclosure:
        low, high = enclose_exp(x, digits)
        return 1 / (1 + factor * high), 1 / (1 + factor * low)

    return Probability(enclose)


def enclose_exp(x: Fraction, digits: int) -> Enclosure:
    """Return rational ends around exp(x), about `digits` decimal digits apart.

    `decimal` rounds quotients in the direction asked for, and exp correctly to half a unit in the last
    place, so one unit outward on either side encloses the value. Below exp(-2^17) the enclosure stays as wide as
    that: it decides every comparison but one in 2^189000.
    """
    if x < -_SMALLEST:
        return Fraction(0), enclose_exp(Fraction(-_SMALLEST), digits)[1]
    ends = []
    for rounding, outward in ((ROUND_FLOOR, Context.next_minus), (ROUND_CEILING, Context.next_plus)):
        context = Context(prec=digits, rounding=rounding, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
        quotient = context.divide(Decimal(x.numerator), Decimal(x.denominator))
        ends.append(Fraction(outward(context, context.exp(quotient))))
    return ends[0], ends[1]
