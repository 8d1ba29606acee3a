"""Propose, test, release: a mean with little noise, or none at all where the data are not stable.

For analysts who know a spread but no range, and may get no answer. Dwork and Lei 2009; the distance to instability is
exact by the reach of an interquantile range.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ApproxDP, PureDP
from sfumato.privacy.release import Release
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.grids import Floats, Integers, Line
from sfumato.statistics.robust.reach import InterquantileRange, LStatistic, trimmed_mean
from sfumato.statistics.robust.transform import Drawn, Need, PrivateLocation, public_ends

#: Share of ε for the test.
SHARE_FOR_TEST = 0.25

_SPREAD = 4  # of the records that are kept, in scales: the proposal
_FAR = 2**54  # resolutions to the end of the line, over the number of records
_LARGEST = 2**62
_SURE = 40.0  # a data set that far above the threshold, in scales of the noise, passes


@dataclass(frozen=True)
class StabilityTest:
    """The public part of a test of a trimmed mean: see `ProposeTestRelease`.

    Attributes
    ----------
    epsilon, delta : float
        Of the test alone.
    statistic : LStatistic
        A trimmed mean.
    """

    epsilon: float
    delta: float
    statistic: LStatistic

    @property
    def threshold(self) -> int:
        """Least T with P(noise ≥ T) = q^T / (1 + q) ≤ δ, where q = exp(-ε); one more against rounding."""
        return 1 + math.ceil((-math.log(self.delta) - math.log1p(math.exp(-self.epsilon))) / self.epsilon)

    @property
    def enough(self) -> int:
        """A distance beyond which all count alike."""
        return self.threshold + math.ceil(_SURE / self.epsilon)

    def distance(self, x: Integers, radius: int, proposal: int) -> int:
        """Records to replace until one more moves the sum of the kept ones by more than the proposal; at most `enough`.

        Parameters
        ----------
        x : ndarray of int64, shape (n,)
            Sorted, in -radius .. radius.
        radius, proposal : int
            In cells.
        """
        ((start, stop, _),) = self.statistic.runs
        levels = min(self.enough, len(x))
        ranges = (InterquantileRange(len(x), start - down, stop - down) for down in (0, 1))
        widest = np.max([each.reach(x, radius, levels)[1] for each in ranges], axis=0)
        beyond = np.flatnonzero(widest > proposal)
        return int(beyond[0]) if beyond.size else self.enough


@dataclass(eq=False, repr=False)
class ProposeTestRelease(PrivateLocation):
    """Trimmed mean with noise for a proposed spread, if the data pass a private test that they are stably within it.

    (ε, δ)-differential privacy. The noise is some four scales over the kept records and ε, whatever the range is, and
    none needs to be known. Data that fail the test, because the records spread more widely or a few more could make
    them, have no answer: the estimate is NaN, and was paid for.

    Parameters
    ----------
    epsilon : float, default 1.0
        A quarter tests, the rest releases.
    bounds : (lower, upper), optional
        The public range of a record, if there is one. By default far beyond what counts, see Notes.
    scale : float
        A public guess of the records' spread. Proposed is that the kept records lie within four of it.
    delta : float
        Probability that an unstable data set passes.
    trim : int or "auto"
        Records dropped on each side, at least 1; "auto" is a quarter of them.
    resolution, missing, noise_seed
        See `DPTrimmedMean`.

    Attributes
    ----------
    estimate_ : float, or ndarray of float, shape (d,)
        NaN where the test failed.
    claim_ : Claim
    corruptions_ : int
        Replaced records that must leave the data stable for the test to pass.
    n_features_in_ : int

    Notes
    -----
    Let f be the mean of n records without the h smallest and largest, and LS(y) the most that one replaced record
    moves f(y). As f grows in every record, the worst is the smallest record moved to the upper bound, or the largest to
    the lower one: (n - 2h) LS(y) is the larger of y_(n-h+1) - y_(h+1) and y_(n-h) - y_(h). So the distance g(x) from x
    to the nearest y with LS(y) > b, in replaced records, is the first k at which the reach of either of two
    interquantile ranges exceeds (n - 2h) b: exactly, by `InterquantileRange`. A replaced record moves a distance to a
    fixed set by at most 1.

    Released is whether g(x) plus discrete Laplace noise of scale 1/ε₁ comes to a threshold T, and if so f(x) plus
    discrete Laplace noise of scale b/ε₂ on a public grid. Let x and x' differ in one record. If f moves by at most b,
    both draws are protected: ε₁ + ε₂. Otherwise both have LS > b, g(x) = g(x') = 0, and T is such that either passes
    with probability at most δ; a failure looks the same. So the whole is (ε₁ + ε₂, δ)-DP (Dwork and Lei 2009).

    A heuristic distance, an upper bound by a search, would void this; so other statistics are not offered. Card and
    paper speak of the exponential mechanism within the points of short path length instead of noise; the widths of
    those sets at two neighbours have no bound without the same test, and noise is what the test makes safe.

    Without bounds records are clipped, one by one, at 2^54 / n resolutions from 0.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import ProposeTestRelease
    >>> x = np.random.default_rng(0).normal(1e9, 10, 5000)
    >>> mean = ProposeTestRelease(epsilon=1.0, scale=10, delta=1e-6).fit(x)
    >>> bool(abs(mean.estimate_ - 1e9) < 2)
    True
    """

    trim: int | Literal["auto"] = "auto"

    def _columns(self, records: Floats, bound: PureDP | ApproxDP) -> tuple[Need, list[Drawn]]:
        assert isinstance(bound, ApproxDP)
        n, d = records.shape
        share = ApproxDP(bound.epsilon / d, bound.delta / d)
        test = StabilityTest(share.epsilon * SHARE_FOR_TEST, share.delta, self._statistic(n, 0))
        scale, far = checks.positive("scale", self.scale), (self._resolution(n) or 0.0) * _FAR / n
        ends = [(-far, far)] * d if self.bounds is None else public_ends(self.bounds, d)
        lines = [Line.between(lower, upper, self._resolution(n) or 0.0, n) for lower, upper in ends]
        need = Need(n, test.statistic.breakdown, test.threshold, "be NaN", "a larger delta")
        return need, [_draw(test, line, x, scale, share) for line, x in zip(lines, records.T, strict=True)]

    def _bound(self) -> ApproxDP:
        if self.delta is None:
            raise InvalidClaim("give delta, the probability that an unstable data set passes the test")
        return checks.approximate(self.epsilon, self.delta)

    def _statistic(self, n: int, corruptions: int) -> LStatistic:
        if n < 3:
            raise InvalidData(f"a trimmed mean that drops records needs at least 3, got n_samples = {n}")
        trim = max(n // 4, 1) if isinstance(self.trim, str) and self.trim == "auto" else self.trim
        return trimmed_mean(n, checks.whole("trim", trim, 1, (n - 1) // 2))


def _draw(test: StabilityTest, line: Line, records: Floats, scale: float, share: ApproxDP) -> Drawn:
    """Everything but the draws of one column, which share ε and δ."""
    x = np.sort(line.cells(records))
    proposal = math.ceil(_SPREAD * scale / line.pitch)
    exact = proposal / (Fraction(share.epsilon) - Fraction(test.epsilon))
    if exact * 1000 >= _LARGEST:
        raise InvalidData("resolution is too fine for this scale and epsilon")
    stable = test.distance(x, line.radius, proposal)
    total = int(test.statistic.value(x) * test.statistic.divisor)

    def draw(release: Release) -> float:
        noise = release.prepaid(share)
        tested = noise.discrete_laplace([stable], l1_sensitivity=1, scale=1 / Fraction(test.epsilon))
        if tested[0] < test.threshold:
            return math.nan
        noisy = noise.discrete_laplace([total], l1_sensitivity=proposal, scale=exact)
        return line.centre + int(noisy[0]) / test.statistic.divisor * line.pitch

    return draw
