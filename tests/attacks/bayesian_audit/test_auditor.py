"""The auditor: no false alarm on sound mechanisms, and none of the broken ones is missed."""

import json
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sfumato.attacks.bayesian_audit import (
    AttackCounts,
    Auditor,
    AuditReport,
    largest_epsilon,
    one_at_a_time,
    trials_to_refute,
)
from sfumato.attacks.bayesian_audit.auditor import choose_candidates
from sfumato.attacks.bayesian_audit.events import propose_scores
from sfumato.attacks.bayesian_audit.outputs import lowest_set_bit, read_outputs
from sfumato.attacks.bayesian_audit.power import PROFILE_POINTS, profile_of, rate_bounds
from sfumato.attacks.bayesian_audit.trials import Trials
from sfumato.attacks.mechanisms import (
    Gaussian,
    Geometric,
    Laplace,
    LeaksByRaising,
    NoisyHistogram,
    RandomizedResponse,
    ReportNoisyMax,
    ReusesSeed,
    SharesNoise,
    SparseVector,
)
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.evidence import Evidence
from sfumato.privacy.bounds import ZCDP, ApproxDP, GaussianDP, Heuristic, PureDP
from sfumato.privacy.claim import Claim

UNIT = [(0, 1)]
AUDITS, ALPHA = 400, 0.05
# An audit may cry wolf with probability 0.05; more than this many in 400 happen with probability < 1e-6.
MOST_FALSE_ALARMS = int(stats.binom.isf(1e-6, AUDITS, ALPHA))
ONE_UP = (np.zeros(5), np.array([1.0, 0, 0, 0, 0]))
HALF = (np.array([0, 0, 0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0, 0, 0]))
LONG_HALF = (np.repeat([0.0, 1.0], 6), np.repeat([1.0, 0.0], 6))


def pure(epsilon):
    return Claim(PureDP(epsilon))


def quick(seed=0, **change):
    sizes = {"n_train": 10_000, "n_select": 10_000, "n_test": 100_000}
    return Auditor(**{**sizes, "random_state": seed, "progress": False, **change})


SOUND = [
    ("laplace", Laplace(1), pure(1)),
    ("laplace at 0", Laplace(0), pure(0)),
    ("randomized response", RandomizedResponse(1), pure(1)),
    ("randomized response at 0", RandomizedResponse(0), pure(0)),
    ("geometric", Geometric(0.5), pure(0.5)),
    ("gaussian", Gaussian(1), Claim(GaussianDP(1))),
]


def cries_wolf(mechanism, claim, audit):
    return sum(audit(mechanism, claim, seed) for seed in range(AUDITS))


def audit_properly(mechanism, claim, seed):
    auditor = quick(seed, n_train=1000, n_select=1000, n_test=2000)
    return auditor.audit(mechanism, claim, pairs=UNIT).verdict == "violation"


def audit_on_the_test_split(mechanism, claim, seed):
    """The fake: the same outputs train the score, choose the event and are counted."""
    trials = Trials(mechanism, np.random.default_rng(seed))
    first, second = (trials.draw(x, 2000) for x in UNIT[0])
    profile = profile_of(claim, 2000)
    scores, events = propose_scores(first, second, ("threshold", "histogram"), profile, ALPHA / 8, seed)
    best = choose_candidates(scores, events, first, second, profile, ALPHA / 8, trials.rng)
    return any(each.margin > 0 for each in best)


@pytest.mark.parametrize(("name", "mechanism", "claim"), SOUND)
def test_sound_mechanisms_raise_no_false_alarm(name, mechanism, claim):
    assert cries_wolf(mechanism, claim, audit_properly) <= MOST_FALSE_ALARMS


def test_a_fake_that_tunes_on_the_test_split_fails_the_same_test():
    assert cries_wolf(Laplace(0), pure(0), audit_on_the_test_split) > MOST_FALSE_ALARMS


@pytest.mark.parametrize(
    ("mechanism", "claim", "pair"),
    [
        (NoisyHistogram(0.5), pure(0.5), ONE_UP),
        (ReportNoisyMax(1), pure(1), (np.zeros(5), np.ones(5))),
        (SparseVector(1), pure(1), HALF),
        (Gaussian(1), Claim(ZCDP(0.5)), (0, 1)),
        (Gaussian(1), Claim(GaussianDP(1)).to(ApproxDP, delta=1e-3), (0, 1)),
    ],
)
def test_sound_vectors_and_curves_pass(mechanism, claim, pair):
    # Each may fail with probability 1e-6, by its alpha.
    report = quick(alpha=1e-6).audit(mechanism, claim, pairs=[pair])
    assert report.verdict == "no violation found"


