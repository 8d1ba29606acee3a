"""Contracts of `sfumato.statistics.survival`."""

import numpy as np
from contract import Contract

from sfumato.statistics.survival import DPCumulativeIncidence, DPKaplanMeier
from sfumato.studies.survival_audit import neighbouring_cohorts, noisy_tables

HORIZON = 100.0


def cohort(rng, n):
    """Times on and off the edges of intervals, beyond the horizon too, and statuses with many ties."""
    times = np.where(rng.random(n) < 0.5, rng.integers(0, 13, n) * 10.0, rng.uniform(0, 1.3 * HORIZON, n))
    return times, rng.integers(0, 3, n)


def neighbouring(kind, statuses):
    def draw(rng):
        n = int(rng.integers(1, 30))
        times, events = cohort(rng, n)
        events = np.minimum(events, statuses - 1)
        who = int(rng.integers(n))
        if kind == "add-remove":
            keep = np.arange(n) != who
            return (times, events), (times[keep], events[keep])
        other_time, other_event = cohort(rng, 1)
        changed_times, changed_events = times.copy(), events.copy()
        changed_times[who], changed_events[who] = other_time[0], min(other_event[0], statuses - 1)
        return (times, events), (changed_times, changed_events)

    return draw


def survival(name, **parameters):
    kind = parameters.get("neighbours", "add-remove")
    estimator = DPKaplanMeier(**{"horizon": HORIZON, "n_bins": 10, **parameters})
    pairs = neighbouring_cohorts(HORIZON, kind)
    fixed = DPKaplanMeier(**{**parameters, "edges": np.linspace(0, HORIZON, 11).tolist()})
    early, late = np.full(9, 10.0), np.zeros(9, np.int64)
    # three people more where the claim speaks of one: what a halved sensitivity would look like
    three = (np.append(early, [11.0] * 3), np.append(late, [1] * 3))
    nobody = (early, late) if kind == "add-remove" else (np.append(early, [99.0] * 3), np.append(late, [1] * 3))
    return Contract(
        DPKaplanMeier,
        name,
        fixed.fit(*pairs[0][0]).claim_,
        lambda data: estimator.fit(*data),
        neighbouring(kind, 2),
        lambda data, n, rng: noisy_tables(fixed, data, n),
        pairs,
        [(three, nobody)],
    )


def incidence(name, **parameters):
    kind = parameters.get("neighbours", "add-remove")
    edges = np.linspace(0, HORIZON, 6).tolist()
    estimator = DPCumulativeIncidence(**parameters, n_causes=2, horizon=HORIZON, n_bins=5)
    fixed = DPCumulativeIncidence(**parameters, n_causes=2, edges=edges)

    def outputs(data, n, rng):
        times, causes = data
        fit = fixed.fit(
            np.tile(times, n), np.tile(causes, n), groups=np.repeat(np.arange(n), len(times)), group_labels=range(n)
        )
        first = fit.noisy_counts_[0]
        return np.column_stack([*(table.events for table in fit.noisy_counts_), first.censored, first.tail])

    base = (np.array([10.0, 30.0]), np.array([0, 1]))
    more = (np.append(base[0], 50.0), np.append(base[1], 2))
    if kind == "replace-one":
        base = (np.append(base[0], 90.0), np.append(base[1], 1))
    three = (np.append(base[0], [50.0] * 3), np.append(base[1], [2] * 3))
    far = base if kind == "add-remove" else (np.append(base[0], [90.0] * 3), np.append(base[1], [1] * 3))
    return Contract(
        DPCumulativeIncidence,
        name,
        fixed.fit(*base).claim_,
        lambda data: estimator.fit(*data),
        neighbouring(kind, 3),
        outputs,
        [(more, base)],
        [(three, far)],
    )


CONTRACTS = [
    survival("pure", epsilon=1.0),
    survival("pure-replaced", epsilon=1.0, neighbours="replace-one"),
    survival("zcdp", rho=0.5, mechanism="gaussian"),
    survival("zcdp-factorized", rho=0.5, mechanism="factorized"),
    survival("approximate", epsilon=1.0, delta=1e-5, neighbours="replace-one"),
    survival("pure-chosen-intervals", epsilon=1.0, n_bins="auto"),
    incidence("pure", epsilon=1.0),
    incidence("zcdp-replaced", rho=0.5, neighbours="replace-one"),
]

WITHOUT_A_FORMAL_CLAIM = {
    "NoisyCounts": "what a release left: it carries the claim of the estimator that drew it",
}
