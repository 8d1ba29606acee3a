"""Sequential learning: the formulas against quadrature and simulation, the claims, the crowd's behaviour, bad input."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from sfumato import ClaimViolated, InvalidClaim, InvalidData, Ledger, PureDP
from sfumato.attacks.bayesian_audit import Auditor
from sfumato.attacks.signal_inference import SignalInference
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim
from sfumato.statistics.sequential import (
    BinarySignals,
    GaussianSignals,
    NoNoise,
    SequentialLearning,
    SmoothRandomizedResponse,
    UniformRandomizedResponse,
    cascade_probability,
    cascade_threshold,
    cascade_time,
    rates,
)
from sfumato.statistics.sequential.likelihood import log_smooth_plus

SMOOTH = SmoothRandomizedResponse(1.0)


def plus_probability(mechanism, signals, threshold):
    """Probability of a + report given the signal."""
    flip = mechanism.flip_probability(signals, threshold)
    return np.where(np.asarray(signals) > threshold, 1 - flip, flip)


def log_plus_by_quadrature(z, sigma, epsilon):
    """The two sides of the threshold, integrated with the largest exponent taken out."""

    def side(log_weight, ends):
        peak = max(log_weight(x) for x in np.linspace(*ends, 4001))
        points = [min(max(z, ends[0]), ends[1])]
        value = integrate.quad(
            lambda x: math.exp(log_weight(x) - peak), *ends, points=points, epsabs=0, epsrel=1e-13, limit=500
        )[0]
        return peak + math.log(value)

    def normal(x):
        return -((x - z) ** 2) / (2 * sigma**2) - math.log(sigma * math.sqrt(2 * math.pi))

    reach = 12 * sigma
    above = side(lambda x: normal(x) + math.log1p(-0.5 * math.exp(-epsilon * x)), (0, max(0, z) + reach))
    below = side(lambda x: normal(x) + math.log(0.5) + epsilon * x, (min(0, z + epsilon * sigma**2) - reach, 0))
    return float(np.logaddexp(above, below))


@pytest.mark.parametrize("z", [-400.0, -40.0, -6.0, -0.5, 0.0, 0.3, 2.0, 30.0])
@pytest.mark.parametrize(("sigma", "epsilon"), [(1.0, 0.7), (0.7, 0.25), (1.5, 1.0), (2.0, 3.0)])
def test_the_closed_form_equals_quadrature_down_to_the_far_tail(z, sigma, epsilon):
    found = float(log_smooth_plus(z, sigma, epsilon))
    assert found == pytest.approx(log_plus_by_quadrature(z, sigma, epsilon), abs=1e-11, rel=1e-13)


def test_the_far_tail_is_below_any_double_and_still_right():
    """At z = -1000 the probability is about e^-700, and 1 - P would be 0."""
    found = float(log_smooth_plus(-1000.0, 1.0, 0.7))
    assert found == pytest.approx(math.log(0.5) + 0.7**2 / 2 - 700, abs=1e-9)


def test_the_closed_form_equals_a_simulation():
    """50 settings of 2·10^5 draws; each off by more than 6.5 standard errors with probability below 1e-10."""
    rng = np.random.default_rng(0)
    n = 200_000
    for _ in range(50):
        theta, t = rng.choice([-1, 1]), rng.normal()
        sigma, epsilon = rng.uniform(0.3, 2), rng.uniform(0.1, 3)
        p = math.exp(float(log_smooth_plus(theta - t, sigma, epsilon)))
        seen = np.mean(theta + sigma * rng.standard_normal(n) + rng.laplace(scale=1 / epsilon, size=n) > t)
        assert abs(seen - p) < 6.5 * math.sqrt(p * (1 - p) / n)


@given(st.floats(-30, 30), st.floats(0.2, 3), st.floats(0.01, 5))
def test_a_report_is_plus_or_minus(z, sigma, epsilon):
    total = np.logaddexp(log_smooth_plus(z, sigma, epsilon), log_smooth_plus(-z, sigma, epsilon))
    assert abs(float(total)) < 1e-12


def test_no_flip_and_a_fair_coin_are_the_ends():
    assert float(log_smooth_plus(0.4, 1.0, 0.0)) == pytest.approx(math.log(0.5))
    assert float(log_smooth_plus(0.4, 1.0, 1e4)) == pytest.approx(stats.norm.logcdf(0.4), abs=1e-4)


# Claims


@given(st.floats(-40, 40), st.floats(-40, 40), st.floats(0.01, 4), st.floats(-3, 3))
def test_smooth_flips_are_metric_private(s, other, epsilon, threshold):
    mechanism = SmoothRandomizedResponse(epsilon)
    first, second = plus_probability(mechanism, [s, other], threshold)
    for a, b in ((first, second), (1 - first, 1 - second)):
        if min(a, b) > 1e-9:  # below, 1 - P has no digits left
            assert abs(math.log(a / b)) <= epsilon * abs(s - other) + 1e-6


def test_the_metric_bound_is_reached_and_is_not_a_local_one():
    plus = plus_probability(SMOOTH, [-1.0, -2.0, 5.0, -5.0], 0.0)
    assert math.log(plus[0] / plus[1]) == pytest.approx(1.0)
    assert math.log(plus[2] / plus[3]) == pytest.approx(5.69, abs=0.01)  # far above 1
    assert SMOOTH.claim(radius=2.5).bound == PureDP(2.5)
    assert isinstance(SMOOTH.claim(radius=None).bound, Heuristic)
    assert "metric" in str(SMOOTH.claim())


def test_uniform_flips_bound_any_two_signals():
    plus = plus_probability(UniformRandomizedResponse(1.0), [1e6, -1e6], 0.0)
    assert math.log(plus[0] / plus[1]) == pytest.approx(1.0)


def test_the_release_has_the_probabilities_of_the_formula():
    """Each of ten counts of 4·10^4 is off by 6.5 standard errors with probability below 1e-10."""
    n = 40_000
    for mechanism in (SmoothRandomizedResponse(0.8), UniformRandomizedResponse(0.8)):
        for s in (-2.0, -0.3, 0.3, 0.5, 4.0):
            p = float(plus_probability(mechanism, np.array([s]), 0.3)[0])
            seen = np.mean(mechanism.report(np.full(n, s), 0.3) == 1)
            assert abs(seen - p) < 6.5 * math.sqrt(p * (1 - p) / n)


AUDITOR = Auditor(n_train=3_000, n_select=6_000, n_test=60_000, random_state=0, progress=False)


def test_the_auditor_refutes_smooth_flips_as_local_privacy_and_not_at_radius_one():
    """The sound claim is accused with probability 1e-6."""

    def mechanism(signal, n, rng):
        return SMOOTH.report(np.full(n, signal), 0.0)

    sound = Auditor(**{**vars(AUDITOR), "alpha": 1e-6}).audit(mechanism, SMOOTH.claim(), pairs=[(0.0, -1.0)])
    assert sound.verdict == "no violation found"
    assert sound.eps_lower > 0.9
    wrong = Claim(PureDP(1.0), neighbours="replace-one", trust="local")
    assert AUDITOR.audit(mechanism, wrong, pairs=[(5.0, -5.0)]).verdict == "violation"


# The attack


def test_signal_inference_reaches_what_the_claim_allows_and_no_more():
    """Verdicts at alpha = 1e-6."""
    attack = SignalInference(lambda s, t: plus_probability(SMOOTH, s, t))
    assert attack.accuracy(0.0, 0.5, -0.5) <= math.e / (1 + math.e)
    evidence = attack.run(
        lambda s: SMOOTH.report(s, 0.0), SMOOTH.claim(), (0.5, -0.5), 0.0, trials=50_000, alpha=1e-6, random_state=0
    )
    assert evidence.verdict == "consistent"
    assert abs(evidence.value - attack.accuracy(0.0, 0.5, -0.5)) < 6.5 * 0.5 / math.sqrt(50_000)
    naked = attack.run(lambda s: NoNoise().report(s, 0.0), SMOOTH.claim(), (0.5, -0.5), 0.0, trials=2000, alpha=1e-6)
    assert naked.verdict == "falsified"


def test_the_posterior_is_bayes_rule():
    attack = SignalInference(lambda s, t: plus_probability(UniformRandomizedResponse(math.log(3)), s, t))
    np.testing.assert_allclose(attack.posterior(1, 0.0, [-1.0, 1.0], [0.5, 0.5]), [0.25, 0.75])
    np.testing.assert_allclose(attack.posterior(-1, 0.0, [-1.0, 1.0], [0.2, 0.8]), [3 / 7, 4 / 7])
    with pytest.raises(InvalidData, match="weights"):
        attack.posterior(1, 0.0, [1.0], [-1.0])
    with pytest.raises(InvalidData, match="report"):
        attack.posterior(0, 0.0, [1.0], [1.0])


# The crowd


def mean_field(epsilon, sigma):
    """Log-odds l against n by dl/dn = the expected update at l under θ = +1, on a fine grid of l."""
    odds = np.linspace(0, 25 * rates(epsilon, sigma).learning, 50_001)
    t = -(sigma**2) * odds / 2
    drift = np.zeros_like(odds)
    for sign in (1, -1):
        log_plus = log_smooth_plus(sign * (1 - t), sigma, epsilon)
        drift += np.exp(log_plus) * (log_plus - log_smooth_plus(sign * (-1 - t), sigma, epsilon))
    n = integrate.cumulative_trapezoid(1 / drift, odds, initial=0.0)
    return odds, n


@pytest.mark.parametrize("epsilon", [0.5, 1.0])
@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_the_derived_rate_is_the_limit_of_the_expected_update(epsilon, sigma):
    odds, n = mean_field(epsilon, sigma)
    ends = np.interp([1e7, 1e9], n, odds)
    assert np.diff(ends)[0] / math.log(100) == pytest.approx(rates(epsilon, sigma).learning, rel=0.01)


@pytest.mark.parametrize("sigma", [0.7, 1.0, 1.5])
def test_the_median_log_odds_grow_at_the_derived_rate(sigma):
    """Over the last decade of 20,000 agents; the crowds of one ε stand side by side.

    Within 6 % of the expected update's slope, which small ε·σ still keeps below the limit there.
    """
    epsilons, each = (0.25, 0.5, 1.0), 120
    crowd = SequentialLearning(GaussianSignals(sigma), SMOOTH)
    paths = crowd.run(20_000, 3 * each, epsilon_law=lambda rng, n: np.repeat(epsilons, each), random_state=1)
    late = paths.trace >= 2000
    for i, epsilon in enumerate(epsilons):
        median = np.median(paths.log_odds[late, i * each : (i + 1) * each], axis=1)
        slope = np.polyfit(np.log(paths.trace[late]), median, 1)[0]
        odds, n = mean_field(epsilon, sigma)
        expected = np.polyfit(np.log(paths.trace[late]), np.interp(paths.trace[late], n, odds), 1)[0]
        assert slope == pytest.approx(expected, rel=0.06)


@pytest.mark.parametrize("mechanism", [SmoothRandomizedResponse(0.5), UniformRandomizedResponse(1.0), NoNoise()])
def test_the_update_is_bayes_rule_the_likelihood_ratio_is_a_martingale(mechanism):
    """Under θ = -1 the mean of exp(l) is 1 at every agent. The bounded part exp(l)·1{l < 2} is compared with its
    probability under θ = +1, which Bayes' rule makes equal: 8 standard errors, each side."""
    n = 40_000
    minus, plus = (
        SequentialLearning(GaussianSignals(), mechanism).run(30, n, theta=theta, random_state=5 + theta)
        for theta in (-1, 1)
    )
    for at in range(len(minus.trace)):
        weighted = np.where(minus.log_odds[at] < 2, np.exp(np.minimum(minus.log_odds[at], 2)), 0)
        chance = np.mean(plus.log_odds[at] < 2)
        error = math.sqrt((weighted.var() + 0.25) / n)
        assert abs(weighted.mean() - chance) < 8 * error


