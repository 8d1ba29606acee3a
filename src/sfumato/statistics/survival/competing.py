"""DPCumulativeIncidence: the probability of each of several kinds of event, from a noisy life table.

For cohorts in which one event rules out another (death from another cause). Aalen and Johansen 1978; the
privacy argument is that of DPKaplanMeier: one more cell per kind and interval, the same sensitivity.
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
from sfumato.statistics.survival import cells, checks
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.curve import Floats
from sfumato.statistics.survival.frames import frame_counter
from sfumato.statistics.survival.noisy_counts import Mechanism, NoisyCounts
from sfumato.statistics.survival.releasing import Counter, Request, read_request, release_table


class DPCumulativeIncidence(BaseEstimator):  # type: ignore[misc]
    """Cumulative incidence of competing events from a noisy life table.

    Each person is in exactly one cell: one kind of event or censored, in one public interval of one group,
    or the group's tail. *Neighbours add-remove* change one cell by one (L1 and L2 sensitivity 1),
    *replace-one* two cells (2 and √2), whatever the number of kinds. See `DPKaplanMeier` for what is public,
    for the source and for why the paper's own method is not used.

    Parameters
    ----------
    epsilon : float, optional
        1.0 if neither `epsilon` nor `rho` is given.
    n_causes : int
        Number of kinds of event, public: the statuses are 0 (censored), 1, ..., n_causes.
    rho, delta, horizon, n_bins, edges, expected_n, expected_events, neighbours, mechanism, noise_seed
        As for `DPKaplanMeier`; `expected_events` counts events of every kind.

    Attributes
    ----------
    noisy_counts_ : tuple of NoisyCounts
        One table per kind of event, which share `censored` and `tail`; all that the object keeps.
    claim_ : Claim
    timeline_ : ndarray of float, shape (m + 1,)
    cumulative_incidence_ : DataFrame
        Index "timeline"; columns are the kinds 1, 2, ..., below each group label if there are groups.
    survival_function_ : DataFrame
        Probability of no event of any kind, as in `DPKaplanMeier`.
    """

    def __init__(
        self,
        epsilon: float | None = None,
        *,
        n_causes: int = 2,
        rho: float | None = None,
        delta: float | None = None,
        horizon: float | None = None,
        n_bins: int | str = "auto",
        edges: ArrayLike | None = None,
        expected_n: float | None = None,
        expected_events: float | None = None,
        neighbours: Neighbours = "add-remove",
        mechanism: Mechanism | Literal["auto"] = "auto",
        noise_seed: int | None = None,
    ) -> None:
        self.epsilon = epsilon
        self.n_causes = n_causes
        self.rho = rho
        self.delta = delta
        self.horizon = horizon
        self.n_bins = n_bins
        self.edges = edges
        self.expected_n = expected_n
        self.expected_events = expected_events
        self.neighbours = neighbours
        self.mechanism = mechanism
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
        events : array_like of int, shape (n,)
            0 if censored, else the kind of event, 1 to `n_causes`.
        groups, group_labels
            As in `DPKaplanMeier.fit`.

        Returns
        -------
        DPCumulativeIncidence

        Raises
        ------
        InvalidData, InvalidClaim
            Before anything is spent.
        BudgetExceeded
        """
        request = self._request()
        times = cells.check_durations(durations)
        statuses = cells.check_statuses("events", events, len(times), self.n_causes)
        labels = checks.declared_labels("groups", groups, group_labels)
        codes = None
        if labels is not None and groups is not None:
            codes = cells.group_codes(groups, labels, len(times))
        checks.warn_if_horizon_is_largest(request.horizon, cells.largest(times))
        shape = {"n_statuses": self.n_causes + 1, "n_groups": 1 if labels is None else len(labels)}

        def count(edges: NDArray[np.float64]) -> NDArray[np.int64]:
            return cells.count_cells(times, statuses, edges, codes=codes, **shape)

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
        """Release the noisy life table of any data frame; parameters as in `DPKaplanMeier.fit_frame`.

        The event column holds 0 and the kinds 1 to `n_causes`.
        """
        request = self._request()
        labels = checks.declared_labels("group_col", group_col, group_labels)
        records = checks.records_per_person(person_col, max_records)
        count = frame_counter(
            frame,
            duration_col=duration_col,
            event_col=event_col,
            group_col=group_col,
            labels=labels,
            person_col=person_col,
            max_records=max_records,
            n_statuses=self.n_causes + 1,
        )
        return self._release(count, request, labels, records)

    @property
    def claim_(self) -> Claim:
        """What was promised about the noisy counts."""
        return self._first.claim

    @property
    def timeline_(self) -> Floats:
        """Edges of the intervals, shape (m + 1,)."""
        return self._first.edges

    @property
    def survival_function_(self) -> pd.DataFrame:
        """Probability of no event of any kind by each edge."""
        return self._frame(self._survival().T, list(self._first.columns))

    @property
    def cumulative_incidence_(self) -> pd.DataFrame:
        """Probability of each kind of event by each edge."""
        incidence = self._incidence()
        causes = list(range(1, self.n_causes + 1))
        flat = incidence.reshape(-1, incidence.shape[-1]).T
        if self._first.group_labels is None:
            return self._frame(flat, causes)
        return self._frame(flat, pd.MultiIndex.from_product([self._first.columns, causes]))

    def predict(self, times: ArrayLike) -> pd.DataFrame:
        """Cumulative incidence at `times`, linear between edges; NaN beyond the horizon."""
        at = np.atleast_1d(np.asarray(times, np.float64))
        if at.ndim != 1 or np.isnan(at).any():
            raise InvalidData("times must be a vector of numbers")
        table = self.cumulative_incidence_
        values = curves.evaluate(self.timeline_, table.to_numpy().T, at, "linear")
        return pd.DataFrame(values.T, index=pd.Index(at, name="timeline"), columns=table.columns)

    def plot(self, ax: Any = None, *, time_unit: str | None = None) -> Any:
        """Draw each kind's cumulative incidence, with the claim below the axis; `time_unit` labels it."""
        from sfumato.statistics.survival.plotting import finish, new_axes

        ax = new_axes(ax)
        table = self.cumulative_incidence_
        for column in table.columns:
            ax.plot(table.index, table[column], label=f"event {column}")
        ax.set_ylabel("cumulative incidence")
        ax.legend(frameon=False)
        finish(ax, float(self.timeline_[-1]), self.claim_, time_unit)
        return ax

    def _request(self) -> Request:
        if isinstance(self.n_causes, bool) or not isinstance(self.n_causes, int) or self.n_causes < 1:
            raise InvalidData("n_causes must be an integer of at least 1")
        return read_request(self.get_params(deep=False), "cumulative incidence life table")

    def _release(
        self, count: Counter, request: Request, labels: tuple[Hashable, ...] | None, records: int | None
    ) -> Self:
        table = release_table(count, request, labels=labels, records=records)
        self.noisy_counts_ = tuple(
            NoisyCounts(
                edges=table.edges,
                events=table.by_status[:, k],
                censored=table.censored,
                tail=table.tail,
                variance=table.variance,
                neighbours=request.neighbours,
                group_labels=labels,
                claim=table.claim,
                mechanism=table.mechanism,
            )
            for k in range(self.n_causes)
        )
        return self

    @property
    def _first(self) -> NoisyCounts:
        check_is_fitted(self, "noisy_counts_")
        counts: NoisyCounts = self.noisy_counts_[0]
        return counts

    def _all_events(self) -> NDArray[np.int64]:
        return np.asarray(np.sum([table.events for table in self.noisy_counts_], axis=0))

    def _deviation(self) -> Floats:
        """Deviation of the noise at risk: one more noisy stream per further kind of event."""
        first = self._first
        later = first.n_bins - np.arange(first.n_bins)
        base = first.at_risk_deviation()
        streams = 2 * later + 1
        return np.asarray(base * np.sqrt((streams + (self.n_causes - 1) * later) / streams))

    def _survival(self) -> Floats:
        first = self._first
        return curves.survival(
            self._all_events(), first.censored, first.tail, deviation=self._deviation(), actuarial=True
        )

    def _incidence(self) -> Floats:
        """Aalen-Johansen sums, monotone and in [0, 1], shape (groups, causes, m + 1)."""
        first = self._first
        risk = curves.at_risk(self._all_events(), first.censored, first.tail)
        exposed = curves.denominator(risk, first.censored, True)
        known = risk >= self._deviation() / 2
        start = self._survival()[:, :-1]
        steps = [np.where(known, start * table.events / exposed, 0.0) for table in self.noisy_counts_]
        sums = np.cumsum(np.stack(steps, axis=1), axis=-1)
        weights = np.broadcast_to(curves.precision(risk, self._deviation())[:, np.newaxis], sums.shape)
        monotone = np.clip(-curves.decreasing(-sums, weights), 0.0, 1.0)
        return np.concatenate((np.zeros((*monotone.shape[:-1], 1)), monotone), axis=-1)

    def _frame(self, values: Floats, columns: Any) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.timeline_, name="timeline"), columns=columns)
