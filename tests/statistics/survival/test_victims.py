"""The unsound estimators: unusable by accident, faithful enough to be broken, and broken by the auditor."""

import numpy as np
import pytest
from lifelines import KaplanMeierFitter
from sklearn.base import clone

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.data import load
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.survival import (
    CountMatrixKM,
    SmoothedCurveKM,
    TimewiseLaplaceKM,
    counterexample,
    influential_points,
)
from sfumato.statistics.survival.smoothers import _haar_matrix
from sfumato.statistics.survival.total_variation import denoise
from sfumato.statistics.survival.victims import leave_one_out_curves, product_limit

LUNG = load("lung")
DURATIONS, EVENTS = LUNG.frame[LUNG.duration].to_numpy(float), LUNG.frame[LUNG.event].to_numpy()
VICTIMS = [
    TimewiseLaplaceKM(1.0),
    CountMatrixKM(1.0),
    *(SmoothedCurveKM(1.0, s, horizon=1022) for s in ("dct", "haar", "tv", "weibull")),
]


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda v: f"{type(v).__name__}-{getattr(v, 'smoother', '')}")
def test_a_victim_runs_only_when_it_is_called_what_it_is(victim):
    with pytest.raises(InvalidClaim, match="i_know_this_is_not_private"):
        clone(victim).fit(DURATIONS, EVENTS)
    fit = clone(victim).set_params(i_know_this_is_not_private=True).fit(DURATIONS, EVENTS)
    assert not fit.claim_.formal
    assert str(fit.claim_).startswith("No formal guarantee")
    curve = fit.survival_function_["KM_estimate"].to_numpy()
    assert np.all((curve >= 0) & (curve <= 1))
    assert np.all(np.diff(curve) <= 1e-12)


def test_the_product_limit_is_lifelines():
    at = np.linspace(0, 1100, 300)
    exact = KaplanMeierFitter().fit(DURATIONS, EVENTS).predict(at).to_numpy()
    np.testing.assert_allclose(product_limit(DURATIONS, EVENTS, at)[0], exact, atol=1e-12)


def test_leave_one_out_sensitivity_of_lung_is_the_notes_figure():
    at = np.linspace(0, 1022, 100)
    exact = product_limit(DURATIONS, EVENTS, at)[0]
    assert np.abs(leave_one_out_curves(DURATIONS, EVENTS, at) - exact).max() == pytest.approx(0.0112, abs=5e-4)


def test_a_public_grid_makes_the_count_matrix_sound():
    fit = CountMatrixKM(1.0, grid=np.linspace(100, 1000, 10)).fit(DURATIONS, EVENTS)
    assert fit.claim_.formal
    assert fit.claim_.bound == PureDP(1.0)
    many = CountMatrixKM(1e6, grid=np.unique(DURATIONS)).fit(DURATIONS, EVENTS)
    exact = KaplanMeierFitter().fit(DURATIONS, EVENTS).predict(many.timeline_).to_numpy()
    np.testing.assert_allclose(many.survival_function_["KM_estimate"], exact, atol=1e-12)


def test_one_person_changes_the_count_matrix_by_two_units():
    from sfumato.statistics.survival.countmatrix import _count

    grid = np.linspace(100, 1000, 10)
    full = _count(DURATIONS, EVENTS, grid)
    for i in range(0, len(DURATIONS), 20):
        kept = np.arange(len(DURATIONS)) != i
        assert np.abs(full - _count(DURATIONS[kept], EVENTS[kept], grid)).sum() <= 2


def test_the_counterexample_is_what_it_says():
    example = counterexample()
    half = np.array([50.0])
    assert product_limit(*example.first, half)[0] == 0
    assert product_limit(*example.second, half)[0] == 1
    assert product_limit(*example.without, half)[0] == 1
    assert len(example.without[0]) == len(example.first[0]) - 1 == 49


@pytest.mark.parametrize(
    ("victim", "neighbours"),
    [
        *((TimewiseLaplaceKM(1.0, s), "replace-one") for s in ("at_risk", "index", "const")),
        *((SmoothedCurveKM(1.0, s, horizon=100.0), "add-remove") for s in ("dct", "haar", "tv", "weibull")),
    ],
    ids=lambda v: getattr(v, "schedule", None) or getattr(v, "smoother", None) or str(v),
)
def test_the_auditor_falsifies_each_of_them(victim, neighbours):
    """At a claimed ε = 1 the certified ε is above 4.5 with 6,000 runs a side; the audit's false alarms are 1e-6."""
    example = counterexample()
    victim = clone(victim).set_params(i_know_this_is_not_private=True)
    if isinstance(victim, TimewiseLaplaceKM):
        victim.set_params(grid=example.grid)
    other = example.second if neighbours == "replace-one" else example.without
    auditor = Auditor(
        n_train=1000, n_select=1000, n_test=6000, alpha=1e-6, scores=("threshold", "histogram"), random_state=0,
        progress=False,
    )  # fmt: skip
    report = auditor.audit(
        lambda cohort, n, rng: victim.sample(*cohort, n, rng)[:, 9::10],
        Claim(PureDP(1.0), neighbours=neighbours),
        pairs=[(example.first, other)],
    )
    assert report.verdict == "violation"
    assert report.eps_lower > 4.5