def test_an_update_by_the_intended_action_is_no_martingale():
    """The fake that the test above would catch: it takes a noisy report for the action itself."""
    signals, mechanism = GaussianSignals(), SmoothRandomizedResponse(0.5)
    history = SequentialLearning(signals, mechanism).run(30, 4000, theta=-1, keep_reports=True, random_state=0).reports
    odds = np.zeros(4000)
    for report in history:
        odds = odds + signals.log_ratio(report, odds, NoNoise())
    weighted = np.where(odds < 2, np.exp(np.minimum(odds, 2)), 0)
    assert abs(weighted.mean() - 1) > 8 * weighted.std() / math.sqrt(4000)


def test_intended_wrong_actions_stop_and_reported_ones_go_on_at_the_derived_rate():
    """Reported: within 15 % of κ' per ln n, with 2000 paths (standard deviation about 3 %)."""
    paths = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(0.5)).run(5000, 2000, random_state=2)
    late = paths.trace >= 500
    assert np.mean(paths.intended_wrong[-1] - paths.intended_wrong[late][0]) < 0.02
    mean = paths.reported_wrong[late].mean(axis=1)
    assert np.polyfit(np.log(paths.trace[late]), mean, 1)[0] == pytest.approx(rates(0.5).reported_wrong, rel=0.15)


