"""Study of system 19: what a quantiser's own randomness hides, for one coordinate and for a whole gradient.

Youn, Hu, Ziani and Abernethy, "Randomized Quantization is All You Need for Differential Privacy in Federated Learning"
(2023, arXiv 2306.11913), whose figures' values were not found.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from sfumato.federation.quantization import (
    PBM,
    RQM,
    QuantizedMean,
    coordinate_clip,
    duchi_variance,
    laplace_variance,
    piecewise_variance,
)
from sfumato.privacy.bounds import ApproxDP
from sfumato.studies import quantization_attacked as attacked
from sfumato.studies.quantization_digits import Digits, Summer, average, discrete_gaussian, quantized
from sfumato.studies.study import Row, Scale, Study, StudyResult

Floats = NDArray[np.float64]

C = 1.5
N = 40  # clients in a sum, as in the paper
PAPER = RQM(C, C)


@dataclass(frozen=True)
class _Pair:
    extension: float  # in clips
    keep: float
    theta: float
    said: str


_PAIRS = (
    _Pair(2.33, 0.42, 0.15, "1.519/1.563; 3.07/5.33; 0.157/0.160"),
    _Pair(1.0, 0.42, 0.25, "0.548/0.563; 5.06/13.56; 0.486/0.552"),
    _Pair(0.66, 0.57, 0.35, "0.173/0.287; 9.18/25.24; 1.677/1.712"),
    _Pair(0.43, 0.42, 0.35, "0.280/0.287; 7.14/25.24; 1.312/1.712"),
)


@dataclass(frozen=True)
class _Size:
    seeds: int
    rounds: int
    draws: int  # of the audit
    games: int
    calibrated: bool


_SCALES: dict[Scale, _Size] = {
    "smoke": _Size(1, 15, 200_000, 200, False),
    "small": _Size(10, 150, 10_000_000, 2000, True),
    "full": _Size(30, 300, 100_000_000, 20_000, True),
}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run randomized-quantization`."""
    start = time.perf_counter()
    size = _SCALES[scale]
    rows = [
        *_pair_rows(scale),
        *_client_rows(),
        *_certified_rows(),
        *_local_rows(),
        *_vector_rows(),
        *(_calibrated_row() if size.calibrated else ()),
        *_digits_rows(size, seed),
        *_gaussian_rows(size, seed),
        *attacked.rows(size.draws, size.games, seed),
    ]
    return StudyResult(rows, scale, time.perf_counter() - start, {"price": _picture()})


def _pair_rows(scale: Scale) -> Iterator[Row]:
    for pair in _PAIRS:
        rqm = RQM(C, pair.extension * C, keep_probability=pair.keep)
        same_symbol, same_bits = PBM(C, pair.theta, trials=16), PBM(C, pair.theta, trials=15)
        agreeing = rqm.renyi(2, N, C)
        sums = rqm.renyi(2, N), same_symbol.renyi(2, N), same_bits.renyi(2, N)
        better = rqm.worst_variance() <= same_bits.worst_variance() and sums[0] <= sums[2]
        yield Row(
            f"Δ = {pair.extension:g}c, q = {pair.keep:g} beside PBM with θ = {pair.theta:g}, 16 outcomes each: "
            f"variance and ε₂ of the sum of {N} at most PBM's",
            "RQM is better in both (the figures' values not found)",
            f"variance {rqm.worst_variance():.3f}/{same_bits.worst_variance():.3f}, "
            f"sum {sums[0]:.3f}/{sums[2]:.3f}, a report {rqm.renyi(2):.2f}/{same_bits.renyi(2):.2f}",
            None if scale == "smoke" else better,
        )
        yield Row(
            "the same with PBM's 16 trials, 17 outcomes, as the same symbol m means: variance; ε₂ of a report; "
            f"of the sum of {N}, RQM's others at c, PBM's at worst",
            f"{pair.said} (our notes)",
            f"{float(rqm.variance(0.0)):.3f}/{same_symbol.worst_variance():.3f}; "
            f"{rqm.renyi(2):.2f}/{same_symbol.renyi(2):.2f}; {agreeing:.3f}/{sums[1]:.3f}",
            agreeing <= sums[1] and rqm.worst_variance() <= same_symbol.worst_variance(),
        )


