"""Choices among finitely many public candidates by a score of sensitivity 1: any, and principal directions.

For analysts whose question has no closed form. McSherry and Talwar 2007; direction scores for the PCA of Asi, Ullman
and Zakynthinou (ICML 2023), in dimensions where a net is feasible.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator

from sfumato.errors import InvalidData
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.robust import checks
from sfumato.statistics.robust.depth import direction_depth
from sfumato.statistics.robust.grids import Floats, Integers
from sfumato.statistics.robust.nets import cap, half_sphere

#: Most candidates of any choice.
MOST_CANDIDATES = 50_000_000
_LARGEST_NET = 10_000  # three times as many have ranks of two bytes
#: Share of ε that finds where the fine net of directions is laid.
SHARE_FOR_CAP = 0.25


def choose_candidate(
    scores: Integers, epsilon: float, *, purpose: str, assumptions: tuple[str, ...], noise_seed: int | None
) -> tuple[int, Claim]:
    """Open a release and choose a candidate by scores of sensitivity 1 under replacement."""
    claim = Claim(
        checks.bound(epsilon), unit="person", neighbours="replace-one", assumptions=(*assumptions, checks.ONE_RECORD)
    )
    with Release(claim, purpose=purpose, seed=noise_seed) as release:
        return release.choose(scores, sensitivity=1, epsilon=epsilon), release.claim


@dataclass(eq=False, repr=False)
class FiniteRange(BaseEstimator):  # type: ignore[misc]
    """Choose among public candidates by your own score, with pure differential privacy.

    Parameters
    ----------
    epsilon : float, default 1.0
    candidates : array_like, shape (k, ...)
        Public.
    score : callable
        ``score(X, candidates)`` returns an integer for each: how many records of X speak for it. It must move by at
        most 1 for every candidate when one record is replaced. Minima and maxima of counts over families that are
        fixed in advance do; see `check_sensitivity`.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    estimate_ : ndarray
        The candidate.
    claim_ : Claim

    Notes
    -----
    Candidate i has probability proportional to exp(ε · score_i / 2), exactly. That the score has sensitivity 1 is an
    assumption of the claim: nobody but its author can prove it.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import FiniteRange
    >>> votes = np.repeat([0, 1, 2], [5, 90, 5])
    >>> def count(x, candidates):
    ...     return (x[:, None] == candidates).sum(axis=0)
    >>> int(FiniteRange(1.0, candidates=[0, 1, 2], score=count).fit(votes).estimate_)
    1
    """

    epsilon: float = 1.0
    _: KW_ONLY
    candidates: Any = None
    score: Callable[[Any, Any], Any] | None = None
    noise_seed: int | None = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose. A second fit spends again.

        Parameters
        ----------
        X : object
            Whatever `score` takes.
        y : None
            Ignored.

        Raises
        ------
        InvalidData
            If there are no candidates, or the score is not one integer for each; nothing is spent.
        InvalidClaim, BudgetExceeded
            As `DPTrimmedMean.fit`.
        """
        checks.bound(self.epsilon)
        candidates = np.asarray(self.candidates)
        if self.candidates is None or candidates.ndim < 1 or not 0 < len(candidates) <= MOST_CANDIDATES:
            raise InvalidData(f"candidates must be a sequence of 1 to {MOST_CANDIDATES} public candidates")
        if not callable(self.score):
            raise InvalidData("score must be a callable, from records and candidates to integers")
        scores = np.asarray(self.score(X, candidates))
        if scores.dtype.kind not in "iu" or scores.shape != (len(candidates),):
            raise InvalidData("score must return one integer for each candidate")
        stated = ("the candidates are public", "a replaced record moves each score by at most 1, as its author proves")
        chosen, self.claim_ = choose_candidate(
            scores,
            self.epsilon,
            purpose=f"choice among {len(candidates)} candidates",
            assumptions=stated,
            noise_seed=checks.seed(self.noise_seed),
        )
        self.estimate_ = candidates[chosen]
        return self


