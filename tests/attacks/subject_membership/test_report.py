import math

import numpy as np
import pytest
from entries_subject_membership import costs_looked_up

from sfumato import ApproxDP, Claim, PureDP
from sfumato.attacks.bayesian_audit import one_run_epsilon
from sfumato.attacks.subject_membership import (
    AttackReport,
    FederationConfig,
    ItemDP,
    LossThresholdAttack,
    SubjectDP,
    TrainingConfig,
    evaluate,
    group_claim,
    make_federation,
    split_subjects,
    train,
)
from sfumato.attacks.subject_membership.training import UNDEFENDED
from sfumato.errors import InvalidClaim, InvalidData

TRUTH = np.array([True] * 10 + [False] * 10)


def report(scores, guesses=None, truth=TRUTH):
    scores = np.asarray(scores, dtype=float)
    return AttackReport("a test", scores, scores > 0 if guesses is None else guesses, truth, 4)


def test_metrics_by_hand():
    scores = np.concatenate([np.arange(1, 11), np.arange(-7, 3)])  # one other at 1, one at 2
    found = report(scores)
    assert (found.accuracy, found.recall, found.precision) == (0.9, 1.0, pytest.approx(10 / 12))
    assert found.f1 == pytest.approx(2 * found.precision / (1 + found.precision))
    assert found.tpr_at(0.0) == 0.8  # above 2
    assert found.tpr_at(0.1) == 0.9  # one of ten others may be above
    assert found.auc == pytest.approx((100 - 2.0) / 100)
    low, high = found.auc_interval()
    assert low < found.auc < high <= 1
    low, high = found.accuracy_interval()
    assert low == pytest.approx(0.6830, abs=1e-4)
    assert high == pytest.approx(0.9877, abs=1e-4)


def test_nobody_named_is_no_division_by_zero():
    found = report(np.zeros(20))
    assert (found.precision, found.recall, found.f1, found.accuracy, found.tpr_at(0.5)) == (0, 0, 0, 0.5, 0)


def test_the_bound_of_epsilon_is_that_of_one_run():
    n = 200
    truth = np.arange(n) % 2 == 0
    perfect = report(truth.astype(float), truth=truth)
    best = max(one_run_epsilon(n, g, g, 1e-5, 0.05 / 3) for g in (20, 60, 200))
    assert perfect.epsilon_lower(1e-5) == pytest.approx(best)
    assert report(1.0 - truth, truth=truth).epsilon_lower(1e-5) == 0


def test_equal_scores_do_not_go_by_the_order_in_which_subjects_come():
    """All scores alike, members last: a stable sort would name them all, and accuse an honest claim."""
    truth = np.arange(400) >= 200
    assert report(np.zeros(400), truth=truth).epsilon_lower(1e-5) < 0.5


def test_evidence_is_about_subjects_only():
    found = report(np.arange(20))
    config = FederationConfig()
    for claim in (ItemDP(1.0).claim(config), Claim(PureDP(1.0), unit="subject", neighbours="replace-one")):
        with pytest.raises(InvalidClaim):
            found.to_evidence(claim)
    with pytest.raises(InvalidClaim, match="group_claim"):
        found.to_evidence(ItemDP(1.0).claim(config))
    found.to_evidence(group_claim(Claim(PureDP(1.0), unit="record"), 3))
    with pytest.raises(InvalidClaim, match="void"):
        found.to_evidence(Claim(PureDP(1.0), unit="subject", void="seeded"))


def test_verdicts():
    truth = np.random.default_rng(0).random(200) < 0.5
    perfect = report(truth.astype(float), truth=truth)
    strong, weak = (Claim(ApproxDP(e, 1e-5), unit="subject") for e in (1.0, 50.0))
    assert perfect.to_evidence(strong).verdict == "falsified"
    assert perfect.to_evidence(weak).verdict == "inconclusive"  # 200 subjects could not show that much
    assert report(np.random.default_rng(1).random(200), truth=truth).to_evidence(strong).verdict == "consistent"
    assert perfect.to_evidence(UNDEFENDED).verdict == "inconclusive"
    evidence = perfect.to_evidence(strong)
    assert evidence.kind == "confidence"
    assert math.isinf(evidence.interval[1])
    assert any("4 subjects of known" in note for note in evidence.notes)


def test_bad_reports_are_refused():
    with pytest.raises(InvalidData, match="finite"):
        report(np.full(20, np.nan))
    with pytest.raises(InvalidData, match="both"):
        report(np.arange(20), truth=np.ones(20, bool))
    with pytest.raises(InvalidData, match="fpr"):
        report(np.arange(20)).tpr_at(1.0)


def test_membership_must_name_everybody_who_is_scored():
    model = lambda x: np.full((len(x), 2), 0.5)  # noqa: E731
    attack = LossThresholdAttack(threshold=0).fit(model)
    with pytest.raises(InvalidData, match="each subject"):
        evaluate(attack, model, {1: (np.zeros((1, 1)), np.zeros(1, int))}, {})


def attacked(privacy, seed):
    """A federation that an undefended model betrays, attacked with a handful of known subjects."""
    config = FederationConfig(subjects=100, records=20, dimension=10, classes=4, silos=2, separation=2, memorable=3)
    federation = make_federation(config, random_state=seed)
    training = TrainingConfig(hidden=(16,), rounds=8, local_epochs=2, learning_rate=0.5)
    with costs_looked_up():
        run = train(federation, training, privacy=privacy, random_state=seed)
    known, others = split_subjects(federation.members, 10, random_state=seed)
    samples, members = federation.samples(), dict(enumerate(federation.members))
    attack = LossThresholdAttack().fit(run.model, {int(s): samples[s] for s in known}, members)
    return run, evaluate(attack, run.model, {int(s): samples[s] for s in others}, members)


def test_the_bound_stays_below_the_accounted_epsilon_where_subjects_are_protected():
    """Of 30 runs each bound is too high with probability 0.05 at most; more than 11 are with less than 1e-6."""
    found = [attacked(SubjectDP(0.5, rate=0.5), seed) for seed in range(30)]
    assert sum(report.epsilon_lower(1e-5) > 0.5 for _, report in found) <= 11
    assert all(report.to_evidence(run.claim).samples == 90 for run, report in found)


def test_the_same_bound_rises_above_that_claim_without_the_protection():
    assert sum(attacked(None, seed)[1].epsilon_lower(1e-5) > 0.5 for seed in range(5)) >= 3
