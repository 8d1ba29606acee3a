"""NoisyCounts: the released table, and all that a fitted survival estimator knows of its data.

For whoever publishes it, archives it as JSON, or adds the tables of several sites.
The covariance of the factorised noise is that of the square-root Toeplitz mechanism
(Fichtenberger, Henzinger and Upadhyay 2023; Henzinger, Upadhyay and Upadhyay 2023).
"""

from __future__ import annotations

import json
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular, toeplitz

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Claim

Mechanism: TypeAlias = Literal["laplace", "gaussian", "factorized"]
FORMAT = "sfumato.noisy_counts/1"
#: The factor's entries are multiples of 1/FACTOR_UNIT, so that factor times counts is an exact integer.
FACTOR_UNIT = 1 << 16


def toeplitz_column(length: int) -> NDArray[np.int64]:
    """First column of the lower-triangular Toeplitz square root of the all-ones triangle.

    f_0 = 1, f_k = f_{k-1} (1 - 1/(2k)), in units of 1/`FACTOR_UNIT`, rounded: any positive column is a
    valid strategy, so the rounding costs a little accuracy and no privacy.
    """
    k = np.arange(1, length)
    column = np.concatenate(([1.0], np.cumprod(1 - 1 / (2 * k))))
    return np.asarray(np.maximum(1, np.rint(column * FACTOR_UNIT)), np.int64)


