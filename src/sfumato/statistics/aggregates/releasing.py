"""aggregate: the mean response of each bag, as it is or under label differential privacy.

For the holder of the responses. Javanmard et al. (ICLR 2024, arXiv 2401.11081); the noise is that of Ghosh,
Roughgarden and Sundararajan (2009) or Canonne, Kamath and Steinke (2020), on sums of whole numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.noise import LARGEST_SCALE, discrete_gaussian_variance, discrete_laplace_variance
from sfumato.privacy.release import Release
from sfumato.statistics.aggregates.bags import Bags, Floats, Integers, read_bags

#: Steps between the bounds: rounding a response moves it by less than a hundred thousandth of their distance.
GRANULES = 2**16
_MOST_GRANULES = 2**24

BAGS_ARE_PUBLIC = (
    "features, bounds and the assignment to bags are public: only the response is protected",
    "the bags were formed without looking at a response",
    "each person is in exactly one bag",
)


@dataclass(frozen=True, eq=False)
class AggregateResponses:
    """What `aggregate` let out.

    Attributes
    ----------
    means : ndarray of float, shape (m,)
        Of each bag's responses; noisy ones may lie outside the bounds.
    sizes : ndarray of int64, shape (m,)
    claim : Claim
    noise_variance : ndarray of float, shape (m,)
        Variance of the noise of each mean; 0 without noise. Public.
    bounds : tuple of float or None
        Public bounds to which responses were clipped.
    """

    means: Floats
    sizes: Integers
    claim: Claim
    noise_variance: Floats
    bounds: tuple[float, float] | None

    def __len__(self) -> int:
        return len(self.means)


@dataclass(frozen=True)
class LabelBudget:
    """A validated promise about labels: ε or ρ, public bounds, and the grid between them."""

    bound: PureDP | ZCDP
    low: float
    high: float
    granules: int

    def claim(self, assumptions: tuple[str, ...]) -> Claim:
        """Label differential privacy, one response replaced."""
        return Claim(self.bound, unit="person", neighbours="replace-one", assumptions=assumptions)

    @property
    def step(self) -> float:
        """Size of a granule, in units of the response."""
        return (self.high - self.low) / self.granules

    def quantise(self, y: Floats) -> Integers:
        """Clip each response to the bounds and round it to 0 .. granules: a function of that person alone."""
        share = (np.clip(y, self.low, self.high) - self.low) / (self.high - self.low)
        return np.clip(np.rint(share * self.granules), 0, self.granules).astype(np.int64)

    def draw(self, release: Release, sums: Integers, sensitivity: int | float) -> Integers:
        """Add noise to integers that one response moves by `sensitivity`, in L1 for ε and in L2 for ρ."""
        if isinstance(self.bound, PureDP):
            return release.discrete_laplace(sums, l1_sensitivity=int(sensitivity), epsilon=self.bound.epsilon)
        return release.discrete_gaussian(sums, l2_sensitivity=float(sensitivity), rho=self.bound.rho)

    def variance(self, sensitivity: int | float) -> float:
        """Variance of that noise, in granules squared."""
        if isinstance(self.bound, PureDP):
            return discrete_laplace_variance(sensitivity / self.bound.epsilon)
        return discrete_gaussian_variance(sensitivity**2 / (2 * self.bound.rho))

    def check_noise(self, sensitivity: int | float) -> None:
        """Refuse, before anything is spent, noise beyond what 64-bit integers hold."""
        per_unit = self.bound.epsilon if isinstance(self.bound, PureDP) else math.sqrt(2 * self.bound.rho)
        if not sensitivity <= per_unit * LARGEST_SCALE / 4:
            raise InvalidClaim("the budget is too small for this grid: the noise would overflow; take fewer granules")


def read_budget(epsilon: Any, rho_zcdp: Any, bounds: Any, granules: Any) -> LabelBudget:
    """Validate privacy parameters.

    Raises
    ------
    InvalidClaim
        If not exactly one of `epsilon` and `rho_zcdp` is given, or it is not finite and positive.
    InvalidData
        If `bounds` is not (low, high) with low < high, or `granules` not a whole number in 1 .. 2**24.
    """
    if (epsilon is None) == (rho_zcdp is None):
        raise InvalidClaim("give epsilon or rho_zcdp, one of them")
    if epsilon is not None:
        bound: PureDP | ZCDP = PureDP(positive("epsilon", epsilon))
    else:
        bound = ZCDP(positive("rho_zcdp", rho_zcdp))
    if bounds is None:
        raise InvalidData("bounds=(low, high) must be given: what a response can be by public knowledge, not the data")
    if isinstance(granules, bool) or not isinstance(granules, (int, np.integer)) or not 1 <= granules <= _MOST_GRANULES:
        raise InvalidData(f"granules must be a whole number from 1 to {_MOST_GRANULES}")
    return LabelBudget(bound, *read_bounds(bounds), int(granules))


def read_bounds(bounds: Any) -> tuple[float, float]:
    """Check public bounds of the response."""
    try:
        low, high = (float(bound) for bound in bounds)
    except (TypeError, ValueError):
        raise InvalidData("bounds must be two numbers (low, high)") from None
    if not (math.isfinite(low) and math.isfinite(high) and low < high and math.isfinite(high - low)):
        raise InvalidData("bounds must be finite, low below high")
    return low, high


def read_labels(y: ArrayLike, n: int | None = None) -> Floats:
    """Check the responses of people: finite numbers, one each. No message holds one of them."""
    try:
        values = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise InvalidData("y must be numbers") from None
    if values.ndim != 1 or not values.size:
        raise InvalidData("y must be a nonempty vector: one response a person")
    if n is not None and len(values) != n:
        raise InvalidData("y must have as many entries as there are people")
    if not np.isfinite(values).all():
        raise InvalidData("y must be finite: it has NaN or infinite entries")
    return values


def aggregate(
    y: ArrayLike,
    bag_id: ArrayLike,
    *,
    epsilon: float | None = None,
    rho_zcdp: float | None = None,
    bounds: tuple[float, float] | None = None,
    granules: int = GRANULES,
    person: ArrayLike | None = None,
    noise_seed: int | None = None,
) -> AggregateResponses:
    """Return the mean response of each bag.

    Without a budget the means are exact and nothing is promised: whoever knows the features, or sees two partitions of
    the same people, reads responses out of them (`sfumato.attacks.label_inference`). A bag of k people is no
    k-anonymity.

    With one, the release is *label* differentially private. *Neighbours replace-one*: data sets that differ in one
    person's response. Responses are clipped to public bounds and rounded to a public grid of G = `granules` steps, each
    on its own, so that they are integers in 0 .. G. A person is in one bag: a replaced response moves one bag's sum by
    at most G and no other. The vector of sums has L1 and L2 sensitivity G, however many bags there are (parallel
    composition), and gets discrete Laplace noise of scale G/ε, or discrete Gaussian noise of variance G²/(2ρ), in one
    `Release`. So the mean of a bag of k has noise of scale r/(kε) with r = high - low. Sizes are public.

    A second call on the same responses spends again. Features, and who took part, are not protected.

    Parameters
    ----------
    y : array_like of float, shape (n,)
        Responses.
    bag_id : array_like of int, shape (n,)
        As from `make_bags`.
    epsilon : float, optional
        Pure ε-DP.
    rho_zcdp : float, optional
        ρ-zCDP, instead of `epsilon`.
    bounds : (float, float), optional
        What a response can be, by public knowledge; needed with a budget. Values outside are clipped, and how many is
        never told. Without a budget they clip too.
    granules : int, default 65536
        Steps of the grid. Take 1 for responses of 0 and 1, or the number of steps between whole-number bounds: the
        noise is then on the responses' own lattice, and a little smaller.
    person : array_like, shape (n,), optional
        Who each row is; checked to be different people.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Returns
    -------
    AggregateResponses

    Raises
    ------
    InvalidData, InvalidClaim
        On bad input, before anything is spent.
    BudgetExceeded
        If the active ledger refuses.

    Examples
    --------
    >>> from sfumato.statistics.aggregates import aggregate
    >>> aggregate([1.0, 3.0, 5.0, 7.0], [0, 0, 1, 1]).means.tolist()
    [2.0, 6.0]
    >>> noisy = aggregate([0, 1, 1, 1], [0, 0, 1, 1], epsilon=1.0, bounds=(0, 1), granules=1)
    >>> noisy.claim.bound
    PureDP(epsilon=1.0)
    """
    budget = None
    if epsilon is not None or rho_zcdp is not None:
        budget = read_budget(epsilon, rho_zcdp, bounds, granules)
        budget.check_noise(budget.granules)
    limits = None if bounds is None else read_bounds(bounds)
    values = read_labels(y)
    bags = read_bags(bag_id, len(values))
    check_people(person, bags)
    check_seed(noise_seed)
    values = values[bags.inside]
    if budget is not None:
        return release_means(values, bags, budget, noise_seed)
    clipped = values if limits is None else np.clip(values, *limits)
    why = f"aggregation only: exact means of bags of {bags.sizes.min()} people or more"
    claim = Claim(Heuristic(why), unit="person", neighbours="replace-one")
    return AggregateResponses(bags.means(clipped), bags.sizes, claim, np.zeros(len(bags)), limits)


def release_means(values: Floats, bags: Bags, budget: LabelBudget, noise_seed: int | None) -> AggregateResponses:
    """Release noisy means of validated responses; see `aggregate` for the proof."""
    sums = bags.sums(budget.quantise(values))
    with Release(
        budget.claim(BAGS_ARE_PUBLIC), purpose=f"mean responses of {len(bags)} bags", seed=noise_seed
    ) as release:
        noisy = budget.draw(release, sums, budget.granules)
    return AggregateResponses(
        budget.low + budget.step * noisy / bags.sizes,
        bags.sizes,
        release.claim,
        budget.variance(budget.granules) * (budget.step / bags.sizes) ** 2,
        (budget.low, budget.high),
    )


def check_people(person: ArrayLike | None, bags: Bags) -> None:
    """Refuse a person who stands in two rows."""
    if person is None:
        return
    who: NDArray[Any] = np.asarray(person)
    if who.shape != bags.inside.shape:
        raise InvalidData("person must have one entry a row")
    if len(np.unique(who[bags.inside])) < bags.n:
        raise InvalidData("person: somebody is in two bags, or twice in one; a person may contribute one response")


def check_seed(seed: Any) -> None:
    """Refuse a noise seed that is not a whole number."""
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, (int, np.integer))):
        raise InvalidData("noise_seed must be an integer or None")


def positive(name: str, value: Any) -> float:
    """Return a positive finite privacy parameter, or raise InvalidClaim."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InvalidClaim(f"{name} must be a number, got {type(value).__name__}")
    if not 0 < value < math.inf:
        raise InvalidClaim(f"{name} must be finite and above 0, got {float(value):g}")
    return float(value)
