"""Black-box audit: does running code betray the differential privacy that it claims?

For a privacy engineer with a mechanism, neighbouring inputs and a claim. Card 31, section F, after
StatDP (Ding et al. 2018) and DP-Sniper (Bichsel et al. 2021); the verdict is an exact binomial test.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from sfumato.attacks.bayesian_audit.events import (
    SCORES,
    Candidate,
    Event,
    ScoreName,
    choose_candidates,
    propose_scores,
)
from sfumato.attacks.bayesian_audit.journal import Counts, Journal
from sfumato.attacks.bayesian_audit.power import Curve, Profile, can_refute, profile_of
from sfumato.attacks.bayesian_audit.report import AuditReport, Finding, conclude
from sfumato.attacks.bayesian_audit.trials import (
    Mechanism,
    Separation,
    Trials,
    chunks,
    look_for_separation,
    refuse_copied_randomness,
)
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.claim import Claim

Pair = tuple[Any, Any]

MOST_SINGLE_CALLS = 20_000  # where noise is seen to be used again
FEW_SINGLE_CALLS = 2_000  # where outputs may just have few values: the main test sees those
_REPEAT_SHARE = 0.1  # of alpha, kept for the test of repeated outputs whether or not it is run
_QUIET_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True)
class Auditor:
    """Searches for an event that tells two neighbouring inputs apart, and counts it on fresh trials.

    Three disjoint splits of independent trials: one trains scores, one chooses events and
    thresholds, one is counted. Only the counts of the last enter the exact (Clopper-Pearson) test,
    whose error is shared among the events counted. A sound mechanism is called a violation with
    probability at most ``alpha``, provided that its trials are independent.

    An audit never shows that a mechanism is private. "No violation found" holds for the pairs tried
    and this search; the report says which ε the audit could have certified at most.

    Parameters
    ----------
    delta : float, optional
        δ at which ``eps_lower`` is stated; by default that of an ``ApproxDP`` claim, else 0.
    alpha : float, default 0.05
        False-alarm rate of the whole audit.
    pairs : sequence of (x, x'), optional
        Neighbouring inputs, under the claim's unit and neighbours; `audit` may be given others.
    scores : "auto" or sequence of {"threshold", "histogram", "boosting", "linear"}
        What orders outputs. "boosting" and "linear" serve outputs of more than one number.
    n_train, n_select, n_test : int
        Trials a side and pair in each split. The last one sets the power (about ``ln(n_test / 4)``).
    candidates : int, default 8
        Most events counted; each gets its share of alpha.
    random_state : int, optional
        Seeds the random source handed to the mechanism, ties and classifiers.
    n_jobs : int, default 1
        Processes that run a slow mechanism, as in scikit-learn (-1: one a core). Every chunk of trials has a random
        source of its own, so that the result depends on it only where the mechanism draws from the system.
    progress : bool, optional
        Show progress once an audit takes more than 2 s; by default if standard error is a terminal.

    Notes
    -----
    A mechanism that uses its noise again gives the same output call after call. Each single call is
    then a trial whose output is certain, and the event "this very output" is counted over separate
    calls for one output under both inputs: an exact test, and it certifies a large ε when the
    outputs differ between the inputs. If calls for many outputs repeat each other, the three splits
    are copies of one another, and only that test may carry a verdict. Noise that is shared only
    among trials of one call in more subtle ways than one output for all is not detected.
    """

    delta: float | None = None
    alpha: float = 0.05
    pairs: Sequence[Pair] = ()
    scores: Literal["auto"] | Sequence[ScoreName] = "auto"
    n_train: int = 50_000
    n_select: int = 50_000
    n_test: int = 200_000
    candidates: int = 8
    random_state: int | None = None
    n_jobs: int = 1
    progress: bool | None = None

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise InvalidData("alpha must lie strictly between 0 and 1")
        if self.delta is not None and not 0 <= self.delta < 1:
            raise InvalidData("delta must lie in [0, 1)")
        for name in ("n_train", "n_select", "n_test", "candidates"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        if isinstance(self.n_jobs, bool) or not isinstance(self.n_jobs, (int, np.integer)) or self.n_jobs == 0:
            raise InvalidData("n_jobs must be a whole number other than 0")
        if self.scores != "auto" and not set(self.scores) <= set(get_args(ScoreName)):
            raise InvalidData(f"scores must be 'auto' or some of {', '.join(get_args(ScoreName))}")

    def audit(
        self,
        mechanism: Mechanism,
        claim: Claim,
        *,
        pairs: Sequence[Pair] | None = None,
        profile: Curve | None = None,
        journal: str | Path | None = None,
    ) -> AuditReport:
        """Audit a mechanism against a claim.

        Parameters
        ----------
        mechanism : callable
            ``mechanism(x, n, rng)`` returns n independent outputs (first axis n): numbers, vectors,
            strings, None, or objects. Wrap a one-shot function with `one_at_a_time`. If a call for
            many outputs raises, it is called for one at a time and an exception is an output.
        claim : Claim
            A differential privacy bound; a void claim is audited by its bound.
        pairs : sequence of (x, x'), optional
            Neighbouring inputs; they must be neighbours in the claim's sense, which is not checked.
            `vector_pairs`, `table_pairs` and `local_pairs` make the usual ones.
        profile : callable, optional
            The whole privacy profile, ``profile(epsilon) -> delta``, that is audited in place of the claim's bound:
            `get_delta_for_epsilon` of a dp-accounting PLD, for example. One pair of bounds is held against all of
            it. The report's verdict is then about the profile; its evidence is still about the claim.
        journal : str or Path, optional
            A file that keeps what was chosen and counted: the same audit, called again with it after an interruption,
            goes on where it stopped.

        Raises
        ------
        InvalidClaim
            If the claim is not a differential privacy bound.
        InvalidData
            If there is no pair, the mechanism does not return n outputs, the profile is none, or processes would copy
            the mechanism's own random source.
        """
        began = time.perf_counter()
        chosen = [tuple(pair) for pair in (self.pairs if pairs is None else pairs)]
        if not chosen or any(len(pair) != 2 for pair in chosen):
            raise InvalidData("pairs must hold at least one pair (x, x') of neighbouring inputs")
        points = profile_of(claim, self.n_test, profile)
        trials = Trials(mechanism, np.random.default_rng(self.random_state), n_jobs=self.n_jobs)
        if self.n_jobs != 1:
            refuse_copied_randomness(trials, chosen[0][0])
        notebook = self._journal(journal, claim, len(chosen), points)
        looks = [look_for_separation(trials, (a, b)) for a, b in chosen]
        if any(look.shared for look in looks):
            trials = replace(trials, one_by_one=True)
        repeated = any(look.repeated for look in looks)
        total = len(chosen) * 2 * (self.n_train + self.n_select + self.n_test)
        findings: list[Finding] = []
        void = ""
        with _progress(self.progress, total) as advance:
            findings += self._repeats(trials, chosen, looks, points)
            if repeated and not findings:
                void = "no verdict: separate calls repeat each other's outputs, so trials are not independent"
            if not (repeated and findings):
                findings += self._search_and_count(trials, chosen, points, advance, notebook)
        return conclude(
            claim,
            findings,
            [(a, b) for a, b in chosen],
            delta=self._delta(claim),
            alpha=self.alpha,
            seconds=time.perf_counter() - began,
            notes=_notes(claim, trials.one_by_one, repeated),
            one_by_one=trials.one_by_one or repeated,
            void=void,
            curve=profile,
        )

    def _journal(self, path: str | Path | None, claim: Claim, n_pairs: int, points: Profile) -> Journal:
        settings = asdict(replace(self, pairs=(), progress=None, n_jobs=1))
        settings |= {"claim": claim.to_json(), "pairs": n_pairs, "profile": points.deltas.tolist()}
        return Journal(None if path is None else Path(path), settings, self.random_state)

    def _delta(self, claim: Claim) -> float:
        if self.delta is not None:
            return self.delta
        return claim.bound.delta if isinstance(claim.bound, ApproxDP) else 0.0

    def _search_and_count(
        self,
        trials: Trials,
        pairs: Sequence[tuple[Any, ...]],
        profile: Profile,
        advance: Callable[[int], None],
        journal: Journal,
    ) -> list[Finding]:
        alpha = self.alpha * (1 - _REPEAT_SHARE)

        def choose() -> list[tuple[int, Candidate]]:
            found: list[tuple[int, Candidate]] = []
            for index, pair in enumerate(pairs):
                found += [(index, each) for each in self._search(trials, pair, profile, alpha, advance)]
            return sorted(found, key=lambda each: -each[1].margin)[: self.candidates]

        best: list[tuple[int, Candidate]] = journal.chosen(choose)
        events = {at: [each.event for pair, each in best if pair == at] for at in range(len(pairs))}
        counts = self._count(trials, pairs, events, advance, journal)
        findings: list[Finding] = []
        for index in events:
            own = [each for at, each in best if at == index]
            findings += [
                Finding(
                    event=each.event,
                    pair=index,
                    stronger=each.stronger,
                    hits=int(counts[index, each.stronger][k]),
                    other_hits=int(counts[index, 1 - each.stronger][k]),
                    trials=self.n_test,
                    alpha=alpha / len(best),
                )
                for k, each in enumerate(own)
            ]
        return findings

    def _count(
        self,
        trials: Trials,
        pairs: Sequence[tuple[Any, ...]],
        events: dict[int, list[Event]],
        advance: Callable[[int], None],
        journal: Journal,
    ) -> dict[tuple[int, int], Counts]:
        """Count the events of each pair (by index) under each of its inputs, on fresh trials."""
        totals = {(at, side): np.zeros(len(own), np.int64) for at, own in events.items() for side in (0, 1)}
        sizes = chunks(self.n_test)
        places = [(at, side, chunk) for at, side in totals for chunk in range(len(sizes)) if events[at]]
        advance(2 * self.n_test * sum(not own for own in events.values()))
        todo = [place for place in places if journal.counted(place) is None]
        drawn = trials.spread(
            (
                replace(trials, rng=journal.source(place)).count,
                pairs[place[0]][place[1]],
                events[place[0]],
                sizes[place[2]],
            )
            for place in todo
        )
        for place, hits in zip(todo, drawn, strict=True):
            journal.add(place, hits)
            advance(sizes[place[2]])
        for place in places:
            found = journal.counted(place)
            assert found is not None
            totals[place[:2]] += found
        return totals

    def _search(
        self,
        trials: Trials,
        pair: tuple[Any, ...],
        profile: Profile,
        alpha: float,
        advance: Callable[[int], None],
    ) -> list[Candidate]:
        names = SCORES if self.scores == "auto" else tuple(self.scores)
        share = alpha / self.candidates
        seed = int(trials.rng.integers(2**31))
        first, second = (trials.draw_in_chunks(x, self.n_train) for x in pair)
        scores, events = propose_scores(first, second, names, profile, share, seed)
        advance(2 * self.n_train)
        first, second = (trials.draw_in_chunks(x, self.n_select) for x in pair)
        chosen = choose_candidates(scores, events, first, second, profile, share, trials.rng)
        advance(2 * self.n_select)
        return chosen[: self.candidates]

    def _repeats(
        self,
        trials: Trials,
        pairs: Sequence[tuple[Any, ...]],
        looks: Sequence[Separation],
        profile: Profile,
    ) -> list[Finding]:
        """Count "this very output" over separate calls, where single calls kept giving one output."""
        wanted = [
            (index, stronger)
            for index, look in enumerate(looks)
            for stronger in (0, 1)
            if look.constant[stronger] is not None and look.constant[0] != look.constant[1]
        ]
        if not wanted:
            return []
        alpha = self.alpha * _REPEAT_SHARE / len(wanted)
        repeated = any(look.repeated for look in looks)
        calls = _calls_needed(profile, alpha, MOST_SINGLE_CALLS if repeated else FEW_SINGLE_CALLS)
        if not repeated and not can_refute(profile, calls, alpha):
            return []
        single = replace(trials, one_by_one=True)
        findings = []
        for index, stronger in wanted:
            event = looks[index].constant[stronger]
            if event is None:
                continue
            hits = [int(single.count(x, [event], calls)[0]) for x in pairs[index]]
            findings.append(Finding(event, index, stronger, hits[stronger], hits[1 - stronger], calls, alpha))
        return findings


def _calls_needed(profile: Profile, alpha: float, most: int) -> int:
    """Separate calls with which certainty refutes the profile, with room for more than just that."""
    calls = 256
    while calls < most and not can_refute(profile, calls, alpha):
        calls *= 2
    return min(2 * calls, most)


def _notes(claim: Claim, one_by_one: bool, repeated: bool) -> tuple[str, ...]:
    notes = ["valid if trials are independent and the pair is neighbouring in the claim's sense"]
    if claim.void:
        notes.append("the claim is void; its bound was audited all the same")
    if one_by_one:
        notes.append("trials of one call share their noise; each trial was a call of its own")
    if repeated:
        notes.append("separate calls repeat the same outputs: the mechanism uses its noise again")
    return tuple(notes)


@contextmanager
def _progress(wanted: bool | None, total: int) -> Iterator[Callable[[int], None]]:
    """Advance a bar that appears only once the work has taken a while."""
    if not (sys.stderr.isatty() if wanted is None else wanted):
        yield lambda n: None
        return
    from rich.console import Console
    from rich.progress import Progress

    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task("auditing", total=total)
    began = time.perf_counter()

    def advance(n: int) -> None:
        bar.advance(task, n)
        if not bar.live.is_started and time.perf_counter() - began > _QUIET_SECONDS:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()
