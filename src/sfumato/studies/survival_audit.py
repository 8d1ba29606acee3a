"""Audit of a configured survival estimator: does the code that will run betray what it claims?

For the statistician before a release and for its reviewer (`sfumato … --audit`). The pair of data sets is
the counterexample of card 01, the audit that of card 31 (`sfumato.attacks.bayesian_audit`).
"""

from __future__ import annotations

import contextvars
import copy
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import InvalidData
from sfumato.evidence import Evidence
from sfumato.statistics.survival import DPKaplanMeier

Cohort: TypeAlias = tuple[NDArray[np.float64], NDArray[np.int64]]

FEWEST_TRIALS = 100
_OTHERS = 9  # people who are the same in both data sets; noise does not depend on how many there are


def audit_release(estimator: DPKaplanMeier, trials: int = 20_000, random_state: int | None = None) -> Evidence:
    """Audit an estimator's release on neighbouring data sets that it has never seen.

    No real data are touched and no budget is charged: the data sets are made up. In both, everybody
    is censored early but for one person, who has the event right after (or is not there at all, or
    has it late, or survives: whatever the neighbours allow). Many independent releases come from one
    fit with as many groups, each a copy of the data set: groups have the noise of a table of their own.

    Parameters
    ----------
    estimator : DPKaplanMeier
        Its parameters are audited, fitted or not. Where it would buy the number of intervals from
        the budget, the intervals are fixed first and that part is not audited (a note says so).
    trials : int, default 20 000
        Counted releases a side; half as many more choose the event.
    random_state : int, optional
        Seeds the search for the event. The noise comes from the system, as it does in a release.

    Returns
    -------
    Evidence
        "falsified" is an exact test's verdict at a false-alarm rate of 5 %; "consistent" says that
        this audit found nothing, never that there is nothing.

    Raises
    ------
    InvalidData
        If trials is not a whole number of at least 100, or the estimator's parameters are bad.
    """
    if isinstance(trials, bool) or not isinstance(trials, (int, np.integer)) or trials < FEWEST_TRIALS:
        raise InvalidData(f"trials must be a whole number, at least {FEWEST_TRIALS}")
    # An active ledger must not be charged for made-up data: a fresh context has none.
    return contextvars.Context().run(_audit, estimator, int(trials), random_state)


def neighbouring_cohorts(horizon: float, neighbours: str) -> list[tuple[Cohort, Cohort]]:
    """Pairs of cohorts that differ in one person, after the counterexample of card 01.

    Returns
    -------
    list of ((durations, events), (durations, events))
    """
    early, soon, late, beyond = 0.1 * horizon, 0.11 * horizon, 0.99 * horizon, 2 * horizon
    rest = _cohort(early, 0)
    died = _cohort(early, 0, (soon, 1))
    if neighbours == "add-remove":
        return [(died, rest), (_cohort(early, 0, (beyond, 0)), rest)]
    return [(died, _cohort(early, 0, (late, 1))), (died, _cohort(early, 0, (beyond, 0)))]


def _cohort(time: float, event: int, *one: tuple[float, int]) -> Cohort:
    durations = [time] * _OTHERS + [each[0] for each in one]
    events = [event] * _OTHERS + [each[1] for each in one]
    return np.array(durations), np.array(events)


def _audit(estimator: DPKaplanMeier, trials: int, random_state: int | None) -> Evidence:
    subject, notes = _with_fixed_intervals(estimator)
    auditor = Auditor(
        n_train=max(trials // 4, 1),
        n_select=max(trials // 4, 1),
        n_test=trials,
        # Cells are independent: a trained sum of few cells is as good as trees, and faster.
        scores=("threshold", "histogram", "linear"),
        random_state=random_state,
        progress=None,
    )

    def releases(cohort: Cohort, n: int, rng: np.random.Generator, /) -> NDArray[np.float64]:
        return noisy_tables(subject, cohort, n)

    horizon = float(np.asarray(subject.edges)[-1])
    pairs = neighbouring_cohorts(horizon, subject.neighbours)
    first = pairs[0][0]
    claim = clone(subject).fit(*first).claim_
    evidence = auditor.audit(releases, claim, pairs=pairs).to_evidence()
    return replace(evidence, notes=(*evidence.notes, *notes))


def noisy_tables(estimator: DPKaplanMeier, cohort: Cohort, n: int) -> NDArray[np.float64]:
    """Draw n independent releases of one cohort, shape (n, 2 m + 1): events, censored, tail.

    They are the groups of one fit, each a copy of the cohort, so that the estimator's own code draws.
    """
    durations, events = cohort
    labels = np.arange(n)
    fitted = copy.copy(estimator).fit(
        np.tile(durations, n),
        np.tile(events, n),
        groups=np.repeat(labels, len(durations)),
        group_labels=labels.tolist(),
    )
    counts = fitted.noisy_counts_
    return np.column_stack([counts.events, counts.censored, counts.tail]).astype(np.float64)


def _with_fixed_intervals(estimator: DPKaplanMeier) -> tuple[DPKaplanMeier, tuple[str, ...]]:
    """A clone with its intervals fixed: with groups, their number would follow the number of groups."""
    subject: Any = clone(estimator)
    if subject.edges is not None:
        return subject, ()
    bought = subject.n_bins == "auto" and subject.expected_n is None and subject.expected_events is None
    fitted: Any = estimator if hasattr(estimator, "noisy_counts_") else None
    if fitted is None:
        fitted = clone(estimator).fit(np.zeros(2), np.array([0, 1]))
    subject.set_params(edges=np.asarray(fitted.timeline_).tolist(), n_bins="auto", horizon=None)
    said = "the noisy counts that choose the number of intervals were not audited" if bought else ""
    return subject, (said,) if said else ()
