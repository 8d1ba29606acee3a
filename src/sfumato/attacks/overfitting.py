"""Attacks on a sample by asking about it: chosen questions until an answer is true of the sample and not of the world.

For whoever offers answers, a holdout or a leaderboard, and wants to see what an analyst can make of them. Sign
aggregation and feature selection: Dwork et al. (STOC 2015, Science 349, 2015); boosting: Blum and Hardt (ICML 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import Evidence, Verdict
from sfumato.privacy.bounds import FORMAL
from sfumato.privacy.claim import Claim

Floats: TypeAlias = NDArray[np.float64]
#: Rows to values in [0, 1], shape (n,) or (n, k).
Query: TypeAlias = Callable[..., Any]
#: A query to its answer, or answers: what is attacked.
Ask: TypeAlias = Callable[[Query], Any]

__all__ = [
    "OverfittingReport",
    "feature_selection",
    "feature_selections",
    "leaderboard_boosting",
    "packed_membership",
    "sign_aggregation",
]

_BLOCK = 1000  # features asked about at once
_CACHED = 2**19  # numbers asked about at once in feature selection: they stay in the processor's cache
_CELLS = 22  # counts packed into one exact answer: two bits each in a double


@dataclass(frozen=True)
class OverfittingReport:
    """What the last answer of an attack said, run by run, beside the truth.

    Attributes
    ----------
    attack : str
    reported : ndarray of float, shape (runs,)
        The answer.
    on_sample : ndarray of float, shape (runs,)
        The exact mean of the last query on the sample.
    population : ndarray of float, shape (runs,)
        Its exact population mean, or its mean on a fresh sample.
    claim : Claim
        Of all answers together.
    exact : bool
        Whether `population` is known and not estimated.
    """

    attack: str
    reported: Floats
    on_sample: Floats
    population: Floats
    claim: Claim
    exact: bool = True

    @property
    def bias(self) -> Floats:
        """How much too high the answer was, shape (runs,)."""
        return self.reported - self.population

    def share_within(self, half_width: float) -> float:
        """Share of runs whose last answer was as near to the population as promised."""
        return float(np.mean(np.abs(self.bias) <= half_width))

    @property
    def ceiling(self) -> float | None:
        """Largest mean of `on_sample` that the claim allows; None if it is not formal.

        The last query was computed from private answers. For a row of the sample and another that stands in its place,
        (ε, δ)-DP gives E φ(row) ≤ e^ε E φ(other) + δ, and 1 - E φ(other) ≤ e^ε (1 - E φ(row)) + δ; and the query that
        was found without the other row has its population mean there. The least over all ε that the claim implies.
        """
        if not isinstance(self.claim.bound, FORMAL):
            return None
        if self.claim.neighbours != "replace-one":
            raise InvalidClaim('overfitting is about a replaced row: claim neighbours="replace-one"')
        p = float(np.mean(self.population))

        def allowed(epsilon: float) -> float:
            delta = self.claim.delta_at(epsilon)
            return min(math.exp(epsilon) * p + delta, 1 - (1 - p - delta) * math.exp(-epsilon))

        found = optimize.minimize_scalar(allowed, bounds=(0.0, 20.0), method="bounded")
        return min(1.0, float(found.fun), allowed(0.0))

    def to_evidence(self, level: float = 0.95) -> Evidence:
        """The mean of the last query on the sample, with Hoeffding's interval, against what the claim allows it to be.

        Raises
        ------
        InvalidData
            If the population mean is only estimated.
        """
        if not self.exact:
            raise InvalidData("the population mean is an estimate here: no verdict rests on it")
        runs, value = len(self.on_sample), float(self.on_sample.mean())
        radius = math.sqrt(math.log(2 / (1 - level)) / (2 * runs))
        ceiling = self.ceiling
        verdict: Verdict
        if ceiling is None:
            verdict, note = "inconclusive", "no formal claim to hold it against"
        else:
            verdict = "falsified" if value - radius > ceiling else "consistent"
            note = f"the claim allows a mean of {ceiling:.3f}"
        return Evidence(
            self.attack,
            f"mean on the sample of a query with population mean {float(self.population.mean()):.3f}",
            value,
            (max(0.0, value - radius), min(1.0, value + radius)),
            level,
            runs,
            self.claim,
            verdict,
            notes=(note,),
        )


def sign_aggregation(
    target: Callable[[Any], Ask],
    claim: Claim,
    *,
    n: int,
    features: int,
    runs: int = 1,
    random_state: int | None = None,
) -> OverfittingReport:
    """Ask for the mean of every feature, then for the vote of all features, each in the direction of its answer.

    The sample is n rows of fair coins in {0, 1}, so that no vote is right about the population more than half of the
    time.

    Parameters
    ----------
    target : callable
        ``target(sample)`` returns what answers queries about it, for features + 1 queries.
    claim : Claim
        What the target promises.
    n, features, runs : int
    random_state : int, optional
    """
    _counted(n=n, features=features, runs=runs)

    def play(rng: np.random.Generator) -> tuple[float, float, float]:
        sample = rng.integers(0, 2, (n, features), dtype=np.int8)
        ask = target(sample)
        answers = np.concatenate(
            [np.atleast_1d(ask(_columns(start, start + _BLOCK))) for start in range(0, features, _BLOCK)]
        )
        directions = np.where(answers >= 0.5, 1, -1).astype(np.float32)

        def vote(rows: Any) -> Any:
            return (1 + np.sign((2 * np.asarray(rows, dtype=np.float32) - 1) @ directions)) / 2

        return float(ask(vote)), float(vote(sample).mean()), 0.5

    return _report("sign aggregation", map(play, _runs(random_state, runs)), claim)


def packed_membership(
    target: Callable[[Any], Ask],
    claim: Claim,
    *,
    n: int,
    universe: int,
    runs: int = 1,
    random_state: int | None = None,
) -> OverfittingReport:
    """Read who is in the sample out of exact means, 22 cells an answer, then ask for the share of those.

    A double holds many counts in base 4: few exact answers tell all of the sample, where noise leaves none. The sample
    is n uniform integers below `universe`.

    Parameters
    ----------
    target, claim, n, runs, random_state
        As of `sign_aggregation`; the target answers ⌈universe / 22⌉ + 1 queries.
    universe : int
    """
    _counted(n=n, universe=universe, runs=runs)
    blocks = -(-universe // _CELLS)
    powers = 4.0 ** -np.arange(_CELLS)

    def play(rng: np.random.Generator) -> tuple[float, float, float]:
        sample = rng.integers(0, universe, n)
        ask = target(sample)
        member = np.zeros(blocks * _CELLS, dtype=np.bool_)
        for block in range(blocks):
            packed = float(ask(lambda rows, block=block: np.where(rows // _CELLS == block, powers[rows % _CELLS], 0.0)))
            digits = max(0, round(packed * n * 4 ** (_CELLS - 1)))
            for cell in range(_CELLS):
                member[block * _CELLS + cell] = (digits >> 2 * (_CELLS - 1 - cell)) & 3
        seen = member[:universe]
        return float(ask(lambda rows: seen[rows])), float(seen[sample].mean()), float(seen.mean())

    return _report("packed membership", map(play, _runs(random_state, runs)), claim)


def leaderboard_boosting(
    target: Callable[[Any], Ask],
    claim: Claim,
    *,
    n: int,
    submissions: int,
    runs: int = 1,
    random_state: int | None = None,
) -> OverfittingReport:
    """Submit random guesses of coin labels, and let those vote that the leaderboard shows below a loss of one half.

    Parameters
    ----------
    target : callable
        ``target((row numbers, labels))`` returns the leaderboard: a query of both, the loss of each row, to the loss it
        shows. It is asked submissions + 1 times.
    claim, n, runs, random_state
        As of `sign_aggregation`.
    submissions : int

    Returns
    -------
    OverfittingReport
        Of accuracies; ½ is the population's.
    """
    _counted(n=n, submissions=submissions, runs=runs)

    def play(rng: np.random.Generator) -> tuple[float, float, float]:
        labels = rng.integers(0, 2, n)
        ask = target((np.arange(n), labels))
        guesses = rng.integers(0, 2, (submissions, n), dtype=np.int8)
        kept = np.array([float(ask(_loss(guess))) < 0.5 for guess in guesses])
        votes = guesses[kept] if kept.any() else guesses
        majority = (votes.mean(axis=0) + rng.uniform(-1e-9, 1e-9, n) > 0.5).astype(np.int8)
        return 1 - float(ask(_loss(majority))), float((majority == labels).mean()), 0.5

    return _report("leaderboard boosting", map(play, _runs(random_state, runs)), claim)


def feature_selection(
    target: Callable[[Any, Any], tuple[Ask, Ask]],
    claim: Claim,
    *,
    n: int,
    features: int,
    informative: int = 0,
    sizes: tuple[int, ...] = (20, 100, 500),
    runs: int = 1,
    random_state: int | None = None,
) -> dict[int, OverfittingReport]:
    """Choose features on the training set, keep those that the holdout confirms, and report the model's accuracy there.

    The experiment of the Science paper, with products of feature and label clipped to ±4 and mapped into [0, 1], so
    that they are statistical queries. Features are standard normal, labels ±1, by coin; the first `informative` ones
    are shifted by 6/√n times the label. Of those whose correlation is at least 1/√n on the training set and, with the
    same sign, on the holdout as answered, the k with the largest on the training set vote with their values.

    Parameters
    ----------
    target : callable
        ``target(train, holdout)``, pairs (X, y), returns two: what answers the features' queries, and the models'.
    claim, n, runs, random_state
        As of `sign_aggregation`; n rows each in training set, holdout and fresh set.
    features : int
    informative : int
    sizes : tuple of int
        The k of the models.

    Returns
    -------
    dict of int to OverfittingReport
        For each k: accuracy reported, on the holdout, and, for `population`, on the fresh set.
    """
    return feature_selections(
        {"": target},
        claim,
        n=n,
        features=features,
        informative=informative,
        sizes=sizes,
        runs=runs,
        random_state=random_state,
    )[""]


def feature_selections(
    targets: Mapping[str, Callable[[Any, Any], tuple[Ask, Ask]]],
    claim: Claim,
    *,
    n: int,
    features: int,
    informative: int = 0,
    sizes: tuple[int, ...] = (20, 100, 500),
    runs: int = 1,
    random_state: int | None = None,
) -> dict[str, dict[int, OverfittingReport]]:
    """Run `feature_selection` against several targets on the same data, which is drawn once a run.

    Two sets of n · features numbers of 4 bytes are held; of the fresh set only the columns that a model uses.

    Parameters
    ----------
    targets : mapping of str to callable
    claim, n, features, informative, sizes, runs, random_state
        As of `feature_selection`.
    """
    _counted(n=n, features=features, runs=runs)
    found: dict[str, dict[int, list[tuple[float, float, float]]]] = {name: {k: [] for k in sizes} for name in targets}
    for rng in _runs(random_state, runs):
        train, holdout = (_labelled(rng, n, features, informative) for _ in range(2))
        trained = _correlations(train)
        for name, target in targets.items():
            ask_feature, ask_model = target(train, holdout)
            order = _confirmed(ask_feature, trained, n)[: max(sizes)]
            fresh = _labelled(rng, n, len(order), 0)
            fresh[0][:, order < informative] += _shift(fresh[1])[:, np.newaxis]
            for k in sizes:
                chosen = order[:k]
                directions = np.sign(trained[chosen]).astype(np.float32)
                right, on_fresh = _accuracy(chosen, directions), _accuracy(np.arange(len(chosen)), directions)
                on_sample = float(right(*holdout).mean())
                found[name][k].append((float(ask_model(right)), on_sample, float(on_fresh(*fresh).mean())))
    return {
        name: {k: _report(f"feature selection, k = {k}", rows, claim, exact=False) for k, rows in reports.items()}
        for name, reports in found.items()
    }


def _confirmed(ask: Ask, trained: Floats, n: int) -> Any:
    """Features that the holdout confirms, the most correlated on the training set first."""
    step = max(1, _CACHED // n)
    held = 8 * np.concatenate([np.atleast_1d(ask(_products(at, at + step))) for at in range(0, len(trained), step)])
    held -= 4
    agreed = (np.minimum(np.abs(trained), np.abs(held)) >= 1 / math.sqrt(n)) & (trained * held > 0)
    return np.argsort(-np.where(agreed, np.abs(trained), -1.0))[: int(agreed.sum())]


def _labelled(rng: np.random.Generator, n: int, features: int, informative: int) -> tuple[Any, Any]:
    """Features, column by column in memory, and labels."""
    labels = rng.choice(np.array([-1.0, 1.0], dtype=np.float32), n)
    rows = rng.standard_normal((features, n), dtype=np.float32).T
    rows[:, :informative] += _shift(labels)[:, np.newaxis]
    return rows, labels


def _shift(labels: Any) -> Any:
    return np.float32(6 / math.sqrt(len(labels))) * labels


def _correlations(data: tuple[Any, Any]) -> Floats:
    rows, labels = data
    return np.asarray(labels @ rows, dtype=np.float64) / len(labels)


def _products(start: int, stop: int) -> Query:
    def query(rows: Any, labels: Any) -> Any:
        products = rows[:, start:stop] * labels[:, np.newaxis]
        np.clip(products, -4, 4, out=products)
        products += 4
        products /= 8
        return products

    return query


def _accuracy(chosen: Any, directions: Any) -> Query:
    def query(rows: Any, labels: Any) -> Any:
        return (rows[:, chosen] @ directions) * labels > 0

    return query


def _columns(start: int, stop: int) -> Query:
    def query(rows: Any) -> Any:
        return rows[:, start:stop]

    return query


def _loss(guess: Any) -> Query:
    def query(numbers: Any, labels: Any) -> Any:
        return guess[numbers] != labels

    return query


def _runs(random_state: int | None, runs: int) -> Iterator[np.random.Generator]:
    for seed in np.random.SeedSequence(random_state).spawn(runs):
        yield np.random.default_rng(seed)


def _report(
    name: str, played: Iterable[tuple[float, float, float]], claim: Claim, *, exact: bool = True
) -> OverfittingReport:
    reported, on_sample, population = np.array(list(played), dtype=np.float64).T
    return OverfittingReport(name, reported, on_sample, population, claim, exact)


def _counted(**numbers: int) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
            raise InvalidData(f"{name} must be a whole number, at least 1")
