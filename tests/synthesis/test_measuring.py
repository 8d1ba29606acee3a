"""What is asked, what it costs, what one row can move, and that the worst workloads are the ones chosen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_tables import DOMAIN, all_families, tables

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release
from sfumato.synthesis.journal import Journal
from sfumato.synthesis.measuring import Asking, Round, ask, measurements, plan, sensitivity

EVERY = all_families()


@given(
    st.sampled_from(["oneshot", "adaptive", "hybrid"]),
    st.floats(1e-4, 10),
    st.integers(1, 4),
    st.integers(1, 1),
)
def test_the_rounds_cost_what_was_asked_however_many_they_are(strategy, rho, rounds, per_round):
    planned = plan(EVERY, strategy, rho, rounds, per_round)
    assert math.isclose(sum(each.rho for each in planned), rho, rel_tol=1e-12)


def test_the_hybrid_measures_the_first_family_at_once_for_its_share():
    first, *others = plan(EVERY, "hybrid", 1.0, 2, 2)
    n_marginals = sum(workload.family == "marginals" for workload in EVERY)
    assert first.given == tuple(range(n_marginals))
    assert math.isclose(first.rho, n_marginals / (n_marginals + 4))
    assert [each.choose for each in others] == [2, 2]


@pytest.mark.parametrize(
    ("strategy", "rounds", "words"), [("adaptive", 50, "only"), ("hybrid", 9, "only"), ("twice", 1, "strategy")]
)
def test_plans_that_cannot_be_kept_are_refused(strategy, rounds, words):
    with pytest.raises(InvalidData, match=words):
        plan(EVERY, strategy, 1.0, rounds, 1)


@given(tables(least=2), tables(least=1, most=1))
def test_scores_move_by_the_rows_found_and_no_further(rows, other):
    """The exponential mechanism is told N' as sensitivity: |N'·c - N·ĉ| may move by N', and sometimes does."""
    changed = np.concatenate([other, rows[1:]])
    found = DOMAIN.draw(13, np.random.default_rng(0))

    def scores(table):
        gaps = np.abs(13 * EVERY.counts(table) - len(table) * EVERY.counts(found))
        return np.maximum.reduceat(gaps, EVERY.offsets[:-1])

    assert np.abs(scores(changed) - scores(rows)).max() <= 13


def test_sensitivities_are_those_of_the_proof():
    assert sensitivity(3, "replace-one") == math.sqrt(6)
    assert sensitivity(4, "add-remove") == 2
    # 210 pairs at ρ = 1/2 and N = 1000: the card's σ_w = (√2/N) / √(2ρ/W)
    each = Round(0.5, given=tuple(range(210)))
    assert math.isclose(each.deviation("replace-one") / 1000, (math.sqrt(2) / 1000) / math.sqrt(2 * 0.5 / 210))
    # a chosen measurement of S = 5 in a round of ρ: σ = (√2/N) / √(2ρ/(2S))
    each = Round(0.5, choose=5)
    assert math.isclose(each.deviation("replace-one") / 1000, (math.sqrt(2) / 1000) / math.sqrt(2 * 0.5 / 10))


@pytest.fixture
def draws(monkeypatch):
    found = []
    for name in ("choose", "discrete_gaussian"):
        real = getattr(Release, name)

        def draw(self, values, *, _name=name, _real=real, **declared):
            found.append((_name, np.asarray(values).copy(), declared))
            return _real(self, values, **declared)

        monkeypatch.setattr(Release, name, draw)
    return found


def asking(table, neighbours="replace-one"):
    promise = Claim(ZCDP(1.0), unit="record", neighbours=neighbours)
    return Asking(EVERY, EVERY.counts(table), len(table), promise)


def test_a_round_chooses_without_replacement_and_measures_what_it_chose(draws):
    table, rows = (DOMAIN.draw(n, np.random.default_rng(n)) for n in (200, 20))
    journal = Journal()
    done = np.array([0, 1], dtype=np.int64)
    ask(asking(table), 0, Round(0.2, choose=3), done, rows, journal)
    which, noisy = journal.result(0)
    assert len(set(which) | {0, 1}) == 5
    kinds = [kind for kind, _, _ in draws]
    assert kinds == ["choose"] * 3 + ["discrete_gaussian"]
    assert [len(values) for _, values, _ in draws[:3]] == [len(EVERY) - 2, len(EVERY) - 3, len(EVERY) - 4]
    for _, _, declared in draws[:3]:
        assert declared["sensitivity"] == 20
        assert math.isclose(declared["epsilon"] ** 2 / 8 * 3, 0.1)
    _, hidden, declared = draws[3]
    assert math.isclose(declared["rho"], 0.1)
    assert declared["l2_sensitivity"] == math.sqrt(6)
    counts = EVERY.subset(which).counts(table)
    assert np.array_equal(hidden, counts)
    assert len(noisy) == len(counts)


def test_with_little_noise_the_worst_workload_is_chosen():
    table = DOMAIN.draw(500, np.random.default_rng(1))
    rows = table[:100].copy()
    rows[:, 1] = 0  # the grade is wrong: some workload on it is the worst
    generous = Asking(EVERY, EVERY.counts(table), 500, Claim(ZCDP(1e6), unit="record", neighbours="replace-one"))
    journal = Journal()
    ask(generous, 0, Round(1e5, choose=1), np.zeros(0, np.int64), rows, journal)
    (worst,), _ = journal.result(0)
    gaps = np.abs(EVERY.counts(table) / 500 - EVERY.counts(rows) / 100)
    assert worst == np.argmax(np.maximum.reduceat(gaps, EVERY.offsets[:-1]))
    assert 1 in EVERY[worst].columns


def test_measurements_gather_all_rounds_in_order_and_clip():
    table = DOMAIN.draw(300, np.random.default_rng(3))
    planned = (Round(1e-4, given=(2, 0)), Round(0.5, given=(5,)), Round(0.1, given=(1,)))
    journal = Journal()
    for number in (0, 1):
        ask(asking(table), number, planned[number], np.zeros(0, np.int64), None, journal)
    found = measurements(asking(table), planned, journal)
    assert found.which.tolist() == [2, 0, 5]
    assert ((found.answers >= 0) & (found.answers <= 1)).all()
    sizes = [EVERY[w].size for w in found.which]
    assert found.sigma.tolist() == pytest.approx(
        [planned[0].deviation("replace-one") / 300] * sum(sizes[:2])
        + [planned[1].deviation("replace-one") / 300] * sizes[2]
    )
    assert measurements(asking(table), planned, Journal()) is None


def test_the_noise_has_the_deviation_that_is_stated():
    """2 · 10⁴ draws: the empirical deviation is within 5 % but with probability below 1e-9."""
    domain_cells = np.zeros(20_000, dtype=np.int64)
    with Release(Claim(ZCDP(0.1), unit="record", neighbours="replace-one"), "test") as release:
        noise = release.discrete_gaussian(domain_cells, l2_sensitivity=sensitivity(4, "replace-one"), rho=0.1)
    assert math.isclose(noise.std(), Round(0.1, given=(0, 1, 2, 3)).deviation("replace-one"), rel_tol=0.05)