@pytest.mark.parametrize(
    ("mechanism", "claim", "pair", "at_least"),
    [
        (Laplace(1, scale_error=0.8), pure(1), (0, 1), 1.15),
        (Laplace(1, naive=True), pure(1), (0, 1), 5.0),
        (NoisyHistogram(0.5, naive=True), pure(0.5), ONE_UP, 1.8),
        (ReportNoisyMax(1, value=True), pure(1), (np.zeros(5), np.ones(5)), 2.0),
        (SparseVector(1, broken="small-noise"), pure(1), LONG_HALF, 2.0),
        (SparseVector(1, broken="no-noise"), pure(1), HALF, 5.0),
        (SparseVector(1, broken="no-cut-off"), pure(1), LONG_HALF, 1.1),
        (Gaussian(1, error=0.7), Claim(ZCDP(0.5)), (0, 1), 0.0),
        (Gaussian(1, error=0.7), Claim(GaussianDP(1)), (0, 1), 0.0),
        (Gaussian(1, error=0.5), Claim(ApproxDP(2.5, 1e-3)), (0, 1), 3.0),
        (LeaksByRaising(1), pure(1), (0, 1), 4.0),
        (ReusesSeed(1), pure(1), (0, 1), 3.0),
    ],
)
def test_broken_mechanisms_are_caught(mechanism, claim, pair, at_least):
    report = quick().audit(mechanism, claim, pairs=[pair])
    assert report.verdict == "violation"
    assert at_least < report.eps_lower <= report.power


def test_a_sparse_vector_that_prints_its_answer_is_caught_by_a_rare_event():
    """The answer bounds the threshold, which then shields nothing: a small answer after six refusals."""
    auditor = quick(n_select=500_000, n_test=2_000_000, scores=("threshold",), candidates=2)
    pair = (np.zeros(7), np.ones(7))
    broken = auditor.audit(SparseVector(1, broken="prints"), pure(1), pairs=[pair])
    assert broken.verdict == "violation"
    assert broken.eps_lower > 1.1
    assert auditor.audit(SparseVector(1), pure(1), pairs=[pair]).verdict == "no violation found"


def test_laplace_is_nearly_met():
    report = quick(n_test=200_000).audit(Laplace(1), pure(1), pairs=UNIT)
    assert 0.93 <= report.eps_lower <= 1.0


def test_reused_noise_is_described_and_never_judged_by_dependent_trials():
    report = quick().audit(ReusesSeed(1), pure(1), pairs=UNIT)
    assert any("uses its noise again" in note for note in report.notes)
    assert report.event.startswith("output equals")
    same_either_way = quick().audit(ReusesSeed(1), pure(1), pairs=[(3, 3)])
    assert same_either_way.verdict == "underpowered"
    assert same_either_way.eps_lower == 0


def test_noise_shared_within_a_call_is_audited_call_by_call():
    report = quick(n_train=500, n_select=500, n_test=2000).audit(SharesNoise(1), pure(1), pairs=UNIT)
    assert report.verdict == "no violation found"
    assert any("share their noise" in note for note in report.notes)


def test_constant_and_odd_outputs_are_reported_not_crashed():
    small = quick(n_train=300, n_select=300, n_test=3000)
    assert small.audit(lambda x, n, rng: np.zeros(n), pure(1), pairs=UNIT).verdict == "no violation found"
    nothing = small.audit(lambda x, n, rng: [None] * n, pure(1), pairs=UNIT)
    assert (nothing.verdict, nothing.eps_lower) == ("no violation found", 0)
    exact = small.audit(lambda x, n, rng: np.full((n, 2), [x, np.nan]), pure(1), pairs=UNIT)
    assert exact.verdict == "violation"

    def odd(x, rng):
        draw = rng.random()
        if draw < 0.1:
            raise ZeroDivisionError
        table = {0: [None, "none", math.nan, math.inf], 1: [None, "none", math.nan, -math.inf]}
        return table[x][int(draw * 4)]

    report = small.audit(one_at_a_time(odd), pure(1), pairs=UNIT)
    assert report.verdict == "violation"
    assert "inf" in report.event


