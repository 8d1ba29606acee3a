import numpy as np
import pytest
from scipy.stats import rankdata

from sfumato.attacks.subject_membership import (
    CalibrationError,
    FederationConfig,
    LossAcrossRoundsAttack,
    LossThresholdAttack,
    Network,
    TrainingConfig,
    evaluate,
    make_federation,
    split_subjects,
    train,
)
from sfumato.attacks.subject_membership.calibration import best_threshold
from sfumato.attacks.subject_membership.network import initial
from sfumato.errors import InvalidData

LOSS = ("mean", "median", "trimmed", "fraction")
ROUNDS = ("decreases", "area", "slope", "logistic")


@pytest.fixture(scope="module")
def federation():
    return make_federation(random_state=0)


@pytest.fixture(scope="module")
def run(federation):
    return train(federation)


def parts(federation, known=40):
    samples, members = federation.samples(), dict(enumerate(federation.members))
    ids, others = split_subjects(federation.members, known)
    return {int(s): samples[s] for s in ids}, {int(s): samples[s] for s in others}, members


def of_loss(target, calibration, scored, members, statistic):
    return evaluate(LossThresholdAttack(statistic).fit(target[-1], calibration, members), target[-1], scored, members)


def of_rounds(target, calibration, scored, members, statistic):
    return evaluate(LossAcrossRoundsAttack(statistic).fit(target, calibration, members), target, scored, members)


EACH = [(of_loss, name) for name in LOSS] + [(of_rounds, name) for name in ROUNDS]


def by_chance(report, reach=4.9):
    """Whether the AUC is where coins put it: within 4.9 deviations of a half, missed once in 10^6."""
    inside, n = int(report.truth.sum()), len(report.truth)
    return abs(report.auc - 0.5) < reach * np.sqrt((n + 1) / (12 * inside * (n - inside)))


@pytest.mark.parametrize(("play", "statistic"), EACH)
def test_an_untrained_model_betrays_nobody(federation, play, statistic):
    sizes = (60, 64, 10)
    target = [Network(sizes, initial(sizes, np.random.default_rng(i))) for i in range(6)]
    assert by_chance(play(target, *parts(federation), statistic))


@pytest.mark.parametrize(("play", "statistic"), EACH)
def test_a_model_of_other_subjects_betrays_nobody(run, play, statistic):
    """Fresh coins for subjects of whom none was trained on; the rule that they share was learnt."""
    strangers = make_federation(random_state=0)
    coins = np.random.default_rng(9).random(200) < 0.5
    outside = np.flatnonzero(~strangers.members)
    samples, members = strangers.samples(), {int(s): bool(coins[s]) for s in outside}
    known = [int(s) for kind in (True, False) for s in outside[coins[outside] == kind][:18]]
    scored = {int(s): samples[s] for s in outside if s not in known}
    assert by_chance(play(run.checkpoints, {s: samples[s] for s in known}, scored, members, statistic))


@pytest.mark.parametrize(("play", "statistic"), EACH)
def test_a_trained_model_betrays_its_subjects(federation, run, play, statistic):
    report = play(run.checkpoints, *parts(federation), statistic)
    assert report.auc > 0.75
    assert report.accuracy > 0.6
    assert not by_chance(report)


def test_the_training_records_tell_at_least_as_much_as_fresh_samples(federation, run):
    def auc(samples):
        ids, others = split_subjects(federation.members)
        members = dict(enumerate(federation.members))
        attack = LossThresholdAttack().fit(run.model, {s: samples[s] for s in ids}, members)
        return evaluate(attack, run.model, {s: samples[s] for s in others}, members).auc

    assert auc(federation.exact(10)) > auc(federation.samples())


def test_scores_are_what_they_are_said_to_be(federation, run):
    samples = {s: federation.draw(s, 7) for s in (3, 5)}

    def losses(model, s):
        x, y = samples[s]
        return -np.log(model(x)[np.arange(7), y])

    path = np.array([losses(model, 3) for model in run.checkpoints])
    one = {name: LossThresholdAttack(name, threshold=0).fit(run.model).score(run.model, samples) for name in LOSS[:2]}
    assert one["mean"][3] == pytest.approx(-path[-1].mean())
    assert one["median"][3] == pytest.approx(-np.median(path[-1]))
    reference = LossThresholdAttack(reference=run.checkpoints[0], threshold=0).fit(run.model)
    assert reference.score(run.model, samples)[3] == pytest.approx(path[0].mean() - path[-1].mean())
    across = {
        name: LossAcrossRoundsAttack(name, threshold=0).fit(run.checkpoints).score(run.checkpoints, samples)
        for name in ROUNDS[:3]
    }
    assert across["decreases"][3] == pytest.approx(np.mean(path[1:] < path[:-1]))
    assert across["area"][3] == pytest.approx(path[0].mean() - path[1:].mean())
    assert across["slope"][3] == pytest.approx(-np.polyfit(np.arange(len(path)), path.mean(axis=1), 1)[0])


