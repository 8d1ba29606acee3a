"""Who loses accuracy when models are limited: the drop in each group, rare against common, with bootstrap intervals.

For whoever trains privately, prunes or distils, and must say what it costs whom. After the last claim of Feldman, "Does
Learning Require Memorization?" (STOC 2020, arXiv 1906.05271).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from sfumato.errors import InvalidData
from sfumato.training.memorization.bootstrap import group_drops
from sfumato.training.memorization.cost import whole
from sfumato.training.memorization.learners import Records, score

Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A number with its bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


@dataclass(frozen=True)
class DisparateEffect:
    """Accuracy that limited models lose, by group.

    Attributes
    ----------
    groups : DataFrame
        Indexed by group, the rarest first: `frequency`, `test_records`, `baseline`, `limited` (accuracies), `drop`,
        `low`, `high`, and `predicted` if predictions were given.
    overall : Estimate
        Drop over all test records.
    worst : Estimate
        Largest drop of a group. The interval is for the largest of all, whichever group that is in a draw: it leans
        upwards, as does any maximum.
    contrast : Estimate
        Drop of the rarest group minus that of the commonest.
    slope : Estimate
        Of the drop against the natural logarithm of the frequency, groups weighted by their test records; negative
        where the rare lose more.
    """

    groups: pd.DataFrame
    overall: Estimate
    worst: Estimate
    contrast: Estimate
    slope: Estimate

    @property
    def ratio(self) -> float:
        """Drop of the rarest group over that of the commonest; inf or NaN where the commonest loses nothing."""
        rarest, commonest = float(self.groups["drop"].iloc[0]), float(self.groups["drop"].iloc[-1])
        if commonest > 0:
            return rarest / commonest
        return float("inf") if rarest > 0 else float("nan")

    def __str__(self) -> str:
        """The table and the four numbers."""
        numbers = {"overall": self.overall, "worst group": self.worst, "rarest - commonest": self.contrast}
        lines = [f"{name}: {value}" for name, value in {**numbers, "slope": self.slope}.items()]
        return "\n".join([self.groups.round(3).to_string(), *lines])


def disparate_effect(
    baseline: Sequence[Any],
    limited: Sequence[Any],
    X: Any,
    y: Any,
    groups: npt.ArrayLike,
    n_boot: int = 1000,
    *,
    frequencies: Mapping[Any, float] | None = None,
    predicted: Mapping[Any, float] | None = None,
    confidence: float = 0.95,
    random_state: int | np.random.Generator | None = None,
) -> DisparateEffect:
    """Compare two families of models on each group of test records.

    Parameters
    ----------
    baseline, limited : sequences of models
        Fitted classifiers, or callables that return labels or probabilities. Several trainings of each, so that the
        interval covers what another training would give.
    X, y : m test records and their labels
    groups : array, shape (m,)
        Group of each test record: an attribute, or `frequency_groups`.
    n_boot : int
        Bootstrap draws.
    frequencies : mapping, optional
        Frequency of each group in the training data; by default that in the test records.
    predicted : mapping, optional
        A predicted drop for each group, as `privacy_cost_by_group` has it, to stand beside the measured one.
    confidence : float
        Of each interval by itself.
    random_state : int or Generator, optional

    Raises
    ------
    InvalidData
        If lengths differ, there is one group only, or a group lacks its frequency.
    """
    data = Records.checked(X, y)
    codes, names = pd.factorize(np.asarray(groups), sort=True)
    if len(codes) != len(data.y) or codes.min() < 0 or len(names) < 2:
        raise InvalidData(f"groups must give each of {len(data.y)} records one of at least two groups")
    if not 0 < confidence < 1:
        raise InvalidData(f"confidence must be in (0, 1), got {confidence}")
    if not len(baseline) or not len(limited):
        raise InvalidData("baseline and limited must each hold at least one model")
    sizes = np.bincount(codes)
    shares = sizes / len(codes)
    if frequencies is not None:
        shares = np.array([_given(frequencies, group, "frequencies") for group in names])
    if shares.min() <= 0:
        raise InvalidData("frequencies must be above 0")
    classes = np.unique(data.y)
    one, two = (np.stack([score(m, data, "correct", classes) for m in family]) for family in (baseline, limited))
    rng = np.random.default_rng(random_state)
    drops, draws = group_drops(one, two, codes, len(names), whole(n_boot), rng)
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]

    def estimate(of: Any) -> Estimate:
        low, high = np.quantile([of(each) for each in draws], tails)
        return Estimate(float(of(drops)), float(low), float(high))

    rarest, commonest = int(np.argmin(shares)), int(np.argmax(shares))
    table = pd.DataFrame(
        {
            "frequency": shares,
            "test_records": sizes,
            "baseline": [one[:, codes == g].mean() for g in range(len(names))],
            "limited": [two[:, codes == g].mean() for g in range(len(names))],
            "drop": drops,
            "low": np.quantile(draws, tails[0], axis=0),
            "high": np.quantile(draws, tails[1], axis=0),
        },
        index=pd.Index(names, name="group"),
    )
    if predicted is not None:
        table["predicted"] = [_given(predicted, g, "predicted") for g in names]
    return DisparateEffect(
        groups=table.sort_values("frequency", kind="stable"),
        overall=estimate(lambda d: float(d @ sizes) / len(codes)),
        worst=estimate(np.max),
        contrast=estimate(lambda d: d[rarest] - d[commonest]),
        slope=estimate(lambda d: _slope(np.log(shares), d, sizes)),
    )


def frequency_groups(frequency: npt.ArrayLike, n_groups: int = 5) -> npt.NDArray[np.int64]:
    """Cut test records into groups of about equal size by how rare they are, 0 the rarest.

    Parameters
    ----------
    frequency : array of float, shape (m,)
        How common each test record's subgroup is, or minus its tail-ness, such as `-memorization_nearest(…)`.
    n_groups : int
        Fifths by default. Equal frequencies stay together, so that there may be fewer.
    """
    values = np.asarray(frequency, dtype=np.float64)
    if values.ndim != 1 or not len(values) or np.isnan(values).any():
        raise InvalidData("frequency must be a number for each test record, none missing")
    cuts = np.arange(1, whole(n_groups, 2)) * len(values) // n_groups
    edges = np.unique(np.sort(values)[np.maximum(cuts - 1, 0)])
    codes = np.searchsorted(edges, values)
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def _given(mapping: Mapping[Any, float], group: Any, name: str) -> float:
    if group not in mapping:
        raise InvalidData(f"{name} lacks group {group!r}")
    return float(mapping[group])


def _slope(x: Floats, y: Floats, weights: npt.NDArray[np.int64]) -> float:
    centred = x - np.average(x, weights=weights)
    spread = float((weights * centred**2).sum())
    return float((weights * centred * y).sum()) / spread if spread > 0 else float("nan")