@dataclass(eq=False, repr=False)
class DPPrincipalDirection(BaseEstimator):  # type: ignore[misc]
    """Direction in which most records lie, with pure differential privacy; two or three columns.

    Parameters
    ----------
    epsilon : float, default 1.0
    center : float or array_like of float, shape (d,), default 0.0
        Public.
    net_size : int, default 200
        Directions tried on the half-sphere, and then twice as many in a cap about the chosen one. In three dimensions
        neighbours are first about √(2π / net_size) = 0.18 apart, then some 0.04.
    separation : float, default 0.8
        Rivals of a direction are those at a cosine of at most this. Near ones tell small tilts better; with 1 a
        direction's neighbours decide by chance.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    components_ : ndarray of float, shape (1, d)
        Unit vector; its sign means nothing.
    claim_ : Claim
    n_features_in_ : int

    Notes
    -----
    The score of a direction is its `direction_depth`, of sensitivity 1, with rivals on the first net. A quarter of
    epsilon chooses on that net, the rest in a cap about the choice: a public one by then, so both add up to epsilon.
    The cap's angle, twice the pitch of the net and the share of the records that the first choice may miss by, depends
    on public numbers only. Records need no bounds: who lies where counts, not how far out.
    More columns would need nets of exponential size: the transformation is not efficient in high dimension.

    Examples
    --------
    >>> import numpy as np
    >>> from sfumato.statistics.robust import DPPrincipalDirection
    >>> x = np.random.default_rng(0).normal(size=(1000, 2)) * [5, 1]
    >>> first = DPPrincipalDirection(1.0, net_size=90).fit(x).components_[0]
    >>> bool(abs(first[0]) > 0.9)
    True
    """

    epsilon: float = 1.0
    _: KW_ONLY
    center: Any = 0.0
    net_size: int = 200
    separation: float = 0.8
    noise_seed: int | None = None

    def fit(self, X: Any, y: Any = None) -> Self:
        """Choose a direction. A second fit spends again.

        Parameters
        ----------
        X : array_like of float, shape (n, 2) or (n, 3)
        y : None
            Ignored.

        Raises
        ------
        InvalidData
            On bad data or parameters, before anything is spent.
        InvalidClaim, BudgetExceeded
            As `DPTrimmedMean.fit`.
        """
        checks.bound(self.epsilon)
        seed = checks.seed(self.noise_seed)
        size = checks.whole("net_size", self.net_size, 8, _LARGEST_NET)
        if not checks.number(self.separation) or not 0 < self.separation < 1:
            raise InvalidData("separation must be in (0, 1)")
        records = checks.matrix(self, X)
        d = records.shape[1]
        if not 2 <= d <= 3:
            raise InvalidData(f"principal directions are offered for 2 or 3 columns, got n_features = {d}")
        with np.errstate(over="ignore"):  # a warning would depend on the data
            centred = records - self._center(d)
        claim = Claim(
            checks.bound(self.epsilon),
            unit="person",
            neighbours="replace-one",
            assumptions=("the centre and the number of records are public", checks.ONE_RECORD),
        )
        with Release(claim, f"principal direction among {size}, twice", seed=seed) as release:
            self.components_ = self._direction(release, centred, half_sphere(d, size))[np.newaxis]
        self.claim_ = release.claim
        return self

    def _direction(self, release: Release, centred: Floats, net: Floats) -> Floats:
        (size, d), coarse = net.shape, float(self.epsilon) * SHARE_FOR_CAP
        found = net[release.choose(direction_depth(centred, net, net, self.separation), sensitivity=1, epsilon=coarse)]
        pitch = math.pi / size if d == 2 else math.sqrt(2 * math.pi / size)
        missed = 2 / coarse * math.log(size) / len(centred)
        near = cap(found, min(2 * pitch + missed, math.pi / 2), 2 * size)
        scores = direction_depth(centred, near, net, self.separation)
        return np.asarray(near[release.choose(scores, sensitivity=1, epsilon=float(self.epsilon) - coarse)])

    def _center(self, d: int) -> Floats:
        try:
            center = np.broadcast_to(np.asarray(self.center, np.float64), (d,))
        except (ValueError, TypeError):
            raise InvalidData(f"center must be a number or {d} numbers") from None
        if not np.isfinite(center).all():
            raise InvalidData("center must be finite")
        return center

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.noise_seed is None
        return tags
