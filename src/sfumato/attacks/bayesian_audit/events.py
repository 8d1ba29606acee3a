"""Events an audit may count, and the search for the ones that tell two inputs apart best.

For the auditor: support tests first, then thresholds of scores (card 31, F.0 to F.4), after StatDP
(Ding et al. 2018) and DP-Sniper (Bichsel et al. 2021). Nothing here sees the split that is counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from sfumato.attacks.bayesian_audit.outputs import MISSING, Feature, Outputs, list_features
from sfumato.attacks.bayesian_audit.power import Profile, rate_bounds
from sfumato.attacks.bayesian_audit.scores import Score, train_boosting, train_histogram, train_linear

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
ScoreName = Literal["threshold", "histogram", "boosting", "linear"]

SCORES: tuple[ScoreName, ...] = ("threshold", "histogram", "boosting", "linear")
FEWEST_HITS = 20  # on the stronger side; rarer events are noise in selection
TAIL = 0.01  # DP-Sniper's fixed probability of the event under the weaker input
_RANKS = 48
_BEST_FEATURES = 6
_SCREENED_FEATURES = 32  # of outputs with more, most are looked at only once
_BEST_ATOMS = 4


class Event(Protocol):
    """A set of outputs, possibly with a coin for its border."""

    def contains(self, outputs: Outputs, rng: np.random.Generator) -> Bools:
        """Which outputs lie in the event, shape (n,)."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True)
class OfKind:
    """All outputs of one category: an exception, None, NaN, a string, a shape."""

    name: str

    def __str__(self) -> str:
        return f"output is {self.name}"

    def contains(self, outputs: Outputs, rng: np.random.Generator) -> Bools:
        return outputs.of_kind(self.name)


@dataclass(frozen=True)
class Atom:
    """All outputs that equal one value exactly."""

    name: str
    values: tuple[float, ...]

    def __str__(self) -> str:
        shown = ", ".join(f"{each:.6g}" for each in self.values[:4])
        return f"output equals ({shown}{', …' if len(self.values) > 4 else ''})"

    def contains(self, outputs: Outputs, rng: np.random.Generator) -> Bools:
        same = outputs.columns(len(self.values)) == np.array(self.values)
        missing = np.isnan(outputs.columns(len(self.values))) & np.isnan(self.values)
        return np.asarray(outputs.of_kind(self.name) & (same | missing).all(axis=1), dtype=np.bool_)


@dataclass(frozen=True)
class Beyond:
    """Outputs whose score lies strictly beyond a threshold, and on it with probability ``coin``."""

    score: Score | Feature
    threshold: float
    above: bool
    coin: float = 0.0

    def __str__(self) -> str:
        sign = ">" if self.above else "<"
        coin = f", a coin of {self.coin:.3f} on equality" if self.coin else ""
        return f"{self.score} {sign} {self.threshold:.6g}{coin}"

    def contains(self, outputs: Outputs, rng: np.random.Generator) -> Bools:
        scores = self.score.of(outputs)
        inside = scores > self.threshold if self.above else scores < self.threshold
        if self.coin:
            inside |= (scores == self.threshold) & (rng.random(len(scores)) < self.coin)
        return np.asarray(inside, dtype=np.bool_)


@dataclass(frozen=True)
class Candidate:
    """An event, the input it speaks for (0 or 1), and its margin over the claim where it was chosen."""

    event: Event
    stronger: int
    margin: float


def propose_scores(
    first: Outputs, second: Outputs, names: Sequence[ScoreName], profile: Profile, alpha: float, seed: int
) -> tuple[list[Score | Feature], list[Event]]:
    """Train scores and collect support events on the training split.

    Returns
    -------
    tuple of list
        Scores whose threshold is still to be chosen, and events that need none.
    """
    d = max(first.values.shape[1], second.values.shape[1])
    features = [
        each for each in list_features(d, integers=_integers(first) and _integers(second))
        if not (np.isnan(each.of(first)).all() and np.isnan(each.of(second)).all())
    ]  # fmt: skip
    best = _rank(features, first, second, profile, alpha)
    scores: list[Score | Feature] = []
    if "threshold" in names:
        scores += best
    if "histogram" in names:
        scores += [train_histogram(each, first, second) for each in best]
    if d > 1 and features:
        if "boosting" in names:
            scores.append(train_boosting(features, first, second, seed))
        if "linear" in names:
            scores.append(train_linear(features, first, second))
    return scores, _support_events(first, second)