def test_the_condition_for_a_finite_first_correct_action():
    assert rates(0.5).wrong_herd == pytest.approx(6.33, abs=0.01)
    assert rates(1.0).wrong_herd == pytest.approx(2.31, abs=0.01)
    assert rates(1.0).finite_first_correct
    assert not rates(3.0).finite_first_correct


@pytest.mark.parametrize(
    "mechanism", [SmoothRandomizedResponse(0.5), SMOOTH, UniformRandomizedResponse(1.0), NoNoise()]
)
def test_the_first_correct_report_has_its_exact_law(mechanism):
    """20,000 crowds: each of four shares off by 6.5 standard errors with probability below 1e-10."""
    n = 20_000
    crowd = SequentialLearning(GaussianSignals(), mechanism)
    tail, first = crowd.first_correct_tail(8), crowd.run(8, n, random_state=3).first_correct
    for at in (1, 2, 4, 8):
        assert abs(np.mean(first > at) - tail[at - 1]) < 6.5 * math.sqrt(tail[at - 1] / n)


def test_without_noise_the_first_correct_report_has_no_mean_and_with_smooth_noise_it_has():
    def power(mechanism):
        tail = SequentialLearning(GaussianSignals(), mechanism).first_correct_tail(20_000)
        return -np.polyfit(np.log(np.arange(2000, 20_000)), np.log(tail[2000:]), 1)[0]

    assert power(SMOOTH) == pytest.approx(rates(1.0).wrong_herd, rel=0.05)
    assert power(NoNoise()) < 1


