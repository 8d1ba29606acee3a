"""What all synthesizers share: the claim, the ledger, resuming, refusals before anything is spent, samples."""

import logging
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from small_tables import DOMAIN, all_families
from standing_still import StandingStill

from sfumato.errors import BudgetExceeded, DomainError, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP
from sfumato.privacy.ledger import Ledger
from sfumato.privacy.release import Release
from sfumato.synthesis import Column, Domain, marginals

EVERY = all_families()
FRAME = DOMAIN.decode(DOMAIN.draw(400, np.random.default_rng(5)))


@pytest.fixture
def ledger(tmp_path):
    opened = Ledger(tmp_path / "ledger.db", create=True)
    opened.create("people", ZCDP(1.0), unit="record", neighbours="replace-one")
    return opened


@pytest.mark.parametrize("strategy", ["oneshot", "adaptive", "hybrid"])
@pytest.mark.parametrize("neighbours", ["replace-one", "add-remove"])
def test_the_ledger_is_charged_the_configured_rho_and_no_more(tmp_path, strategy, neighbours):
    book = Ledger(tmp_path / "ledger.db", create=True)
    book.create("people", ZCDP(0.5), unit="record", neighbours=neighbours)
    options = {"rho": 0.25, "workload": EVERY, "strategy": strategy, "neighbours": neighbours}
    for rounds in (1, 2):
        with book.charging("people"):
            fitted = StandingStill(None, **options, rounds=rounds).fit(FRAME, DOMAIN)
        assert math.isclose(book.account("people").spent.rho, 0.25 * rounds, rel_tol=1e-12)
        assert fitted.claim_.bound == ZCDP(0.25)
        assert (fitted.claim_.neighbours, fitted.claim_.unit) == (neighbours, "record")


def test_epsilon_and_delta_become_the_rho_that_gives_them_back():
    claim = StandingStill(1.0, 1e-6).fit(FRAME, DOMAIN).claim_
    assert claim.to(ApproxDP, delta=1e-6).bound.epsilon == pytest.approx(1.0, abs=1e-6)
    by_default = StandingStill(1.0).fit(FRAME, DOMAIN).claim_
    assert by_default.to(ApproxDP, delta=1 / 400**2).bound.epsilon == pytest.approx(1.0, abs=1e-6)


def test_the_claim_names_what_it_rests_on():
    said = str(StandingStill(workload=EVERY, unit="person").fit(FRAME, DOMAIN).claim_)
    for words in ("number of rows is public", "at most one row", "treat each row by itself", "bounds and queries"):
        assert words in said


def test_a_seed_of_the_noise_voids_the_claim_and_a_seed_of_the_search_does_not():
    first, second = (StandingStill(random_state=1).fit(FRAME, DOMAIN) for _ in range(2))
    assert first.claim_.formal
    assert not np.array_equal(first.measurements_.answers, second.measurements_.answers)
    first, second = (StandingStill(noise_seed=1).fit(FRAME, DOMAIN) for _ in range(2))
    assert not first.claim_.formal
    assert np.array_equal(first.measurements_.answers, second.measurements_.answers)


def test_rounds_never_share_noise_under_a_seed():
    fitted = StandingStill(None, rho=1e-4, noise_seed=1, strategy="adaptive", workload=EVERY).fit(FRAME, DOMAIN)
    starts = np.concatenate([[0], np.cumsum([EVERY[w].size for w in fitted.measurements_.which])])
    noise = fitted.measurements_.answers - EVERY.subset(fitted.measurements_.which).counts(DOMAIN.encode(FRAME)) / 400
    assert len({tuple(noise[start : start + 3]) for start in starts[:-1:2]}) == 3


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"epsilon": 0}, InvalidClaim),
        ({"epsilon": -1.0}, InvalidClaim),
        ({"epsilon": float("nan")}, InvalidClaim),
        ({"delta": 0.0}, InvalidClaim),
        ({"delta": 2.0}, InvalidClaim),
        ({"rho": 1.0}, InvalidClaim),
        ({"unit": "user"}, InvalidClaim),
        ({"neighbours": "add-remove"}, InvalidClaim),
        ({"neighbours": "some"}, InvalidClaim),
        ({"n_synthetic": 9}, InvalidData),
        ({"n_synthetic": 100.5}, InvalidData),
        ({"strategy": "all"}, InvalidData),
        ({"strategy": "adaptive", "rounds": 0}, InvalidData),
        ({"strategy": "adaptive", "rounds": True}, InvalidData),
        ({"strategy": "adaptive", "rounds": 10**6}, InvalidData),
        ({"workload": "everything"}, InvalidData),
        ({"workload": None}, InvalidData),
        ({"workload": marginals(Domain(DOMAIN.columns[:2]))}, InvalidData),
        ({"journal": "/nowhere/at/all"}, InvalidData),
    ],
)
def test_bad_parameters_are_refused_before_anything_is_spent(ledger, options, error):
    with ledger.charging("people"), pytest.raises(error):
        StandingStill(**({"epsilon": 1.0} | options)).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 0


