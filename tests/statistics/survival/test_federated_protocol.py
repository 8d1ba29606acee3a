"""Federated survival curves: what the protocol gives is what `merge` gives, and each site pays for its own noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato import Ledger, PureDP
from sfumato.data import load
from sfumato.errors import InvalidClaim, InvalidData, TooFewParties
from sfumato.federation import InProcess, Terms
from sfumato.statistics.survival import DPKaplanMeier, FederatedKaplanMeier, merge, releasing

LUNG = load("lung")
SITES = [
    (part[LUNG.duration].to_numpy(), part[LUNG.event].to_numpy()) for part in (LUNG.frame.iloc[i::3] for i in range(3))
]


def estimator(**parameters):
    return DPKaplanMeier(**{"epsilon": 2.0, "horizon": LUNG.horizon, "n_bins": 12, **parameters})


@pytest.fixture
def same_noise(monkeypatch):
    """Noise that depends on the cells alone, so that two ways to the same release can be compared."""
    draw = releasing.Budget.draw

    def drawn(self, release, mechanism, cells):
        parts = draw(self, release, mechanism, cells)
        rng = np.random.default_rng(int(cells.sum()))
        return tuple(rng.integers(-5, 50, part.shape) for part in parts)

    monkeypatch.setattr(releasing.Budget, "draw", drawn)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"neighbours": "replace-one", "interpolation": "hazard", "actuarial": False},
        {"epsilon": None, "rho": 0.5, "mechanism": "factorized"},
        {"delta": 1e-6, "n_bins": 100},
        {"edges": [0, 100, 365, 1000], "horizon": None},
    ],
    ids=str,
)
def test_the_protocol_gives_what_merge_gives(same_noise, parameters):
    template = estimator(**parameters)
    outcome = InProcess().run(FederatedKaplanMeier(template), SITES)
    names = ("actuarial", "interpolation", "shrink")
    tables = [estimator(**parameters).fit(*site).noisy_counts_ for site in SITES]
    merged = merge(tables, **{name: getattr(template, name) for name in names})
    assert outcome.result.noisy_counts_.to_json() == merged.noisy_counts_.to_json()
    assert outcome.result.survival_function_.equals(merged.survival_function_)
    assert outcome.result.confidence_interval().equals(merged.confidence_interval())
    assert (outcome.result.claim_, outcome.result.claim_.trust) == (merged.claim_, "silo")
    assert not hasattr(template, "noisy_counts_")


def test_groups_are_kept_apart(same_noise):
    sites = [(*site, np.arange(len(site[0])) % 2) for site in SITES]
    outcome = InProcess().run(FederatedKaplanMeier(estimator(), group_labels=[0, 1]), sites)
    tables = [estimator().fit(t, e, groups=g, group_labels=[0, 1]).noisy_counts_ for t, e, g in sites]
    assert outcome.result.noisy_counts_.to_json() == merge(tables).noisy_counts_.to_json()
    assert list(outcome.result.survival_function_.columns) == [0, 1]


def test_each_site_pays_from_its_own_ledger(tmp_path):
    ledgers = []
    for k, budget in enumerate((2.0, 2.0, 1.0)):
        ledger = Ledger(tmp_path / f"{k}.db", create=True)
        ledger.create("site", PureDP(budget))
        ledgers.append((ledger, "site"))
    outcome = InProcess(Terms(min_parties=2), ledgers=ledgers).run(FederatedKaplanMeier(estimator()), SITES)
    assert outcome.result.noisy_counts_.sites == 2
    assert "exhausted" in outcome.history[0].lost[2]
    assert [ledger.account("site").charges for ledger, _ in ledgers] == [1, 1, 0]


def test_only_noisy_integers_travel():
    outcome = InProcess().run(FederatedKaplanMeier(estimator()), SITES)
    assert set(outcome.state) == {"sites", "events", "censored", "tail"}
    assert outcome.history[0].payload_received < 3 * (25 * 8 + 200)


def hostile(reply):
    class Hostile(FederatedKaplanMeier):
        def client_step(self, request, memory, data):
            good, memory = super().client_step(request, memory, data)
            return (reply(good) if data is SITES[1] else good), memory

    return Hostile(estimator())


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (lambda good: {}, "fields events, censored, tail"),
        (lambda good: {**good, "more": 1}, "fields events, censored, tail"),
        (lambda good: {**good, "events": good["events"].astype(float)}, "'events' must be an array of int64"),
        (lambda good: {**good, "events": good["events"] * np.nan}, "'events' holds NaN"),
        (lambda good: {**good, "events": good["events"][:, :-1]}, "'events' must be an array of int64 of shape"),
        (lambda good: {**good, "tail": 3}, "'tail' must be an array of int64"),
        (lambda good: {**good, "tail": np.array([2**62])}, "'tail' must lie"),
        (lambda good: {**good, "tail": np.array([-(2**63)])}, "'tail' must lie"),
    ],
)
def test_garbage_from_a_site_never_enters_the_sum(reply, reason):
    with pytest.raises(TooFewParties, match=f"silo 1: .*{reason}"):
        InProcess().run(hostile(reply), SITES)
    assert InProcess(Terms(min_parties=2)).run(hostile(reply), SITES).result.noisy_counts_.sites == 2


@given(st.integers(1, 6))
def test_variances_add_up(sites):
    outcome = InProcess().run(FederatedKaplanMeier(estimator()), [([1.0], [1])] * sites)
    one = estimator().fit([1.0], [1]).noisy_counts_
    assert outcome.result.noisy_counts_.variance == pytest.approx(sites * one.variance)
    assert outcome.result.noisy_counts_.sites == sites


@pytest.mark.parametrize(
    ("parameters", "options", "error", "reason"),
    [
        ({"n_bins": "auto"}, {}, InvalidData, "public grid"),
        ({"noise_seed": 1}, {}, InvalidData, "noise_seed"),
        ({"epsilon": -1.0}, {}, InvalidClaim, "epsilon"),
        ({}, {"group_labels": [1.5, 2.5]}, InvalidData, "text or integers"),
        ({}, {"group_labels": []}, InvalidData, "group_labels"),
    ],
)
def test_terms_that_cannot_be_agreed_on_are_refused(parameters, options, error, reason):
    with pytest.raises(error, match=reason):
        FederatedKaplanMeier(estimator(**parameters), **options)


def test_data_of_another_form_are_refused_without_a_charge(tmp_path):
    ledger = Ledger(tmp_path / "l.db", create=True)
    ledger.create("site", PureDP(9.0))
    runtime = InProcess(ledgers=[(ledger, "site")])
    for data in (SITES[0][:1], (*SITES[0], SITES[0][1]), ([1.0], [7]), ([float("nan")], [1])):
        with pytest.raises(TooFewParties, match=r"silo 0: it refused: the silo's step failed \(\w+\)\)$"):
            runtime.run(FederatedKaplanMeier(estimator()), [data])
    assert ledger.account("site").charges == 0


def test_the_configuration_says_all_that_the_release_depends_on():
    base = FederatedKaplanMeier(estimator()).config()
    assert base == FederatedKaplanMeier(estimator(n_bins="auto", edges=base["edges"])).config()
    for change in ({"epsilon": 1.0}, {"n_bins": 13}, {"neighbours": "replace-one"}, {"mechanism": "laplace"}):
        assert FederatedKaplanMeier(estimator(**change)).config() != base
    assert FederatedKaplanMeier(estimator(), group_labels=["a"]).config() != base
