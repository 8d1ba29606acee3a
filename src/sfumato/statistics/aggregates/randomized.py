"""randomize_labels: each person's label by randomized response, and labels that are right on average for any loss.

For the baseline that needs no curator: everybody randomizes at home. Warner (1965) for the response; Natarajan,
Dhillon, Ravikumar and Tewari, "Learning with noisy labels" (NIPS 2013) for the corrected loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sfumato.errors import InvalidClaim
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.statistics.aggregates.bags import Floats
from sfumato.statistics.aggregates.proportions import CLASSES_ARE_PUBLIC, read_classes, read_codes
from sfumato.statistics.aggregates.releasing import check_seed, positive

_LARGEST_EPSILON = 30.0  # beyond it, less than one label in 10^13 changes
_LABELS_ALONE = (
    "features are public: only the label is protected",
    "each person has exactly one label, and randomizes it once",
)


@dataclass(frozen=True, eq=False)
class RandomizedLabels:
    """What `randomize_labels` let out.

    Attributes
    ----------
    reported : ndarray, shape (n,)
        The label that each person tells.
    corrected : ndarray of float, shape (n, C)
        For each person one number a class, some below 0, which add up to 1; on average over the randomization 1 for
        the true class and 0 for the others. So Σ_c corrected[i, c]·ℓ(f(x_i), c) is on average ℓ(f(x_i), y_i),
        for any loss ℓ.
    classes : ndarray, shape (C,)
        Sorted.
    claim : Claim
    """

    reported: NDArray[Any]
    corrected: Floats
    classes: NDArray[Any]
    claim: Claim

    def __len__(self) -> int:
        return len(self.reported)


def randomize_labels(
    y: ArrayLike, *, classes: ArrayLike, epsilon: float = 1.0, noise_seed: int | None = None
) -> RandomizedLabels:
    """Randomize each label on its own, and undo the bias of what is reported.

    *Proof*. Label differential privacy, *local*, neighbours replace-one: the label of one person. With C classes the
    true one is reported with probability p = e^ε/(e^ε + C - 1), each other with q = 1/(e^ε + C - 1). For any two
    labels of a person the probabilities of a report differ by a factor of p/q = e^ε at most, and other people's
    reports do not depend on it: ε-DP. The corrections are computed from the reports.

    *Unbiased*: from report r, corrected_c = (1[r = c] - q)/(p - q); E 1[r = c] is p for the true class and q for
    others. Their variance is about C/(p - q)², the price of trusting nobody.

    Parameters
    ----------
    y : array_like, shape (n,)
        Labels among `classes`.
    classes : array_like, shape (C,)
        Every label there can be, by public knowledge.
    epsilon : float, default 1.0
        At most 30.
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
    >>> from sfumato.statistics.aggregates import randomize_labels
    >>> told = randomize_labels(["no", "yes", "no"], classes=["no", "yes"], epsilon=1.0)
    >>> told.claim.trust
    'local'
    """
    epsilon = positive("epsilon", epsilon)
    if epsilon > _LARGEST_EPSILON:
        raise InvalidClaim(f"epsilon must be at most {_LARGEST_EPSILON:g}, got {epsilon:g}")
    declared = read_classes(classes)
    codes = read_codes(y, declared)
    check_seed(noise_seed)
    claim = Claim(
        PureDP(epsilon), "person", "replace-one", trust="local", assumptions=(*_LABELS_ALONE, CLASSES_ARE_PUBLIC)
    )
    count = len(declared)
    with Release(claim, purpose=f"{len(codes)} randomized labels", seed=noise_seed) as release:
        reports = release.randomized_response(codes, k=count, epsilon=epsilon)
    other = 1 / (math.exp(epsilon) + count - 1)
    told = reports[:, np.newaxis] == np.arange(count)
    corrected = (told - other) / (math.expm1(epsilon) * other)
    return RandomizedLabels(declared[reports], corrected, declared, release.claim)
