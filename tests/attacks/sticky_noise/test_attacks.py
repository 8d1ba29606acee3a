"""Both attacks, end to end on an engine they see through `query` alone, and what stops them."""

import functools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom

from sfumato.attacks.sticky_noise import (
    AveragingAttack,
    CloningAttack,
    DifferentialAttack,
    QueryOnly,
    StickyNoiseEngine,
    evaluate,
)
from sfumato.attacks.sticky_noise.asking import Asker, count_sql
from sfumato.attacks.sticky_noise.splits import Splits
from sfumato.data.tabular import synthetic_census
from sfumato.errors import AttackNotApplicable, InvalidData
from sfumato.sql import PersonTable
from sfumato.statistics.counting import PrivateCountEngine
from sfumato.studies.sticky_noise import best_case

SALT = b"sixteen bytes ok"
CARDS = {"a": 30, "b": 12, "c": 9, "d": 7, "e": 6, "f": 5, "g": 4, "s": 2}
FRAME = synthetic_census(6000, CARDS, 1).assign(uid=range(6000))
DOMAIN = {name: range(k) for name, k in CARDS.items() if name != "s"}
ENGINE = StickyNoiseEngine(PersonTable(FRAME), salt=SALT)


def attacked(attack, n_victims=60, engine=ENGINE, **change):
    return evaluate(lambda _: engine, FRAME, "s", attack, n_victims=n_victims, random_state=0, **change)


def cloning(**change):
    return lambda engine: CloningAttack(engine, "s", DOMAIN, **{"random_state": 0, **change})


@pytest.mark.parametrize(("k", "least", "most"), [(5, 0.86, 0.93), (10, 0.98, 1.0)])
def test_the_differential_attack_in_its_best_case(k, least, most):
    """200 victims; accused of missing the band with probability 1e-6 if the true accuracy lies in it."""
    make = functools.partial(StickyNoiseEngine, salt=SALT)
    reports = [
        evaluate(
            make,
            best_case(k, 100, np.random.default_rng(i)),
            "s",
            functools.partial(DifferentialAttack, secret="s"),
            n_victims=100,
        )
        for i in range(2)
    ]
    right = sum(report.right for report in reports)
    assert all(report.attacked == 100 for report in reports)
    assert binom.ppf(1e-6, 200, least) <= right <= binom.ppf(1 - 1e-6, 200, most)


def test_equal_sets_prove_what_the_secret_is_not():
    """Ten dummies err once in a thousand: four errors in sixty at most, with probability above 1 - 1e-6."""
    report = attacked(cloning(decide_on="equal"))
    assert report.attacked >= 20
    assert report.attacked - report.right <= 4
    assert report.claim == ENGINE.claim


def test_suppression_alone_takes_a_few_people_for_one():
    """All its errors are of one kind: sets unequal by another's doing. By chance one in a thousand is not."""
    report = attacked(cloning())
    wrong = (report.guesses >= 0) & (report.guesses != report.truth)
    assert (wrong & (report.guesses == 1)).sum() <= 4


@pytest.mark.parametrize(
    "how",
    [
        {"search": "chain"},
        {"search": "chain", "dummies": "implied"},
        {"decide_on": "equal", "statistic": "lr", "search": "chain"},
    ],
)
def test_a_cap_on_queries_is_never_passed(how):
    report = attacked(cloning(max_queries=32, n_dummies=6, **how), n_victims=40)
    assert report.most_queries <= 32
    assert report.attacked < report.victims or report.most_queries < 32


def test_implied_dummies_and_the_likelihood_ratio_ask_less():
    report = attacked(cloning(decide_on="equal", statistic="lr", dummies="implied", search="chain"), n_victims=40)
    assert report.attacked >= 15
    assert report.attacked - report.right <= 6  # odds of e^4 err once in fifty
    assert report.median_queries < attacked(cloning(decide_on="equal"), n_victims=40).median_queries


def test_averaging_fails_on_sticky_noise():
    assert attacked(lambda engine: AveragingAttack(engine, "s", repeats=50), n_victims=5).attacked == 0


def test_averaging_wins_without_noise_or_suppression():
    exact = StickyNoiseEngine(PersonTable(FRAME), salt=SALT, noise_sd=0, threshold_mean=None)
    report = attacked(lambda engine: AveragingAttack(engine, "s"), n_victims=20, engine=exact)
    assert report.right == 20


