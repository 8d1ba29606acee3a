"""The target: its noise repeats, has the sizes of the paper, and its suppression those of the paper's threshold."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest, chi2, norm

from sfumato.attacks.sticky_noise import StickyNoiseEngine
from sfumato.errors import InvalidData, QueryRejected
from sfumato.privacy.bounds import Heuristic
from sfumato.sql import Condition, CountQuery, PersonTable

SALT = b"sixteen bytes ok"
RNG = np.random.default_rng(0)
FRAME = pd.DataFrame({"uid": range(500), **{f"a{j}": RNG.integers(0, 4, 500) for j in range(4)}})
TABLE = PersonTable(FRAME)


def engine(**change):
    return StickyNoiseEngine(TABLE, **{"salt": SALT, **change})


def sql(*conditions):
    return "SELECT count(*) FROM people WHERE " + " AND ".join(conditions)


def test_the_same_question_gets_the_same_answer_in_any_order_and_engine():
    first, second = engine(), engine()
    assert first.query(sql("a0 = 1", "a1 = 2")) == second.query(sql("A1 = 2.0", "(a0 = 1)", "a1 = 2"))
    second.query(sql("a2 = 1"))
    assert first.query(sql("a0 = 1")) == second.query(sql("a0 = 1"))
    assert first.n_queries == 2


def test_another_process_answers_the_same_and_another_salt_does_not():
    code = (
        "import pandas as pd; from sfumato.attacks.sticky_noise import StickyNoiseEngine as E\n"
        "e = E(pd.DataFrame({'uid': range(99), 'a': [1] * 50 + [2] * 49}), salt=b'sixteen bytes ok', round_to=1)\n"
        "print([e.query(f'SELECT count(*) FROM people WHERE a <> {i}').count for i in range(3, 12)])"
    )
    runs = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "12"
    }
    assert len(runs) == 1
    frame = pd.DataFrame({"uid": range(99), "a": [1] * 50 + [2] * 49})
    other = StickyNoiseEngine(frame, salt=b"another sixteen bytes")
    queries = [f"SELECT count(*) FROM people WHERE a <> {i}" for i in range(3, 12)]
    assert str([other.query(each).count for each in queries]) != runs.pop().strip()


def noise(h, n):
    """Exact noise of n queries of h conditions that exclude nobody, in units far above their rounding."""
    asked = engine(noise_sd=1e6)
    found = []
    for i in range(n):
        terms = tuple(Condition(f"a{j % 4}", "<>", float(10 + i * h + j)) for j in range(h))
        found.append(asked.query(CountQuery("people", terms)).count)
    return (np.array(found) - len(FRAME)) / 1e6


@pytest.mark.parametrize(("h", "n"), [(1, 10_000), (3, 1000)])
def test_the_noise_of_h_conditions_has_mean_zero_and_variance_2h(h, n):
    """Two-sided at 1e-6 each: normal for the mean, chi-square for the variance."""
    found = noise(h, n)
    assert abs(found.mean()) < norm.isf(5e-7) * np.sqrt(2 * h / n)
    low, high = chi2.ppf([5e-7, 1 - 5e-7], n)
    assert low < (found**2).sum() / (2 * h) < high
    if h == 1:
        assert abs(found.mean()) < 0.08
        assert abs(found.var() - 2) < 0.15


def test_repeating_gains_nothing_and_asking_beside_dummies_does():
    """1000 repeats are one answer. The mean over 400 dummies keeps the two layers of the condition itself and nothing
    else, within six deviations."""
    asked = engine(noise_sd=1e3)
    query = TABLE.parse(sql("a0 = 1"))
    assert len({asked.query(query).count for _ in range(1000)}) == 1
    dummies = [CountQuery("people", (*query.conditions, Condition("a1", "<>", float(i)))) for i in range(10, 410)]
    answers = [asked.query(each).count for each in dummies]
    who = TABLE.who(query)
    static, dynamic = asked._layers(query, int(np.bitwise_xor.reduce(asked._users[who])))
    own = who.sum() + 1e3 * (static[0] + dynamic[0])
    assert np.std(answers) > 1e3
    assert abs(np.mean(answers) - own) < 6 * np.sqrt(2 / len(answers)) * 1e3


def test_small_counts_are_suppressed_as_often_as_the_threshold_says():
    """Each frequency within a binomial interval of level 1 - 1e-7."""
    sizes = np.repeat(np.arange(9), 400)
    groups = np.repeat(np.arange(len(sizes)), sizes)
    table = PersonTable(pd.DataFrame({"uid": range(len(groups)), "g": groups}))
    asked = StickyNoiseEngine(table, salt=SALT)
    suppressed = np.array(
        [asked.query(f"SELECT count(*) FROM people WHERE g = {i}").suppressed for i in range(len(sizes))]
    )
    for size in range(9):
        found = int(suppressed[sizes == size].sum())
        if size <= 1:
            assert found == 400
        else:
            assert binomtest(found, 400, norm.sf(size, 4, 0.5)).pvalue > 1e-7


def test_a_suppressed_answer_is_none_and_not_zero():
    answer = engine().query(sql("a0 = 9"))
    assert answer.count is None
    assert answer.suppressed
    assert engine(threshold_mean=None, noise_sd=0).query(sql("a0 = 9")).count == 0


def test_queries_that_select_the_same_users_share_all_common_noise_bit_for_bit():
    """And queries that select others share the static noise only."""
    asked = engine()

    def layers(*conditions):
        query = TABLE.parse(sql(*conditions))
        users = int(np.bitwise_xor.reduce(asked._users[TABLE.who(query)]))
        static, dynamic = asked._layers(query, users)
        return {each.text: (a, b) for each, a, b in zip(query.conditions, static, dynamic, strict=True)}

    short, same, other = (
        layers("a0 = 1", "a1 = 2"),
        layers("a0 = 1", "a1 = 2", "a2 <> 9"),
        layers("a0 = 1", "a1 = 2", "a2 <> 1"),
    )
    for name, (static, dynamic) in short.items():
        assert same[name] == (static, dynamic)
        assert other[name][0] == static
        assert other[name][1] != dynamic


def test_without_noise_it_counts_and_rounding_comes_last():
    exact = engine(noise_sd=0, threshold_mean=None)
    assert exact.query(sql("a0 = 1")).count == (FRAME["a0"] == 1).sum()
    assert engine(round_to=10).query(sql("a0 = 1")).count % 10 == 0
    assert exact.query("SELECT count(*) FROM people").count == 500


def test_it_claims_nothing():
    assert isinstance(engine().claim.bound, Heuristic)
    assert not engine().claim.formal


@pytest.mark.parametrize(
    "change",
    [
        {"salt": b"short"},
        {"salt": "text of sixteen."},
        {"salt": b"x" * 65},
        {"noise_sd": -1},
        {"noise_sd": np.nan},
        {"threshold_sd": -1},
        {"threshold_mean": np.inf},
        {"round_to": 0},
        {"round_to": 1.5},
    ],
)
def test_parameters_out_of_range_are_refused(change):
    with pytest.raises(InvalidData):
        engine(**change)


def test_a_refused_query_is_not_counted():
    asked = engine()
    with pytest.raises(QueryRejected):
        asked.query("SELECT uid FROM people")
    assert asked.n_queries == 0
