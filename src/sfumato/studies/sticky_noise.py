"""Study of system 05: secrets through sticky noise, by attack, by table, with rounding; and through a private engine.

Gadotti, Houssiau, Rocher, Livshits and de Montjoye, "When the Signal is in the Noise: Exploiting Diffix's Sticky
Noise" (USENIX Security 2019, arXiv 1804.06752).
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from sfumato.attacks.coins import share_interval
from sfumato.attacks.sticky_noise import (
    AttackReport,
    AveragingAttack,
    CloningAttack,
    DifferentialAttack,
    StickyNoiseEngine,
    evaluate,
)
from sfumato.attacks.sticky_noise.likelihood import Rounding
from sfumato.data.tabular import ADULT, load_table, synthetic_census
from sfumato.sql import Kind, PersonTable
from sfumato.statistics.counting import PrivateCountEngine
from sfumato.studies.study import Row, Scale, Study, StudyResult

_BEST_CASE = {"smoke": 100, "small": 2000, "full": 10_000}  # victims a number of attributes
_VICTIMS = {"smoke": 10, "small": 500, "full": 2000}
_COINS = {"smoke": 15, "small": 500, "full": 3000}
_BLOCK = 100  # victims of the best case that share an engine
_SURE = 1 - 1e-6  # level of intervals that decide at smoke scale and about bounds


@dataclass(frozen=True)
class People:
    """A table to attack: its name, rows, secret, and the public values of its attributes."""

    name: str
    frame: pd.DataFrame
    secret: str
    domain: dict[str, list[Any]]

    @property
    def columns(self) -> dict[str, Kind]:
        """What a private engine is told of the columns."""
        return dict.fromkeys((*self.domain, self.secret), "number")

    @functools.cached_property
    def table(self) -> PersonTable:
        """Shared by the engines with one salt or another."""
        return PersonTable(self.frame)


def tables(seed: int) -> list[People]:
    """Two real tables and a generated one of 30,000 people and eleven attributes."""
    fair, health = load_table("fair"), load_table("randhie")
    fair["affair"] = (fair.pop("affairs") > 0).astype(int)
    named = (
        ("generated Adult", synthetic_census(30_000, ADULT, seed), "income"),
        ("fair", fair, "affair"),
        ("randhie", health, "hlthg"),
    )
    return [
        People(name, frame.assign(uid=range(len(frame))), secret, _values(frame, secret))
        for name, frame, secret in named
    ]


def _values(frame: pd.DataFrame, secret: str) -> dict[str, list[Any]]:
    return {str(name): sorted(column.unique().tolist()) for name, column in frame.drop(columns=secret).items()}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run sticky-noise`."""
    start = time.perf_counter()
    people = tables(seed)
    best = dict(_best_case(scale, seed))
    rounded = dict(_rounded(people[0], scale, seed))
    rows = [
        *_differential_rows(best, scale, seed),
        *itertools.chain.from_iterable(_cloning_rows(each, scale, seed) for each in people),
        *itertools.chain.from_iterable(_optimised_rows(each, scale, seed) for each in people),
        *_suppression_rows(people, scale, seed),
        *_rounding_rows(rounded),
        *_many_dummies_rows(people[0], scale, seed),
        *_private_rows(people[1], scale, seed),
        *_utility_rows(people[0], seed),
    ]
    return StudyResult(rows, scale, time.perf_counter() - start, {"attacks": _picture(best, rounded)})


def best_case(k: int, victims: int, rng: np.random.Generator) -> pd.DataFrame:
    """People for whom nothing is suppressed: each victim has ten who differ in one attribute, for each of k."""
    others = np.repeat(np.eye(k, dtype=bool), 10, axis=0)
    group = np.vstack([np.zeros((1, k), dtype=bool), others])
    values = np.repeat(np.arange(1, victims + 1), len(group))[:, np.newaxis] * ~np.tile(group, (victims, 1))
    frame = pd.DataFrame(values, columns=[f"a{j}" for j in range(k)])
    frame["s"] = np.where(np.arange(len(frame)) % len(group) == 0, rng.integers(0, 2, len(frame)), 0)
    return frame.assign(uid=range(len(frame)))


def _salt(*parts: object) -> bytes:
    return repr(parts).encode().ljust(16, b"-")