def whiten(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights on the factorised stream's white noise that equal `rows` on its decoded cells.

    Decoded cells have noise C⁻¹z, so a weight g on cells is C⁻ᵀg on z.
    """
    factor = toeplitz(toeplitz_column(rows.shape[-1]) / FACTOR_UNIT, np.zeros(rows.shape[-1]))
    flat = rows.reshape(-1, rows.shape[-1])
    white = solve_triangular(factor, flat.T, lower=True, trans="T", check_finite=False)
    return np.asarray(white.T.reshape(rows.shape))


@dataclass(frozen=True, eq=False)
class NoisyCounts:
    """The noisy life table: everything else is computed from it and costs nothing more.

    Parameters
    ----------
    edges : ndarray of float, shape (m + 1,)
        Public edges from 0; interval j is (edges[j], edges[j + 1]].
    events, censored : ndarray of int64, shape (groups, m)
        Noisy counts; they may be negative, and must stay so (clamping would bias every curve).
    tail : ndarray of int64, shape (groups,)
        Noisy count of durations beyond the last edge.
    variance : float
        Variance of the noise of a cell; for "factorized", of its white noise before decoding.
    neighbours : {"add-remove", "replace-one"}
    group_labels : tuple or None
        Public labels, None if there is one unnamed group.
    claim : Claim
        What was promised about this table.
    sites : int
        How many sites' tables were added up; `variance` is the total.
    mechanism : {"laplace", "gaussian", "factorized"}
    """

    edges: NDArray[np.float64]
    events: NDArray[np.int64]
    censored: NDArray[np.int64]
    tail: NDArray[np.int64]
    variance: float
    neighbours: Neighbours
    group_labels: tuple[Hashable, ...] | None
    claim: Claim
    sites: int = 1
    mechanism: Mechanism = "laplace"

    def __post_init__(self) -> None:
        m = len(self.edges) - 1
        groups = len(self.group_labels) if self.group_labels is not None else 1
        check_edges(self.edges)
        for name in ("events", "censored"):
            if getattr(self, name).shape != (groups, m):
                raise InvalidData(f"{name} must have shape (groups, intervals)")
        if self.tail.shape != (groups,):
            raise InvalidData("tail must have shape (groups,)")
        if not (self.variance >= 0 and np.isfinite(self.variance)):
            raise InvalidData("variance must be finite and at least 0")
        if self.mechanism not in get_args(Mechanism):
            raise InvalidData(f"mechanism must be one of {', '.join(get_args(Mechanism))}")
        if self.neighbours not in get_args(Neighbours):
            raise InvalidData(f"neighbours must be one of {', '.join(get_args(Neighbours))}")
        if not (isinstance(self.sites, int) and self.sites >= 1):
            raise InvalidData("sites must be an integer of at least 1")

    @property
    def n_bins(self) -> int:
        """Number m of intervals."""
        return len(self.edges) - 1

    @property
    def n_groups(self) -> int:
        """Number of groups, 1 if there are none."""
        return len(self.tail)

    @property
    def columns(self) -> tuple[Hashable, ...]:
        """Column names of result tables: the group labels, or lifelines' "KM_estimate"."""
        return self.group_labels if self.group_labels is not None else ("KM_estimate",)

    def noise_variance(
        self,
        on_events: NDArray[np.float64],
        on_censored: NDArray[np.float64],
        on_tail: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Variance of a linear function of one group's noise.

        Parameters
        ----------
        on_events, on_censored : ndarray of float, shape (..., m)
        on_tail : ndarray of float, shape (...)
            Weights of the group's noisy cells.

        Returns
        -------
        ndarray of float, shape (...)
        """
        second = np.concatenate((on_censored, on_tail[..., np.newaxis]), axis=-1)
        if self.mechanism == "factorized":
            on_events, second = whiten(on_events), whiten(second)
        return np.asarray(self.variance * ((on_events**2).sum(-1) + (second**2).sum(-1)))

    def at_risk(self) -> NDArray[np.float64]:
        """Noisy numbers at risk at the start of each interval, shape (groups, m)."""
        suffix = np.cumsum((self.events + self.censored)[:, ::-1], axis=1)[:, ::-1]
        return np.asarray(suffix + self.tail[:, np.newaxis], np.float64)

    def at_risk_deviation(self) -> NDArray[np.float64]:
        """Standard deviation of the noise of those numbers, shape (m,)."""
        m = self.n_bins
        if self.mechanism != "factorized":
            return np.asarray(np.sqrt(self.variance * (2 * (m - np.arange(m)) + 1)))
        suffix = np.triu(np.ones((m, m)))
        return np.asarray(np.sqrt(self.noise_variance(suffix, suffix, np.ones(m))))

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object that `from_json` reads back, exactly."""
        return {
            "format": FORMAT,
            "edges": [float(x) for x in self.edges],
            "events": self.events.tolist(),
            "censored": self.censored.tolist(),
            "tail": self.tail.tolist(),
            "variance": float(self.variance),
            "neighbours": self.neighbours,
            "group_labels": None if self.group_labels is None else list(self.group_labels),
            "claim": self.claim.to_json(),
            "sites": self.sites,
            "mechanism": self.mechanism,
        }

    @classmethod
    def from_json(cls, document: dict[str, Any] | str) -> Self:
        """Rebuild a table from what `to_json` returned, or from that object as JSON text.

        Raises
        ------
        InvalidData
            If `document` is not such a table.
        """
        try:
            return cls(**_fields(json.loads(document) if isinstance(document, str) else document))
        except (KeyError, TypeError, ValueError, InvalidClaim) as error:
            if isinstance(error, InvalidData):
                raise
            raise InvalidData(f"not a table written by NoisyCounts.to_json: {error}") from error


def check_edges(edges: Any) -> NDArray[np.float64]:
    """Return public edges as floats; they must be finite and increase from 0."""
    try:
        vector = np.asarray(edges, np.float64)
    except (TypeError, ValueError):
        raise InvalidData("edges must be a vector of numbers") from None
    if vector.ndim != 1 or len(vector) < 2:
        raise InvalidData("edges must be a vector of at least two numbers")
    if not np.all(np.isfinite(vector)):
        raise InvalidData("edges must be finite")
    if vector[0] != 0 or np.any(np.diff(vector) <= 0):
        raise InvalidData("edges must start at 0 and increase")
    return vector


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidData(f"expected a JSON object of format {FORMAT}")
    labels = document["group_labels"]
    return {
        "edges": np.asarray(document["edges"], np.float64),
        **{name: _integers(name, document[name]) for name in ("events", "censored", "tail")},
        "variance": float(document["variance"]),
        "neighbours": document["neighbours"],
        "group_labels": None if labels is None else tuple(labels),
        "claim": Claim.from_json(document["claim"]),
        "sites": document["sites"],
        "mechanism": document["mechanism"],
    }


def _integers(name: str, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise InvalidData(f"{name} must hold integers")
    return array.astype(np.int64)
