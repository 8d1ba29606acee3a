"""RQM and PBM: exact laws, divergences, variances, calibration, baselines, packing."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from sfumato.errors import InvalidClaim, InvalidData, ProtocolError
from sfumato.federation.quantization import (
    PBM,
    RQM,
    bits_per_report,
    duchi_variance,
    laplace_variance,
    pack_bits,
    piecewise_variance,
    unpack_bits,
)
from sfumato.federation.quantization import aggregate as agg
from sfumato.federation.quantization.divergence import log_convolve, log_power, renyi_divergence
from sfumato.privacy import quantized

C = 1.5
PAPER = RQM(C, C)  # m = 16, q = 0.42


def enumerated(rqm, x):
    """The law by enumerating every set of kept levels."""
    m, q, levels = rqm.levels, rqm.keep_probability, rqm.values
    law = np.zeros(m)
    for subset in itertools.product((False, True), repeat=m - 2):
        kept = np.flatnonzero([True, *subset, True])
        weight = q ** sum(subset) * (1 - q) ** (m - 2 - sum(subset))
        b = kept[np.searchsorted(levels[kept], x, side="right")]
        a = kept[np.searchsorted(levels[kept], x, side="right") - 1]
        share = (x - levels[a]) / (levels[b] - levels[a])
        law[[a, b]] += weight * np.array([1 - share, share])
    return law


def random_rqm(rng, most=64):
    clip = float(10 ** rng.uniform(-2, 2))
    return RQM(clip, float(clip * 10 ** rng.uniform(-1, 1)), int(rng.integers(3, most)), float(rng.uniform(0.05, 0.95)))


def test_the_law_is_that_of_all_sets_of_levels():
    """Done when 1: 100 random settings, m <= 12."""
    rng = np.random.default_rng(0)
    for trial in range(100):
        rqm = random_rqm(rng, 8 if trial < 90 else 13)
        x = float(rng.uniform(-rqm.clip, rqm.clip))
        assert np.abs(rqm.pmf(x) - enumerated(rqm, x)).max() < 1e-14


def test_the_law_sums_to_one_has_full_support_and_mean_x():
    """Done when 2; also on the levels themselves, from both sides."""
    rng = np.random.default_rng(1)
    for _ in range(50):
        rqm = random_rqm(rng)
        x = np.concatenate((rng.uniform(-rqm.clip, rqm.clip, 20), rqm.corners))
        law = rqm.pmf(x)
        assert law.min() > 0
        assert np.abs(law.sum(axis=-1) - 1).max() < 1e-12
        assert np.abs(law @ rqm.values - x).max() < 1e-12 * rqm.half_width
        inside, beside = rqm.corners[1:-1], 1e-12 * rqm.clip
        assert np.abs(rqm.pmf(inside - beside) - rqm.pmf(inside + beside)).max(initial=0) < 1e-9


def chi_square(rqm, x, n):
    counts = np.bincount(rqm.encode(np.full(n, x)), minlength=rqm.levels)
    law = rqm.pmf(x) * n
    small = law < 10
    if small.any():
        counts, law = np.append(counts[~small], counts[small].sum()), np.append(law[~small], law[small].sum())
    return stats.chisquare(counts, law / law.sum() * counts.sum()).pvalue


def test_the_sampler_has_this_law():
    """Done when 3: 20 settings at 10^6 draws, each at 1e-8; a sound sampler fails with probability 2e-7."""
    rng = np.random.default_rng(2)
    for _ in range(20):
        rqm = random_rqm(rng)
        assert chi_square(rqm, float(rng.uniform(-rqm.clip, rqm.clip)), 1_000_000) > 1e-8


@pytest.mark.parametrize("shift", [-1, 1])
def test_a_sampler_whose_geometric_numbers_start_elsewhere_is_caught(monkeypatch, shift):
    """The mutation: geometric numbers from 0 where those from 1 are meant, or the other way round."""
    honest = quantized._dropped

    def shifted(levels, keep, n, entropy):
        return honest(levels, keep, n, entropy) + shift

    monkeypatch.setattr(quantized, "_dropped", shifted)
    assert chi_square(PAPER, 0.3, 100_000) < 1e-100


# (extension, q), theta; variance of RQM and PBM; ε_2 of a report; ε_2 of the sum of 40 with others at c, at 0
PAIRS = [
    (2.33, 0.42, 0.15, 1.519, 1.563, 3.07, 5.33, 0.157, 0.160),
    (1.0, 0.42, 0.25, 0.548, 0.563, 5.06, 13.56, 0.486, 0.552),
    (0.66, 0.57, 0.35, 0.173, 0.287, 9.18, 25.24, 1.677, 1.712),
    (0.43, 0.42, 0.35, 0.280, 0.287, 7.14, 25.24, 1.312, 1.712),
]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_the_exact_numbers_of_the_card(pair):
    """Done when 4. The card's PBM has 16 trials, so 17 outcomes; with 15 it has those of 16 levels."""
    extension, q, theta, variance, pbm_variance, local, pbm_local, summed, pbm_summed = pair
    rqm, pbm = RQM(C, extension * C, keep_probability=q), PBM(C, theta, trials=16)
    found = rqm.variance(0.0), pbm.worst_variance(), rqm.renyi(2), pbm.renyi(2), rqm.renyi(2, 40, C)
    for value, expected in zip(found, (variance, pbm_variance, local, pbm_local, summed), strict=True):
        digits = 2 if value in (found[2], found[3]) else 3
        assert value == pytest.approx(expected, abs=0.51 * 10**-digits)
    assert pbm.renyi(2, 40) == pytest.approx(pbm_summed, abs=0.51e-3)