def test_shapes_are_outputs_too():
    def longer(x, n, rng):
        return rng.normal(size=(n, 2 + x))

    report = quick(n_train=300, n_select=300, n_test=3000).audit(longer, pure(1), pairs=UNIT)
    assert report.verdict == "violation"


def test_too_few_trials_are_called_underpowered():
    report = quick(n_train=500, n_select=500, n_test=500).audit(Laplace(10), pure(10), pairs=UNIT)
    assert report.verdict == "underpowered"
    assert report.to_evidence().verdict == "inconclusive"


def test_same_random_state_same_report():
    first, again = (quick(5).audit(NoisyHistogram(1), pure(1), pairs=[ONE_UP]) for _ in range(2))
    assert (first.event, first.counts) == (again.event, again.counts)
    other = quick(6).audit(NoisyHistogram(1), pure(1), pairs=[ONE_UP])
    assert other.counts != first.counts


def test_replay_counts_the_same_event_afresh():
    for mechanism in (Laplace(1), Laplace(1, scale_error=0.5), NoisyHistogram(1, naive=True), ReusesSeed(1)):
        pair = ONE_UP if isinstance(mechanism, NoisyHistogram) else (0, 1)
        report = quick().audit(mechanism, pure(0.7 if isinstance(mechanism, NoisyHistogram) else 1), pairs=[pair])
        replayed = report.replay(mechanism, random_state=99)
        assert (replayed.event, replayed.pair, replayed.n) == (report.event, report.pair, report.n)
        assert replayed.verdict == report.verdict
        assert replayed.tested == 1


def test_json_round_trip_without_inputs():
    report = quick(n_test=5000).audit(Laplace(1), pure(1), pairs=[(123456.0, 123457.0)])
    text = json.dumps(report.to_json())
    assert AuditReport.from_json(json.loads(text)) == report
    with pytest.raises(InvalidData, match="audit the mechanism again"):
        AuditReport.from_json(json.loads(text)).replay(Laplace(1))


def test_evidence_says_what_it_is():
    report = quick(n_test=20_000).audit(Laplace(1), pure(1), pairs=UNIT)
    evidence = report.to_evidence()
    assert isinstance(evidence, Evidence)
    assert evidence.verdict == "consistent"
    assert evidence.interval == (report.eps_lower, math.inf)
    assert any("at most epsilon" in note for note in evidence.notes)
    assert report.posterior.counts == report.counts


def test_several_pairs_share_alpha_and_the_worst_is_reported():
    def only_one_pair(x, n, rng):
        return Laplace(1, scale_error=0.3 if x >= 10 else 1)(x, n, rng)

    report = quick().audit(only_one_pair, pure(1), pairs=[(0, 1), (10, 11)])
    assert (report.pair, report.verdict) == (1, "violation")


def test_power_line_and_sample_sizes():
    low, high = rate_bounds(100_000, 0, 100_000, 0.05)
    assert largest_epsilon(100_000) == pytest.approx(math.log(low / high))
    assert largest_epsilon(100_000) == pytest.approx(10.2, abs=0.05)
    # Card 31, F.9, says about 1 250, and rounds its own formula's 154 000 up to 200 000.
    assert trials_to_refute(1.0, 1.25, 0.48) == pytest.approx(1250, rel=0.1)
    assert trials_to_refute(1.0, 1.02, 0.48) == pytest.approx(154_000, rel=0.01)
    with pytest.raises(InvalidData, match="truth"):
        trials_to_refute(1.0, 0.9, 0.5)


def test_one_pair_of_bounds_serves_a_whole_curve():
    claim = Claim(GaussianDP(1))
    profile = profile_of(claim, 1000)
    assert len(profile.epsilons) == PROFILE_POINTS
    tpr, fpr = stats.norm.sf(0.5 - 1), stats.norm.sf(0.5)  # a threshold test between N(0,1) and N(1,1)
    assert profile.margin(tpr, fpr)[0] <= 1e-9
    assert profile.margin(tpr + 0.05, fpr)[0] > 0


def test_outputs_of_every_sort_become_categories():
    outputs = read_outputs([None, "a", 1.0, math.nan, (1, 2), [1.0, math.inf], {}], 7)
    assert len(outputs) == 7
    assert len(set(outputs.kinds.tolist())) == 7
    assert outputs.values.shape == (7, 2)
    assert read_outputs(np.arange(6).reshape(3, 2), 3).names == ("int64 (2,)",)
    assert read_outputs(np.empty((3, 0)), 3).names == ("float64 (0,)",)
    assert read_outputs(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), 2).values.tolist() == [[1, 3], [2, 4]]
    assert read_outputs([[1], [1, 2]], 2).names == ("int64 (1,)", "int64 (2,)")


