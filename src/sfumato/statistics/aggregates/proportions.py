"""aggregate_labels: the share of each class in each bag, as it is or under label differential privacy.

For the holder of labels of two or more classes. Javanmard et al. (ICLR 2024, arXiv 2401.11081), whose target for
classification is a bag's proportion; learning from label proportions goes back to Quadrianto et al. (JMLR 2009).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Heuristic, PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.aggregates.bags import Floats, Integers, read_bags
from sfumato.statistics.aggregates.releasing import BAGS_ARE_PUBLIC, check_people, check_seed, read_budget

CLASSES_ARE_PUBLIC = "the list of classes is public"


@dataclass(frozen=True, eq=False)
class AggregateProportions:
    """What `aggregate_labels` let out.

    Attributes
    ----------
    proportions : ndarray of float, shape (m, C)
        Of each class in each bag; noisy ones may lie outside [0, 1], and need not add up to 1.
    classes : ndarray, shape (C,)
        Sorted.
    sizes : ndarray of int64, shape (m,)
    claim : Claim
    noise_variance : ndarray of float, shape (m,)
        Variance of the noise of each proportion of a bag; 0 without noise. Public.
    """

    proportions: Floats
    classes: NDArray[Any]
    sizes: Integers
    claim: Claim
    noise_variance: Floats

    def __len__(self) -> int:
        return len(self.proportions)


def aggregate_labels(
    y: ArrayLike,
    bag_id: ArrayLike,
    *,
    classes: ArrayLike | None = None,
    epsilon: float | None = None,
    rho_zcdp: float | None = None,
    person: ArrayLike | None = None,
    noise_seed: int | None = None,
) -> AggregateProportions:
    """Return the share of each class in each bag.

    With a budget, *label* differential privacy, neighbours replace-one: the data sets differ in the label of one
    person. Bags are disjoint, so the counts of one bag only differ: that of the old class by one less, that of the new
    by one more, which is 2 in L1 and √2 in L2 for all m·C counts together. They get integer noise of that scale in one
    `Release`: ε in all, whatever the number of bags or classes. All else is post-processing. A second call spends
    again. Features, and who took part, are not protected.

    Of two classes one count tells the other: `aggregate` with ``granules=1`` releases that alone, with half the noise.

    Parameters
    ----------
    y : array_like, shape (n,)
        Labels, numbers or strings.
    bag_id : array_like of int, shape (n,)
        As from `make_bags`.
    classes : array_like, shape (C,)
        Every label there can be. Required with a budget: which classes occur is private.
    epsilon : float, optional
        Pure ε-DP.
    rho_zcdp : float, optional
        ρ-zCDP, instead of `epsilon`.
    person : array_like, shape (n,), optional
        Who each row is; checked to be different people.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Raises
    ------
    InvalidData, InvalidClaim
        On bad input, before anything is spent.
    BudgetExceeded
        If the active ledger refuses.

    Examples
    --------
    >>> from sfumato.statistics.aggregates import aggregate_labels
    >>> aggregate_labels(["cat", "dog", "eel", "eel"], [0, 0, 1, 1]).proportions.tolist()
    [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
    """
    private = epsilon is not None or rho_zcdp is not None
    budget = read_budget(epsilon, rho_zcdp, (0, 1), 1) if private else None
    declared = read_classes(np.unique(np.asarray(y)) if classes is None and not private else classes)
    codes = read_codes(y, declared)
    bags = read_bags(bag_id, len(codes))
    check_people(person, bags)
    check_seed(noise_seed)
    count = len(declared)
    counts = np.bincount(bags.of * count + codes[bags.inside], minlength=len(bags) * count).reshape(-1, count)
    sizes = bags.sizes[:, np.newaxis]
    if budget is None:
        why = f"aggregation only: exact proportions of bags of {bags.sizes.min()} people or more"
        claim = Claim(Heuristic(why), unit="person", neighbours="replace-one")
        return AggregateProportions(counts / sizes, declared, bags.sizes, claim, np.zeros(len(bags)))
    moved = 2 if isinstance(budget.bound, PureDP) else math.sqrt(2)
    budget.check_noise(moved)
    claim = budget.claim((*BAGS_ARE_PUBLIC, CLASSES_ARE_PUBLIC))
    with Release(claim, purpose=f"labels of {len(bags)} bags", seed=noise_seed) as release:
        noisy = budget.draw(release, counts.astype(np.int64), moved)
    variance = budget.variance(moved) / bags.sizes**2
    return AggregateProportions(noisy / sizes, declared, bags.sizes, release.claim, variance)


def read_classes(classes: Any) -> NDArray[Any]:
    """Check a public list of classes, and sort it."""
    if classes is None:
        raise InvalidData("classes must be given: the labels there can be, by public knowledge, never read from y")
    labels = np.asarray(classes)
    if labels.ndim != 1 or len(labels) < 2 or labels.dtype.kind not in "biufUS":
        raise InvalidData("classes must be a vector of at least two labels, numbers or strings")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidData("classes must be finite")
    ordered = np.unique(labels)
    if len(ordered) < len(labels):
        raise InvalidData("classes must differ from each other")
    return np.asarray(ordered)


def read_codes(y: Any, declared: NDArray[Any]) -> Integers:
    """Place of each label in the sorted classes. No message holds a label."""
    labels = np.asarray(y)
    if labels.ndim != 1 or not labels.size:
        raise InvalidData("y must be a nonempty vector: one label a person")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        raise InvalidData("y must be finite: it has NaN or infinite entries")
    if labels.dtype.kind not in "biufUS" or (labels.dtype.kind in "US") != (declared.dtype.kind in "US"):
        raise InvalidData("y must hold labels among the classes, of their type")
    codes = np.minimum(np.searchsorted(declared, labels), len(declared) - 1)
    if not (declared[codes] == labels).all():
        raise InvalidData("y must hold labels among the classes")
    return np.asarray(codes, np.int64)


def on_simplex(proportions: Floats) -> Floats:
    """Nearest proportions that are not negative and add up to 1, row by row (Held, Wolfe and Crowder 1974).

    For two classes this clips the second's share, noisy alone, to [0, 1].
    """
    ordered = -np.sort(-proportions, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1) / np.arange(1, proportions.shape[1] + 1)
    last = (ordered > excess).sum(axis=1) - 1
    above = excess[np.arange(len(proportions)), last][:, np.newaxis]
    return np.asarray(np.maximum(proportions - above, 0.0), np.float64)
