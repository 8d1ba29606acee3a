"""Bands, log-rank, planning, federation and competing risks of the private life table.

Statistical tests run on fixed seeds; each states how unlikely its failure is for a correct estimator.
"""

from __future__ import annotations

import dataclasses
import json

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from lifelines import AalenJohansenFitter, KaplanMeierFitter
from lifelines.statistics import logrank_test

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.statistics.survival import (
    DPCumulativeIncidence,
    DPKaplanMeier,
    NoisyCounts,
    bands,
    choose_mechanism,
    dp_logrank,
    merge,
    plan,
)

mpl.use("Agg")

HUGE = 500.0
TIMES = np.array([100.0, 200, 300, 400, 500, 600])
TRUTH = np.exp(-((TIMES / 420) ** 1.3))
EDGES = np.arange(0, 1201, 100.0)


def weibull(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    event, censoring = 420 * rng.weibull(1.3, n), rng.uniform(100, 1500, n)
    return np.minimum(event, censoring), (event <= censoring).astype(int)


def coverage(n: int, epsilon: float, runs: int) -> tuple[float, float]:
    """Share of (run, time) in which the DP-aware and the noise-blind 95 % interval hold the truth."""
    rng = np.random.default_rng(n)
    aware = blind = 0
    for seed in range(runs):
        km = DPKaplanMeier(epsilon, edges=EDGES, noise_seed=seed).fit(*weibull(n, rng))
        band = km.confidence_interval().iloc[1:7]
        aware += int(((band["lower"] <= TRUTH) & (band["upper"] >= TRUTH)).sum())
        curve = km.survival_function_.to_numpy().T
        quiet = dataclasses.replace(km.noisy_counts_, variance=0.0)
        variance = bands.cumulative_hazard_variance(quiet, curve)
        lower, upper = bands.pointwise(curve, variance, 0.95, np.ones_like(curve, bool))
        blind += int(((lower[0, 1:7] <= TRUTH) & (upper[0, 1:7] >= TRUTH)).sum())
    return aware / (6 * runs), blind / (6 * runs)


@pytest.mark.parametrize("n", [228, 1000])
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 4.0])
def test_intervals_cover(n, epsilon):
    # 300 runs of 6 correlated times: the standard error is below .01, so [.89, .999] is more than 5 away.
    aware, _ = coverage(n, epsilon, 300)
    assert 0.89 <= aware <= 0.999


def test_noise_blind_intervals_do_not_cover():
    # the blind coverage is about .82, ten standard errors below .92
    aware, blind = coverage(228, 0.5, 300)
    assert blind < 0.89 < aware


@pytest.mark.parametrize("mechanism", ["gaussian", "factorized"])
def test_intervals_cover_under_gaussian_noise(mechanism):
    rng = np.random.default_rng(9)
    hits = 0
    for seed in range(200):
        km = DPKaplanMeier(rho=0.125, edges=EDGES, mechanism=mechanism, noise_seed=seed)
        band = km.fit(*weibull(400, rng)).confidence_interval().iloc[1:7]
        hits += int(((band["lower"] <= TRUTH) & (band["upper"] >= TRUTH)).sum())
    assert 0.88 <= hits / 1200 <= 0.999


def test_simultaneous_bands_cover_the_whole_curve():
    # 100 runs at 95 %: fewer than 80 has probability below 1e-7
    rng = np.random.default_rng(3)
    whole = np.exp(-((EDGES / 420) ** 1.3))
    hits = 0
    for seed in range(100):
        km = DPKaplanMeier(1.0, edges=EDGES, noise_seed=seed).fit(*weibull(500, rng))
        band = km.confidence_interval(kind="simultaneous", random_state=seed)
        hits += bool(((band["lower"] <= whole + 1e-12) & (band["upper"] >= whole - 1e-12)).all())
    assert hits >= 80


def test_bootstrap_and_delta_agree():
    km = DPKaplanMeier(1.0, edges=EDGES, noise_seed=0).fit(*weibull(5000, np.random.default_rng(0)))
    delta = km.confidence_interval().iloc[1:7]
    bootstrap = km.confidence_interval(method="bootstrap", random_state=0).iloc[1:7]
    np.testing.assert_allclose(delta, bootstrap, atol=0.01)


def test_gradients_are_derivatives():
    # the closed-form noise variance against numerical derivatives of the estimator, where it is smooth
    rng = np.random.default_rng(1)
    km = DPKaplanMeier(1.0, edges=EDGES[:8], noise_seed=0).fit(*weibull(3000, rng))
    counts = km.noisy_counts_

    def hazards(**change: np.ndarray) -> np.ndarray:
        moved = DPKaplanMeier.from_noisy_counts(dataclasses.replace(counts, **change))
        return -np.log(moved.survival_function_.to_numpy()[1:, 0])

    total = np.zeros(7)
    for name in ("events", "censored"):
        for j in range(7):
            up, down = getattr(counts, name).copy(), getattr(counts, name).copy()
            up[0, j] += 1
            down[0, j] -= 1
            total += ((hazards(**{name: up}) - hazards(**{name: down})) / 2) ** 2
    total += ((hazards(tail=counts.tail + 1) - hazards(tail=counts.tail - 1)) / 2) ** 2
    curve = km.survival_function_.to_numpy().T
    quiet = dataclasses.replace(counts, variance=0.0)
    noise = bands.cumulative_hazard_variance(counts, curve) - bands.cumulative_hazard_variance(quiet, curve)
    np.testing.assert_allclose(noise[0], counts.variance * total, rtol=0.02)