@pytest.mark.parametrize("raw", [[1, 2], 1.0, "abc", {1: 1, 2: 2, 3: 3}, np.float64(1), iter([1, 2, 3])])
def test_other_than_n_outputs_are_refused(raw):
    with pytest.raises(InvalidData, match="return 3 outputs"):
        read_outputs(raw, 3)


def test_every_candidate_keeps_its_own_score():
    # A late-binding closure once had all candidates scored by the last classifier (card 31, F).
    rng = np.random.default_rng(0)
    first, second = (read_outputs(rng.laplace((k, -k), size=(4000, 2)), 4000) for k in (0, 1))
    profile = profile_of(pure(0.1), 4000)
    scores, _ = propose_scores(first, second, ("threshold", "boosting", "linear"), profile, 0.01, 0)
    found = choose_candidates(scores, [], first, second, profile, 0.01, rng)
    best = {str(each.event.score): each for each in reversed(found)}
    assert sum("gradient" in name or "logistic" in name for name in best) == 2 < len(best)
    for each in best.values():
        sides = (first, second) if each.stronger == 0 else (second, first)
        hits = [int(each.event.contains(side, rng).sum()) for side in sides]
        if not each.event.coin:
            margin = profile.margin(*rate_bounds(hits[0], hits[1], 4000, 0.01))[0]
            assert each.margin == pytest.approx(margin)


def test_lowest_set_bit():
    values = np.array([1.0, 3.0, 0.5, 0.75, 2.0**-60, 1 + 2.0**-52, 0.0, np.nan, -6.0])
    expected = [0, 0, -1, -2, -60, -52, np.inf, np.nan, 1]
    np.testing.assert_array_equal(lowest_set_bit(values), expected)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0},
        {"delta": 1.0},
        {"n_test": 0},
        {"n_train": 2.5},
        {"candidates": True},
        {"scores": ("svm",)},
    ],
)
def test_bad_settings_are_named(change):
    with pytest.raises(InvalidData, match=next(iter(change))):
        Auditor(**change)


def test_bad_audits_are_refused():
    with pytest.raises(InvalidData, match="pairs"):
        quick().audit(Laplace(1), pure(1))
    with pytest.raises(InvalidClaim, match="claim"):
        quick().audit(Laplace(1), Claim(Heuristic("no proof")), pairs=UNIT)
    with pytest.raises(InvalidData, match="mechanism"):
        quick().audit(lambda x, n, rng: np.zeros(n + 1), pure(1), pairs=UNIT)


def test_progress_can_be_shown(capsys):
    quick(progress=True, n_test=2000).audit(Laplace(1), pure(1), pairs=UNIT)
    assert capsys.readouterr().out == ""


def test_counts_match_the_event():
    report = quick(n_test=1000).audit(RandomizedResponse(1), pure(1), pairs=UNIT)
    assert report.counts.tp + report.counts.fn == report.counts.fp + report.counts.tn == report.n == 1000
    assert report.counts == AttackCounts(**report.to_json()["counts"])


def test_opendp_laplace_keeps_its_word_to_the_last_bit():
    # False alarm 1e-6, by alpha; its low bits differ between inputs (card 31, G), but within e^ε.
    dp = pytest.importorskip("opendp.prelude")
    dp.enable_features("contrib")
    space = dp.vector_domain(dp.atom_domain(T=float, nan=False)), dp.l1_distance(T=float)
    laplace = dp.m.make_laplace(*space, scale=1.0)

    def mechanism(x, n, rng):
        return np.array(laplace([float(x)] * n))

    report = quick(n_train=5000, n_select=5000, n_test=20_000, alpha=1e-6).audit(mechanism, pure(1), pairs=UNIT)
    assert report.verdict == "no violation found"
    assert report.eps_lower > 0.7


def test_an_interrupt_is_no_output():
    def stops(x, n, rng):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quick().audit(stops, pure(1), pairs=UNIT)


class Composed:
    """k-fold Gaussian mechanism on one number, its whole output; `error` scales the noise."""

    def __init__(self, sigma, k, error=1.0):
        self.scale, self.k = sigma * error, k

    def __call__(self, x, n, rng):
        return np.round((x + rng.normal(scale=self.scale, size=(n, self.k))).sum(axis=1) * 2**20) / 2**20


