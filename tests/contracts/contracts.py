"""What each public mechanism with a formal claim promises, and how to try it: one entry a configuration.

A new system adds its entry to `CONTRACTS`, or a sentence to `WITHOUT_A_FORMAL_CLAIM`; `test_contracts` fails without.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from coupling import captured

from sfumato import Claim
from sfumato.attacks.reconstruction import PrivBayes
from sfumato.statistics.survival import DPCumulativeIncidence, DPKaplanMeier
from sfumato.studies.survival_audit import neighbouring_cohorts, noisy_tables

HORIZON = 100.0


@dataclass(frozen=True)
class Contract:
    """One configuration of one public class.

    Attributes
    ----------
    subject : type
    name : str
    claim : Claim
        As the fitted object states it.
    run : callable
        ``run(data)`` releases once; for coupled runs.
    neighbours : callable
        ``neighbours(rng) -> (data, data)``, random neighbours under the claim.
    outputs : callable
        ``outputs(data, n, rng)``: n independent releases.
    worst : list of (data, data)
        The pairs that are audited.
    too_far : list of (data, data)
        Pairs just beyond the claim's neighbours: the audit must catch them, or it would catch nothing.
    trials : int
        Counted runs a side.
    bug : float
        What the twin's noise is divided by: 2, or more where the proof leaves part of the budget unused on any pair.
    """

    subject: type
    name: str
    claim: Claim
    run: Callable[[Any], Any]
    neighbours: Callable[[np.random.Generator], tuple[Any, Any]]
    outputs: Callable[[Any, int, np.random.Generator], Any]
    worst: list[tuple[Any, Any]]
    too_far: list[tuple[Any, Any]]
    trials: int = 30_000
    bug: float = 2

    def __str__(self) -> str:
        return f"{self.subject.__name__}-{self.name}"


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


def priv_bayes():
    """Three binary attributes. The noise of its tables is spread over many cells: an audit sees a coarse bug only."""
    domain = dict.fromkeys("abc", (0, 1))

    def generator():
        return PrivBayes(1.0, domain, degree=1, random_state=0)

    def rows(*counts):
        return pd.DataFrame(np.repeat([(0, 0, 0), (1, 1, 1)], counts, axis=0), columns=list("abc"))

    def neighbours(rng):
        n = int(rng.integers(2, 25))
        frame = pd.DataFrame(rng.integers(0, 2, (n, 3)), columns=list("abc"))
        other = frame.copy()
        other.iloc[int(rng.integers(n))] = rng.integers(0, 2, 3)
        return frame, other

    def outputs(data, n, rng):
        found = []
        for _ in range(n):
            drawn = []
            with captured(drawn):
                generator().fit(data)
            found.append(np.concatenate(drawn))
        return np.array(found)

    return Contract(
        PrivBayes,
        "pure",
        generator().claim,
        lambda data: generator().fit(data),
        neighbours,
        outputs,
        [(rows(5, 5), rows(6, 4))],
        [(rows(0, 40), rows(40, 0))],
        trials=3000,
        bug=24,
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
    priv_bayes(),
]

#: Public classes that hold, carry or attack claims without drawing noise of their own, or promise nothing.
WITHOUT_A_FORMAL_CLAIM = {
    "AuditReport": "the result of an audit",
    "CanaryReport": "the result of an audit",
    "Auditor": "an attack",
    "AttributeAttack": "the form of an attack",
    "ReconstructionAttack": "an attack",
    "InferenceForest": "an attack",
    "PopulationForest": "an attack",
    "NearestRecord": "an attack",
    "GameReport": "the result of an attack",
    "Generator": "the form of a target",
    "NonPrivate": "a target without a claim",
    "IndependentHistograms": "a target without a claim",
    "BayesianNetwork": "a target without a claim",
    "NoisyCounts": "what a release left: it carries the claim of the estimator that drew it",
}