@pytest.mark.parametrize(
    ("frame", "domain"),
    [
        (FRAME, None),
        (FRAME, {"sex": ["f", "m"]}),
        (FRAME, Domain(DOMAIN.columns, drafted=True)),
        (FRAME.assign(age=100), DOMAIN),
        (FRAME.drop(columns="sex"), DOMAIN),
        (FRAME.to_numpy(), DOMAIN),
    ],
)
def test_tables_outside_a_confirmed_domain_are_refused_before_anything_is_spent(ledger, frame, domain):
    with ledger.charging("people"), pytest.raises(DomainError):
        StandingStill().fit(frame, domain)
    assert ledger.account("people").charges == 0


def test_an_empty_table_is_refused_where_its_size_is_public_and_counted_where_it_is_not():
    with pytest.raises(InvalidData, match="no rows"):
        StandingStill().fit(FRAME[:0], DOMAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # whether it says that there is no signal depends on the noisy size
        fitted = StandingStill(delta=1e-6, neighbours="add-remove").fit(FRAME[:0], DOMAIN)
    assert fitted.measurements_.n >= 1


def test_a_budget_too_small_for_all_rounds_is_refused_before_the_first(ledger):
    with ledger.charging("people"), pytest.raises(BudgetExceeded):
        StandingStill(None, rho=1.5, strategy="adaptive", workload=EVERY).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 0


def test_a_budget_about_other_units_is_refused_before_the_first_round(ledger):
    with ledger.charging("people"), pytest.raises(InvalidClaim, match="unit"):
        StandingStill(unit="person").fit(FRAME, DOMAIN)


def test_noise_beyond_the_table_is_said():
    with pytest.warns(UserWarning, match="no signal"):
        StandingStill(None, rho=1e-9).fit(FRAME, DOMAIN)


class Crash(BaseException):
    """Stands for kill -9: nothing but a BaseException handler sees it."""


@pytest.mark.parametrize("stopped_at", range(9))
def test_stopped_at_any_draw_it_goes_on_without_paying_twice(tmp_path, ledger, monkeypatch, stopped_at):
    """Three rounds of two choices and one measurement; what was started is paid for once, and the rest is done."""
    options = {"rho": 0.3, "workload": EVERY, "strategy": "adaptive", "journal": tmp_path / "journal"}
    left = [stopped_at]
    with monkeypatch.context() as patch:
        for name in ("choose", "discrete_gaussian"):
            real = getattr(Release, name)

            def draw(self, values, *, _real=real, **declared):
                if left[0] == 0:
                    raise Crash
                left[0] -= 1
                return _real(self, values, **declared)

            patch.setattr(Release, name, draw)
        with ledger.charging("people"), pytest.raises(Crash):
            StandingStill(None, **options).fit(FRAME, DOMAIN)
    with ledger.charging("people"):
        fitted = StandingStill(None, **options).fit(FRAME, DOMAIN)
    account = ledger.account("people")
    assert account.charges == 3
    assert math.isclose(account.spent.rho, 0.3, rel_tol=1e-12)
    assert len(fitted.measurements_.which) == 4  # the round that was stopped is lost, as its noise may have been seen
    with ledger.charging("people"):
        again = StandingStill(None, **options).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 3
    assert np.array_equal(again.measurements_.answers, fitted.measurements_.answers)


def test_stopped_in_the_search_nothing_is_lost(tmp_path, ledger, monkeypatch):
    options = {"rho": 0.3, "workload": EVERY, "journal": tmp_path / "journal"}
    with monkeypatch.context() as patch:
        patch.setattr(StandingStill, "_search", lambda *_, **__: (_ for _ in ()).throw(Crash))
        with ledger.charging("people"), pytest.raises(Crash):
            StandingStill(None, **options).fit(FRAME, DOMAIN)
    with ledger.charging("people"):
        fitted = StandingStill(None, **options).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 1
    assert len(fitted.measurements_.which) == len(EVERY)


def test_a_lost_one_shot_is_not_drawn_again(tmp_path, monkeypatch):
    options = {"workload": EVERY, "journal": tmp_path / "journal"}
    with monkeypatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Release, "discrete_gaussian", lambda *_, **__: (_ for _ in ()).throw(Crash))
        StandingStill(**options).fit(FRAME, DOMAIN)
    with pytest.raises(BudgetExceeded, match="begin again with a new journal"):
        StandingStill(**options).fit(FRAME, DOMAIN)


