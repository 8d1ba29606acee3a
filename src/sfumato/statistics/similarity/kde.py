"""PrivateKDE: kernel densities and kernel sums of a private data set, for any number of points.

For whoever scores or selects data by closeness to people. After Backurs, Lin, Mahabadi, Silwal and Tarnawski,
"Efficiently Computing Similarities to Private Datasets" (ICLR 2024, arXiv 2403.08917).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.statistics.similarity import features
from sfumato.statistics.similarity.chunks import InChunks
from sfumato.statistics.similarity.features import ONE, FourierFeatures, draw_features
from sfumato.statistics.similarity.kernels import Kernel, KernelName, kernel
from sfumato.statistics.similarity.planning import FEWEST, MOST, best_count
from sfumato.statistics.similarity.rows import Floats, Integers, read_rows
from sfumato.statistics.similarity.spending import Noise, Part, Plan, Terms, positive, read_terms, whole

SHARE_FOR_COUNT = 0.1  #: of the budget: it buys the number of people
ALPHA = 0.02  #: error of a mean similarity that "auto" lets the features cause
WIDE, PROJECTED = 1024, 128  # "auto" projects more columns than the first to the second number

FEATURES_ARE_PUBLIC = "the random frequencies were drawn without regard to the data"
BANDWIDTH_IS_PUBLIC = "the bandwidth is public: it was not chosen by looking at these data"


@dataclass(frozen=True)
class _Sums:
    """Exact sums so far; the rows themselves where the number of features awaits the noisy number of people."""

    terms: Terms
    shape: Kernel
    first: Plan  # of the count
    project: int | None
    d: int
    random: np.random.RandomState
    drawn: FourierFeatures | None
    total: Integers
    rows: tuple[Floats, ...] = ()
    n: int = 0


class PrivateKDE(InChunks, BaseEstimator):  # type: ignore[misc]
    """Kernel density estimate from one noisy sum of random Fourier features.

    Whatever is asked afterwards is computed from the release: it costs nothing, and the same question has the same
    answer to the last bit, so that asking again and averaging tells nothing.

    D public frequencies w turn a person x into D pairs (cos⟨w, x⟩, sin⟨w, x⟩), and the mean over D of the cosines of
    differences is the kernel, on average over the frequencies. The pairs are whole numbers from a public table of 2^16
    angles, and a person's angles are computed exactly, from their row alone; so *neighbours add-remove*, data sets that
    differ by one person's presence, have sums that differ by D entries of the table: by at most √D·m in L2 and D·M in
    L1, where m and M are the largest norms of an entry (1 and √2, up to the table's rounding). *Neighbours
    replace-one*: twice that, since an entry may become its opposite. Integer noise of that scale is added inside one
    `Release`. Gaussian noise moves an answer by as much for any D; Laplace noise, which pure ε needs, by √D.

    The smooth kernels "inverse" and "inverse_quadratic" take the same single sum, with a random scale for each
    frequency; the published route is a weighted sum of some 16 kernels (`exponential_sum`), each released on its own.

    Rows come in one `fit` or in chunks (`partial_fit`, then `finalize`). Chunks are summed and forgotten, except where
    Laplace noise and `n_features="auto"` make the number of features wait for the noisy number of people: they are
    kept until then.

    The bandwidth is a public parameter. One that was tuned on the same data is not paid for here, and the claim says
    so. The same holds for an encoder that made the columns: its training must be accounted for on its own.

    Parameters
    ----------
    kernel : {"gaussian", "laplacian", "exponential", "inverse", "inverse_quadratic"}
        With z = (x - y)/bandwidth: e^(-‖z‖²/2), as in scikit-learn's `KernelDensity` (the paper's σ is √2 bandwidths),
        e^(-‖z‖₁), e^(-‖z‖), 1/(1 + ‖z‖), 1/(1 + ‖z‖²).
    bandwidth : float
        Public, in the unit of the columns. Coordinates beyond 2^14 bandwidths from the origin (fewer for some kernels:
        `features_.farthest`) are clipped; subtract a public centre where that could matter.
    epsilon : float, optional
        Pure ε-DP by Laplace noise, or with `delta` (ε, δ)-DP, by Gaussian noise unless δ is below 10^-13 or so.
        1.0 if neither `epsilon` nor `rho` is given.
    delta : float, optional
    rho : float, optional
        ρ-zCDP by Gaussian noise, instead of `epsilon`.
    n_features : int or "auto"
        Number D of frequencies. "auto" takes what `choose_features` advises for the noisy number of people.
    project : int, None or "auto"
        Give each block of frequencies so many columns of a random rotation instead of all: many columns are answered
        faster, and kernels move by 0.6/project at most, on average over rotations. "auto" projects more than 1024
        columns to 128. Not for "laplacian".
    noise : {"auto", "laplace", "gaussian"}
    neighbours : {"add-remove", "replace-one"}
        With "replace-one" the number of people is public; otherwise it is bought with 10 % of the budget.
    random_state : int, RandomState or None
        Draws the frequencies, which are public.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    claim_ : Claim
    n_ : float
        The noisy number of people (exact for replace-one).
    features_ : FourierFeatures
        The public frequencies, and the projection if there is one.
    feature_sums_ : ndarray of int64, shape (2 D,)
        The release: noisy sums of cosines and sines, in units of 1/32767.

    Examples
    --------
    >>> from sfumato.statistics.similarity import PrivateKDE
    >>> kde = PrivateKDE("gaussian", bandwidth=5.0, epsilon=1.0, delta=1e-6).fit([[34.0], [51.0], [29.0]])
    >>> kde.score_samples([[30.0], [90.0]]).shape
    (2,)
    """

    def __init__(
        self,
        kernel: KernelName = "gaussian",
        bandwidth: float = 1.0,
        *,
        epsilon: float | None = None,
        delta: float | None = None,
        rho: float | None = None,
        n_features: int | Literal["auto"] = "auto",
        project: int | Literal["auto"] | None = "auto",
        noise: Noise | Literal["auto"] = "auto",
        neighbours: Neighbours = "add-remove",
        random_state: Any = None,
        noise_seed: int | None = None,
    ) -> None:
        self.kernel = kernel
        self.bandwidth = bandwidth
        self.epsilon = epsilon
        self.delta = delta
        self.rho = rho
        self.n_features = n_features
        self.project = project
        self.noise = noise
        self.neighbours = neighbours
        self.random_state = random_state
        self.noise_seed = noise_seed

    def _begin(self, d: int) -> _Sums:
        shape = kernel(self.kernel)
        positive("bandwidth", self.bandwidth)
        terms = read_terms(self.get_params(deep=False))
        given = None if self.n_features == "auto" else whole("n_features", self.n_features, 1, MOST)
        project = columns_kept(self.project, shape, d)
        first = _planned(terms, given or FEWEST)
        terms = replace(terms, asked=first.noise)
        most = best_count(0, None, ALPHA, terms.replaced, math.inf)
        _planned(terms, given or most)  # noise too wide is refused here
        if given is None and first.noise == "gaussian":
            given = most
        random = check_random_state(self.random_state)
        drawn = None if given is None else draw_features(shape, d, given, project, random)
        return _Sums(terms, shape, first, project, d, random, drawn, np.zeros(2 * (given or 0), np.int64))

    def _added(self, sums: _Sums, rows: Floats, y: Any) -> _Sums:
        n = sums.n + len(rows)
        if sums.drawn is None:
            return replace(sums, rows=(*sums.rows, rows.copy()), n=n)
        return replace(sums, total=sums.total + sums.drawn.total(sums.drawn.steps(rows, float(self.bandwidth))), n=n)

    def _release(self, sums: _Sums) -> None:
        terms, drawn, total = sums.terms, sums.drawn, sums.total
        said = [BANDWIDTH_IS_PUBLIC, FEATURES_ARE_PUBLIC, "each person has exactly one row"]
        with terms.open(f"{self.kernel} kernel sums", said) as release:
            n = sums.n if terms.replaced else int(sums.first.draw(release, 0, np.array([sums.n]))[0])
            if drawn is None:
                columns = (sums.d if sums.project is None else sums.project) + sums.shape.extra
                count = best_count(n, sums.first.amounts[-1], ALPHA, terms.replaced, columns)
                drawn = draw_features(sums.shape, sums.d, count, sums.project, sums.random)
                total = sum(
                    (drawn.total(drawn.steps(rows, float(self.bandwidth))) for rows in sums.rows),
                    start=np.zeros(2 * count, np.int64),
                )
            plan = _planned(terms, drawn.count)
            noisy = plan.draw(release, len(plan.parts) - 1, total)
        self.features_: FourierFeatures = drawn
        self.feature_sums_: Integers = noisy
        self.n_, self._plan, self.claim_ = float(n), plan, release.claim

    def density_sum(self, Y: ArrayLike) -> Floats:
        """Sum of the kernel over the people, for each point; noise may make it negative.

        Parameters
        ----------
        Y : array_like of float, shape (q, d)

        Returns
        -------
        ndarray of float, shape (q,)
        """
        steps = self._steps(Y)
        return np.asarray(self.features_.similarity(steps, self.feature_sums_[np.newaxis])[:, 0])

    def mean_similarity(self, Y: ArrayLike) -> Floats:
        """Mean of the kernel over the people: the sum over the noisy number of people, at least 1."""
        return self.density_sum(Y) / max(self.n_, 1.0)

    def score_samples(self, X: ArrayLike) -> Floats:
        """Log-density of each point, as scikit-learn's `KernelDensity.score_samples`.

        Mean similarities below one standard deviation of the noise cannot be told from none and count as that much.

        Parameters
        ----------
        X : array_like of float, shape (q, d)

        Returns
        -------
        ndarray of float, shape (q,)

        Raises
        ------
        InvalidData
            For "inverse", and for "inverse_quadratic" in more than one column: they have no integral.
        """
        check_is_fitted(self, "claim_")
        d = self.n_features_in_
        shape = kernel(self.kernel)
        if shape.log_integral is None or not math.isfinite(shape.log_integral(d)):
            raise InvalidData(f'a density needs a kernel with an integral: "{self.kernel}" has none in {d} columns')
        volume = shape.log_integral(d) + d * math.log(self.bandwidth)
        return np.asarray(np.log(np.maximum(self.density_sum(X), self.noise_deviation_) / max(self.n_, 1.0)) - volume)

    def score(self, X: ArrayLike, y: Any = None) -> float:
        """Total log-density of the points, as scikit-learn's `KernelDensity.score`."""
        return float(self.score_samples(X).sum())

    @property
    def noise_deviation_(self) -> float:
        """Standard deviation of the noise of `density_sum`, in people."""
        check_is_fitted(self, "claim_")
        last = len(self._plan.parts) - 1
        return self._plan.deviation(last) * math.sqrt(self._plan.parts[last].weight)

    def error_bound(self, Y: ArrayLike, beta: float = 0.05) -> Floats:
        """How far each `density_sum` may be from the truth, with probability at least 1 - beta for each point.

        Noise by Chernoff's bound, frequencies by Hoeffding's, grids by their steps; computed from public parameters and
        the noisy number of people. With a projection, the truth is the mean over blocks of frequencies of the kernel of
        their columns. The rounding of frequencies, a relative 10^-9 ‖z‖² of the kernel at distance z, is left out.

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
        steps = self._steps(Y)
        count, last = self.features_.count, len(self._plan.parts) - 1
        width = self._plan.width(last)
        squares = width**2 * features.LARGEST_SQUARE / (count * ONE**4)
        noise = float(self._plan.tail(squares, width / (count * ONE), beta / 3))
        people = max(self.n_, 0.0)
        if last == 1:
            people += float(self._plan.tail(self._plan.width(0) ** 2, self._plan.width(0), beta / 3))
        sampled = math.sqrt(2 * math.log(6 / beta) / count)
        # two angles of half a step and two table entries of half a unit; rows of half a step in each column
        grid = 2 * math.pi / features.ANGLES + 2 / ONE + steps.shape[1] / 2**14
        return np.full(len(steps), noise + people * (sampled + grid))

    def _steps(self, Y: ArrayLike) -> Floats:
        check_is_fitted(self, "claim_")
        return self.features_.steps(read_rows(self, Y, reset=False), float(self.bandwidth))


def columns_kept(project: Any, shape: Kernel, d: int) -> int | None:
    """Return the number of columns to project to, or None; raises InvalidData."""
    if project is None or (project == "auto" and (d <= WIDE or not shape.euclidean)):
        return None
    if project == "auto":
        return PROJECTED
    if not shape.euclidean:
        raise InvalidData("project must be None or auto for a laplacian kernel: projections keep Euclidean distances")
    return whole("project", project, 1, 2**16)


def _planned(terms: Terms, count: int) -> Plan:
    sums = features.part(count, terms.replaced)
    # the count has no weight: the noise that is best for the sums is taken
    return terms.plan([sums]) if terms.replaced else terms.plan([Part(1, 1.0, 0.0), sums], COUNT_AND_SUMS)


COUNT_AND_SUMS = (SHARE_FOR_COUNT, 1 - SHARE_FOR_COUNT)