def choose_candidates(
    scores: Sequence[Score | Feature],
    events: Sequence[Event],
    first: Outputs,
    second: Outputs,
    profile: Profile,
    alpha: float,
    rng: np.random.Generator,
) -> list[Candidate]:
    """Choose thresholds on the selection split: both orders, both signs; best margin first."""
    found = [
        candidate
        for score in scores
        for candidate in _thresholds(score, score.of(first), score.of(second), profile, alpha)
    ]
    for event in events:
        hits = [int(event.contains(each, rng).sum()) for each in (first, second)]
        found += [Candidate(event, k, _margin(hits[k], hits[1 - k], len(first), profile, alpha)) for k in (0, 1)]
    unique: dict[tuple[str, int], Candidate] = {}
    for each in sorted(found, key=lambda candidate: -candidate.margin):
        unique.setdefault((str(each.event), each.stronger), each)
    return [each for each in unique.values() if each.margin > -np.inf]


def _rank(
    features: Sequence[Feature], first: Outputs, second: Outputs, profile: Profile, alpha: float
) -> list[Feature]:
    """Keep the features that separate best by one threshold or by two bins on the training split."""

    def merit(feature: Feature) -> float:
        ratio = train_histogram(feature, first, second)
        found = [
            *_thresholds(feature, feature.of(first), feature.of(second), profile, alpha),
            *_thresholds(ratio, ratio.of(first), ratio.of(second), profile, alpha),
        ]
        return max((candidate.margin for candidate in found), default=-np.inf)

    if len(features) <= _BEST_FEATURES:
        return list(features)
    screened = sorted(features, key=lambda each: -_difference(each, first, second))[:_SCREENED_FEATURES]
    return sorted(screened, key=lambda each: -merit(each))[:_BEST_FEATURES]