def test_the_belief_of_a_history_is_that_of_the_simulated_crowd():
    for crowd in (
        SequentialLearning(GaussianSignals(0.8), SmoothRandomizedResponse(0.5), prior=0.3),
        SequentialLearning(BinarySignals(0.7), UniformRandomizedResponse(1.0)),
    ):
        paths = crowd.run(40, 3, keep_reports=True, random_state=0)
        for path in range(3):
            assert crowd.belief(paths.reports[:, path]) == pytest.approx(paths.log_odds[-1, path], rel=1e-9, abs=1e-9)
            coded = (paths.reports[:, path] + 1) // 2
            assert crowd.belief(coded, coding="01") == crowd.belief(paths.reports[:, path])


def test_agents_may_have_budgets_of_their_own():
    crowd = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(1.0))
    assert crowd.belief([1, -1], epsilons=[1.0, 1.0]) == pytest.approx(crowd.belief([1, -1]))
    assert crowd.belief([1, -1], epsilons=[0.1, 1.0]) != pytest.approx(crowd.belief([1, -1]))
    mixed = crowd.run(500, 200, epsilon_law=lambda rng, n: rng.choice([0.2, 1.0], n), random_state=0)
    alone = crowd.run(500, 200, random_state=0)
    assert not np.array_equal(mixed.log_odds, alone.log_odds)