def test_the_advantage_shrinks_with_the_number_of_clients():
    expected = {1: (5.06, 13.56), 5: (3.00, 5.19), 10: (1.85, 2.43), 20: (0.98, 1.14), 40: (0.49, 0.55)}
    for n, (ours, theirs) in expected.items():
        assert PAPER.renyi(2, n, C) == pytest.approx(ours, abs=6e-3)
        assert PBM(C, 0.25, 16).renyi(2, n) == pytest.approx(theirs, abs=6e-3)
    assert PAPER.renyi(2, 40, 0.0) == pytest.approx(0.41, abs=6e-3)
    assert PAPER.renyi(32) == pytest.approx(5.435, abs=6e-3)  # (c, -c) has the 5.42 of the card: a level is worse
    assert PBM(C, 0.25, 16).renyi(32) == pytest.approx(17.4, abs=0.1)


def test_others_who_disagree_hide_less_than_others_who_agree():
    """Not in the paper nor in the card: half of the others at each end is worse than all at one."""
    assert PAPER.renyi(2, 40) > PAPER.renyi(2, 40, C) * 1.03


def test_epsilon_is_below_its_closed_form_and_above_every_order():
    """Done when 5: 1000 random settings."""
    rng = np.random.default_rng(3)
    for _ in range(1000):
        rqm = random_rqm(rng, 24)
        assert rqm.epsilon_local() <= rqm.epsilon_bound() + 1e-9
    assert PAPER.epsilon_local() == pytest.approx(5.47, abs=5e-3)
    assert PAPER.epsilon_bound() == pytest.approx(9.01, abs=5e-3)
    assert PAPER.renyi(math.inf) == pytest.approx(PAPER.epsilon_local(), rel=1e-12)
    curve = [PAPER.renyi(alpha) for alpha in (1.25, 1.5, 2, 3, 4, 8, 16, 32, 64, 128)]
    assert curve == sorted(curve)
    assert curve[-1] <= PAPER.epsilon_local()


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_no_pair_of_inputs_is_worse_than_the_corners(seed):
    rng = np.random.default_rng(seed)
    rqm = random_rqm(rng, 20)
    x = rng.uniform(-rqm.clip, rqm.clip, 30)
    log_law = np.log(rqm.pmf(x))
    worst = {alpha: max(renyi_divergence(p, log_law, alpha).max() for p in log_law) for alpha in (1.5, 2, 16)}
    for alpha, value in worst.items():
        assert value <= rqm.renyi(alpha) * (1 + 1e-9)
    assert np.ptp(log_law, axis=0).max() <= rqm.epsilon_local() * (1 + 1e-9)


def test_the_sum_of_reports_has_the_convolved_law():
    """Done when 6, with 10^6 sums of 5: chi-square at 1e-8."""
    x = np.array([C, 0.2, -0.7, 1.1, -C])
    law = np.zeros(1)
    for each in x:
        law = log_convolve(law, np.log(PAPER.pmf(each)))
    sums = PAPER.encode(np.tile(x, (1_000_000, 1))).sum(axis=1)
    expected = np.exp(law) * len(sums)
    counts = np.bincount(sums, minlength=len(law))
    common = expected > 10
    counts, expected = (
        np.append(counts[common], counts[~common].sum()),
        np.append(expected[common], expected[~common].sum()),
    )
    assert stats.chisquare(counts, expected / expected.sum() * counts.sum()).pvalue > 1e-8