def test_influence_is_the_same_with_nobody_removed():
    """228 removals against 228 controls: shares differ by less than 6 standard errors of their difference."""
    seeds = iter(range(10**6))
    table = influential_points(
        lambda: TimewiseLaplaceKM(6.0, i_know_this_is_not_private=True, random_state=next(seeds)), DURATIONS, EVENTS
    )
    spread = np.sqrt(2 * 0.25 / len(DURATIONS))
    assert np.all(np.abs(table["removed"] - table["control"]) < 6 * spread)


def test_total_variation_denoising_meets_its_optimality_conditions():
    values = np.random.default_rng(0).normal(size=60).cumsum()
    smooth = denoise(values, 1.5)
    dual = np.cumsum(values - smooth)[:-1]
    assert np.abs(dual).max() <= 1.5 + 1e-8
    jumps = np.diff(smooth)
    np.testing.assert_allclose(np.abs(dual[np.abs(jumps) > 1e-9]), 1.5, atol=1e-6)
    np.testing.assert_array_equal(denoise(values, 0), values)


def test_the_haar_transform_is_orthonormal():
    matrix = _haar_matrix(128)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(128), atol=1e-12)


@pytest.mark.parametrize(
    ("durations", "events"),
    [([], []), ([1.0], [1, 0]), ([np.nan], [1]), ([-1.0], [1]), ([1.0], [2])],
)
def test_bad_data_is_refused(durations, events):
    with pytest.raises(InvalidData):
        TimewiseLaplaceKM(1.0, i_know_this_is_not_private=True).fit(durations, events)


def test_bad_parameters_are_refused():
    for epsilon in (0, -1, np.nan, np.inf):
        with pytest.raises(InvalidClaim, match="epsilon"):
            TimewiseLaplaceKM(epsilon, i_know_this_is_not_private=True).fit(DURATIONS, EVENTS)
    for wrong in ({"schedule": "other"},):
        with pytest.raises(InvalidData, match="schedule"):
            TimewiseLaplaceKM(1.0, i_know_this_is_not_private=True, **wrong).fit(DURATIONS, EVENTS)
    with pytest.raises(InvalidData, match="horizon"):
        SmoothedCurveKM(1.0, i_know_this_is_not_private=True).fit(DURATIONS, EVENTS)
    with pytest.raises(InvalidData, match="grid"):
        CountMatrixKM(1.0, grid=[2.0, 1.0]).fit(DURATIONS, EVENTS)


def test_no_release_and_no_ledger_charge_where_there_is_no_promise(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("lung", PureDP(1.0))
    with ledger.charging("lung"):
        CountMatrixKM(5.0, i_know_this_is_not_private=True).fit(DURATIONS, EVENTS)
        assert len(list(ledger.history("lung", 10))) == 0
        CountMatrixKM(1.0, grid=[300.0, 600.0]).fit(DURATIONS, EVENTS)
        assert len(list(ledger.history("lung", 10))) == 1


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda v: f"{type(v).__name__}-{getattr(v, 'smoother', '')}")
def test_batches_of_curves(victim):
    with pytest.raises(InvalidClaim, match="i_know_this_is_not_private"):
        clone(victim).sample(DURATIONS, EVENTS, 3, np.random.default_rng(0))
    victim = clone(victim).set_params(i_know_this_is_not_private=True)
    curves = victim.sample(DURATIONS, EVENTS, 7, np.random.default_rng(0))
    assert curves.shape == (7, len(victim.timeline_))
    assert np.all((curves >= 0) & (curves <= 1))
    assert len(np.unique(curves, axis=0)) == 7


def test_little_noise_leaves_the_smoothers_their_bias():
    """Cosine and Haar invert exactly; 0.08 and 0.013 of bias on lung belong to total variation and Weibull."""
    at = np.linspace(0, 1022, 100)
    exact = product_limit(DURATIONS, EVENTS, at)[0]
    for smoother, bias in (("dct", 1e-6), ("haar", 1e-6), ("tv", 0.1), ("weibull", 0.05)):
        victim = SmoothedCurveKM(1e9, smoother, horizon=1022, i_know_this_is_not_private=True)
        curve = victim.sample(DURATIONS, EVENTS, 1, np.random.default_rng(0))[0]
        assert np.sqrt(np.mean((curve - exact) ** 2)) < bias


@pytest.mark.parametrize(("smoother", "coefficients"), [("dct", 100), ("haar", 128), ("tv", 100), ("weibull", 100)])
def test_the_sound_sensitivity_covers_every_number_that_gets_noise(smoother, coefficients):
    from sfumato.statistics.survival import smoothers

    victim = SmoothedCurveKM(1.0, smoother, horizon=100, sens="sound")
    assert victim._sensitivity(DURATIONS, EVENTS, np.ones(100)) == coefficients
    if smoother == "haar":
        example = counterexample()
        grid = np.linspace(0, 100, 100)
        first, second = (product_limit(*c, grid)[0] for c in (example.first, example.second))
        matrix = _haar_matrix(smoothers.HAAR_POINTS)
        moved = matrix @ np.pad(first - second, (0, 28), mode="edge")
        assert 1 < np.abs(moved).sum() <= coefficients


def test_the_at_risk_schedule_keeps_some_noise_after_the_last_patient():
    example = counterexample()
    victim = TimewiseLaplaceKM(1.0, grid=example.grid, i_know_this_is_not_private=True)
    late = victim.sample(*example.first, 200, np.random.default_rng(0))[:, 20]
    assert late.std() > 0
