"""DPKaplanMeier: what it promises, what it keeps, what it computes."""

from __future__ import annotations

import json
import math
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lifelines import KaplanMeierFitter
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from sfumato.data.survival import load
from sfumato.errors import BudgetExceeded, InvalidClaim, InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP, PureDP
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.survival import DPKaplanMeier, NoisyCounts
from sfumato.statistics.survival.cells import count_cells

HUGE = 500.0  # noise of scale 1/500: a cell is off with probability below 1e-200


def weibull(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The simulator of the design notes: Weibull(1.3, 420), censored uniformly on (100, 1500)."""
    event, censoring = 420 * rng.weibull(1.3, n), rng.uniform(100, 1500, n)
    return np.minimum(event, censoring), (event <= censoring).astype(int)


def lung() -> pd.DataFrame:
    return load("lung").frame


records = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 1)), min_size=1, max_size=30)
EDGES = np.array([0.0, 2, 5, 9])


def table(rows: list[tuple[int, int, int]]) -> np.ndarray:
    """The cells as released: per group, events, censored, tail."""
    t, e, g = (np.array(column) for column in zip(*rows, strict=True))
    cells = count_cells(t, e, EDGES, codes=g, n_groups=2)
    return np.concatenate([cells[:, :, :-1].ravel(), cells[:, :, -1].sum(1)])


@settings(max_examples=60, deadline=None)
@given(rows=records, extra=st.tuples(st.integers(0, 12), st.integers(0, 1), st.integers(0, 1)))
def test_a_person_is_one_unit_in_one_cell(rows, extra):
    with_one, without = table([*rows, extra]), table(rows)
    assert np.abs(with_one - without).sum() == 1
    replaced = table([*rows[1:], extra])
    assert np.abs(replaced - without).sum() in (0, 2)


@settings(max_examples=60, deadline=None)
@given(rows=records, order=st.randoms(use_true_random=False))
def test_cells_ignore_row_order_and_hold_everyone(rows, order):
    shuffled = list(rows)
    order.shuffle(shuffled)
    np.testing.assert_array_equal(table(rows), table(shuffled))
    assert table(rows).sum() == len(rows)


def test_edges_belong_to_the_interval_that_they_end():
    t = np.array([0, 2, np.nextafter(2, 3), 5, 9, np.nextafter(9, 10)])
    cells = count_cells(t, np.ones(6, int), EDGES)
    assert cells[0, 1].tolist() == [2, 2, 1, 1]


def largest_log_ratio(km: DPKaplanMeier, x: np.ndarray, near: np.ndarray) -> float:
    """Largest log-ratio of a released table's probabilities over two data sets, in closed form.

    Discrete Laplace: log p(y - x) = const - |y - x| / scale, so every table y has the log-ratio
    Σ (|y - x'| - |y - x|) / scale: at most |x - x'|₁ / scale, reached by tables beyond both.
    """
    variance = km.noisy_counts_.variance
    q = (1 + variance - math.sqrt(1 + 2 * variance)) / variance
    y = np.random.default_rng(0).integers(-5, 9, (4000, len(x)))
    return float((np.abs(y - near) - np.abs(y - x)).sum(1).max() * -math.log(q))


@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
def test_log_ratio_of_neighbours_reaches_epsilon_and_no_more(neighbours):
    km = DPKaplanMeier(0.7, edges=EDGES, neighbours=neighbours, noise_seed=1).fit([1, 3, 7], [1, 0, 1])
    x = table([(1, 1, 0), (3, 0, 0), (7, 1, 0)])
    removed, replaced = table([(1, 1, 0), (3, 0, 0)]), table([(1, 1, 0), (3, 0, 0), (12, 0, 0)])
    near = removed if neighbours == "add-remove" else replaced
    assert largest_log_ratio(km, x, near) == pytest.approx(0.7)
    if neighbours == "add-remove":  # a fake that ignored the relation would leak twice what it claims
        assert largest_log_ratio(km, x, replaced) == pytest.approx(1.4)


def test_agrees_with_lifelines_without_noise():
    frame = lung()
    edges = np.concatenate(([0], np.unique(frame["time"])))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        km = DPKaplanMeier(HUGE, edges=edges, actuarial=False).fit(frame["time"], frame["status"])
    reference = KaplanMeierFitter().fit(frame["time"], frame["status"]).predict(edges).to_numpy()
    np.testing.assert_allclose(km.survival_function_["KM_estimate"], reference, atol=1e-12)


def test_times_beyond_the_horizon_go_to_the_tail():
    frame = lung()
    exact = DPKaplanMeier(HUGE, horizon=500, n_bins=10)
    late = np.where(frame["time"] > 500, frame["time"] + 1e6, frame["time"])
    a = exact.fit(frame["time"], frame["status"]).noisy_counts_
    b = clone(exact).fit(late, frame["status"]).noisy_counts_
    np.testing.assert_array_equal(a.tail, b.tail)
    np.testing.assert_array_equal(a.events, b.events)
    assert a.tail[0] == (frame["time"] > 500).sum()


@pytest.mark.parametrize(
    ("epsilon", "n_bins", "figure"),
    [(0.1, 3, 0.081), (0.5, 9, 0.036), (1, 15, 0.024), (2, 26, 0.016), (4, 55, 0.0076), (10, 365, 0.0017)],
)
def test_rmse_on_lung_is_that_of_the_design_notes(epsilon, n_bins, figure):
    # Mean of 100 runs on fixed seeds; the notes allow 1.25 times their figure.
    frame = lung()
    times = np.arange(0, 1023, 7)
    exact = KaplanMeierFitter().fit(frame["time"], frame["status"]).predict(times).to_numpy()
    errors = []
    for seed in range(100):
        km = DPKaplanMeier(epsilon, horizon=1095, n_bins=n_bins, noise_seed=seed)
        estimate = km.fit(frame["time"], frame["status"]).predict(times).to_numpy()
        errors.append(np.sqrt(np.mean((estimate - exact) ** 2)))
    assert np.mean(errors) < 1.25 * figure


def test_claims_and_mechanisms():
    t, e = weibull(300, np.random.default_rng(0))
    cases = [
        ({}, PureDP(1.0), "laplace"),
        ({"epsilon": 0.5}, PureDP(0.5), "laplace"),
        ({"rho": 0.5, "n_bins": 200}, ZCDP(0.5), "factorized"),
        ({"rho": 0.5, "delta": 1e-6, "n_bins": 200}, ZCDP(0.5), "factorized"),
        ({"rho": 0.5, "mechanism": "gaussian"}, ZCDP(0.5), "gaussian"),
        ({"epsilon": 1.0, "delta": 1e-6, "n_bins": 16}, ApproxDP(1.0, 1e-6), "laplace"),
        ({"epsilon": 1.0, "delta": 1e-6, "n_bins": 400}, ApproxDP(1.0, 1e-6), "factorized"),
        ({"epsilon": 1.0, "delta": 1e-6, "mechanism": "gaussian"}, ApproxDP(1.0, 1e-6), "gaussian"),
    ]
    for parameters, bound, mechanism in cases:
        km = DPKaplanMeier(horizon=1200, **parameters).fit(t, e)
        assert km.claim_.bound == bound
        assert km.claim_.formal
        assert km.noisy_counts_.mechanism == mechanism
        curve = km.survival_function_["KM_estimate"]
        assert curve.iloc[0] == 1
        assert curve.is_monotonic_decreasing
        assert curve.between(0, 1).all()


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian", "factorized"])
@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
def test_noise_has_the_stated_variance(mechanism, neighbours):
    # Prefix counts of 400 releases against their stated variance; false alarm below 1e-6 (χ² with 400
    # degrees of freedom; Laplace prefixes of 8 cells are near normal; [.6, 1.5] is 6 standard deviations).
    budget = {"epsilon": 1.0} if mechanism == "laplace" else {"rho": 0.3}
    prefixes, stated = [], 0.0
    for seed in range(400):
        km = DPKaplanMeier(
            **budget, horizon=8, n_bins=8, mechanism=mechanism, neighbours=neighbours, noise_seed=seed
        ).fit([1, 2, 3], [1, 1, 0])
        counts = km.noisy_counts_
        prefixes.append(counts.events.sum())
        stated = counts.noise_variance(np.ones((1, 8)), np.zeros((1, 8)), np.zeros(1))[0]
    assert 0.6 * stated < np.var(prefixes) < 1.5 * stated + 1 / 6
    assert abs(np.mean(prefixes) - 2) < 6 * math.sqrt((stated + 0.1) / 400)


def test_number_of_bins_is_paid_for_or_told():
    t, e = weibull(500, np.random.default_rng(1))
    bought = DPKaplanMeier(1.0, horizon=1200).fit(t, e)
    assert any("noisy counts" in sentence for sentence in bought.claim_.assumptions)
    told = DPKaplanMeier(1.0, horizon=1200, expected_n=500, expected_events=350).fit(t, e)
    assert not any("noisy counts" in sentence for sentence in told.claim_.assumptions)
    assert told.noisy_counts_.variance < bought.noisy_counts_.variance
    assert 3 <= bought.n_bins_ <= 365


def test_keeps_nothing_but_the_noisy_counts():
    rng = np.random.default_rng(2)
    sizes = []
    for n in (100, 20_000):
        t, e = weibull(n, rng)
        km = DPKaplanMeier(1.0, horizon=1200, n_bins=20).fit(t, e, groups=rng.integers(0, 2, n), group_labels=(0, 1))
        kept = set(vars(km)) - set(km.get_params())
        assert kept == {"noisy_counts_"}
        allowed = {
            "edges", "events", "censored", "tail", "variance", "neighbours", "group_labels", "claim",
            "sites", "mechanism",
        }  # fmt: skip
        assert set(vars(km.noisy_counts_)) == allowed
        assert all(array.size <= 40 for array in (km.noisy_counts_.events, km.noisy_counts_.censored))
        assert km.noisy_counts_.events.base is None or km.noisy_counts_.events.base.size < 200
        sizes.append(len(pickle.dumps(km)))
    assert abs(sizes[1] - sizes[0]) < 100  # pickled integers take a byte or two more when they are larger


def test_json_restores_everything():
    frame = lung()
    km = DPKaplanMeier(1.0, horizon=1095).fit(frame["time"], frame["status"], groups=frame["sex"], group_labels=(1, 2))
    text = json.dumps(km.noisy_counts_.to_json())
    again = DPKaplanMeier.from_noisy_counts(NoisyCounts.from_json(text))
    pd.testing.assert_frame_equal(again.table(), km.table())
    assert again.claim_ == km.claim_
    assert clone(again).get_params().keys() == km.get_params().keys()
    for broken in ("{}", '{"format": "other"}', text.replace('"tail"', '"tale"')):
        with pytest.raises(InvalidData):
            NoisyCounts.from_json(broken)


def test_scikit_learn_contract():
    km = DPKaplanMeier(0.5, horizon=10, n_bins=3)
    assert clone(km).get_params() == km.get_params()
    with pytest.raises(NotFittedError):
        _ = km.survival_function_


BAD = [
    ({"durations": [1, 2], "events": [1]}, InvalidData, "events"),
    ({"durations": [1.0, math.nan, 3.0]}, InvalidData, "durations"),
    ({"durations": [1.0, math.inf, 3.0]}, InvalidData, "durations"),
    ({"durations": [1.0, -7.25, 3.0]}, InvalidData, "durations"),
    ({"durations": ["a", "b", "c"]}, InvalidData, "durations"),
    ({"durations": [[1.0, 2.0, 3.0]]}, InvalidData, "durations"),
    ({"events": [0, 1, 7]}, InvalidData, "events"),
    ({"events": [0, 1, 0.5]}, InvalidData, "events"),
    ({"events": [0, 1, math.nan]}, InvalidData, "events"),
    ({"events": ["yes", "no", "no"]}, InvalidData, "events"),
    ({"horizon": None}, InvalidData, "horizon"),
    ({"horizon": 0}, InvalidData, "horizon"),
    ({"horizon": math.inf}, InvalidData, "horizon"),
    ({"horizon": None, "edges": [0, 2, 2]}, InvalidData, "edges"),
    ({"horizon": None, "edges": [1, 2, 3]}, InvalidData, "edges"),
    ({"horizon": 7, "edges": [0, 2, 3]}, InvalidData, "horizon"),
    ({"n_bins": 0}, InvalidData, "n_bins"),
    ({"n_bins": "many"}, InvalidData, "n_bins"),
    ({"epsilon": 0}, InvalidClaim, "epsilon"),
    ({"epsilon": -1}, InvalidClaim, "epsilon"),
    ({"epsilon": 1e-300}, InvalidClaim, "epsilon"),
    ({"durations": [10**400, 1, 2]}, InvalidData, "durations"),
    ({"epsilon": math.nan}, InvalidClaim, "epsilon"),
    ({"epsilon": 1.0, "rho": 0.5}, InvalidClaim, "epsilon"),
    ({"delta": 1.0}, InvalidClaim, "delta"),
    ({"rho": -1}, InvalidClaim, "rho"),
    ({"mechanism": "factorized"}, InvalidClaim, "mechanism"),
    ({"mechanism": "tree"}, InvalidClaim, "mechanism"),
    ({"neighbours": "swap"}, InvalidClaim, "neighbours"),
    ({"interpolation": "cubic"}, InvalidData, "interpolation"),
    ({"shrink": "lasso"}, InvalidData, "shrink"),
    ({"expected_n": 10, "expected_events": 20}, InvalidData, "expected_events"),
    ({"groups": [1, 2, 9]}, InvalidData, "group_labels"),
    ({"groups": [1, 2, 977], "group_labels": (1, 2)}, InvalidData, "groups"),
    ({"groups": [1, 2, None], "group_labels": (1, 2)}, InvalidData, "groups"),
    ({"group_labels": (1, 2)}, InvalidData, "groups"),
    ({"groups": [1, 2], "group_labels": (1, 2)}, InvalidData, "groups"),
]


@pytest.mark.parametrize(("change", "error", "names"), BAD)
def test_bad_input_is_named_and_costs_nothing(change, error, names, tmp_path):
    fit = {"durations": [1.0, 2.0, 3.5], "events": [1, 0, 1]}
    construct = {"horizon": 10.0}
    for name, value in change.items():
        (fit if name in ("durations", "events", "groups", "group_labels") else construct)[name] = value
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("trial", PureDP(5.0))
    with ledger.charging("trial"), pytest.raises(error, match=names) as caught:
        DPKaplanMeier(**construct).fit(fit.pop("durations"), fit.pop("events"), **fit)
    assert "7.25" not in str(caught.value)
    assert "977" not in str(caught.value)
    assert ledger.account("trial").charges == 0


def test_every_fit_is_charged(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("trial", PureDP(1.5))
    km = DPKaplanMeier(1.0, horizon=10)
    with ledger.charging("trial"):
        km.fit([1, 2, 3], [1, 0, 1])
        with pytest.raises(BudgetExceeded):
            km.fit([1, 2, 3], [1, 0, 1])
    assert ledger.account("trial").charges == 1


def test_warns_the_custodian_of_a_horizon_read_from_the_data():
    with pytest.warns(UserWarning, match="Is it public"):
        DPKaplanMeier(1.0, horizon=3, n_bins=3).fit([1, 2, 3], [1, 0, 1])


@pytest.mark.parametrize("groups", [None, []])
def test_nobody_is_a_cohort_too(groups):
    """Refusing an empty table would tell it from its neighbour with one person: it is counted like any other."""
    labels = None if groups is None else ("a", "b")
    km = DPKaplanMeier(1.0, horizon=100, n_bins=5).fit([], [], groups=groups, group_labels=labels)
    assert np.isfinite(km.survival_function_.to_numpy()).all()
    assert not km.reliable_.to_numpy().all()


def test_hopeless_noise_gives_an_unreliable_curve_and_no_nan():
    for seed in range(20):
        km = DPKaplanMeier(0.001, horizon=10, n_bins=10, noise_seed=seed).fit([1, 2], [1, 0])
        values = km.table()
        assert values[["survival", "lower", "upper"]].notna().all().all()
        assert (values["lower"] <= values["survival"] + 1e-12).all() or not values["reliable"].any()
        assert np.isfinite(km.restricted_mean(10))
        assert np.isfinite(km.cumulative_hazard_.to_numpy()).all()


@pytest.mark.parametrize("interpolation", ["linear", "hazard"])
def test_summaries_without_noise(interpolation):
    rng = np.random.default_rng(4)
    t, e = weibull(20_000, rng)
    km = DPKaplanMeier(HUGE, horizon=1200, n_bins=200, interpolation=interpolation).fit(t, e)
    reference = KaplanMeierFitter().fit(t, e)
    assert km.median_survival_time() == pytest.approx(reference.median_survival_time_, abs=3)
    assert km.percentile(0.9) == pytest.approx(reference.percentile(0.9), abs=3)
    steps = np.linspace(0, 700, 7001)
    area = reference.predict(steps).to_numpy().mean() * 700
    assert km.restricted_mean(700) == pytest.approx(area, abs=1)
    assert DPKaplanMeier(HUGE, horizon=50, n_bins=5).fit(t, e).median_survival_time() == math.inf
    for summary in (km.median_survival_time(0.9), km.restricted_mean(700, 0.9)):
        row = summary.iloc[0]
        assert row["lower"] < row["estimate"] < row["upper"]
    hazard = -np.log(km.survival_function_["KM_estimate"])
    assert np.allclose(km.cumulative_hazard_["NA_estimate"].iloc[:150], hazard.iloc[:150], atol=0.05)
    assert np.isnan(km.predict([1201.0]).iloc[0])


def test_frames_are_counted_like_arrays():
    frame = lung()
    settings_ = {"horizon": 1095, "n_bins": 12}
    a = DPKaplanMeier(HUGE, **settings_).fit(frame["time"], frame["status"], groups=frame["sex"], group_labels=(1, 2))
    b = DPKaplanMeier(HUGE, **settings_).fit_frame(
        frame, duration_col="time", event_col="status", group_col="sex", group_labels=(1, 2)
    )
    for name in ("events", "censored", "tail"):
        np.testing.assert_array_equal(getattr(a.noisy_counts_, name), getattr(b.noisy_counts_, name))


@pytest.mark.parametrize(
    ("groups", "labels"),
    [([True, False, True], (0, 1)), ([1, 0, 1], (False, True)), ([1.0, 0.0, 1.0], (0, 1)), (list("bab"), "ab")],
)
def test_labels_are_matched_as_python_compares_them(groups, labels):
    km = DPKaplanMeier(HUGE, horizon=4, n_bins=2)
    counts = km.fit([1, 2, 4.5], [1, 1, 1], groups=groups, group_labels=tuple(labels)).noisy_counts_
    assert counts.events.tolist() == [[1, 0], [1, 0]]
    assert counts.tail.tolist() == [0, 1]


def test_repeated_people_are_an_error_or_paid_for():
    frame = pd.DataFrame({"t": [1.0, 2.0, 3.0], "e": [1, 0, 1], "who": ["a", "a", "b"]})
    columns = {"duration_col": "t", "event_col": "e", "person_col": "who"}
    with pytest.raises(InvalidData, match="who"):
        DPKaplanMeier(1.0, horizon=4, n_bins=4).fit_frame(frame, **columns)
    two = DPKaplanMeier(1.0, horizon=4, n_bins=4).fit_frame(frame, **columns, max_records=2)
    one = DPKaplanMeier(1.0, horizon=4, n_bins=4).fit_frame(frame, **columns, max_records=1)
    assert two.noisy_counts_.variance > 3 * one.noisy_counts_.variance
    with pytest.raises(InvalidData, match="person_col"):
        DPKaplanMeier(1.0, horizon=4).fit_frame(frame, duration_col="t", event_col="e", max_records=2)


def test_plot_and_lifelines_view():
    import matplotlib as mpl

    mpl.use("Agg")
    frame = lung()
    km = DPKaplanMeier(1.0, horizon=1095).fit(frame["time"], frame["status"], groups=frame["sex"], group_labels=(1, 2))
    axes = km.plot()
    assert "differential privacy" in axes.get_xlabel()
    assert len(axes.get_legend().get_texts()) == 2
    view = km.to_lifelines()[1]
    assert isinstance(view, KaplanMeierFitter)
    assert view.median_survival_time_ == km.median_survival_time()[1]
    np.testing.assert_array_equal(view.survival_function_.to_numpy()[:, 0], km.survival_function_[1].to_numpy())
    for epsilon in (0.001, 100.0):  # nothing reliable, and everything
        DPKaplanMeier(epsilon, horizon=200, n_bins=5).fit(frame["time"], frame["status"]).plot()
    mpl.pyplot.close("all")


@pytest.mark.parametrize("shrink", [True, "weibull"])
def test_shrinkage_stays_close_to_the_truth(shrink):
    t, e = weibull(2000, np.random.default_rng(5))
    km = DPKaplanMeier(1.0, horizon=1200, n_bins=16, shrink=shrink, noise_seed=5).fit(t, e)
    times = np.array([100.0, 300, 500])
    np.testing.assert_allclose(km.predict(times), np.exp(-((times / 420) ** 1.3)), atol=0.1)