def test_subjects_may_bring_different_numbers_of_samples(run, federation):
    samples = {s: federation.draw(s, q) for s, q in ((1, 3), (2, 11), (4, 1))}
    attack = LossThresholdAttack(threshold=0).fit(run.model)
    together = attack.score(run.model, samples)
    for s, own in samples.items():
        assert attack.score(run.model, {s: own})[s] == pytest.approx(together[s])


def test_a_known_subject_cannot_be_scored(federation, run):
    known, scored, members = parts(federation)
    some = next(iter(known))
    for attack, target in (
        (LossThresholdAttack().fit(run.model, known, members), run.model),
        (LossAcrossRoundsAttack().fit(run.checkpoints, known, members), run.checkpoints),
    ):
        with pytest.raises(InvalidData, match="known"):
            attack.score(target, {**scored, some: known[some]})


def test_scores_do_not_depend_on_the_truth_about_those_scored(federation, run):
    known, scored, members = parts(federation)
    attack = LossThresholdAttack().fit(run.model, known, members)
    turned = members | {s: not members[s] for s in scored}
    again = LossThresholdAttack().fit(run.model, known, turned)
    assert attack.threshold_ == again.threshold_


def test_thresholds_are_right_most_often_and_lie_in_the_middle():
    scores = np.array([0.0, 1.0, 2.0, 3.0, 10.0])
    truth = np.array([False, False, False, True, True])
    assert best_threshold(scores, truth, None) == 2.5
    assert best_threshold(scores, truth, 0.34) == 1.5  # one of three others may reach it
    assert best_threshold(scores, truth, 0.0) == 2.5
    assert best_threshold(scores, ~truth, None) in (scores.min(), np.nextafter(10.0, np.inf))  # all, or none


def test_a_wanted_false_positive_rate_is_kept_among_the_known(federation, run):
    known, _, members = parts(federation)
    attack = LossThresholdAttack(false_positive_rate=0.1).fit(run.model, known, members)
    others = {s: known[s] for s in known if not members[s]}
    again = LossThresholdAttack(threshold=attack.threshold_).fit(run.model)
    assert again.predict(run.model, others).mean() <= 0.1


@pytest.mark.parametrize(
    ("known", "membership"),
    [({0: 1, 1: 1, 2: 1}, {0: 1, 1: 1, 2: 0}), ({}, {}), ({0: 1, 1: 1}, {0: 0, 1: 1})],
)
def test_too_few_known_subjects_cannot_calibrate(federation, run, known, membership):
    samples = {s: federation.draw(s, 3) for s in known}
    with pytest.raises(CalibrationError, match="two known members"):
        LossThresholdAttack().fit(run.model, samples, membership)
    LossThresholdAttack(threshold=-1.0).fit(run.model)


def test_logistic_needs_thirty(federation, run):
    known, _, members = parts(federation, 20)
    with pytest.raises(CalibrationError, match="30"):
        LossAcrossRoundsAttack("logistic").fit(run.checkpoints, known, members)


def test_bad_use_is_refused(federation, run):
    known, scored, members = parts(federation)
    with pytest.raises(InvalidData, match="statistic"):
        LossThresholdAttack("area").fit(run.model, known, members)
    with pytest.raises(InvalidData, match="false_positive_rate"):
        LossAcrossRoundsAttack(false_positive_rate=1.0).fit(run.checkpoints, known, members)
    with pytest.raises(InvalidData, match="two checkpoints"):
        LossAcrossRoundsAttack(threshold=0).fit([run.model])
    with pytest.raises(InvalidData, match="fit the attack"):
        LossThresholdAttack().score(run.model, scored)
    with pytest.raises(InvalidData, match="each known subject"):
        LossThresholdAttack().fit(run.model, known, {})
    with pytest.raises(InvalidData, match="true or false"):
        LossThresholdAttack().fit(run.model, known, dict.fromkeys(known, 2))
    with pytest.raises(InvalidData, match="at least one subject"):
        LossThresholdAttack(threshold=0).fit(run.model).score(run.model, {})


def test_more_training_betrays_more(federation):
    """Early stopping, one of the mitigations: at five rounds the subjects are less far apart."""
    early = train(federation, TrainingConfig(rounds=1, local_epochs=1))
    report = of_loss(early.checkpoints, *parts(federation), "mean")
    assert report.auc < of_loss(train(federation).checkpoints, *parts(federation), "mean").auc


def test_rank_auc_is_that_of_the_report(federation, run):
    report = of_loss(run.checkpoints, *parts(federation), "mean")
    ranks, inside = rankdata(report.scores), int(report.truth.sum())
    expected = (ranks[report.truth].sum() - inside * (inside + 1) / 2) / (inside * (len(ranks) - inside))
    assert report.auc == pytest.approx(expected)


def test_a_single_party_is_a_federation_of_one():
    alone = make_federation(FederationConfig(silos=1), random_state=1)
    assert of_loss(train(alone).checkpoints, *parts(alone), "mean").auc > 0.75
