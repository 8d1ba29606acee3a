"""Survival curves under attack: the sound release holds, its broken twins and the published ones do not.

Verdicts on sound code may be false alarms with the probability of the audit's alpha, 1e-6 here.
"""

import numpy as np
import pytest

from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import InvalidData
from sfumato.privacy.bounds import PureDP
from sfumato.privacy.claim import Claim
from sfumato.privacy.ledger import Ledger
from sfumato.statistics.survival import DPKaplanMeier
from sfumato.studies.survival_audit import audit_release, neighbouring_cohorts, noisy_tables


def audit_tables(estimator, claim, *, neighbours=None, alpha=1e-6, trials=20_000):
    """Audit an estimator's noisy tables against any claim, on pairs of any relation."""
    auditor = Auditor(n_train=4000, n_select=4000, n_test=trials, alpha=alpha, random_state=0, progress=False)
    return auditor.audit(
        lambda cohort, n, rng: noisy_tables(estimator, cohort, n),
        claim,
        pairs=neighbouring_cohorts(100.0, neighbours or estimator.neighbours),
    )


@pytest.mark.parametrize("neighbours", ["add-remove", "replace-one"])
def test_sound_release_holds(neighbours):
    km = DPKaplanMeier(1.0, horizon=100.0, n_bins=4, neighbours=neighbours)
    report = audit_tables(km, Claim(PureDP(1.0), neighbours=neighbours))
    assert report.verdict == "no violation found"
    assert 0.5 < report.eps_lower <= 1.0


@pytest.mark.parametrize(
    "parameters",
    [{"rho": 0.5}, {"epsilon": 1.0, "delta": 1e-3}, {"rho": 0.5, "mechanism": "factorized"}],
)
def test_gaussian_releases_hold(parameters):
    km = DPKaplanMeier(horizon=100.0, n_bins=4, **parameters)
    claim = km.fit([1.0, 2.0], [0, 1]).claim_
    assert audit_tables(km, claim).verdict == "no violation found"


def test_half_the_noise_is_caught():
    twin = DPKaplanMeier(2.0, horizon=100.0, n_bins=4)
    report = audit_tables(twin, Claim(PureDP(1.0)))
    assert report.verdict == "violation"
    assert 1.5 < report.eps_lower <= 2.0


def test_replace_one_noise_at_add_remove_scale_is_caught():
    twin = DPKaplanMeier(1.0, horizon=100.0, n_bins=4)  # its noise is for somebody who comes or goes
    report = audit_tables(twin, Claim(PureDP(1.0), neighbours="replace-one"), neighbours="replace-one")
    assert report.verdict == "violation"
    assert 1.5 < report.eps_lower <= 2.0


def test_reproducible_noise_is_caught():
    km = DPKaplanMeier(1.0, horizon=100.0, n_bins=4, noise_seed=1)
    evidence = audit_release(km, trials=1000, random_state=0)
    assert evidence.verdict == "falsified"
    assert any("uses its noise again" in note for note in evidence.notes)


@pytest.mark.parametrize(
    "km",
    [
        DPKaplanMeier(1.0, horizon=1095.0),
        DPKaplanMeier(0.5, horizon=1095.0, expected_n=200, neighbours="replace-one"),
        DPKaplanMeier(rho=0.1, edges=[0, 30, 365]),
    ],
)
def test_audit_of_a_configuration(km):
    # An audit cries wolf with probability at most 0.05, all of five with at most 4e-7.
    verdicts = (audit_release(km, trials=5000, random_state=seed).verdict for seed in range(5))
    assert "consistent" in verdicts  # stops at the first


def test_audit_charges_no_ledger(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("lung", PureDP(1.0))
    with ledger.charging("lung"):
        audit_release(DPKaplanMeier(1.0, horizon=100.0, n_bins=3), trials=200)
    assert len(list(ledger.history("lung", 10))) == 0


def test_what_was_not_audited_is_said():
    evidence = audit_release(DPKaplanMeier(1.0, horizon=100.0), trials=200)
    assert any("were not audited" in note for note in evidence.notes)
    assert evidence.samples == 400


@pytest.mark.parametrize("trials", [0, 99, 1000.0, True])
def test_bad_trials_are_refused(trials):
    with pytest.raises(InvalidData, match="trials"):
        audit_release(DPKaplanMeier(1.0, horizon=100.0), trials=trials)


def timewise_curve(schedule, epsilon=1.0):
    """Card 01, section B, on the fixed grid 1..100 of its counterexample, vectorised: noise on the curve.

    The steps are: data-dependent Laplace scale, clip, moving average of 5, running minimum; S(50) is kept.
    """
    grid = np.arange(1.0, 101.0)

    def mechanism(death, n, rng):
        """One of 50 people dies at `death`; the others are censored at 10."""
        curve = np.where(grid < death, 1.0, 0.0)
        at_risk = np.maximum(49.0 * (grid <= 10) + (grid <= death), 1.0)
        scale = {"at_risk": at_risk / 50, "index": 1 / np.arange(1.0, 101.0), "const": np.ones(100)}[schedule]
        noisy = np.clip(curve + rng.laplace(scale=scale / epsilon, size=(n, 100)), 0, 1)
        padded = np.pad(noisy, ((0, 0), (2, 2)), mode="edge")
        smooth = np.mean([padded[:, k : k + 100] for k in range(5)], axis=0)
        return np.minimum.accumulate(smooth, axis=1)[:, 49]

    return mechanism


@pytest.mark.parametrize(("schedule", "at_least"), [("at_risk", 5.0), ("index", 5.0), ("const", 5.0)])
def test_noise_on_the_curve_is_caught_on_the_counterexample(schedule, at_least):
    auditor = Auditor(n_train=5000, n_select=5000, n_test=20_000, random_state=0, progress=False)
    claim = Claim(PureDP(1.0), neighbours="replace-one")
    report = auditor.audit(timewise_curve(schedule), claim, pairs=[(11.0, 100.0)])
    assert report.verdict == "violation"
    assert report.eps_lower > at_least