def test_a_decision_is_charged_reproducible_by_seed_and_has_the_crowds_probabilities(tmp_path):
    """2000 decisions: off by 6.5 standard errors with probability below 1e-10."""
    crowd = SequentialLearning(GaussianSignals(), SMOOTH)
    first, again = (crowd.decide(0.4, 0.1, noise_seed=3) for _ in range(2))
    assert first == again
    assert first.report == int(SMOOTH.report(0.1, -0.2, noise_seed=3))
    p = float(plus_probability(SMOOTH, np.array([0.1]), -0.2)[0])
    seen = np.mean([crowd.decide(0.4, 0.1).report == 1 for _ in range(2000)])
    assert abs(seen - p) < 6.5 * math.sqrt(p * (1 - p) / 2000)
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("crowd", neighbours="replace-one", budget=PureDP(1.5))
    with ledger.charging("crowd"):
        crowd.decide(0.4, 0.1)
        assert ledger.account("crowd").spent.epsilon == 1.0


# Cascades


@pytest.mark.parametrize(
    ("epsilon", "k", "probability"),
    [
        (0.2, 11, 0.706),
        (0.4, 6, 0.721),
        (0.6, 4, 0.718),
        (0.8, 3, 0.715),
        (1.0, 3, 0.754),
        (1.2, 2, 0.705),
        (1.5, 2, 0.739),
        (2.0, 2, 0.779),
        (3.0, 2, 0.820),
        (5.0, 2, 0.841),
        (math.inf, 2, 0.845),
    ],
)
def test_the_cascade_table(epsilon, k, probability):
    assert cascade_threshold(0.7, epsilon) == k
    assert cascade_probability(0.7, epsilon) == pytest.approx(probability, abs=5e-4)


def test_more_budget_may_be_worse():
    assert cascade_probability(0.7, 1.0) > cascade_probability(0.7, 1.2)


@pytest.mark.parametrize("epsilon", np.linspace(0.4, 4, 20))
def test_simulated_cascades_have_the_formulas_probability_and_time(epsilon):
    """Off by 6.5 standard errors with probability below 1e-10 each."""
    n, mechanism = 20_000, UniformRandomizedResponse(float(epsilon))
    paths = SequentialLearning(BinarySignals(0.7), mechanism).run(600, n, keep_reports=True, random_state=0)
    lead = np.abs(np.cumsum(paths.reports, axis=0))
    k = BinarySignals(0.7).herd(mechanism)
    began = lead >= k
    assert began[-1].all()  # a walk of 600 steps with this drift is still inside with probability below 1e-20
    time = began.argmax(axis=0) + 1
    assert abs(time.mean() - cascade_time(0.7, epsilon)) < 6.5 * time.std() / math.sqrt(n)
    p, right = cascade_probability(0.7, epsilon), np.mean(paths.log_odds[-1] > 0)
    assert abs(right - p) < 6.5 * math.sqrt(p * (1 - p) / n)
    assert len(np.unique(np.abs(paths.log_odds[-1]).round(6))) == 1  # nothing is learned inside a cascade


def test_a_whole_ratio_counts_as_whole():
    """At this ε two reports weigh exactly one signal: the agent follows its own, and the herd needs three."""
    p = 0.7
    weight = math.log(p / (1 - p)) / 2
    right = 1 / (1 + math.exp(-weight))
    u = (p - right) / (2 * p - 1)
    epsilon = math.log((1 - u) / u)
    assert cascade_threshold(p, epsilon) == 3


