"""PrivateDistanceSum: how far a point is from all people of a private data set, for any number of points.

For whoever scores or selects data by closeness to people. After Backurs, Lin, Mahabadi, Silwal and Tarnawski,
"Efficiently Computing Similarities to Private Datasets" (ICLR 2024, arXiv 2403.08917).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.statistics.similarity import tree
from sfumato.statistics.similarity.chunks import InChunks
from sfumato.statistics.similarity.projection import Directions, draw_directions
from sfumato.statistics.similarity.rows import BALL, BOX, Floats, Integers, in_ball, in_box, largest_l1, read_rows
from sfumato.statistics.similarity.spending import Noise, Part, Plan, Terms, positive, read_terms, whole

Metric: TypeAlias = Literal["l1", "l2", "sqeuclidean"]

ONE_ROW = ("each person has exactly one row",)

MOST_LEVELS = 26
MOST_BYTES = 4 * 2**30


@dataclass(frozen=True)
class Moments:
    """Noisy sums of x/C, shape (d,), and of ‖x‖²/C²."""

    sums: Floats
    squares: float


@dataclass(frozen=True)
class _Sums:
    """Exact sums so far: levels of trees, or of rows and of their squares; and the plan for their noise."""

    terms: Terms
    plan: Plan
    said: str
    exact: list[Integers]
    n: int = 0


class PrivateDistanceSum(InChunks, BaseEstimator):  # type: ignore[misc]
    """Σ d(x, y) over the people x of a private data set, for any y, from one private release.

    Whatever is asked afterwards is computed from the release: it costs nothing, and the same question has the same
    answer, so that asking again and averaging tells nothing.

    *Metric "l1"*, on a public box. Each coordinate is a dyadic tree; at each level a person is in one node
    [a, a + w) and is split between its ends, a share (a + w - x)/w for the left and (x - a)/w for the right one. A
    query takes, at each level, the sibling of its own node: all people there are on one side of y, so the two
    entries give their distances exactly. Only those in y's own leaf are left out, each within R/2^levels. *Neighbours
    add-remove*: a person changes each level by two non-negative numbers of sum 1, so by 1 in L1 and at most 1 in L2;
    shares are whole multiples of w/2^(30 - level), so that this holds exactly for what is released. *Neighbours
    replace-one*: 2 and √2. The budget of a level shrinks with its width (as w^(2/3) for Laplace, w for Gaussian noise,
    which is optimal), and the error is O(R/ε), whatever the number of people or levels. d coordinates are d trees that
    one person all enters: d times as far in L1, √d times in L2.

    *Metric "sqeuclidean"*, on a public ball: Σ‖x - y‖² = n‖y‖² - 2⟨Σx, y⟩ + Σ‖x‖², from three noisy sums. A person
    moves Σx/C by at most 1 in L2 (√d in L1), Σ‖x‖²/C² by at most 1, and n by 1; replaced, 2 (2√d), 1 and 0.

    *Metric "l2"*, on a public ball: the mean of |⟨q, x - y⟩| over random unit vectors q is ‖x - y‖ up to a constant,
    and each q is a tree. The vectors are public and drawn without regard to the data. What is answered is within a
    factor 1 ± O(1/√directions).

    Outside points are clipped into the box or ball; points of a query may lie outside. Rows are one a person, in one
    `fit` or in chunks (`partial_fit`, then `finalize`).

    Parameters
    ----------
    metric : {"l1", "l2", "sqeuclidean"}
    epsilon : float, optional
        Pure ε-DP by Laplace noise, or with `delta` (ε, δ)-DP by whichever noise is smaller. 1.0 if neither `epsilon`
        nor `rho` is given.
    delta : float, optional
    rho : float, optional
        ρ-zCDP by Gaussian noise, instead of `epsilon`.
    low, high : float or array_like of float, shape (d,)
        The public box, for "l1". Never the smallest and largest value of the data.
    norm_bound : float
        The public radius of the ball round the origin, for "l2" and "sqeuclidean". Subtract a public centre first.
    levels : int, default 14
        Depth of the trees, at most 26.
    directions : int, default 64
        Random unit vectors for "l2".
    shares : {"geometric", "equal"}
        How levels share the budget; "equal", the usual way, is there for comparison.
    noise : {"auto", "laplace", "gaussian"}
    neighbours : {"add-remove", "replace-one"}
        With "replace-one" the number of people is public.
    random_state : int, RandomState or None
        Draws the directions, which are public.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    claim_ : Claim
    n_ : float
        The noisy number of people (exact for replace-one).

    Examples
    --------
    >>> from sfumato.statistics.similarity import PrivateDistanceSum
    >>> ages = [[34.0], [51.0], [29.0]]
    >>> fitted = PrivateDistanceSum("l1", epsilon=1.0, low=0, high=120).fit(ages)
    >>> fitted.sum([[30.0], [90.0]]).shape
    (2,)
    """

    def __init__(
        self,
        metric: Metric = "l1",
        epsilon: float | None = None,
        *,
        delta: float | None = None,
        rho: float | None = None,
        low: ArrayLike | None = None,
        high: ArrayLike | None = None,
        norm_bound: float | None = None,
        levels: int = 14,
        directions: int = 64,
        shares: Literal["geometric", "equal"] = "geometric",
        noise: Noise | Literal["auto"] = "auto",
        neighbours: Neighbours = "add-remove",
        random_state: Any = None,
        noise_seed: int | None = None,
    ) -> None:
        self.metric = metric
        self.epsilon = epsilon
        self.delta = delta
        self.rho = rho
        self.low = low
        self.high = high
        self.norm_bound = norm_bound
        self.levels = levels
        self.directions = directions
        self.shares = shares
        self.noise = noise
        self.neighbours = neighbours
        self.random_state = random_state
        self.noise_seed = noise_seed

    def sum(self, Y: ArrayLike) -> Floats:
        """Sum of the distances of all people to each point.

        Parameters
        ----------
        Y : array_like of float, shape (q, d)

        Returns
        -------
        ndarray of float, shape (q,)
        """
        points = self._points(Y)
        if self.metric == "sqeuclidean":
            unit = points / self._radius
            cross, norms = np.zeros(len(points)), np.zeros(len(points))
            for mean, column in zip(self._moments.sums, unit.T, strict=True):  # in this order for every query
                cross += mean * column
                norms += column**2
            return np.asarray(self._radius**2 * (self.n_ * norms - 2 * cross + self._moments.squares))
        total, _, beyond = self._trees_at(points)
        return total + beyond * self.n_

    def mean(self, Y: ArrayLike) -> Floats:
        """Mean distance of the people to each point: the sum over the noisy number of people, at least 1."""
        return self.sum(Y) / max(self.n_, 1.0)

    def error_bound(self, Y: ArrayLike, beta: float = 0.05) -> Floats:
        """How far each sum may be from the truth, with probability at least 1 - beta for each point.

        It covers noise, grid and, for "l2", directions; it is computed from public parameters and the release. The
        truth is that of the clipped data.

        Parameters
        ----------
        Y : array_like of float, shape (q, d)
        beta : float
            In (0, 1).

        Returns
        -------
        ndarray of float, shape (q,)
        """
        if not 0 < beta < 1:
            raise InvalidData("beta must be in (0, 1)")
        points = self._points(Y)
        return self._squares_error(points, beta) if self.metric == "sqeuclidean" else self._tree_error(points, beta)

    # Below: how it is released

    def _check(self) -> Terms:
        if self.metric not in ("l1", "l2", "sqeuclidean"):
            raise InvalidData("metric must be l1, l2 or sqeuclidean")
        if self.shares not in ("geometric", "equal"):
            raise InvalidData('shares must be "geometric" or "equal"')
        whole("levels", self.levels, 1, MOST_LEVELS)
        whole("directions", self.directions, 1, 2**16)
        if self.metric == "l1":
            if self.low is None or self.high is None:
                raise InvalidData('low and high must be given for metric="l1": a public box, never read from the data')
        elif self.norm_bound is None:
            raise InvalidData(f'norm_bound must be given for metric="{self.metric}": public, never read from the data')
        else:
            positive("norm_bound", self.norm_bound)
        return read_terms(self.get_params(deep=False))

    def _begin(self, d: int) -> _Sums:
        terms = self._check()
        if self.metric == "sqeuclidean":
            return self._begin_squares(terms, d)
        if self.metric == "l1":
            low, width = _box(self.low, self.high, d)
            self._directions: Directions | None = None
            trees, self._low, self._scales = d, low, width
            said = "the box is public"
        else:
            self._directions = draw_directions(d, self.directions, check_random_state(self.random_state))
            self._radius = positive("norm_bound", self.norm_bound)
            reach = self._radius * self._directions.reach
            trees = self._directions.count
            self._low, self._scales = np.full(trees, -reach), np.full(trees, 2 * reach)
            said = "the norm bound is public, and the directions were drawn without regard to the data"
        if (size := tree.memory(self.levels, trees)) > MOST_BYTES:
            raise InvalidData(f"levels={self.levels} with {trees} trees needs {size:,} bytes: use fewer")
        plan = terms.plan(
            tree.parts(self.levels, trees, terms.replaced), [1.0] * self.levels if self.shares == "equal" else None
        )
        return _Sums(terms, plan, said, tree.split_people(np.empty((0, trees), np.int64), self.levels))

    def _begin_squares(self, terms: Terms, d: int) -> _Sums:
        self._radius = positive("norm_bound", self.norm_bound)
        l1, l2 = (2, 2) if terms.replaced else (1, 1)
        # in units of 1/BALL, at a query on the sphere; replaced, ‖x‖² stays in [0, C²] and n is public
        parts = [Part(l1 * largest_l1(d), l2 * BALL, 4 / BALL**2), Part(BALL, BALL, 1 / BALL**2)]
        plan = terms.plan(parts if terms.replaced else [*parts, Part(1, 1.0)])
        return _Sums(terms, plan, "the norm bound is public", [np.zeros(d, np.int64), np.zeros(1, np.int64)])

    def _added(self, sums: _Sums, rows: Floats, y: Any) -> _Sums:
        if self.metric == "sqeuclidean":
            steps = in_ball(rows, self._radius)
            norms = (steps * steps).sum(axis=1) // BALL
            more = [steps.sum(axis=0), norms.sum(keepdims=True)]
        else:
            places = rows
            if self._directions is not None:
                places = self._radius * self._directions.project(in_ball(rows, self._radius).astype(np.float64))
            more = tree.split_people(in_box(places, self._low, self._scales), self.levels)
        exact = [total + each for total, each in zip(sums.exact, more, strict=True)]
        return replace(sums, exact=exact, n=sums.n + len(rows))

    def _release(self, sums: _Sums) -> None:
        terms, plan = sums.terms, sums.plan
        counted = self.metric == "sqeuclidean" and not terms.replaced
        with terms.open(f"sums of {self.metric} distances", [sums.said, *ONE_ROW]) as release:
            noisy = [plan.draw(release, i, each) for i, each in enumerate(sums.exact)]
            n = int(plan.draw(release, len(noisy), np.array([sums.n]))[0]) if counted else sums.n
        self._plan, self._replaced = plan, terms.replaced
        if self.metric == "sqeuclidean":
            self._moments = Moments(noisy[0] / BALL, float(noisy[1][0]) / BALL)
            self.n_ = float(n)
        else:
            self._lines = tree.lines(noisy)
            # each tree counts everybody once more
            self.n_ = float(n) if terms.replaced else float(self._lines.total.mean())
        self.claim_ = release.claim

    # Below: how it is asked

    def _points(self, Y: ArrayLike) -> Floats:
        check_is_fitted(self, "claim_")
        return read_rows(self, Y, reset=False)

    def _places(self, points: Floats) -> Floats:
        """Coordinates of points of a query on the trees, shape (q, trees)."""
        if self._directions is None:
            return points
        return self._radius * self._directions.project(np.rint(points / self._radius * BALL))

    def _factor(self) -> float:
        return 1.0 if self._directions is None else self._directions.factor

    def _trees_at(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Sum of distances within the box, of people in the same leaves (times their width), and what lies outside."""
        places = (self._places(points) - self._low) / self._scales
        beyond = np.abs(places - np.clip(places, 0.0, 1.0))
        total, close, outside = np.zeros(len(points)), np.zeros(len(points)), np.zeros(len(points))
        for scale, gap, (line, near) in zip(self._scales, beyond.T, self._lines.distances(places), strict=True):
            total += scale * line
            close += scale * near
            outside += scale * gap
        factor = self._factor()
        return factor * total, factor * close / 2**self.levels, factor * outside

    def _tree_error(self, points: Floats, beta: float) -> Floats:
        total, close, outside = self._trees_at(points)
        scales = self._factor() * self._scales
        widths = [self._plan.width(i) for i in range(self.levels)]
        share = beta / 4
        noise = self._plan.tail(*tree.noise_of_answer(widths, scales), share)
        # the leaf's two entries, in people, and the first level's four in each tree
        leaf = widths[-1] / (BOX >> self.levels) * scales / 2**self.levels
        close = np.maximum(close, 0) + self._plan.tail(2 * np.sum(leaf**2), leaf.max(), share)
        first, trees = widths[0] / (BOX >> 1), len(scales)
        unsure = 0.0 if self._replaced else self._plan.tail(4 * first**2 / trees, first / trees, share)
        grid = (max(self.n_, 0) + unsure) * scales.sum() / BOX
        bound = np.asarray(noise + close + outside * unsure + grid)
        if self._directions is None:
            return bound
        alpha = self._directions.distortion(share)
        answer = np.maximum(total + outside * self.n_, 0) + bound
        return bound + (alpha * answer / (1 - alpha) if alpha < 1 else math.inf)

    def _squares_error(self, points: Floats, beta: float) -> Floats:
        norms = np.linalg.norm(points / self._radius, axis=1)
        widths = [self._plan.width(i) / unit for i, unit in zip(range(2), (BALL, BALL), strict=True)]
        factors = [2 * norms * widths[0], np.full(len(points), widths[1])]
        if not self._replaced:
            factors.append(norms**2 * self._plan.width(2))
        squares, largest = np.sum(np.square(factors), axis=0), np.max(factors, axis=0)
        count = max(self.n_, 0) + (0 if self._replaced else self._plan.tail(self._plan.width(2) ** 2, 1.0, beta / 2))
        # rounding: half a step a coordinate, and one in the square
        grid = count * (2 * norms * math.sqrt(points.shape[1]) + 2) / BALL
        return np.asarray(self._radius**2 * (self._plan.tail(squares, largest, beta / 2) + grid))


def _box(low: Any, high: Any, d: int) -> tuple[Floats, Floats]:
    ends = []
    for name, given in (("low", low), ("high", high)):
        try:
            end = np.broadcast_to(np.asarray(given, np.float64), (d,))
        except (TypeError, ValueError):
            raise InvalidData(f"{name} must be a number, or one for each of the {d} columns") from None
        if not np.isfinite(end).all():
            raise InvalidData(f"{name} must be finite")
        ends.append(end)
    width = ends[1] - ends[0]
    if not (width > 0).all() or not np.isfinite(width).all():
        raise InvalidData("low must be below high in every column")
    return ends[0], width