def _client_rows() -> Iterator[Row]:
    pbm = PBM(C, 0.25, trials=16)
    counts = (1, 5, 10, 20, 40)
    found = ", ".join(f"{PAPER.renyi(2, n, C):.2f}/{pbm.renyi(2, n):.2f}" for n in counts)
    yield Row(
        "Δ = c, q = 0.42 beside θ = 0.25 (16 trials), ε₂ of the sum of n = 1, 5, 10, 20, 40 clients",
        "5.06/13.56, 3.00/5.19, 1.85/2.43, 0.98/1.14, 0.49/0.55 (our notes)",
        f"{found}: the advantage shrinks from 2.7 times to a tenth",
        PAPER.renyi(2, N, C) < pbm.renyi(2, N),
    )
    ends = float(_between_ends(32.0))
    yield Row(
        "one report at α = 32",
        "RQM 5.42, PBM 17.4; (c, -c) is the worst pair in every configuration (our notes)",
        f"RQM {PAPER.renyi(32):.3f}, PBM {pbm.renyi(32):.1f}; between c and -c it is {ends:.3f}: "
        "a level inside is worse than an end",
        None,
    )


def _between_ends(alpha: float) -> float:
    p, q = PAPER.pmf([C, -C])
    return float(np.log(np.sum(p**alpha * q ** (1 - alpha))) / (alpha - 1))


def _certified_rows() -> Iterator[Row]:
    agree = [PAPER.renyi(2, N, held) for held in (C, 0.0, -C)]
    yield Row(
        f"ε₂ of the sum of {N}, Δ = c, q = 0.42: others at c, 0, -c; the worst found; proved for any others",
        "0.49, 0.41, 0.49 (our notes); the paper leaves open what the others hold",
        f"{', '.join(f'{each:.3f}' for each in agree)}; {PAPER.renyi(2, N):.3f} with half of them at each end; "
        f"{PAPER.renyi(2, N, 'certified'):.3f}",
        PAPER.renyi(2, N) <= PAPER.renyi(2, N, "certified"),
    )


def _local_rows() -> Iterator[Row]:
    epsilon = PAPER.epsilon_local()
    rivals = {"Duchi": duchi_variance, "Laplace": laplace_variance, "piecewise": piecewise_variance}
    told = ", ".join(f"{name} {f(0.0, C, epsilon):.3f} / {f(C, C, epsilon):.3f}" for name, f in rivals.items())
    yield Row(
        f"the same pure local ε = {epsilon:.2f} (closed form: at most {PAPER.epsilon_bound():.2f}): variance at 0 / c",
        "RQM 0.548 / 0.485, Duchi 2.29 / 0.04, Laplace 0.60 / 0.60, piecewise 0.066 / 0.22 (our notes)",
        f"RQM {float(PAPER.variance(0.0)):.3f} / {float(PAPER.variance(C)):.3f}, {told}",
        None,
    )


def _vector_rows() -> Iterator[Row]:
    d, rounds = 1000, 300
    c = coordinate_clip(1.0, d)
    ways = {
        "l∞ clip": QuantizedMean(PAPER, d, "linf"),
        "l2 clip, rotated": QuantizedMean(RQM(c, c), d, "l2", 1.0),
    }
    for name, mean in ways.items():
        one, many = mean.price(2.0), mean.price(2.0, honest=N, rounds=rounds)
        whole = mean.aggregate_claim(N, rounds).to(ApproxDP, delta=1e-5).bound
        assert isinstance(whole, ApproxDP)
        yield Row(
            f"a whole gradient of {d} coordinates, Δ = c, q = 0.42, {name}: ε₂ a coordinate → a vector; the sum of {N} "
            f"alike, proved; {rounds} rounds as ε at δ = 10⁻⁵",
            "0.49 a coordinate and round; the vector's is not stated",
            f"{one.per_coordinate:.2f} → {one.vector:,.0f}; {many.per_coordinate:.2f} → {many.vector:,.1f}; "
            f"{whole.epsilon:,.0f}",
            None,
        )