def test_what_the_ledger_refuses_in_between_can_be_asked_for_again(tmp_path, ledger, monkeypatch):
    """Another process spends between our look at the budget and our charge: the refused round is not lost."""
    options = {"rho": 0.4, "workload": EVERY, "journal": tmp_path / "journal"}
    with monkeypatch.context() as patch, ledger.charging("people"), pytest.raises(BudgetExceeded):
        patch.setattr("sfumato.privacy.ledger.check_active", lambda claim: None)
        StandingStill(None, rho=0.9).fit(FRAME, DOMAIN)
        StandingStill(None, **options).fit(FRAME, DOMAIN)
    fitted = StandingStill(None, **options).fit(FRAME, DOMAIN)
    assert len(fitted.measurements_.which) == len(EVERY)


def test_a_journal_of_another_plan_is_refused(tmp_path, ledger):
    StandingStill(workload=EVERY, journal=tmp_path / "journal").fit(FRAME, DOMAIN)
    for changed in ({"epsilon": 2.0}, {"n_synthetic": 11}, {"workload": "marginals"}):
        with ledger.charging("people"), pytest.raises(InvalidData, match="not of this fit"):
            StandingStill(**({"workload": EVERY, "journal": tmp_path / "journal"} | changed)).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 0


def test_samples_are_the_rows_or_rows_drawn_from_them():
    fitted = StandingStill(n_synthetic=20).fit(FRAME, DOMAIN)
    assert len(fitted.sample()) == 20
    drawn = fitted.sample(500, random_state=0)
    pd.testing.assert_frame_equal(drawn, fitted.sample(500, random_state=0))
    assert tuple(drawn) == DOMAIN.names
    assert set(map(tuple, drawn.astype(str).to_numpy())) <= set(map(tuple, fitted.sample().astype(str).to_numpy()))
    for n in (0, -1, 2.0, True):
        with pytest.raises(InvalidData):
            fitted.sample(n)


def test_a_poisoned_row_in_a_column_outside_the_domain_shows_nowhere(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    poisoned = FRAME.assign(diary="nothing")
    poisoned.loc[3, "diary"] = "xyzzy-secret"
    fitted = StandingStill(workload=EVERY.subset(range(4)), journal=tmp_path / "journal").fit(poisoned, DOMAIN)
    seen = pickle.dumps(fitted) + (tmp_path / "journal").read_bytes() + str(fitted.history_).encode()
    seen += fitted.sample().to_csv().encode() + caplog.text.encode()
    assert b"xyzzy" not in seen


def test_the_true_counts_do_not_stay_in_the_fitted_object():
    """A count no noise would leave: the pickle must not hold the vector that was hidden."""
    workloads = marginals(DOMAIN, 2, resolutions=(32,))
    fitted = StandingStill(workload=workloads).fit(FRAME, DOMAIN)
    hidden = workloads.counts(DOMAIN.encode(FRAME))
    arrays = [value for value in vars(fitted).values() if isinstance(value, np.ndarray)]
    arrays += [value for value in vars(fitted.measurements_).values() if isinstance(value, np.ndarray)]
    assert not any(array.shape == hidden.shape and np.allclose(array * 400, hidden) for array in arrays)
    assert hidden.tobytes() not in pickle.dumps(fitted)


def test_the_budget_must_be_formal_for_a_seeded_release(ledger):
    with ledger.charging("people"), pytest.raises(InvalidClaim):
        StandingStill(noise_seed=3).fit(FRAME, DOMAIN)
    assert ledger.account("people").charges == 0


def test_a_column_of_one_category_is_no_obstacle():
    domain = Domain((Column.categorical("only", ["x"]), Column.numeric("n", 0, 1)))
    fitted = StandingStill(n_synthetic=10).fit(domain.decode(domain.draw(50, np.random.default_rng(0))), domain)
    assert fitted.sample()["only"].unique().tolist() == ["x"]