def _difference(feature: Feature, first: Outputs, second: Outputs) -> float:
    """How unlike two histograms of a feature are: one bin by far, or many bins by a little."""
    a, b = (np.sort(feature.of(side)) for side in (first, second))
    edges = np.unique(np.concatenate([side[:: max(1, len(side) // _RANKS)] for side in (a, b)]))
    counts = [np.diff(np.searchsorted(side, edges, side="right"), prepend=0, append=len(side)) for side in (a, b)]
    terms = (counts[0] - counts[1]) ** 2 / np.maximum(counts[0] + counts[1], 1)
    return float(max(terms.max(), (terms.sum() - len(terms)) / np.sqrt(2 * len(terms))))


def _thresholds(
    score: Score | Feature, first: Floats, second: Floats, profile: Profile, alpha: float
) -> Iterator[Candidate]:
    """Best threshold of a score for each order of the inputs and each side of the threshold."""
    for above in (True, False):
        sides = [np.sort(_upward(values, above)) for values in (first, second)]
        if not len(sides[0]) and not len(sides[1]):
            continue
        cuts = _cuts(sides, len(first))
        hits = [len(side) - np.searchsorted(side, cuts, side="right") for side in sides]
        for stronger in (0, 1):
            margins = _margins(hits[stronger], hits[1 - stronger], len(first), profile, alpha)
            best = int(np.argmax(margins))
            cut = float(cuts[best]) if above else -float(cuts[best])
            yield Candidate(Beyond(score, cut, above), stronger, float(margins[best]))
            tail = _tail_event(score, sides[1 - stronger], len(first), above)
            if tail is not None:
                counts = [_expected_hits(tail, side, above) for side in sides]
                margin = _margin(counts[stronger], counts[1 - stronger], len(first), profile, alpha)
                yield Candidate(tail, stronger, margin)


def _upward(values: Floats, above: bool) -> Floats:
    kept = values[~np.isnan(values)]
    return kept if above else -kept


def _cuts(sides: Sequence[Floats], n: int) -> Floats:
    """Thresholds at geometric ranks of either side, and just past the end of either support."""
    ranks = np.unique(np.geomspace(1, n, _RANKS).astype(np.int64))
    parts = [np.array([-np.inf])]
    for side in sides:
        if len(side):
            inside = ranks[ranks <= len(side)]
            parts.append(side[len(side) - inside])
            parts.append(np.nextafter(side[[0, -1]], -np.inf))
            parts.append(side[np.unique(np.linspace(0, len(side) - 1, _RANKS // 2).astype(np.int64))])
    return np.unique(np.concatenate(parts))


def _tail_event(score: Score | Feature, weaker: Floats, n: int, above: bool) -> Beyond | None:
    """Event of probability `TAIL` under the weaker input, with a coin where scores tie."""
    wanted = TAIL * n
    if len(weaker) < wanted or wanted < 1:
        return None
    cut = weaker[-int(wanted)]
    over = len(weaker) - np.searchsorted(weaker, cut, side="right")
    ties = len(weaker) - np.searchsorted(weaker, cut, side="left") - over
    coin = float(np.clip((wanted - over) / ties, 0.0, 1.0))
    return Beyond(score, float(cut if above else -cut), above, coin)


def _expected_hits(event: Beyond, side: Floats, above: bool) -> float:
    cut = event.threshold if above else -event.threshold
    over = len(side) - np.searchsorted(side, cut, side="right")
    ties = len(side) - np.searchsorted(side, cut, side="left") - over
    return float(over + event.coin * ties)


def _margins(
    hits: npt.NDArray[np.int64], other: npt.NDArray[np.int64], n: int, profile: Profile, alpha: float
) -> Floats:
    margins = profile.margin(*rate_bounds(hits, other, n, alpha))
    return np.where(hits >= min(FEWEST_HITS, n), margins, -np.inf)


def _margin(hits: float, other: float, n: int, profile: Profile, alpha: float) -> float:
    if hits < min(FEWEST_HITS, n):
        return -np.inf
    return float(profile.margin(*rate_bounds(hits, other, n, alpha))[0])


def _support_events(first: Outputs, second: Outputs) -> list[Event]:
    """Categories and atoms that occur often enough on either side."""
    fewest = min(FEWEST_HITS, len(first))
    events: list[Event] = [
        OfKind(name)
        for name in dict.fromkeys((*first.names, *second.names))
        if max(first.of_kind(name).sum(), second.of_kind(name).sum()) >= fewest
    ]
    return events + _atoms(first, second)


def _atoms(first: Outputs, second: Outputs) -> list[Event]:
    tables = [_tally(each) for each in (first, second)]
    common = {key for table in tables for key, count in table.items() if count >= FEWEST_HITS}

    def log_ratio(key: tuple[str, bytes]) -> float:
        return float(np.log(tables[0].get(key, 0) + 0.5) - np.log(tables[1].get(key, 0) + 0.5))

    ordered = sorted(common, key=lambda key: (log_ratio(key), key))
    picked = dict.fromkeys([*ordered[:_BEST_ATOMS], *ordered[-_BEST_ATOMS:]])
    return [Atom(name, tuple(np.frombuffer(row).tolist())) for name, row in picked]


def _tally(outputs: Outputs) -> dict[tuple[str, bytes], int]:
    """Count each distinct row of numbers with its category; rows of continuous outputs drop out early."""
    if len(outputs) < FEWEST_HITS:
        return {}
    rows = outputs.rows()
    _, inverse, counts = np.unique(rows[:, 1], return_inverse=True, return_counts=True)
    common = counts[inverse.ravel()] >= FEWEST_HITS
    if not common.any():
        return {}
    distinct, counts = np.unique(rows[common], axis=0, return_counts=True)
    table: dict[tuple[str, bytes], int] = {}
    for row, count in zip(distinct, counts, strict=True):
        values = np.where(row[1:] == MISSING, np.nan, row[1:])
        if not np.isnan(values).all():  # the category says it all
            table[outputs.names[int(row[0])], values.tobytes()] = int(count)
    return table


def _integers(outputs: Outputs) -> bool:
    finite = outputs.values[np.isfinite(outputs.values)]
    return bool((finite == np.round(finite)).all())