def test_many_clients_and_large_orders_stay_finite():
    power = log_power(np.log(PAPER.pmf(C)), 200)
    assert np.isfinite(power).all()
    assert np.exp(power).sum() == pytest.approx(1)
    assert 0 < PAPER.renyi(2, 200, C) < PAPER.renyi(2, 40, C) / 4
    assert math.isfinite(PAPER.renyi(128, 200, 0.0))
    small = np.log([0.25, 0.75])
    assert log_power(small, 3) == pytest.approx(np.log(stats.binom.pmf(np.arange(4), 3, 0.75)))
    tiny = log_convolve(np.array([-500.0, -1.0]), np.array([-500.0, -2.0]))  # where plain powers vanish
    assert tiny == pytest.approx([-1000, -501, -3], abs=0.5)


@pytest.mark.parametrize("n", [2, 5, 20])
def test_the_blanket_covers_whatever_the_others_hold(n):
    rng = np.random.default_rng(4)
    ends = np.log(PAPER.pmf([-C, C]))
    bounds = {alpha: PAPER.renyi(alpha, n, "certified") for alpha in (1.5, 2, 8)}
    assert bounds[2] < PAPER.renyi(2)
    for held in [rng.choice(PAPER.corners, n - 1) for _ in range(30)] + [rng.uniform(-C, C, n - 1) for _ in range(10)]:
        law = np.zeros(1)
        for x in held:
            law = log_convolve(law, np.log(PAPER.pmf(x)))
        p, q = log_convolve(ends, law)
        for alpha, bound in bounds.items():
            assert renyi_divergence(p, q, alpha) <= bound
    assert PAPER.renyi(2, n) <= bounds[2]


def test_a_blanket_loses_none_of_its_cases():
    """Where nobody draws from it the client is bare: rare, and what large orders are about."""
    for n in (1, 2, 40, 150):
        parts = agg.Blanket.of(PAPER, n).parts
        assert sum(math.exp(weight) for _, weight in parts) == pytest.approx(1)
        assert len(parts[0][0]) == 1
    bare = 63 * PAPER.renyi(64) + 39 * math.log1p(-agg._contained_shapes(PAPER)[0][1])
    assert 63 * PAPER.renyi(64, 40, "certified") > bare - 30


def test_what_is_contained_in_a_law():
    coin = np.array([0.5, 0.5])
    assert agg.contained(coin, np.array([0.2, 0.5, 0.3])) == pytest.approx(1.0)
    assert agg.contained(coin, np.array([0.2, 0.2, 0.6])) == pytest.approx(0.4)
    assert agg.contained(np.array([0.5, 0, 0.5]), np.array([0.2, 0.5, 0.3])) == pytest.approx(0.4)


@pytest.mark.parametrize("mechanism", [PAPER, RQM(2.0, 0.5, 5, 0.8), PBM(C, 0.25)], ids=str)
def test_decoding_is_unbiased_with_the_stated_variance(mechanism):
    """Means within 6, variances within 8 standard errors: a sound one fails with probability below 1e-7."""
    n = 200_000
    for x in (-mechanism.clip, 0.1, 0.9 * mechanism.clip):
        single = mechanism.decode_sum(mechanism.encode(np.full(n, x)).astype(np.int64), 1)
        assert abs(single.mean() - x) < 6 * single.std() / math.sqrt(n)
        fourth = ((single - x) ** 2).std() / math.sqrt(n)
        assert abs(((single - x) ** 2).mean() - mechanism.variance(x)) < 8 * fourth
    beyond = mechanism.positions([-1e9, 1e9])
    assert (beyond == mechanism.positions([-mechanism.clip, mechanism.clip])).all()


def test_positions_never_leave_the_clip():
    rng = np.random.default_rng(5)
    for _ in range(200):
        rqm = random_rqm(rng)
        scaled = rqm.positions([-rqm.clip, rqm.clip]) / 2**32 * rqm.step - rqm.half_width
        assert scaled == pytest.approx([-rqm.clip, rqm.clip], rel=1e-6)
        low, high = (int(p) for p in rqm.positions([-rqm.clip, rqm.clip]))
        assert low + high == (rqm.levels - 1) << 32


@pytest.mark.parametrize(("target", "n"), [(5.06, 1), (2.0, 5)])
def test_calibration_is_within_one_percent_of_a_grid(target, n):
    """Done when 8: against a 50 x 50 grid where n = 1, a coarser one for sums."""
    ours = RQM.calibrate(target, n=n)
    assert ours.renyi(2, n) <= target
    side = 50 if n == 1 else 8
    best = math.inf
    for q in np.linspace(0.02, 0.95, side):
        for extension in np.geomspace(0.1, 20, side):
            rqm = RQM(1.0, extension, keep_probability=q)
            if float(rqm.variance(0.0)) < best and rqm.renyi(2, n) <= target:
                best = min(best, rqm.worst_variance())
    assert ours.worst_variance() <= 1.01 * best


