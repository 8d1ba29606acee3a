"""The audits of error feedback's calibrations, and the classifiers that attacks are run on."""

import numpy as np
import pytest
import torch

from sfumato import Claim, GaussianDP
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.errors import InvalidData
from sfumato.studies.error_feedback_audit import Transcripts, audit_error_feedback
from sfumato.studies.error_feedback_digits import train_classifier
from sfumato.training.error_feedback import TorchNoise, telescoped_sensitivity


def test_the_published_noise_is_refuted_at_twice_its_claim():
    report = audit_error_feedback(Transcripts("official", 1000.0, ratio=10.0), trials=40_000)
    assert report.verdict == "violation"
    assert report.eps_lower >= 4
    assert report.to_evidence().verdict == "falsified"


@pytest.mark.parametrize("ratio", [1.0, 10.0])
def test_so_is_it_with_the_papers_update(ratio):
    assert audit_error_feedback(Transcripts("paper", 1000.0, ratio), trials=40_000).eps_lower >= 4


@pytest.mark.parametrize("gradient", [1.0, 10.0, 1000.0])
@pytest.mark.parametrize("variant", ["telescoped", "naive"])
def test_the_sound_noise_is_not(variant, gradient):
    """Fixed seed; a sound mechanism is accused with probability 5 % over seeds."""
    report = audit_error_feedback(Transcripts(variant, gradient), trials=40_000)
    assert report.verdict == "no violation found"
    assert report.eps_lower <= 2


def test_a_twin_with_less_noise_is():
    assert audit_error_feedback(Transcripts("telescoped", 1000.0, noise_share=0.25)).verdict == "violation"


def test_the_audited_schedule_comes_near_the_theorem():
    """So that an audit which finds nothing says something."""
    one = Transcripts("telescoped", 1000.0, epochs=1)
    assert np.linalg.norm(one.sums(one.schedule()[np.newaxis])) == pytest.approx(telescoped_sensitivity(1.0, 2.0, 1))
    three = Transcripts("telescoped", 1000.0, epochs=3)
    shifts = three.sums(three.schedule()[np.newaxis])
    assert 0.7 < np.linalg.norm(shifts) / telescoped_sensitivity(1.0, 2.0, 3) <= 1


@pytest.mark.parametrize(("rounded", "verdict"), [(False, "violation"), (True, "no violation found")])
def test_the_low_digits_of_torchs_noise_give_a_record_away_unless_they_are_rounded(rounded, verdict):
    noise = TorchNoise(10.0, torch.Generator().manual_seed(0), rounded=rounded)

    def mechanism(x, n, rng):
        return noise([torch.full((n,), x)])[0].double().numpy()

    claim = Claim(GaussianDP(0.1))
    auditor = Auditor(n_train=4000, n_select=4000, n_test=8000, alpha=1e-6, random_state=0, progress=False)
    assert auditor.audit(mechanism, claim, pairs=[(0.0, 1.0)]).verdict == verdict


def test_too_few_trials_are_refused():
    with pytest.raises(InvalidData):
        audit_error_feedback(Transcripts("official", 1.0), trials=10)


@pytest.mark.parametrize("method", ["non-private", "DP-SGD", "DP-SGD, fixed batches", "telescoped"])
def test_a_classifier_is_trained_by_each_method(method):
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-1, 0.3, (60, 4)), rng.normal(1, 0.3, (60, 4))])
    y = np.repeat([0, 1], 60)
    present = np.ones(120, dtype=bool)
    present[::10] = False
    model = train_classifier(x, y, method=method, epsilon=50.0, delta=1e-3, batch_size=20, epochs=3, present=present)
    assert model.predict_proba(x).shape == (120, 10)
    assert model.claim.formal == (method != "non-private")
    assert (model.noise_multiplier > 0) == (method != "non-private")
    assert model.accuracy(x, y) > 0.9


def test_an_unknown_method_is_refused():
    with pytest.raises(InvalidData, match="method"):
        train_classifier(np.zeros((4, 2)), np.zeros(4, dtype=int), method="dice", batch_size=2)