def test_closed_form_variance_is_the_matrix_form():
    km = DPKaplanMeier(rho=0.5, edges=EDGES, mechanism="gaussian").fit(*weibull(1000, np.random.default_rng(2)))
    counts = km.noisy_counts_
    gradients, _ = bands.hazard_gradients(
        km.survival_function_.to_numpy().T, np.maximum(counts.at_risk() - counts.censored / 2, 1)
    )
    np.testing.assert_allclose(gradients.variance(counts), counts.noise_variance(*gradients.matrices()))


def test_logrank_without_noise_is_lifelines():
    rng = np.random.default_rng(5)
    t, e = weibull(600, rng)
    g = rng.integers(0, 2, 600)
    t = np.ceil(np.where(g == 1, t * 1.3, t))
    # followed for 700 days, so that neither group runs out: ours stops there, lifelines goes on
    t, e = np.minimum(t, 700), np.where(t > 700, 0, e)
    edges = np.arange(0, 702)
    km = DPKaplanMeier(HUGE, edges=edges, actuarial=False).fit(t, e, groups=g, group_labels=(0, 1))
    reference = logrank_test(t[g == 0], t[g == 1], e[g == 0], e[g == 1])
    assert dp_logrank(km, null="delta").statistic == pytest.approx(reference.test_statistic, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
def test_logrank_keeps_its_level(epsilon):
    # 300 runs at a true level of .05: more than 35 rejections has probability below 1e-6
    rng = np.random.default_rng(6)
    rejected = 0
    for seed in range(300):
        t, e = weibull(228, rng)
        g = (rng.random(228) < 0.4).astype(int)
        km = DPKaplanMeier(epsilon, horizon=1095, n_bins=8, noise_seed=seed)
        km.fit(t, e, groups=g, group_labels=(0, 1))
        rejected += dp_logrank(km, random_state=seed).p_value <= 0.05
    assert rejected <= 35


def test_logrank_has_power_and_refuses_other_shapes():
    rng = np.random.default_rng(7)
    t, e = weibull(600, rng)
    g = rng.integers(0, 2, 600)
    t = np.where(g == 1, t * 2, t)
    km = DPKaplanMeier(1.0, horizon=1500, noise_seed=0).fit(t, e, groups=g, group_labels=(0, 1))
    assert dp_logrank(km, random_state=0).p_value < 0.01
    assert dp_logrank(km, random_state=0).null == "bootstrap"
    with pytest.raises(InvalidData, match="two groups"):
        dp_logrank(DPKaplanMeier(1.0, horizon=1500).fit(t, e))
    with pytest.raises(InvalidData, match="null"):
        dp_logrank(km, null="exact")


@pytest.mark.parametrize("n", [228, 1000, 10_000])
def test_plan_predicts_the_error(n):
    # 25 runs have a standard error of about 5 %
    rng = np.random.default_rng(n)
    times = np.linspace(0, 1095, 201)
    events = int(0.75 * n)
    expected = plan(n, 1.0, expected_events=events)
    errors = []
    for seed in range(25):
        t, e = weibull(n, rng)
        km = DPKaplanMeier(1.0, horizon=1095, expected_n=n, expected_events=events, noise_seed=seed)
        exact = KaplanMeierFitter().fit(t, e).predict(times).to_numpy()
        errors.append(np.sqrt(np.mean((km.fit(t, e).predict(times).to_numpy() - exact) ** 2)))
    assert km.n_bins_ == expected.n_bins
    assert 0.7 <= expected.rmse / np.mean(errors) <= 1.4
    assert expected.band_half_width > expected.sampling_half_width


def test_mechanism_choice_follows_the_closed_forms():
    assert choose_mechanism(16, 1.0) == "laplace"
    assert choose_mechanism(1024, 1.0) == "laplace"  # pure ε allows nothing else
    assert choose_mechanism(16, 1.0, 1e-6) == "laplace"
    assert choose_mechanism(256, 1.0, 1e-6) == "factorized"
    assert choose_mechanism(1024, 1.0, 1e-6) == "factorized"
    assert choose_mechanism(2, rho=20.0) == "gaussian"


def test_sites_add_up():
    rng = np.random.default_rng(8)
    tables, everyone = [], []
    for seed in range(3):
        t, e = weibull(300, rng)
        everyone.append((t, e))
        tables.append(DPKaplanMeier(1.0, edges=EDGES, noise_seed=seed).fit(t, e).noisy_counts_)
    tables = [NoisyCounts.from_json(json.dumps(table.to_json())) for table in tables]
    together = merge(tables)
    assert together.noisy_counts_.variance == pytest.approx(3 * tables[0].variance)
    assert together.noisy_counts_.sites == 3
    assert together.claim_.bound == PureDP(1.0)
    assert together.claim_.trust == "silo"
    t, e = (np.concatenate(part) for part in zip(*everyone, strict=True))
    exact = KaplanMeierFitter().fit(t, e).predict(EDGES).to_numpy()
    assert np.abs(together.survival_function_["KM_estimate"] - exact).iloc[:9].max() < 0.1
    other = DPKaplanMeier(1.0, horizon=1200, n_bins=5).fit(t, e).noisy_counts_
    for bad in ([], [tables[0], other], ["table"]):
        with pytest.raises(InvalidData):
            merge(bad)


def test_noise_of_sites_has_the_summed_variance():
    # the bootstrap's own noise for K = 4 sites: 40 000 draws, 6 standard errors are under 10 %
    table = DPKaplanMeier(1.0, edges=EDGES).fit(*weibull(50, np.random.default_rng(0))).noisy_counts_
    total = merge([table] * 4).noisy_counts_
    noise = bands.simulate_noise(total, (1600,), np.random.default_rng(0))
    assert noise.var() == pytest.approx(4 * table.variance, rel=0.1)


def test_competing_risks_without_noise_are_aalen_johansen():
    rng = np.random.default_rng(10)
    t, e = weibull(3000, rng)
    kind = np.where(e == 1, rng.integers(1, 3, 3000), 0)
    fit = DPCumulativeIncidence(HUGE, horizon=1200, n_bins=300).fit(t, kind)
    for cause in (1, 2):
        reference = AalenJohansenFitter(calculate_variance=False).fit(t, kind, event_of_interest=cause)
        exact = np.interp(TIMES, reference.cumulative_density_.index, reference.cumulative_density_.iloc[:, 0])
        np.testing.assert_allclose(fit.predict(TIMES)[cause], exact, atol=0.01)
    total = fit.cumulative_incidence_.sum(axis=1) + fit.survival_function_["KM_estimate"]
    np.testing.assert_allclose(total.iloc[:200], 1, atol=0.01)


@pytest.mark.parametrize("mechanism", ["laplace", "factorized"])
def test_intervals_of_competing_risks_cover(mechanism):
    """200 cohorts of 500 as groups of one fit; at a true 95 % each count of misses exceeds 26 with probability 1e-6."""
    rng = np.random.default_rng(12)
    n, cohorts, rates = 500, 200, np.array([1 / 600, 1 / 1200])
    event, lost = rng.exponential(1 / rates.sum(), n * cohorts), rng.uniform(200, 1500, n * cohorts)
    kind = np.where(event <= lost, 1 + (rng.random(n * cohorts) < rates[1] / rates.sum()), 0)
    budget = {"epsilon": 1.0} if mechanism == "laplace" else {"rho": 0.5}
    fit = DPCumulativeIncidence(**budget, horizon=1000, n_bins=10, mechanism=mechanism, noise_seed=1).fit(
        np.minimum(event, lost), kind, groups=np.repeat(np.arange(cohorts), n), group_labels=tuple(range(cohorts))
    )
    truth = rates / rates.sum() * (1 - np.exp(-rates.sum() * np.arange(0, 1001, 100)))[:, np.newaxis]
    band = fit.confidence_interval(random_state=0).to_numpy().reshape(11, cohorts, 2, 2)
    hits = (band[..., 0] <= truth[:, np.newaxis]) & (truth[:, np.newaxis] <= band[..., 1])
    missed = cohorts - hits[1:].sum(1)
    assert missed.max() <= 26, missed
    assert missed.mean() >= 2  # and they are not so wide as to say nothing
    whole = fit.confidence_interval(kind="simultaneous", random_state=0).to_numpy().reshape(11, cohorts, 2, 2)
    held = ((whole[..., 0] <= truth[:, np.newaxis]) & (truth[:, np.newaxis] <= whole[..., 1])).all(0)
    assert (cohorts - held.sum(0)).max() <= 30


def test_competing_risks_with_noise_stay_probabilities():
    rng = np.random.default_rng(11)
    t, e = weibull(400, rng)
    kind = np.where(e == 1, rng.integers(1, 4, 400), 0)
    fit = DPCumulativeIncidence(1.0, n_causes=3, horizon=1200, noise_seed=1).fit(
        t, kind, groups=rng.integers(0, 2, 400), group_labels=(0, 1)
    )
    values = fit.cumulative_incidence_
    assert values.shape == (len(fit.timeline_), 6)
    assert ((values >= 0) & (values <= 1)).all().all()
    assert all(values[column].is_monotonic_increasing for column in values)
    with pytest.raises(InvalidData, match="events"):
        DPCumulativeIncidence(1.0, horizon=1200).fit(t, kind)
    assert fit.plot().get_legend() is not None
    frame = pd.DataFrame({"t": t, "kind": kind})
    exact = DPCumulativeIncidence(HUGE, n_causes=3, horizon=1200, n_bins=6)
    a = exact.fit(t, kind).cumulative_incidence_
    pd.testing.assert_frame_equal(a, exact.fit_frame(frame, duration_col="t", event_col="kind").cumulative_incidence_)