def composed_profile(sigma, k):
    from dp_accounting.pld import privacy_loss_distribution as pld

    return pld.from_gaussian_mechanism(sigma, use_connect_dots=True).self_compose(k)


def test_a_whole_privacy_profile_is_audited():
    """dp-accounting's PLD of 16 composed Gaussians: tighter than its (ε, δ) claim, and the noise is refuted by it."""
    curve = composed_profile(8.0, 16)  # μ = 0.5
    claim = Claim(ApproxDP(curve.get_epsilon_for_delta(1e-6), 1e-6))
    sound = quick(alpha=1e-6).audit(Composed(8.0, 16), claim, pairs=UNIT, profile=curve.get_delta_for_epsilon)
    assert (sound.judged, sound.verdict) == ("profile", "no violation found")
    assert sound.to_evidence().verdict == "consistent"
    broken = quick().audit(Composed(8.0, 16, error=0.85), claim, pairs=UNIT, profile=curve.get_delta_for_epsilon)
    assert broken.verdict == "violation"
    # At the claim's own δ of 1e-6 no event shows it: the evidence on the claim says no more than that.
    assert quick().audit(Composed(8.0, 16, error=0.85), claim, pairs=UNIT).verdict == "no violation found"
    evidence = broken.to_evidence()
    assert evidence.verdict == "inconclusive"
    assert any("whole privacy profile" in note for note in evidence.notes)
    assert broken.replay(Composed(8.0, 16, error=0.85), random_state=5).verdict == "violation"
    read = AuditReport.from_json(json.loads(json.dumps(broken.to_json())))
    assert (read.judged, read.to_evidence().verdict) == ("profile", "inconclusive")
    gross = quick().audit(Composed(8.0, 16, error=0.05), claim, pairs=UNIT, profile=curve.get_delta_for_epsilon)
    assert gross.to_evidence().verdict == "falsified"


def test_a_profile_agrees_with_the_claim_it_comes_from():
    claim = Claim(GaussianDP(1.0))
    from_claim, from_curve = profile_of(claim, 10_000), profile_of(claim, 10_000, claim.delta_at)
    for hits, other in ((5000, 1500), (9000, 5000), (300, 1)):
        bounds = rate_bounds(hits, other, 10_000, 0.05)
        assert from_curve.margin(*bounds) == pytest.approx(from_claim.margin(*bounds), abs=0.02)


@pytest.mark.parametrize("curve", [lambda e: 1.5, lambda e: -0.1, lambda e: math.nan, lambda e: min(1.0, e)])
def test_a_bad_profile_is_named(curve):
    with pytest.raises(InvalidData, match="profile"):
        quick().audit(Laplace(1), pure(1), pairs=UNIT, profile=curve)


def test_processes_change_nothing_but_the_time(tmp_path):
    def audit(n_jobs, journal=None):
        auditor = quick(n_train=2000, n_select=2000, n_test=20_000, n_jobs=n_jobs)
        return auditor.audit(LeaksByRaising(1.0), pure(1), pairs=[(0, 1), (1, 0)], journal=journal)

    one, two = audit(1), audit(2, tmp_path / "journal")
    assert (one.counts, one.event, one.verdict) == (two.counts, two.event, "violation")
    again = audit(1, tmp_path / "journal")  # a journal may be gone on with by any number of processes
    assert again.counts == two.counts
    lines = [json.loads(line) for line in (tmp_path / "journal").read_text().splitlines()]
    places = [tuple(line["at"]) for line in lines if "at" in line]
    assert len(places) == len(set(places)) == 2 * 2 * 8


def test_processes_do_not_copy_a_random_source():
    class OwnSource:
        """Sound but for processes: it draws from a random source of its own."""

        def __init__(self):
            self.rng = np.random.default_rng(0)

        def __call__(self, x, n, rng):
            return Laplace(1.0)(x, n, self.rng)

    small = quick(n_train=500, n_select=500, n_test=1000, n_jobs=2)
    with pytest.raises(InvalidData, match="random source"):
        small.audit(OwnSource(), pure(1), pairs=UNIT)
    assert quick(n_train=500, n_select=500, n_test=1000).audit(OwnSource(), pure(1), pairs=UNIT).verdict != "violation"
    with pytest.raises(InvalidData, match="n_jobs"):
        quick(n_jobs=0)
