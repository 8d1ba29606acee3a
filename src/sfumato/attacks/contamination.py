"""Contamination: replace records until an estimator fails, and read off its breakpoint and what that says of its ε.

For whoever relies on an estimate of data that somebody may have tampered with. Huber 1964; what a private estimator
must withstand: Asi, Ullman and Zakynthinou (ICML 2023).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import Evidence, Verdict, clopper_pearson_lower, clopper_pearson_upper
from sfumato.privacy.claim import Claim
from sfumato.privacy.groups import probability_after

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ContaminationCurve:
    """Errors of an estimator by the number of records replaced.

    Attributes
    ----------
    n : int
        Records.
    corruptions : ndarray of int64, shape (m,)
        Increasing, from 0.
    errors : ndarray of float, shape (m, repeats)
        Distance of the estimate from the truth; infinite where there was none.
    """

    n: int
    corruptions: NDArray[np.int64]
    errors: Floats

    def quantile(self, q: float = 0.5) -> Floats:
        """Error that the share q of runs does not exceed, for each number of corruptions."""
        return np.asarray(np.quantile(self.errors, q, axis=1, method="inverted_cdf"), np.float64)

    def breakpoint(self, tolerance: float, q: float = 0.5) -> int | None:
        """Least number tried at which the share q of runs errs by more than the tolerance; None if at none."""
        beyond = np.flatnonzero(self.quantile(q) > tolerance)
        return int(self.corruptions[beyond[0]]) if beyond.size else None

    def to_evidence(self, claim: Claim, tolerance: float, *, alpha: float = 0.05) -> Evidence:
        """Hold the growth of failures against a claim: k replaced records multiply them by at most e^(kε).

        Parameters
        ----------
        claim : Claim
            Pure or approximate, about one record replaced; a void one is judged by its bound.
        tolerance : float
            An error above it is a failure. Chosen beforehand: the verdict does not account for a choice by the curve.
        alpha : float
            False-alarm rate of the verdict, for all numbers of corruptions together.

        Raises
        ------
        InvalidClaim
            If the claim is about something else.
        """
        if claim.neighbours != "replace-one":
            raise InvalidClaim('contamination replaces records: state the claim for neighbours="replace-one"')
        failures, repeats = (self.errors > tolerance).sum(axis=1), self.errors.shape[1]
        share = alpha / (2 * max(len(failures) - 1, 1))
        before = float(clopper_pearson_upper(int(failures[0]), repeats, share))
        after = [float(clopper_pearson_lower(int(f), repeats, share)) for f in failures[1:]]
        changes = self.corruptions[1:].tolist()
        lower = max((math.log(p / before) / k for k, p in zip(changes, after, strict=True) if p > 0), default=0.0)
        possible = (
            float(clopper_pearson_upper(0, repeats, share)),
            float(clopper_pearson_lower(repeats, repeats, share)),
        )
        return Evidence(
            attack=f"contamination of up to {self.corruptions[-1]} of {self.n} records",
            metric=f"epsilon lower bound from errors above {tolerance:g}, at delta = 0",
            value=max(0.0, lower),
            interval=(max(0.0, lower), math.inf),
            level=1 - alpha,
            samples=self.errors.size,
            claim=claim,
            verdict=_verdict(claim, before, list(zip(changes, after, strict=True)), possible),
            notes=tuple(f"{k} replaced: {f} of {repeats} failed" for k, f in zip([0, *changes], failures, strict=True)),
        )

    def plot(self, ax: Any = None, *, label: str | None = None, unit: str | None = None) -> Any:
        """Draw the median error, and the middle 80 % as a band.

        Parameters
        ----------
        ax : matplotlib Axes, optional
        label, unit : str, optional
            For the legend, and of the estimate.

        Returns
        -------
        matplotlib Axes
        """
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(6, 4), layout="constrained").subplots()
        low, middle, high = (self.quantile(q) for q in (0.1, 0.5, 0.9))
        (line,) = ax.plot(self.corruptions, middle, marker="o", markersize=3, label=label)
        ax.fill_between(self.corruptions, low, high, alpha=0.2, color=line.get_color(), linewidth=0)
        ax.set_xlabel(f"records replaced, of {self.n}")
        ax.set_ylabel("error of the estimate" + (f" ({unit})" if unit else ""))
        return ax


def _verdict(claim: Claim, before: float, after: list[tuple[int, float]], possible: tuple[float, float]) -> Verdict:
    if any(p > probability_after(claim, before, k) for k, p in after):
        return "falsified"
    # could the worst outcome of as many runs have told?
    powerful = any(possible[1] > probability_after(claim, possible[0], k) for k, _ in after)
    return "consistent" if powerful else "inconclusive"


def contamination_curve(
    estimator: Callable[[Floats], Any],
    draw: Callable[[np.random.Generator], Floats],
    truth: Any,
    *,
    corruptions: Sequence[int],
    outlier: Any,
    repeats: int = 200,
    random_state: int | None = None,
) -> ContaminationCurve:
    """Run an estimator on fresh samples with more and more records replaced by the same outlier.

    Parameters
    ----------
    estimator : callable
        From records, shape (n,) or (n, d), to a number or vector.
    draw : callable
        From a random generator to a clean sample, always of one shape.
    truth : float or array_like of float, shape (d,)
        What the estimate should be.
    corruptions : sequence of int
        How many records are replaced, in turn; 0 is added.
    outlier : float or array_like of float, shape (d,)
        What they are replaced by. The worst is usually where the estimator's range ends.
    repeats : int, default 200
        Samples for each number.
    random_state : int, optional

    Returns
    -------
    ContaminationCurve

    Raises
    ------
    InvalidData
        If a number is negative or above n.
    """
    rng = np.random.default_rng(random_state)
    n = len(draw(rng))
    counts = np.unique([0, *corruptions])
    if counts.dtype.kind != "i" or counts[0] < 0 or counts[-1] > n:
        raise InvalidData(f"corruptions must be whole numbers from 0 to the sample's {n}")
    if repeats < 1:
        raise InvalidData("repeats must be at least 1")
    errors = np.empty((len(counts), repeats))
    for i, k in enumerate(counts):
        for j in range(repeats):
            sample = np.array(draw(rng), np.float64)
            sample[rng.permutation(n)[:k]] = outlier
            errors[i, j] = np.linalg.norm(np.atleast_1d(np.asarray(estimator(sample), np.float64) - truth))
    return ContaminationCurve(n, counts.astype(np.int64), np.nan_to_num(errors, nan=np.inf, posinf=np.inf))
