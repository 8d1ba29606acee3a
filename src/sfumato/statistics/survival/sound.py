"""DPKaplanMeier: survival curves under differential privacy, with intervals that know of the noise.

For the registry statistician who must publish a curve, its band, median and group test.
After Veeraragavan, Karimireddy and Nygård (arXiv 2412.05164), of which only the abstract could be read;
this is the sound variant: noise goes to a life table on a public grid, not to the curve.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Claim
from sfumato.statistics.survival import bands, cells, checks, frames, shrinkage
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.curve import Floats, Interpolation
from sfumato.statistics.survival.noisy_counts import Mechanism, NoisyCounts
from sfumato.statistics.survival.releasing import Counter, Request, read_request, release_table

#: Bootstrap replicates of a band.


class DPKaplanMeier(BaseEstimator):  # type: ignore[misc]
    """Kaplan-Meier curves from a noisy life table.

    Each person has one duration and is in exactly one cell: events or censored of one public interval of
    one group, or the group's tail beyond the horizon. *Neighbours add-remove*: data sets that differ by one
    person's presence; the table changes by one unit in one cell, so its L1 and L2 sensitivities are 1.
    *Neighbours replace-one*: one person's record is exchanged; one cell loses and one gains a unit, so L1 is
    2 and L2 is √2. With `max_records=k` both are multiplied by k. Integer noise of that scale is added to
    every cell inside one `Release`, and all results are computed from the noisy table, which is
    post-processing: curve, band, median, restricted mean and log-rank test cost nothing more.

    The body of the paper that this system is named after could not be read, only its abstract. Noise on the
    curve whose scale follows the number at risk, as the abstract describes it, is not differentially
    private (see `TimewiseLaplaceKM` and `counterexample`); this estimator is the sound variant.

    Public: horizon, edges, group labels, the parameters below. Not public: anything else, the number of
    people included.

    Parameters
    ----------
    epsilon : float, optional
        Pure ε-DP by discrete Laplace noise. 1.0 if neither `epsilon` nor `rho` is given.
    rho : float, optional
        ρ-zCDP by discrete Gaussian noise, instead of `epsilon`.
    delta : float, optional
        With `epsilon`: (ε, δ)-DP, by whichever mechanism is most accurate. With `rho`: allowed, changes
        nothing, since ρ-zCDP implies an (ε, δ) for every δ.
    horizon : float
        End of follow-up in the unit of the durations, by public knowledge. Later times go to the tail.
        Needed unless `edges` are given.
    n_bins : int or "auto"
        Number of equal intervals. "auto" minimises a predicted error from the numbers of people and events:
        `expected_n` and `expected_events` if given, else noisy counts that cost 5 % of the budget (at most
        ε = 0.2).
    edges : array_like of float, optional
        Public edges from 0, instead of `horizon` and `n_bins`. Never quantiles of the data.
    expected_n, expected_events : float, optional
        Public guesses; wrong ones cost accuracy, never privacy. If one is missing, half of the people are
        taken to have the event.
    neighbours : {"add-remove", "replace-one"}
    mechanism : {"auto", "laplace", "gaussian", "factorized"}
        "factorized" adds correlated Gaussian noise that suits long grids; see `choose_mechanism`.
    shrink : bool or "weibull"
        True shrinks each noisy cell towards a two-Weibull model fitted to the noisy cells; "weibull" uses
        the model alone. Model-assisted: may help at ε ≤ 0.5, misleads if the model is far off; intervals do
        not account for it.
    actuarial : bool
        Count those censored in an interval as at risk for half of it.
    interpolation : {"linear", "hazard"}
        Between edges: linear in S, or a constant hazard.
    noise_seed : int, optional
        Reproducible noise for tests and studies; the claim is void then.

    Attributes
    ----------
    noisy_counts_ : NoisyCounts
        The release. It is all that the fitted object keeps; everything else is computed from it.
    claim_ : Claim
    n_bins_ : int
    timeline_ : ndarray of float, shape (m + 1,)
    survival_function_, cumulative_hazard_ : DataFrame
        Index "timeline"; one column per group, or "KM_estimate" / "NA_estimate".
    at_risk_ : DataFrame
        Noisy numbers at risk just after each time.
    reliable_ : DataFrame of bool
        False from where the noisy number at risk is below max(5, 3 sd of its noise).

    Warns
    -----
    UserWarning
        From `fit`, if the horizon equals the largest duration: it was probably read from the data, which breaks the
        claim. The warning itself depends on the data, so it is for the data's custodian only; keep it out
        of published logs.

    Examples
    --------
    >>> from sfumato.statistics.survival import DPKaplanMeier
    >>> km = DPKaplanMeier(epsilon=1.0, horizon=10, n_bins=2).fit([1, 4, 8, 9], [1, 0, 1, 1])
    >>> km.survival_function_.shape
    (3, 1)
    """

    def __init__(
        self,
        epsilon: float | None = None,
        *,
        rho: float | None = None,
        delta: float | None = None,
        horizon: float | None = None,
        n_bins: int | str = "auto",
        edges: ArrayLike | None = None,
        expected_n: float | None = None,
        expected_events: float | None = None,
        neighbours: Neighbours = "add-remove",
        mechanism: Mechanism | Literal["auto"] = "auto",
        shrink: bool | Literal["weibull"] = False,
        actuarial: bool = True,
        interpolation: Interpolation = "linear",
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.rho = rho
        self.delta = delta
        self.horizon = horizon
        self.n_bins = n_bins
        self.edges = edges
        self.expected_n = expected_n
        self.expected_events = expected_events
        self.neighbours = neighbours
        self.mechanism = mechanism
        self.shrink = shrink
        self.actuarial = actuarial
        self.interpolation = interpolation
        self.noise_seed = noise_seed

    def fit(
        self,
        durations: ArrayLike,
        events: ArrayLike,
        *,
        groups: ArrayLike | None = None,
        group_labels: Sequence[Hashable] | None = None,
    ) -> Self:
        """Release the noisy life table of one record per person. A second fit spends again.

        Parameters
        ----------
        durations : array_like of float, shape (n,)
            Times to event or censoring, at least 0, in the unit of the horizon.
        events : array_like of bool or {0, 1}, shape (n,)
            1 if the event was seen, 0 if the person was censored.
        groups : array_like, shape (n,), optional
        group_labels : sequence, optional
            The public values that `groups` may take; needed with `groups`.

        Returns
        -------
        DPKaplanMeier

        Raises
        ------
        InvalidData
            On bad data or a bad grid, before anything is spent.
        InvalidClaim
            On bad privacy parameters, before anything is spent.
        BudgetExceeded
            If the active ledger refuses.
        """
        request = self._request()
        times = cells.check_durations(durations)
        statuses = cells.check_statuses("events", events, len(times))
        labels = checks.declared_labels("groups", groups, group_labels)
        codes = None
        if labels is not None and groups is not None:
            codes = cells.group_codes(groups, labels, len(times))
        checks.warn_if_horizon_is_largest(request.horizon, cells.largest(times))
        n_groups = 1 if labels is None else len(labels)

        def count(edges: NDArray[np.float64]) -> NDArray[np.int64]:
            return cells.count_cells(times, statuses, edges, codes=codes, n_groups=n_groups)

        return self._release(count, request, labels, None)

    def fit_frame(
        self,
        frame: Any,
        *,
        duration_col: str,
        event_col: str,
        group_col: str | None = None,
        group_labels: Sequence[Hashable] | None = None,
        person_col: str | None = None,
        max_records: int | None = None,
    ) -> Self:
        """Release the noisy life table of any data frame, counted on its own engine.

        Parameters
        ----------
        frame : pandas, Polars, PyArrow, DuckDB or PySpark frame
        duration_col, event_col, group_col : str
            Columns as in `fit`; the event column is boolean or 0/1.
        group_labels : sequence, optional
            Needed with `group_col`.
        person_col : str, optional
            Column that identifies people. Without it the claim assumes one record a person.
        max_records : int, optional
            Most records kept of a person; the noise grows in proportion. Without it, a person with two
            records is an error.

        Returns
        -------
        DPKaplanMeier
        """
        request = self._request()
        labels = checks.declared_labels("group_col", group_col, group_labels)
        records = checks.records_per_person(person_col, max_records)
        count = frames.frame_counter(
            frame,
            duration_col=duration_col,
            event_col=event_col,
            group_col=group_col,
            labels=labels,
            person_col=person_col,
            max_records=max_records,
        )
        return self._release(count, request, labels, records)

    @classmethod
    def from_noisy_counts(cls, counts: NoisyCounts, **parameters: Any) -> Self:
        """Rebuild a fitted estimator from a published table; no data and no budget are needed.

        Parameters
        ----------
        counts : NoisyCounts
        **parameters
            `actuarial`, `interpolation` or `shrink`.
        """
        bound = counts.claim.bound
        stated = {f: getattr(bound, f) for f in ("epsilon", "delta", "rho") if hasattr(bound, f)}
        estimator = cls(
            **stated,
            edges=counts.edges,
            neighbours=counts.neighbours,
            mechanism=counts.mechanism,
            **parameters,
        )
        estimator.noisy_counts_ = counts
        return estimator

    # Results: all of them functions of the noisy counts

    @property
    def claim_(self) -> Claim:
        """What was promised about the noisy counts, and so about everything here."""
        return self._counts.claim

    @property
    def timeline_(self) -> Floats:
        """Edges of the intervals, shape (m + 1,)."""
        return self._counts.edges

    @property
    def n_bins_(self) -> int:
        """Number m of intervals."""
        return self._counts.n_bins

    @property
    def survival_function_(self) -> pd.DataFrame:
        """Survival at the edges: index "timeline", a column per group or "KM_estimate"."""
        return frames.by_time(self._counts, self._curve())

    @property
    def cumulative_hazard_(self) -> pd.DataFrame:
        """Nelson-Aalen estimate at the edges: sums of the monotone curve's interval hazards."""
        hazard = np.cumsum(curves.hazards(self._curve()), axis=-1)
        frame = frames.by_time(self._counts, np.concatenate((np.zeros((len(hazard), 1)), hazard), axis=-1))
        return frame if self._counts.group_labels is not None else frame.set_axis(["NA_estimate"], axis=1)

    @property
    def at_risk_(self) -> pd.DataFrame:
        """Noisy number at risk just after each edge; it may be negative where nobody is left."""
        counts = self._counts
        risk = counts.at_risk()
        return frames.by_time(self._counts, np.concatenate((risk, counts.tail[:, np.newaxis]), axis=-1))

    @property
    def reliable_(self) -> pd.DataFrame:
        """Whether the noisy number at risk carried each time: at least max(5, 3 sd of its noise)."""
        return frames.by_time(self._counts, self._reliable())

    def predict(self, times: ArrayLike) -> pd.Series | pd.DataFrame:
        """Survival at `times`; NaN beyond the horizon.

        Parameters
        ----------
        times : array_like of float, shape (k,), or float

        Returns
        -------
        Series, or DataFrame with a column per group
        """
        at = np.atleast_1d(np.asarray(times, np.float64))
        if at.ndim != 1 or np.isnan(at).any():
            raise InvalidData("times must be a vector of numbers")
        values = curves.evaluate(self.timeline_, self._curve(), at, self.interpolation)
        frame = pd.DataFrame(values.T, index=pd.Index(at, name="timeline"), columns=pd.Index(self._counts.columns))
        return frame if self._counts.group_labels is not None else frame.iloc[:, 0]

    def confidence_interval(
        self,
        level: float = 0.95,
        *,
        kind: Literal["pointwise", "simultaneous"] = "pointwise",
        method: Literal["delta", "bootstrap"] = "delta",
        random_state: int | None = None,
    ) -> pd.DataFrame:
        """Interval for the true survival at each edge: sampling error and privacy noise together.

        Parameters
        ----------
        level : float
            In (0, 1).
        kind : {"pointwise", "simultaneous"}
            For each time, or for all reliable times at once (sup-t, always by bootstrap).
        method : {"delta", "bootstrap"}
            Closed form, or 500 simulated tables. They agree where the curve is reliable.
        random_state : int, optional

        Returns
        -------
        DataFrame
            Index "timeline", columns "lower" and "upper"; below each group label if there are groups.
        """
        checks.check_level(level)
        if kind not in ("pointwise", "simultaneous") or method not in ("delta", "bootstrap"):
            raise InvalidData('kind must be "pointwise" or "simultaneous", method must be "delta" or "bootstrap"')
        curve = self._curve()
        if kind == "pointwise" and method == "delta":
            variance = bands.cumulative_hazard_variance(self._counts, curve, actuarial=self.actuarial)
            lower, upper = bands.pointwise(curve, variance, level, self._reliable())
        else:
            replicates = self._replicates(bands.REPLICATES, random_state)
            lower, upper = bands.bootstrap(curve, replicates, self._reliable(), level, kind)
        return frames.band_frame(self._counts, lower, upper)

    def percentile(self, p: float) -> float | pd.Series:
        """First time at which survival falls to `p`; inf if it does not within the horizon.

        Parameters
        ----------
        p : float
            In (0, 1): 0.5 gives the median, as in lifelines.
        """
        if not 0 < p < 1:
            raise InvalidData("p must be in (0, 1)")
        times = curves.crossing(self.timeline_, self._curve(), p, self.interpolation)
        return frames.by_group(self._counts, times)

    def median_survival_time(self, level: float | None = None) -> float | pd.Series | pd.DataFrame:
        """Median survival time; inf if not reached.

        Parameters
        ----------
        level : float, optional
            Also return an interval of this level, by inverting the pointwise band.

        Returns
        -------
        float, or Series by group, or (with `level`) DataFrame of estimate, lower, upper by group
        """
        if level is None:
            return self.percentile(0.5)
        band = self.confidence_interval(level)
        sides = (self._curve(), frames.side_of_band(band, "lower"), frames.side_of_band(band, "upper"))
        median, low, high = (curves.crossing(self.timeline_, side, 0.5, self.interpolation) for side in sides)
        return frames.with_interval(self._counts, median, low, high)

    def restricted_mean(self, tau: float, level: float | None = None) -> float | pd.Series | pd.DataFrame:
        """Restricted mean survival time: the area under the curve from 0 to `tau`.

        Parameters
        ----------
        tau : float
            In (0, horizon].
        level : float, optional
            Also return an interval of this level, from 500 simulated tables.

        Returns
        -------
        float, or Series by group, or (with `level`) DataFrame of estimate, lower, upper by group
        """
        edges = self.timeline_
        if not 0 < tau <= edges[-1]:
            raise InvalidData(f"tau must be in (0, {edges[-1]:g}]")
        mean = curves.restricted_mean(edges, self._curve(), tau, self.interpolation)
        if level is None:
            return frames.by_group(self._counts, mean)
        checks.check_level(level)
        replicates = curves.restricted_mean(edges, self._replicates(bands.REPLICATES, 0), tau, self.interpolation)
        low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2], axis=0)
        lower, upper = np.clip([2 * mean - high, 2 * mean - low], 0, tau)
        return frames.with_interval(self._counts, mean, lower, upper)

    def table(self, level: float = 0.95) -> pd.DataFrame:
        """One row per edge (and group): timeline, survival, lower, upper, at_risk, reliable."""
        counts = self._counts
        risk = self.at_risk_.to_numpy(np.float64).T
        band = self.confidence_interval(level)
        return frames.life_table(counts, self._curve(), band, risk, self._reliable())

    def plot(self, ax: Any = None, *, level: float = 0.95, time_unit: str | None = None) -> Any:
        """Draw the curves with their bands, unreliable stretches dashed, and the claim below the axis.

        Parameters
        ----------
        ax : matplotlib Axes, optional
        level : float
        time_unit : str, optional
            Of the durations, for the axis: "days".

        Returns
        -------
        matplotlib Axes
        """
        from sfumato.statistics.survival.plotting import plot_survival

        return plot_survival(self, ax=ax, level=level, time_unit=time_unit)

    def to_lifelines(self) -> Any:
        """Return a fitted lifelines KaplanMeierFitter that holds the private curve (one per group: dict).

        Its `survival_function_`, `confidence_interval_`, `median_survival_time_` and plots are those of this
        estimator; methods of lifelines that recompute from raw data have none to recompute from.
        """
        from sfumato.statistics.survival.lifelines_view import to_lifelines

        return to_lifelines(self)

    # Below: how the results are computed

    @property
    def _counts(self) -> NoisyCounts:
        check_is_fitted(self, "noisy_counts_")
        counts: NoisyCounts = self.noisy_counts_
        return counts

    def _request(self) -> Request:
        if self.interpolation not in ("linear", "hazard"):
            raise InvalidData('interpolation must be "linear" or "hazard"')
        if self.shrink not in (False, True, "weibull"):
            raise InvalidData('shrink must be False, True or "weibull"')
        if not isinstance(self.actuarial, (bool, np.bool_)):
            raise InvalidData("actuarial must be True or False")
        return read_request(self.get_params(deep=False), "Kaplan-Meier life table")

    def _release(
        self, count: Counter, request: Request, labels: tuple[Hashable, ...] | None, records: int | None
    ) -> Self:
        table = release_table(count, request, labels=labels, records=records)
        self.noisy_counts_ = NoisyCounts(
            edges=table.edges,
            events=table.by_status[:, 0],
            censored=table.censored,
            tail=table.tail,
            variance=table.variance,
            neighbours=request.neighbours,
            group_labels=labels,
            claim=table.claim,
            mechanism=table.mechanism,
        )
        return self

    def _curve(self) -> Floats:
        counts = self._counts
        events: NDArray[Any] = counts.events
        censored: NDArray[Any] = counts.censored
        tail: NDArray[Any] = counts.tail
        if self.shrink is not False:
            events, censored, tail = shrinkage.shrunk(counts, model_only=self.shrink == "weibull")
        return curves.survival(events, censored, tail, deviation=counts.at_risk_deviation(), actuarial=self.actuarial)

    def _replicates(self, draws: int, random_state: int | None) -> Floats:
        rng = np.random.default_rng(random_state)
        counts = self._counts
        simulated = bands.simulate_cells(counts, self._curve(), draws, rng, actuarial=self.actuarial)
        events, censored, tail = simulated
        return curves.survival(events, censored, tail, deviation=counts.at_risk_deviation(), actuarial=self.actuarial)

    def _reliable(self) -> NDArray[np.bool_]:
        return bands.reliable(self._counts.at_risk(), self._counts.at_risk_deviation())