def test_a_cascade_draws_and_spends_nothing(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("crowd", neighbours="replace-one", budget=PureDP(1.0))
    crowd = SequentialLearning(BinarySignals(0.7), UniformRandomizedResponse(1.0))
    with ledger.charging("crowd"):
        decision = crowd.decide(crowd.belief([1] * 3), -1)
        assert ledger.account("crowd").spent.epsilon == 0
    assert (decision.action, decision.report, decision.claim) == (1, 1, None)


# Interruptions and bad input


def test_a_run_goes_on_from_its_checkpoint(tmp_path):
    crowd = SequentialLearning(GaussianSignals(), SMOOTH)
    whole = crowd.run(300, 20, random_state=4)
    calls = 0

    class Stopped(Exception):
        pass

    class Interrupting(GaussianSignals):
        def draw(self, theta, size, rng):
            nonlocal calls
            calls += 1
            if calls == 200:
                raise Stopped
            return super().draw(theta, size, rng)

    stopping = SequentialLearning(Interrupting(), SMOOTH)
    file = tmp_path / "run.npz"
    with pytest.raises(Stopped):
        stopping.run(300, 20, random_state=4, checkpoint=file)
    resumed = stopping.run(300, 20, random_state=4, checkpoint=file)
    assert calls < 500  # not from the start
    np.testing.assert_array_equal(resumed.log_odds, whole.log_odds)
    np.testing.assert_array_equal(resumed.first_correct, whole.first_correct)
    with pytest.raises(InvalidData, match="another run"):
        stopping.run(300, 21, random_state=4, checkpoint=file)


@pytest.mark.parametrize("epsilon", [-1.0, math.nan, math.inf])
def test_a_bad_epsilon_is_refused(epsilon):
    for kind in (SmoothRandomizedResponse, UniformRandomizedResponse):
        with pytest.raises(InvalidClaim):
            kind(epsilon)


def test_epsilon_zero_is_a_fair_coin_and_warns():
    with pytest.warns(UserWarning, match="fair coin"):
        coin = SmoothRandomizedResponse(0.0)
    assert SequentialLearning(GaussianSignals(), coin).belief([1, 1, -1]) == 0
    assert abs(coin.report(np.full(10_000, 5.0), 0.0).sum()) < 700  # 7 standard deviations
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert abs(UniformRandomizedResponse(0.0).report(np.full(10_000, 5.0), 0.0).sum()) < 700


def test_bad_input_is_refused_before_anything_is_spent(tmp_path):
    ledger = Ledger(tmp_path / "ledger.db", create=True)
    ledger.create("crowd", neighbours="replace-one", budget=PureDP(5.0))
    crowd = SequentialLearning(GaussianSignals(), SMOOTH)
    with ledger.charging("crowd"):
        for signal in (math.nan, math.inf):
            with pytest.raises(InvalidData):
                crowd.decide(0.0, signal)
            with pytest.raises(InvalidData, match="finite"):
                SMOOTH.report([0.0, signal], 0.0)
        with pytest.raises(InvalidData, match="granules"):
            SMOOTH.report(1e300, 0.0)
        with pytest.raises(InvalidData, match="numbers"):
            SMOOTH.report("much", 0.0)
        with pytest.raises(InvalidClaim, match="radius"):
            SMOOTH.report(0.0, 0.0, radius=-1)
        with pytest.raises(InvalidData, match="binary"):
            SequentialLearning(BinarySignals(), UniformRandomizedResponse(1.0)).decide(0.0, 0.5)
        with pytest.raises((InvalidClaim, ClaimViolated)):
            crowd.decide(0.0, 0.5, noise_seed=1)  # a reproducible draw under a ledger
        assert ledger.account("crowd").spent.epsilon == 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: GaussianSignals(0.0),
        lambda: GaussianSignals(math.nan),
        lambda: BinarySignals(0.5),
        lambda: BinarySignals(1.0),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH, prior=1.0),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH).run(0, 5),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH).run(5, 5, theta=0),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH).belief([1, 0]),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH).belief([1, -1], coding="01"),
        lambda: SequentialLearning(GaussianSignals(), SMOOTH).belief([1, -1], epsilons=[1.0]),
        lambda: SequentialLearning(BinarySignals(), NoNoise()).first_correct_tail(3),
        lambda: cascade_threshold(0.4, 1.0),
        lambda: rates(0.0),
    ],
)
def test_bad_parameters_are_refused(call):
    with pytest.raises(InvalidData):
        call()


def test_smooth_flips_of_binary_signals_are_refused():
    with pytest.raises(InvalidClaim, match="Uniform"):
        SequentialLearning(BinarySignals(), SMOOTH)
    with pytest.raises(InvalidClaim):
        cascade_threshold(0.7, 0.0)