def test_an_attack_gets_query_and_nothing_else():
    seen = []

    class Spy:
        def __init__(self, engine):
            self.engine = engine

        def attack(self, known):
            seen.append((known, [name for name in dir(self.engine) if not name.startswith("_")]))
            raise AttackNotApplicable("seen enough")

    report = attacked(Spy, n_victims=3)
    assert report.attacked == 0
    assert np.isnan(report.accuracy)
    for known, names in seen:
        assert names == ["query"]
        assert set(known) == set(DOMAIN)
    proxy = QueryOnly(ENGINE, [])
    assert not hasattr(proxy, "__dict__")
    with pytest.raises(InvalidData, match="SQL"):
        proxy.query(ENGINE._table.parse("SELECT count(*) FROM people"))


def test_victims_are_unique_and_drawn_before_anything_is_asked():
    first, second = attacked(cloning(), n_victims=10), attacked(lambda e: DifferentialAttack(e, "s"), n_victims=10)
    assert (first.truth == second.truth).all()
    assert attacked(cloning(), n_victims=10).guesses.tolist() == first.guesses.tolist()


def test_a_secret_of_three_values_is_asked_one_value_against_the_rest():
    frame = FRAME.assign(s=np.random.default_rng(0).integers(0, 3, len(FRAME)))
    engine = StickyNoiseEngine(PersonTable(frame), salt=SALT)
    how = {"values": (0, 1, 2), "decide_on": "equal", "dummies": "implied", "statistic": "lr", "search": "chain"}
    report = evaluate(lambda _: engine, frame, "s", cloning(**how), n_victims=40, random_state=0)
    assert report.attacked >= 5
    assert report.right >= 0.6 * report.attacked
    other = evaluate(lambda _: engine, frame, "s", lambda e: DifferentialAttack(e, "s", values=(0, 1, 2)), n_victims=10)
    assert other.attacked > 0


def test_text_boolean_and_missing_attributes_are_known_too():
    frame = FRAME.assign(c=FRAME["c"].map(lambda x: f"it's {x}"), g=FRAME["g"] > 1)
    engine = StickyNoiseEngine(PersonTable(frame), salt=SALT)
    domain = {**DOMAIN, "c": [f"it's {i}" for i in range(9)], "g": [False, True]}
    attack = CloningAttack(engine, "s", domain, random_state=0)
    known = frame.drop(columns=["uid", "s"]).iloc[3].to_dict()
    for each in (known, {**known, "a": np.nan, "b": None}):
        try:
            guess = attack.attack(each)
        except AttackNotApplicable:
            continue
        assert guess.value in (0, 1)
        assert set(guess.used) <= set(each)


@pytest.mark.parametrize(
    "attack", [DifferentialAttack(ENGINE, "s"), CloningAttack(ENGINE, "s", DOMAIN), AveragingAttack(ENGINE, "s")]
)
def test_a_victim_who_is_not_there_or_of_whom_nothing_is_known_is_no_guess(attack):
    with pytest.raises(AttackNotApplicable):
        attack.attack({"a": 77, "b": 77})
    with pytest.raises(AttackNotApplicable):
        attack.attack({"a": None})
    with pytest.raises(InvalidData, match="secret"):
        attack.attack({"a": 1, "s": 1})


@pytest.mark.parametrize(
    "make",
    [
        lambda: DifferentialAttack(ENGINE, "s", values=(0,)),
        lambda: DifferentialAttack(ENGINE, "s", values=(0, 0)),
        lambda: DifferentialAttack(ENGINE, "s", prior=(0.5,)),
        lambda: DifferentialAttack(ENGINE, "s", prior=(0.9, 0.3)),
        lambda: DifferentialAttack(ENGINE, "s", rounding="some"),
        lambda: DifferentialAttack(ENGINE, "s", noise_sd=0),
        lambda: CloningAttack(ENGINE, "s", DOMAIN, n_dummies=1),
        lambda: CloningAttack(ENGINE, "s", DOMAIN, statistic="mean"),
        lambda: CloningAttack(ENGINE, "s", DOMAIN, max_queries=0),
        lambda: CloningAttack(ENGINE, "s", DOMAIN, decide_on="luck"),
        lambda: CloningAttack(ENGINE, "s", DOMAIN, noise_sd=0),
        lambda: AveragingAttack(ENGINE, "s", repeats=0),
        lambda: AveragingAttack(ENGINE, "s", values=(0, 1, 2)),
    ],
)
def test_parameters_out_of_range_are_refused(make):
    with pytest.raises(InvalidData):
        make()