def _best_case(scale: Scale, seed: int) -> Iterator[tuple[tuple[int, str], tuple[int, int]]]:
    """Right guesses and victims by number of attributes and treatment of rounding."""
    ways: list[tuple[int, Rounding]] = [(k, "exact") for k in (1, 2, 3, 5, 7, 10)]
    ways.append((5, "ignore"))
    for k, rounding in ways:
        if scale == "smoke" and (k, rounding) not in ((1, "exact"), (5, "exact"), (10, "exact")):
            continue
        right = n = 0
        for block in range(_BEST_CASE[scale] // _BLOCK):
            rng = np.random.default_rng([seed, k, block])
            frame = best_case(k, _BLOCK, rng)
            report = evaluate(
                functools.partial(StickyNoiseEngine, salt=_salt(seed, k, block)),
                frame,
                "s",
                functools.partial(DifferentialAttack, secret="s", rounding=rounding),
                n_victims=_BLOCK,
                random_state=seed,
            )
            right, n = right + report.right, n + report.victims
        yield (k, rounding), (right, n)


def _differential_rows(best: dict[tuple[int, str], tuple[int, int]], scale: Scale, seed: int) -> Iterator[Row]:
    said = {5: ".894 (abstract); .86 to .93 (our criterion)", 10: "above .98 (our criterion)"}
    target = {5: (0.86, 0.93), 10: (0.98, 1.0)}
    notes = {1: ".630", 2: ".716", 3: ".799", 5: ".914", 7: ".968", 10: ".994"}
    for (k, rounding), (right, n) in best.items():
        low, high = share_interval(right, n, _SURE if scale == "smoke" else 0.95)
        holds = None
        if k in target:
            least, most = target[k]
            holds = high >= least and low <= most if scale == "smoke" else least <= right / n <= most
        yield Row(
            f"differential, best case, {k} known attributes"
            + (", likelihoods that ignore rounding, as the paper's" if rounding == "ignore" else ""),
            said.get(k, f"not found; {notes[k]} by simulation (our notes)"),
            f"{right / n:.3f} of {n:,} [{low:.3f}, {high:.3f}]",
            holds,
        )


def _clone(people: People, scale: Scale, seed: int, *, round_to: int = 1, **how: Any) -> AttackReport:
    engine = StickyNoiseEngine(people.table, salt=_salt(people.name, seed), round_to=round_to)
    return evaluate(
        lambda _: engine,
        people.frame,
        people.secret,
        lambda target: CloningAttack(target, people.secret, people.domain, round_to=round_to, random_state=seed, **how),
        n_victims=_VICTIMS[scale],
        random_state=seed,
    )


def _measured(report: AttackReport) -> str:
    if not report.attacked:
        return f"0 of {report.victims} attacked"
    low, high = report.interval()
    return (
        f"{report.share_attacked:.1%} of {report.victims} attacked, accuracy {report.accuracy:.3f} [{low:.3f}, "
        f"{high:.3f}], prior {report.prior:.3f}, median {report.median_queries:g} queries, most {report.most_queries}"
    )


def _cloning_rows(people: People, scale: Scale, seed: int) -> Iterator[Row]:
    said = "at least 93 % attacked, .933 to .971 on four data sets, median 304 queries (abstract)"
    yield Row(
        f"cloning, {people.name}, uniqueness by suppression alone",
        f"{said}; fair .78 with 83 % (our notes)",
        _measured(_clone(people, scale, seed)),
    )
    report = _clone(people, scale, seed, decide_on="equal")
    generated = people.name.startswith("generated")
    target = report.share_attacked >= 0.85 and report.accuracy >= 0.92 and report.median_queries <= 400
    yield Row(
        f"cloning, {people.name}, equal sets only",
        said + ("; 85 %, .92, 400 (our criterion)" if generated else ""),
        _measured(report),
        target if generated and scale != "smoke" else None,
    )


def _optimised_rows(people: People, scale: Scale, seed: int) -> Iterator[Row]:
    said = "55.4 %, .917, at most 32 queries (abstract)"
    generated = people.name.startswith("generated")
    ways: tuple[tuple[str, dict[str, Any]], ...] = (
        ("checked dummies", {}),
        ("implied dummies", {"dummies": "implied"}),
        ("implied dummies, equal sets only", {"dummies": "implied", "decide_on": "equal"}),
    )
    for name, how in ways:
        report = _clone(people, scale, seed, search="chain", statistic="lr", max_queries=32, **how)
        judged = generated and "decide_on" in how
        enough = report.share_attacked >= 0.4 and report.accuracy >= 0.88
        yield Row(
            f"cloning within 32 queries, {people.name}, {name}",
            said + ("; 40 %, .88, never more (our criterion)" if judged else ""),
            _measured(report),
            (report.most_queries <= 32 and (enough or scale == "smoke")) if judged else None,
        )


def _suppression_rows(people: list[People], scale: Scale, seed: int) -> Iterator[Row]:
    for each in people:
        alone, few, mixed = _suppressed_splits(each, 20 * _VICTIMS[scale], seed)
        total = alone + few
        yield Row(
            f"suppressed, taken for unique: random sets of attributes of unique people, {each.name}",
            "not found",
            f"{few} of {total} suppressed counts were of several people ({few / max(1, total):.1%}), "
            f"{mixed} of these with both secrets",
        )


def _suppressed_splits(people: People, draws: int, seed: int) -> tuple[int, int, int]:
    """Suppressed counts of one person, of several, and of several with different secrets; with the data in hand."""
    engine = StickyNoiseEngine(people.table, salt=_salt(people.name, seed))
    frame, rng = people.frame, np.random.default_rng(seed)
    quasi = frame.drop(columns=["uid", people.secret])
    names, codes = list(quasi), quasi.to_numpy(float)
    secret = frame[people.secret].to_numpy()
    unique = np.flatnonzero(~quasi.duplicated(keep=False).to_numpy())
    alone = few = mixed = 0
    for victim in rng.choice(unique, min(draws, 2000)):
        chosen = np.sort(rng.permutation(len(names))[: rng.integers(2, len(names) + 1)])
        like = np.flatnonzero((codes[:, chosen] == codes[victim, chosen]).all(1))
        terms = " AND ".join(
            f"{names[j]} = {codes[victim, j]!r}".replace("np.float64(", "").rstrip(")") for j in chosen
        )
        if engine.query(f"SELECT count(*) FROM people WHERE {terms}").suppressed:
            alone += len(like) == 1
            few += len(like) > 1
            mixed += len(set(secret[like])) > 1
    return alone, few, mixed


def _rounded(people: People, scale: Scale, seed: int) -> Iterator[tuple[int, AttackReport]]:
    for round_to in (1, 2, 5, 10, 20):
        if scale != "smoke" or round_to in (1, 10):
            yield (
                round_to,
                _clone(people, scale, seed, round_to=round_to, decide_on="equal", statistic="lr", n_dummies=16),
            )


def _rounding_rows(rounded: dict[int, AttackReport]) -> Iterator[Row]:
    for round_to, report in rounded.items():
        yield Row(
            f"cloning, generated Adult, answers rounded to multiples of {round_to}, likelihood ratio, 16 dummies",
            "not found",
            _measured(report),
        )


def _many_dummies_rows(people: People, scale: Scale, seed: int) -> Iterator[Row]:
    """Values that nobody has are dummies too: there is no end of them."""
    absent = range(1000, 1200)
    endless = People(
        people.name, people.frame, people.secret, {name: [*v, *absent] for name, v in people.domain.items()}
    )
    report = _clone(
        endless, scale, seed, round_to=5, decide_on="equal", statistic="lr", dummies="implied", n_dummies=150
    )
    yield Row(
        "cloning, generated Adult, answers rounded to multiples of 5, likelihood ratio, up to 150 implied dummies",
        "any accuracy, given dummies (our notes)",
        _measured(report),
    )


def _private_rows(people: People, scale: Scale, seed: int) -> Iterator[Row]:
    """Games of coins, each against an engine with total ε = 1 of its own."""
    k = len(people.domain)
    attacks: list[tuple[str, int, Callable[[Any], Any]]] = [
        ("differential", 2 * k, lambda e: DifferentialAttack(e, people.secret)),
        (
            "cloning, every split taken",
            24,
            lambda e: CloningAttack(
                e, people.secret, people.domain, dummies="implied", checks=False, random_state=seed
            ),
        ),
        ("asked outright, all ε on one query", 1, lambda e: AveragingAttack(e, people.secret)),
        ("asked outright, 100 times", 100, lambda e: AveragingAttack(e, people.secret, repeats=100)),
    ]
    for name, queries, attack in attacks:
        report = evaluate(
            functools.partial(
                PrivateCountEngine,
                columns=people.columns,
                epsilon_per_query=1 / queries,
                max_queries=queries,
                neighbours="replace-one",
            ),
            people.frame,
            people.secret,
            attack,
            n_victims=_COINS[scale],
            coins=True,
            random_state=seed,
        )
        ceiling = report.ceiling or 1.0
        yield Row(
            f"private engine, total ε = 1, coins on {people.name}: {name}",
            f"at most {ceiling:.3f} by the claim",
            f"{_measured(report)}; {report.to_evidence(alpha=1e-6).verdict}",
            report.interval(_SURE)[0] <= ceiling,
        )


def _utility_rows(people: People, seed: int) -> Iterator[Row]:
    """The same analyst's twenty counts of one, two and three attributes, from both engines."""
    rng = np.random.default_rng(seed)
    frame, names = people.frame, list(people.domain)
    sticky = StickyNoiseEngine(people.table, salt=_salt("utility", seed))
    private = PrivateCountEngine(frame, people.columns, epsilon_per_query=0.05, max_queries=20)
    truth, ours, theirs = [], [], []
    for i in range(20):
        person = frame.iloc[rng.integers(len(frame))]
        chosen = rng.permutation(names)[: 1 + i % 3]
        sql = "SELECT count(*) FROM people WHERE " + " AND ".join(f"{name} = {int(person[name])}" for name in chosen)
        truth.append(int((frame[chosen] == person[chosen]).all(axis=1).sum()))
        theirs.append(sticky.query(sql).count)
        ours.append(private.query(sql).count)
    answered = [abs(a - t) for a, t in zip(theirs, truth, strict=True) if a is not None]
    errors = np.abs(np.subtract(ours, truth))
    yield Row(
        "an analyst's twenty counts of one to three attributes, generated Adult: error of the sticky engine",
        "less noise than differential privacy (the vendor)",
        f"median {np.median(answered):g}, largest {max(answered)}, {20 - len(answered)} suppressed; no end of queries",
    )
    yield Row(
        "the same twenty from the private engine, total ε = 1",
        "deviation 28 a count, by the noise",
        f"median {np.median(errors):g}, largest {errors.max()}, none suppressed; counts {min(truth)} to {max(truth)}",
    )


def _picture(best: dict[tuple[int, str], tuple[int, int]], rounded: dict[int, AttackReport]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    exact = [(k, right_ / n, *share_interval(right_, n)) for (k, how), (right_, n) in best.items() if how == "exact"]
    k, accuracy, low, high = np.array(exact).T
    left.errorbar(
        k, accuracy, [accuracy - low, high - accuracy], marker="o", capsize=3, label="measured, 95 % interval"
    )
    left.plot(5, 0.894, "x", color="C3", markersize=9, markeredgewidth=2, label="paper, 5 attributes")
    left.axhline(0.5, color="0.6", linestyle="--", linewidth=1)
    left.set(xlabel="known attributes", ylabel="secrets guessed right", title="Differential attack, best case")
    left.legend(loc="lower right")
    steps = [r for r, report in rounded.items() if report.attacked]
    share = [rounded[r].share_attacked for r in steps]
    found = [rounded[r].accuracy for r in steps]
    prior = [rounded[r].prior for r in steps]
    place = np.arange(len(steps))
    right.plot(place, found, marker="o", label="accuracy, of those attacked")
    right.plot(place, share, marker="s", label="share of users attacked")
    right.plot(place, prior, color="0.6", linestyle="--", linewidth=1, label="guessing the commoner secret")
    right.set_xticks(place, [str(r) for r in steps])
    right.set(xlabel="answers rounded to multiples of", ylim=(0, 1.05), title="Cloning attack against rounding")
    right.legend(loc="lower left")
    return figure


STUDY = Study(
    5,
    "sticky-noise",
    "Attacks on sticky noise",
    """The engine answers as Diffix did in 2018: noise that is a fixed function of query and data, small counts
suppressed, queries without end. The attacks ask through `query` and read a secret bit of a person whose other
attributes they know; later versions of the product differ, and nothing here speaks of them.

- The people of Adult, of the census and of the credit data are not here. The generated table has Adult's attributes and
  cardinalities, its people are drawn; fair (6,366 people) and randhie (20,190 rows, each taken for a person) are real.
- "Uniqueness by suppression alone" takes a suppressed count for one person. It often is of two or three: then a person
  whose secret others do not share is guessed wrong. "Equal sets only" (ours) decides on nothing but two sets of users
  that are equal, which proves what the victim's secret is not, whoever else looks alike.
- "Implied dummies" (ours) are `age <> 15` beside `age = 30`: they exclude nobody and need no check. Whether the
  vendor's engine saw through them we do not know.
- Rounding to multiples of 5 or more hinders both attacks: beside such a step a dummy's noise, of deviation √2, no
  longer spreads the answers over the fractions, so that further dummies tell little that is new. Our likelihoods take
  the fractions as even, which is not the best attack there: the curve is what these attacks reach, no promise.
- In a game of coins the victim's secret is thrown anew, and each game has an engine of its own.
- The private engine has ε = 1 in all. It cannot be attacked beyond its bound; the price is noise that a count of a
  few people does not survive.""",
    run,
)
