"""DPCumulativeIncidence: the probability of each of several kinds of event, from a noisy life table.

For cohorts in which one event rules out another (death from another cause). Aalen and Johansen 1978; the
privacy argument is that of DPKaplanMeier: one more cell per kind and interval, the same sensitivity.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any, Literal, Self, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import Neighbours
from sfumato.privacy.claim import Claim
from sfumato.statistics.survival import bands, cells, checks
from sfumato.statistics.survival import curve as curves
from sfumato.statistics.survival.bands import Kind
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
        return self._frame(incidence.reshape(-1, incidence.shape[-1]).T, self._columns())

    def confidence_interval(
        self, level: float = 0.95, *, kind: Kind = "pointwise", random_state: int | None = None
    ) -> pd.DataFrame:
        """Interval for the true incidences at each edge, sampling error and privacy noise together.

        From 500 simulated tables: as many people as the noisy total, with the estimated chances, and fresh noise.

        Parameters
        ----------
        level : float
            In (0, 1).
        kind : {"pointwise", "simultaneous"}
            For each time, or for all reliable times of one cause and group at once.
        random_state : int, optional

        Returns
        -------
        DataFrame
            Index "timeline"; columns "lower" and "upper" below each kind of event, below each group if there are
            groups. Where too few are at risk for the noise, an incidence is only known to be above its last bound.
        """
        checks.check_level(level)
        if kind not in get_args(Kind):
            raise InvalidData('kind must be "pointwise" or "simultaneous"')
        incidence = self._incidence()
        free = 1 - incidence  # decreases from 1, as a survival curve does
        replicates = 1 - self._replicates(incidence, np.random.default_rng(random_state))
        held = bands.reliable(self._risk(), self._deviation())
        band = [bands.bootstrap(free[:, k], replicates[:, :, k], held, level, kind) for k in range(self.n_causes)]
        # (causes, ends, groups, m + 1): the upper end of one is the lower of the other
        ends = 1 - np.stack([np.stack((upper, lower)) for lower, upper in band])
        flat = ends.transpose(2, 0, 1, 3).reshape(-1, ends.shape[-1]).T
        return self._frame(flat, self._columns("lower", "upper"))

    def predict(self, times: ArrayLike) -> pd.DataFrame:
        """Cumulative incidence at `times`, linear between edges; NaN beyond the horizon."""
        at = np.atleast_1d(np.asarray(times, np.float64))
        if at.ndim != 1 or np.isnan(at).any():
            raise InvalidData("times must be a vector of numbers")
        table = self.cumulative_incidence_
        values = curves.evaluate(self.timeline_, table.to_numpy().T, at, "linear")
        return pd.DataFrame(values.T, index=pd.Index(at, name="timeline"), columns=table.columns)

    def plot(self, ax: Any = None, *, level: float = 0.95, time_unit: str | None = None) -> Any:
        """Draw each kind's cumulative incidence and pointwise band, with the claim below the axis.

        Parameters and result as for `DPKaplanMeier.plot`.
        """
        from sfumato.statistics.survival.plotting import finish, new_axes

        ax = new_axes(ax)
        table = self.cumulative_incidence_
        band = self.confidence_interval(level, random_state=0)
        columns: list[Any] = list(table.columns)
        for column in columns:
            named = column if isinstance(column, tuple) else (column,)
            (line,) = ax.plot(table.index, table[column], label=" ".join([*map(str, named[:-1]), f"event {named[-1]}"]))
            lower, upper = band[(*named, "lower")], band[(*named, "upper")]
            ax.fill_between(table.index, lower, upper, color=line.get_color(), alpha=0.18, linewidth=0)
        ax.set_ylabel(f"cumulative incidence, {level:.0%} interval")
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

    def _tables(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Noisy events (causes, groups, m), censored (groups, m) and tail (groups,)."""
        first = self._first
        return np.stack([table.events for table in self.noisy_counts_]), first.censored, first.tail

    def _risk(self) -> Floats:
        events, censored, tail = self._tables()
        return curves.at_risk(events.sum(0), censored, tail)

    def _deviation(self) -> Floats:
        """Deviation of the noise at risk: one more noisy stream per further kind of event."""
        first = self._first
        later = first.n_bins - np.arange(first.n_bins)
        base = first.at_risk_deviation()
        streams = 2 * later + 1
        return np.asarray(base * np.sqrt((streams + (self.n_causes - 1) * later) / streams))

    def _survival(self) -> Floats:
        events, censored, tail = self._tables()
        return curves.survival(events.sum(0), censored, tail, deviation=self._deviation(), actuarial=True)

    def _incidence(self) -> Floats:
        return np.moveaxis(_aalen_johansen(*self._tables(), self._deviation()), 0, -2)

    def _replicates(self, incidence: Floats, rng: np.random.Generator) -> Floats:
        """Incidences of simulated tables, shape (draws, groups, causes, m + 1)."""
        m, causes = self._first.n_bins, self.n_causes
        everyone = replace(self._first, events=self._tables()[0].sum(0))
        cells = bands.cell_probabilities(everyone, self._survival())
        steps = np.diff(incidence, axis=-1)
        total = steps.sum(1, keepdims=True)
        shares = np.where(total > 0, steps / np.where(total > 0, total, 1.0), 1 / causes)
        by_cause = (cells[:, np.newaxis, :m] * shares).reshape(len(cells), causes * m)
        chances = np.concatenate((by_cause, cells[:, m:]), axis=-1)
        size = np.maximum(self._risk()[:, 0], 1).astype(np.int64)
        drawn = np.stack(
            [rng.multinomial(n, p, size=bands.REPLICATES) for n, p in zip(size, chances, strict=True)], axis=1
        )
        drawn = drawn + bands.simulate_noise(self._first, drawn.shape[:-1], rng, n_causes=causes)
        simulated = np.moveaxis(drawn[..., : causes * m].reshape(*drawn.shape[:-1], causes, m), -2, 0)
        after = drawn[..., causes * m :]
        return np.moveaxis(_aalen_johansen(simulated, after[..., :m], after[..., m], self._deviation()), 0, -2)

    def _columns(self, *ends: str) -> Any:
        """Column labels: groups if there are any, kinds of event, and ends of an interval if asked for."""
        causes = range(1, self.n_causes + 1)
        levels: list[Any] = [] if self._first.group_labels is None else [self._first.columns]
        levels += [causes, list(ends)] if ends else [causes]
        return pd.MultiIndex.from_product(levels) if len(levels) > 1 else list(causes)

    def _frame(self, values: Floats, columns: Any) -> pd.DataFrame:
        return pd.DataFrame(values, index=pd.Index(self.timeline_, name="timeline"), columns=columns)


def _aalen_johansen(
    events: NDArray[np.int64], censored: NDArray[np.int64], tail: NDArray[np.int64], deviation: Floats
) -> Floats:
    """Incidence of each cause, monotone and in [0, 1].

    Parameters
    ----------
    events : ndarray of int64, shape (causes, ..., m)
    censored : ndarray of int64, shape (..., m)
    tail : ndarray of int64, shape (...)
    deviation : ndarray of float, shape (m,)
        As in `curve.survival`.

    Returns
    -------
    ndarray of float, shape (causes, ..., m + 1)
    """
    everyone = events.sum(0)
    risk = curves.at_risk(everyone, censored, tail)
    exposed = curves.denominator(risk, censored, True)
    start = curves.survival(everyone, censored, tail, deviation=deviation, actuarial=True)[..., :-1]
    steps = np.where(risk >= deviation / 2, start * events / exposed, 0.0)
    sums = np.cumsum(steps, axis=-1)
    weights = np.broadcast_to(curves.precision(risk, deviation), sums.shape)
    monotone = np.clip(-curves.decreasing(-sums, weights), 0.0, 1.0)
    return np.concatenate((np.zeros((*monotone.shape[:-1], 1)), monotone), axis=-1)