@pytest.mark.parametrize(
    ("frame", "change", "match"),
    [
        (FRAME.assign(s=1), {}, "same for everybody"),
        (FRAME.assign(s=np.where(FRAME["uid"] == 3, np.nan, 1.0)), {}, "there for everybody"),
        (FRAME.drop(columns="s"), {}, "'s'"),
        (FRAME, {"key": "id"}, "'id'"),
        (FRAME, {"n_victims": 0}, "n_victims"),
        (FRAME[["uid", "s"]], {}, "attributes"),
        (pd.concat([FRAME.head(5)] * 2).assign(uid=range(10)), {}, "unique"),
    ],
)
def test_a_table_without_a_game_is_refused(frame, change, match):
    with pytest.raises(InvalidData, match=match):
        evaluate(lambda _: ENGINE, frame, "s", cloning(), **change)


def test_a_query_is_not_asked_twice_and_splits_are_not_proposed_twice():
    log = []
    asker = Asker(QueryOnly(ENGINE, log), "people", None)
    assert asker.count([("a", "=", 1)]) == asker.count([("a", "=", 1)])
    assert len(log) == asker.n_queries == 1
    splits = Splits(asker, dict.fromkeys("abcd", 1), DOMAIN, np.random.RandomState(0))
    proposed = list(splits.random())
    assert len(proposed) == len(set(proposed)) == 4 * 7  # each attribute last, with each nonempty set of the others
    crowded = next(split for split in proposed if len(split.common) == 2)
    again = Splits(asker, dict.fromkeys("abcd", 1), DOMAIN, np.random.RandomState(0))
    again.crowded(crowded)
    assert all(not {*each.common, each.last} <= {*crowded.common, crowded.last} for each in again.random())


def test_the_attack_s_own_sql_quotes_what_it_must():
    sql = count_sql("people", [('a"b', "=", "it's"), ("c", "<>", np.float64(0.1)), ("d", "=", np.True_)])
    assert sql == """SELECT count(*) FROM "people" WHERE "a""b" = 'it''s' AND "c" <> 0.1 AND "d" = TRUE"""


COLUMNS = dict.fromkeys([*DOMAIN, "s"], "number")
SMALL = FRAME.head(300)


@pytest.mark.parametrize(
    ("queries", "attack"),
    [
        (14, lambda e: DifferentialAttack(e, "s")),
        (24, cloning(checks=False, dummies="implied")),
        (1, lambda e: AveragingAttack(e, "s")),
    ],
    ids=["differential", "cloning", "outright"],
)
def test_a_private_engine_keeps_its_bound_under_each_attack(queries, attack):
    """Total ε = 1 and 120 games of coins: a bound that holds is accused with probability 1e-6."""

    def make(frame):
        return PrivateCountEngine(
            frame, COLUMNS, epsilon_per_query=1 / queries, max_queries=queries, neighbours="replace-one"
        )

    report = evaluate(make, SMALL, "s", attack, n_victims=120, coins=True, random_state=0)
    assert report.attacked == 120
    assert report.ceiling == pytest.approx(np.e / (1 + np.e))
    assert report.interval(1 - 2e-6)[0] <= report.ceiling
    assert report.to_evidence(alpha=1e-6).verdict != "falsified"
    with pytest.raises(InvalidData, match="coins"):
        evaluate(make, SMALL, "s", attack, n_victims=2, random_state=0).to_evidence()


def test_an_engine_that_promises_too_much_is_falsified():
    """Noise of ε = 8 under a claim of ε = 1: 150 games tell with probability above 1 - 1e-6."""

    class Boastful(PrivateCountEngine):
        @property
        def claim(self):
            return self._promise(1.0)

    def make(frame):
        return Boastful(frame, COLUMNS, epsilon_per_query=8.0, max_queries=1, neighbours="replace-one")

    report = evaluate(make, SMALL, "s", lambda e: AveragingAttack(e, "s"), n_victims=150, coins=True, random_state=0)
    assert report.to_evidence(alpha=1e-6).verdict == "falsified"


def test_evidence_against_the_sticky_engine_is_its_accuracy():
    report = attacked(cloning(decide_on="equal"), n_victims=20)
    evidence = report.to_evidence()
    assert evidence.value == report.accuracy
    assert evidence.verdict == "inconclusive"
    assert str(report) in evidence.notes
    assert f"{report.attacked} of 20" in str(report)


def test_a_spent_budget_stops_an_attack_without_a_guess():
    def make(frame):
        return PrivateCountEngine(frame, COLUMNS, epsilon_per_query=0.1, max_queries=3, neighbours="replace-one")

    report = evaluate(make, SMALL, "s", lambda e: DifferentialAttack(e, "s"), n_victims=2, coins=True)
    assert report.attacked == 0
    assert report.most_queries == 4  # the fourth was refused