def _calibrated_row() -> Iterator[Row]:
    best = RQM.calibrate(PAPER.renyi(2, N), n=N, clip=C)
    yield Row(
        f"the least variance at the paper's ε₂ of the sum of {N}, m = 16",
        f"Δ = c, q = 0.42: variance {PAPER.worst_variance():.3f}",
        f"Δ = {best.extension / C:.2f}c, q = {best.keep_probability:.2f}: variance {best.worst_variance():.3f}",
        best.worst_variance() <= PAPER.worst_variance(),
    )


def _same_sum(target: float) -> PBM:
    """The PBM of 15 trials whose sum has this ε₂."""
    theta = optimize.brentq(lambda t: PBM(C, t).renyi(2, N) - target, 0.05, 0.45, xtol=1e-6)
    return PBM(C, theta)


def _told(accuracies: Floats) -> str:
    return f"{100 * accuracies.mean():.2f} %" + (
        f" ± {100 * accuracies.std(ddof=1) / math.sqrt(len(accuracies)):.2f}" if len(accuracies) > 1 else ""
    )


def _gap(a: Floats, b: Floats) -> tuple[str, float]:
    """Mean paired difference with its 95 % interval, and the lower end."""
    gap = 100 * (a - b)
    if len(gap) < 2:
        return f"{gap.mean():+.2f}", math.nan
    half = float(stats.t.ppf(0.975, len(gap) - 1)) * gap.std(ddof=1) / math.sqrt(len(gap))
    return f"{gap.mean():+.2f} [{gap.mean() - half:+.2f}, {gap.mean() + half:+.2f}]", float(gap.mean() - half)


def _digits_rows(size: _Size, seed: int) -> Iterator[Row]:
    target = PAPER.renyi(2, N)
    theta = _same_sum(target).theta
    d = Digits.load().model.size
    for clip, told in ((0.1, "l∞ clip 0.1"), (1.0, "a clip ten times as wide as is needed")):
        ways: dict[str, Summer] = {
            "no noise": average(clip),
            "RQM": quantized(QuantizedMean(RQM(clip, clip), d, "linf")),
            "PBM": quantized(QuantizedMean(PBM(clip, theta), d, "linf")),
        }
        found = _trained(ways, size, seed)
        gap, low = _gap(found["RQM"], found["PBM"])
        behind = [found["no noise"].mean() - found[name].mean() for name in ("RQM", "PBM")]
        yield Row(
            f"digits, 100 clients, {N} a round, softmax regression (650 coordinates), {size.rounds} rounds, "
            f"{size.seeds} seeds, {told}: accuracy at ε₂ = {target:.3f} a coordinate and round, 16 outcomes; RQM less "
            "PBM in points, 95 % interval",
            "RQM at least PBM, near noise-free clipping",
            f"{', '.join(f'{name} {_told(each)}' for name, each in found.items())}; {gap}",
            None if math.isnan(low) else low >= 0 and behind[0] <= behind[1],
        )


def _gaussian_rows(size: _Size, seed: int) -> Iterator[Row]:
    d = Digits.load().model.size
    l2_clip = 1.0
    c = coordinate_clip(l2_clip, d)
    mean = QuantizedMean(RQM(c, c), d, "l2", l2_clip)
    spent = float(mean.rdp(N, (2.0,))[0])
    ways: dict[str, Summer] = {
        "RQM": quantized(mean),
        "discrete Gaussian": discrete_gaussian(mean, rho=spent / 2, clients=N, bits=10),
    }
    found = _trained(ways, size, seed)
    gap, low = _gap(found["discrete Gaussian"], found["RQM"])
    sigma2 = (2 * l2_clip) ** 2 / spent
    yield Row(
        f"the same at an equal claim for the vector, ε₂ = {spent:.1f} a round, l2 clip and rotation: RQM with 4 bits a "
        "client, discrete Gaussian with 10 bits of the sum; the Gaussian less RQM; variance of a coordinate of the sum",
        "expected: the discrete Gaussian wins (our notes)",
        f"{', '.join(f'{name} {_told(each)}' for name, each in found.items())}; {gap}; "
        f"{N * mean.mechanism.worst_variance():.3f} / {sigma2:.3f}",
        None if math.isnan(low) else low >= 0,
    )


