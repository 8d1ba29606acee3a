"""Study of system 07: how fast a crowd learns from reports that protect their signals, and what herding becomes.

Liu and Rahimian, "Differentially Private Sequential Learning" (FORC 2025, arXiv 2502.19525). The paper is theory: its
statements are put beside simulations, and beside rates that we derived.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.signal_inference import SignalInference
from sfumato.statistics.sequential import (
    BinarySignals,
    GaussianSignals,
    NoNoise,
    Paths,
    SequentialLearning,
    SmoothRandomizedResponse,
    UniformRandomizedResponse,
    cascade_probability,
    rates,
)
from sfumato.statistics.sequential.learning import EpsilonLaw
from sfumato.statistics.sequential.mechanisms import Mechanism
from sfumato.studies.study import Row, Scale, Study, StudyResult

_AGENTS = {"smoke": 2_000, "small": 100_000, "full": 1_000_000}
_PATHS = {"smoke": 200, "small": 400, "full": 1_000}
_MECHANISMS: dict[str, Mechanism] = {
    "smooth, ε = 0.5": SmoothRandomizedResponse(0.5),
    "smooth, ε = 1": SmoothRandomizedResponse(1.0),
    "uniform, ε = 1": UniformRandomizedResponse(1.0),
    "no noise": NoNoise(),
}


def run(scale: Scale, seed: int = 0) -> StudyResult:
    """Run the study; see `sfumato study run sequential-learning`."""
    start = time.perf_counter()
    crowds = {
        name: SequentialLearning(GaussianSignals(), mechanism).run(_AGENTS[scale], _PATHS[scale], random_state=seed)
        for name, mechanism in _MECHANISMS.items()
    }
    rows = [
        *_rate_rows(crowds, scale),
        *_first_correct_rows(scale),
        *_wrong_rows(crowds),
        *_mixture_rows(scale, seed),
        *_cascade_rows(seed),
        *_attack_rows(scale, seed),
    ]
    figures = {"learning": _learning_picture(crowds), "cascades": _cascade_picture()}
    return StudyResult(rows, scale, time.perf_counter() - start, figures)


def _late(paths: Paths) -> NDArray[np.bool_]:
    return np.asarray(paths.trace >= paths.trace[-1] / 10)


def _slope(x: NDArray[Any], y: NDArray[Any]) -> float:
    return float(np.polyfit(x, y, 1)[0])


def _unexplained(x: NDArray[Any], y: NDArray[Any]) -> float:
    """1 - R² of a straight line."""
    residual = y - np.polyval(np.polyfit(x, y, 1), x)
    return float(residual.var() / y.var())


def _rate_rows(crowds: dict[str, Paths], scale: Scale) -> Iterator[Row]:
    for name, paths in crowds.items():
        late, median = _late(paths), np.median(paths.log_odds, axis=1)
        slope = _slope(np.log(paths.trace[late]), median[late])
        mechanism = _MECHANISMS[name]
        theory = rates(mechanism.epsilon).learning if isinstance(mechanism, SmoothRandomizedResponse) else None
        said = "Θ(√log n) (abstract)" if theory is None else f"Θ(log n) (abstract); slope {theory:g} (derived)"
        yield Row(
            f"{name}: median log-odds at n = {paths.trace[-1]:,}; slope in ln n over the last decade",
            said,
            f"{median[-1]:.1f}; {slope:.2f}",
            None if theory is None or scale == "smoke" else abs(slope / theory - 1) < 0.05,  # a limit in n
        )
    for name, better in (("smooth, ε = 1", "log"), ("no noise", "root of log")):
        paths = crowds[name]
        grown = paths.trace >= 30
        logs, median = np.log(paths.trace[grown]), np.median(paths.log_odds[grown], axis=1)
        fits = {"log": _unexplained(logs, median), "root of log": _unexplained(np.sqrt(logs), median)}
        yield Row(
            f"{name}: part of the median log-odds that a line in ln n, or in √ln n, leaves unexplained",
            f"the {better} explains it (abstract)",
            f"{fits['log']:.1e}, {fits['root of log']:.1e}",
            min(fits, key=lambda each: fits[each]) == better,
        )


def _first_correct_rows(scale: Scale) -> Iterator[Row]:
    last = min(_AGENTS[scale], 100_000)
    for name, mechanism in _MECHANISMS.items():
        tail = SequentialLearning(GaussianSignals(), mechanism).first_correct_tail(last)
        means = [1 + float(tail[: last // 100**k].sum()) for k in (1, 0)]
        late = np.arange(last // 10, last)
        fall = -_slope(np.log(late + 1), np.log(tail[late])) if tail[-1] > 0 else math.inf
        said, finite = "not found", None
        if isinstance(mechanism, SmoothRandomizedResponse):
            derived = rates(mechanism.epsilon).wrong_herd
            said, finite = f"finite for ε in (0, 1) (abstract); tail n^-{derived:.2f} (derived)", True
        elif isinstance(mechanism, NoNoise):
            said, finite = "infinite (abstract)", False
        yield Row(
            f"{name}: first right report, exact mean capped at {last // 100:,} and at {last:,}; power of its tail",
            said,
            f"{means[0]:.3f}, {means[1]:.3f}; " + (f"n^-{fall:.2f}" if fall < math.inf else "below any power"),
            None if finite is None else (fall > 1) == finite,
        )


def _wrong_rows(crowds: dict[str, Paths]) -> Iterator[Row]:
    for name, paths in crowds.items():
        late, logs = _late(paths), np.log(paths.trace)
        mechanism = _MECHANISMS[name]
        intended, reported = paths.intended_wrong.mean(axis=1), paths.reported_wrong.mean(axis=1)
        more = intended[-1] - intended[late][0]
        slope = _slope(logs[late], reported[late])
        smooth = isinstance(mechanism, SmoothRandomizedResponse)
        said = ""
        if isinstance(mechanism, SmoothRandomizedResponse):
            derived = rates(mechanism.epsilon).reported_wrong
            said = f"finite (abstract): can hold of intended ones only; reported: {derived:.3g} per ln n (derived)"
        yield Row(
            f"{name}: wrong actions a crowd, intended (of them in the last decade), reported (per ln n)",
            said or "not found",
            f"{intended[-1]:.2f} ({more:.2f}), {reported[-1]:.1f} ({slope:.2f})",
            more < 0.02 if smooth else None,
        )


def _mixture_rows(scale: Scale, seed: int) -> Iterator[Row]:
    crowd = SequentialLearning(GaussianSignals(), SmoothRandomizedResponse(1.0))
    laws: dict[str, EpsilonLaw] = {
        "half at ε = 0.1, half at 1": lambda rng, n: rng.choice([0.1, 1.0], n),
        "uniform on (0, 1)": lambda rng, n: rng.uniform(0, 1, n),
    }
    n = min(_AGENTS[scale], 20_000)
    for name, law in laws.items():
        paths = crowd.run(n, _PATHS[scale], epsilon_law=law, random_state=seed)
        late, median = _late(paths), np.median(paths.log_odds, axis=1)
        power = _slope(np.log(paths.trace[late]), np.log(median[late]))
        yield Row(
            f"budgets that differ, {name}: median log-odds at n = {n:,}; power of n over the last decade",
            "Θ(√n) for a share of people at low budgets (abstract of v5); its conditions not found",
            f"{median[-1]:.1f}; n^{power:.2f}",
        )


def _cascade_rows(seed: int) -> Iterator[Row]:
    said = {0.8: 0.715, 1.0: 0.754, 1.2: 0.705, 2.0: 0.779, 5.0: 0.841}
    n = 20_000
    for epsilon, ours in said.items():
        paths = SequentialLearning(BinarySignals(0.7), UniformRandomizedResponse(epsilon)).run(
            300, n, random_state=seed
        )
        right = float(np.mean(paths.log_odds[-1] > 0))
        exact = cascade_probability(0.7, epsilon)
        yield Row(
            f"binary signals right with 0.7, ε = {epsilon:g}: the herd is right; simulated, formula",
            f"{ours:.3f} (our notes)",
            f"{right:.3f}, {exact:.3f}",
            abs(right - exact) < 6.5 * math.sqrt(exact * (1 - exact) / n),
        )
    yield Row(
        "more budget, a worse herd",
        "not monotone in ε (paper)",
        f"ε = 1: {cascade_probability(0.7, 1.0):.3f}, ε = 1.2: {cascade_probability(0.7, 1.2):.3f}",
        cascade_probability(0.7, 1.0) > cascade_probability(0.7, 1.2),
    )


def _attack_rows(scale: Scale, seed: int) -> Iterator[Row]:
    mechanism = SmoothRandomizedResponse(1.0)

    def plus(signals: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
        flip = mechanism.flip_probability(signals, threshold)
        return np.where(signals > threshold, 1 - flip, flip)

    trials = 20_000 if scale == "smoke" else 200_000
    for pair, radius in (((0.5, -0.5), 1.0), ((5.0, -5.0), 10.0)):

        def report(signals: NDArray[np.float64], radius: float = radius) -> NDArray[np.int8]:
            return mechanism.report(signals, 0.0, radius=radius)

        evidence = SignalInference(plus).run(
            report,
            mechanism.claim(radius),
            pair,
            0.0,
            trials=trials,
            alpha=1e-6,
            random_state=seed,
        )
        ceiling = 1 / (1 + math.exp(-radius))
        yield Row(
            f"smooth, ε = 1 per unit: telling signal {pair[0]:g} from {pair[1]:g} by one report",
            f"at most {ceiling:.4f} by the claim, {1 / (1 + math.exp(-1)):.3f} if it were ε-local privacy",
            f"{evidence.value:.4f}",
            evidence.verdict == "consistent",
        )


def _learning_picture(crowds: dict[str, Paths]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for name, paths in crowds.items():
        line = axes.plot(paths.trace, np.median(paths.log_odds, axis=1), label=name)[0]
        low, high = np.quantile(paths.log_odds, [0.25, 0.75], axis=1)
        axes.fill_between(paths.trace, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set(xscale="log", xlabel="agents so far", ylabel="public log-odds of the true state")
    axes.set_title("Smooth noise teaches the crowd faster than no noise (median and quartiles)", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _cascade_picture() -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    epsilons = np.linspace(0.1, 4, 1500)
    for p in (0.6, 0.7, 0.8):
        axes.plot(epsilons, [cascade_probability(p, e) for e in epsilons], label=f"signals right with {p:g}", lw=1)
    axes.set(xlabel="ε of each report", ylabel="probability that the herd is right")
    axes.legend(frameon=False, loc="lower right", ncols=3, bbox_to_anchor=(1, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return figure


STUDY = Study(
    7,
    "sequential-learning",
    "Private sequential learning",
    """People decide one after another, each seeing every earlier report; each report protects its signal.

- The figures are of simulated crowds with normal signals N(θ, 1), or binary ones. The state is +.
- The smooth mechanism promises ε *per unit of signal* (metric privacy), not ε between any two signals; the last row
  shows an adversary who tells far signals apart nearly always, as the claim says.
- "The number of wrong actions is finite" can hold of intended actions only: reported ones go on like the logarithm,
  since each report is flipped with a probability that falls like 1/n.
- The slope 2/(εσ²) is a limit. For small ε·σ it is approached slowly: at ε = 0.25 and σ = 0.7 the simulated slope over
  agents 2,000 to 20,000 is 10 % below it, and so is that of the expected update
  (`tests/statistics/sequential`).""",
    run,
)