def test_calibration_scales_with_the_clip_and_refuses_what_is_out_of_reach():
    assert RQM.calibrate(3.0, clip=10.0).extension == pytest.approx(10 * RQM.calibrate(3.0).extension)
    for target in (0.0, -1.0, math.inf, math.nan, 1e-9):
        with pytest.raises(InvalidClaim):
            RQM.calibrate(target)


def test_baselines_at_the_same_local_epsilon():
    """The card's figures at ε = 5.47, c = 1.5."""
    found = [f([0.0, C], C, 5.47) for f in (duchi_variance, laplace_variance, piecewise_variance)]
    assert np.ravel(found) == pytest.approx([2.29, 0.04, 0.60, 0.60, 0.066, 0.22], abs=6e-3)


def test_the_piecewise_variance_is_that_of_its_density():
    epsilon, x = 2.0, 0.3
    e = math.exp(epsilon / 2)
    bound = (e + 1) / (e - 1)
    left = (bound + 1) / 2 * x - (bound - 1) / 2
    right = left + bound - 1
    p = (math.exp(epsilon) - e) / (2 * e + 2)

    def density(t):
        return p if left <= t <= right else p / math.exp(epsilon)

    second = integrate.quad(lambda t: density(t) * (t - x) ** 2, -bound, bound, points=[left, right])[0]
    assert piecewise_variance(x, 1.0, epsilon) == pytest.approx(second, rel=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: RQM(0.0, 1.0),
        lambda: RQM(math.nan, 1.0),
        lambda: RQM(1.0, 0.0),
        lambda: RQM(1.0, 1.0, 2),
        lambda: RQM(1.0, 1.0, 257),
        lambda: RQM(1.0, 1.0, True),
        lambda: RQM(1.0, 1.0, keep_probability=1.0),
        lambda: RQM(1.0, 1.0, keep_probability=0.0),
        lambda: PBM(1.0, 0.5),
        lambda: PBM(1.0, 0.2, 256),
        lambda: PBM(-1.0, 0.2),
    ],
)
def test_parameters_without_privacy_or_sense_are_refused(build):
    with pytest.raises(InvalidClaim):
        build()


def test_bad_input_raises_before_anything_is_drawn(monkeypatch):
    def never(*args):
        raise AssertionError("drawn")

    monkeypatch.setattr(quantized, "randomized_quantization", never)
    for x in (math.nan, [0.0, math.inf]):
        with pytest.raises(InvalidData, match="finite"):
            PAPER.encode(x)
    for alpha, n in ((1.0, 1), (2.0, 0), (2.0, 1.5)):
        with pytest.raises(InvalidData):
            PAPER.renyi(alpha, n)
    with pytest.raises(InvalidData, match="affine"):
        PBM(1.0, 0.2).renyi(2, 3, "certified")


def test_sums_that_no_reports_have_are_refused():
    assert PAPER.decode_sum([0, 15 * 4], 4) == pytest.approx([-3.0, 3.0])
    for total in ([61], [-1]):
        with pytest.raises(ProtocolError, match="sum of 4 reports"):
            PAPER.decode_sum(total, 4)
    for total, n in (([1], 0), ([0.5], 2), ([1], True)):
        with pytest.raises(InvalidData):
            PAPER.decode_sum(total, n)


@given(st.integers(2, 256), st.integers(0, 40), st.integers(0, 2**32))
def test_packed_reports_come_back(outcomes, size, seed):
    reports = np.random.default_rng(seed).integers(0, outcomes, size)
    packed = pack_bits(reports, outcomes)
    assert len(packed) == -(-size * bits_per_report(outcomes) // 8)
    assert (unpack_bits(packed, outcomes, size) == reports).all()


def test_packing_refuses_what_it_would_not_write():
    assert bits_per_report(16) == 4
    assert pack_bits([15, 0, 1], 16) == b"\xf0\x10"
    for reports, outcomes in (([16], 16), ([-1], 16), ([0.5], 16), ([0], 1), ([0], 300)):
        with pytest.raises(InvalidData):
            pack_bits(reports, outcomes)
    for packed, outcomes, size in ((b"\xf0", 16, 3), (b"\xf0\x11", 16, 3), (b"\xe0", 6, 2)):
        with pytest.raises(ProtocolError):
            unpack_bits(packed, outcomes, size)