def _trained(ways: dict[str, Summer], size: _Size, seed: int) -> dict[str, Floats]:
    digits = Digits.load()
    return {
        name: np.array([digits.accuracy(way, size.rounds, s) for s in range(seed, seed + size.seeds)])
        for name, way in ways.items()
    }


def _picture() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    counts = (1, 2, 5, 10, 20, 40)
    pbm = PBM(C, 0.25)
    left.plot(counts, [PAPER.renyi(2, n) for n in counts], "o-", label="RQM, worst others found")
    left.plot(counts, [PAPER.renyi(2, n, "certified") for n in counts], "o--", label="RQM, any others (proved)")
    left.plot(counts, [pbm.renyi(2, n) for n in counts], "s-", label="PBM, worst others found")
    left.set(xscale="log", yscale="log", xlabel="clients in the sum", ylabel="Rényi ε at order 2")
    left.set_title("one coordinate, one round", fontsize=10)
    left.legend(fontsize=8)
    sizes = (1, 10, 100, 1000, 10_000)
    for clip, style in (("linf", "s-"), ("l2", "o-")):
        found = []
        for d in sizes:
            c = coordinate_clip(1.0, d)
            mean = QuantizedMean(RQM(c, c), d, "l2", 1.0) if clip == "l2" else QuantizedMean(RQM(c, c), d, "linf")
            found.append(mean.price(2.0, honest=N).vector)
        right.plot(sizes, found, style, label=f"whole vector, {'l2, rotated' if clip == 'l2' else 'l∞'}")
    right.axhline(PAPER.renyi(2, N), color="grey", linestyle=":", label="one coordinate, as published")
    right.set(xscale="log", yscale="log", xlabel="coordinates", ylabel="Rényi ε at order 2")
    right.set_title(f"a whole gradient, sum of {N}, one round", fontsize=10)
    right.legend(fontsize=8)
    return figure


STUDY = Study(
    19,
    "randomized-quantization",
    "Randomized quantization in federated learning",
    """Clients round each coordinate of a gradient at random to one of 16 levels, of which the inner ones are
themselves kept at random; the server sees the sum. The quantiser's randomness is the only noise.

- The paper's figures have no values that we know; "our notes" are figures of a prototype. What is compared is exact:
  laws, divergences and variances are computed and not sampled, and so are worst cases over a client's own number.
- The published curves are of one coordinate in one round. A gradient of 1000 coordinates costs a thousand times as much
  with an l∞ clip, and after an l2 clip and a rotation still far too much to be called private.
- What the other clients hold matters. The worst that was found are others of whom half sit at each end; the last column
  of that row holds for any others, by a privacy blanket, and is over twice as large: some of the difference may be the
  proof's. Vectors' claims take the proved figure.
- At equal outcomes (16 each, so PBM has 15 trials) RQM is better in both figures in some pairs and trades variance
  for ε in others. With the same symbol m, PBM has an outcome more, and loses in all.
- A purely local claim is served far better by the piecewise mechanism, which sends real numbers. RQM's case is few bits
  and exact integer sums.
- On the digits neither is clearly ahead at an equal ε of the sum: at a sensible clip the noise hardly costs accuracy,
  at a wide one seeds differ more than the two mechanisms.
- Ten seeds are few. With 100 fresh ones (1000 to 1099, fixed before the run, which was made apart from the table) RQM
  is as good as PBM at the sensible clip, +0.03 points [-0.13, +0.19], and better at the wide one,
  +0.94 [+0.33, +1.54]; at an equal claim for the vector the discrete Gaussian is ahead of RQM by 0.24 [+0.07, +0.40].
- At an equal claim for the whole vector a discrete Gaussian in the same rotated space has a third of the variance.
- Each client of the digits is drawn into a round by a public coin, for which no credit is taken.
""",
    run,
)
