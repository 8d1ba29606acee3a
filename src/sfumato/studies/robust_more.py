"""Rows of card 11's further estimators: pairs of records, deviations, depth in space, and a mean that may decline.

For the study of card 11, which has no figures for these but those of our notes. Asi, Ullman and Zakynthinou 2023;
Hodges and Lehmann 1963; Hampel 1974; Tukey 1975; Dwork and Lei 2009.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from sfumato.statistics.robust import (
    DPDepthMean,
    DPHodgesLehmann,
    DPMedian,
    DPScale,
    DPTrimmedMean,
    ProposeTestRelease,
    Reach,
    hodges_lehmann,
    interquartile_range,
    median,
    median_absolute_deviation,
    quantile,
    trimmed_mean,
    winsorized_mean,
)
from sfumato.statistics.robust.depth import direction_depth, halfspace_depth
from sfumato.statistics.robust.grids import Grid, Ladder, Line
from sfumato.statistics.robust.nets import directions, half_sphere
from sfumato.statistics.robust.rings import rings
from sfumato.studies.robust_peers import Floats
from sfumato.studies.study import Row, Scale

_RUNS = {"smoke": 3, "small": 50, "full": 500}
_PAIRS = {"smoke": 100, "small": 10_000, "full": 100_000}
_NOT = "not found"


def more_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """All of them."""
    runs = _RUNS[scale]
    yield from _pair_rows(runs, seed)
    yield from _scale_rows(runs, seed)
    yield from _depth_rows(runs, seed, judged=scale != "smoke")
    yield from _stable_rows(runs, seed)


def _median_errors(estimators: dict[str, Any], truth: Floats, samples: list[Floats]) -> dict[str, float]:
    """Median distance of each estimator from the truth."""
    return {
        name: float(np.median([np.linalg.norm(each.fit(x).estimate_ - truth) for x in samples]))
        for name, each in estimators.items()
    }


def _pair_rows(runs: int, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    for half, share in ((1e2, 0.0), (1e6, 0.0), (1e2, 0.1)):
        samples = [rng.normal(0, 1, 1000) for _ in range(runs)]
        for x in samples:
            x[: int(share * 1000)] = 50.0
        common: dict[str, Any] = {"bounds": (-half, half), "scale": 1.0}
        estimators = {
            "Hodges-Lehmann": DPHodgesLehmann(1.0, **common),
            "median": DPMedian(1.0, **common),
            "trimmed": DPTrimmedMean(1.0, contamination=share, **common),
        }
        found = _median_errors(estimators, np.zeros(1), samples)
        found["mean without privacy"] = float(np.median([abs(x.mean()) for x in samples]))
        wild = f", {share:.0%} of them at 50" if share else ""
        yield Row(
            f"Hodges-Lehmann, n = 1,000{wild}, ε = 1, range ±{half:,.0f}: median error",
            _NOT,
            ", ".join(f"{name} {each:.3f}" for name, each in found.items()),
        )


def _scale_rows(runs: int, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    for share in (0.0, 0.3):
        samples = [10 * rng.normal(0, 1, 1000) for _ in range(runs)]
        for x in samples:
            x[: int(share * 1000)] = 1e5
        found = {}
        for statistic in ("iqr", "mad"):
            fit: Any = DPScale(1.0, bounds=(1e-3, 1e6), statistic=statistic)
            found[statistic] = float(np.median([abs(math.log(fit.fit(x).estimate_ / 10)) for x in samples]))
        plain = float(np.median([abs(math.log(x.std() / 10)) for x in samples]))
        wild = f", {share:.0%} of them at 100,000" if share else ""
        yield Row(
            f"scale of N(0, 10²), n = 1,000{wild}, ε = 1, range 10⁻³ to 10⁶: median |log ratio| to 10",
            _NOT,
            f"interquartile {found['iqr']:.3f}, median deviation {found['mad']:.3f}, standard deviation without "
            f"privacy {plain:.3f}",
            found["mad"] < (0.15 if not share else 1.0),
        )


def _depth_rows(runs: int, seed: int, *, judged: bool) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    common: dict[str, Any] = {"bounds": (-1e3, 1e3), "scale": 1.0}
    estimators = {"depth": DPDepthMean(1.0, **common), "columns": DPMedian(1.0, **common)}
    for d in (2, 3):
        for n in (500, 2000):
            few = runs if d == 2 else max(3, runs // 5)
            samples = [rng.normal(0, 1, (n, d)) for _ in range(few)]
            found = _median_errors(estimators, np.zeros(d), samples)
            plain = float(np.median([np.linalg.norm(x.mean(axis=0)) for x in samples]))
            yield Row(
                f"depth mean of {d} columns, n = {n:,}, ε = 1, range ±1,000: median distance",
                f"{_NOT}; optimal in low dimension (theorem)",
                f"{found['depth']:.3f} ({41**d:,} points, pitch 0.1), median of each column {found['columns']:.3f}, "
                f"mean without privacy {plain:.3f}",
                found["depth"] < found["columns"] + 0.05 if judged and n > 500 else None,
            )
    samples = []
    for _ in range(runs):
        x = rng.normal(size=(2000, 2)) @ np.array([[1.0, 0.95], [0.0, 0.3]])
        x[:300] = [1.2, -1.2]
        samples.append(x)
    found = _median_errors(estimators, np.zeros(2), samples)
    yield Row(
        "the same, 2 columns with correlation .95, n = 2,000, 15 % beside the ellipse and within each column's range",
        _NOT,
        f"{found['depth']:.3f}, median of each column {found['columns']:.3f}",
        found["depth"] < found["columns"] if judged else None,
    )


def _stable_rows(runs: int, seed: int) -> Iterator[Row]:
    rng = np.random.default_rng(seed)
    fit: Any = ProposeTestRelease(1.0, scale=1.0, delta=1e-6)
    for n in (200, 500, 2000):
        found = np.array([fit.fit(rng.normal(1e6, 1, n)).estimate_ - 1e6 for _ in range(runs)])
        answered = np.isfinite(found)
        yield Row(
            f"propose-test-release, no range, mean at 10⁶, (1, 10⁻⁶)-DP, n = {n:,}: share answered, median error",
            f"{_NOT}; independent of the range (abstract, of the paper's own extension)",
            f"{answered.mean():.0%}" + (f", {np.median(np.abs(found[answered])):.3f}" if answered.any() else ""),
            bool(answered.all()) if n == 2000 else None,
        )
    spread = np.array([fit.fit(rng.normal(0, 1, 2000) * 10).estimate_ for _ in range(runs)])
    yield Row(
        "the same, n = 2,000, the scale ten times what was proposed: share answered",
        "at most δ (theorem)",
        f"{np.isfinite(spread).mean():.0%}",
        not np.isfinite(spread).any(),
    )


def ratio_rows(scale: Scale, seed: int) -> Iterator[Row]:
    """Largest log-ratio of exact probabilities of neighbours, for each statistic and score."""
    line, ladder = Line.between(-1.0, 1.0, 0.01, 9), Ladder(0.01, 2.0, 0.02, 1.0)
    statistics: dict[str, tuple[Reach, Grid]] = {
        "median": (median(9), line),
        "trimmed": (trimmed_mean(9, 3), line),
        "winsorised": (winsorized_mean(9, 3), line),
        "quantile": (quantile(9, 0.3), line),
        "Hodges-Lehmann": (hodges_lehmann(9), line),
        "interquartile": (interquartile_range(9), ladder),
        "median deviation": (median_absolute_deviation(9), ladder),
    }

    def density_of(statistic: Reach, grid: Grid) -> Callable[[Floats], Floats]:
        def density(x: Floats) -> Floats:
            scored = rings(statistic, grid, x, 9)
            return scored.by_point(scored.log_probabilities(1.0))

        return density

    pairs = _PAIRS[scale]
    worst = {
        name: _worst_ratio(density_of(*each), lambda rng: _numbers(rng, 9), pairs, seed)
        for name, each in statistics.items()
    }
    yield Row(
        f"largest log-ratio of exact probabilities over {pairs:,} pairs of neighbours each, over ε",
        "at most 1 (theorem); .88 (our notes)",
        ", ".join(f"{name} {each:.3f}" for name, each in worst.items()),
        max(worst.values()) <= 1 + 1e-9,
    )
    net = half_sphere(2, 12)
    points = np.stack(np.meshgrid(*[np.linspace(-1, 1, 7)] * 2), axis=-1).reshape(-1, 2)
    scores: dict[str, Callable[[Floats], Any]] = {
        "depth of points": lambda X: halfspace_depth(X, points, directions(2)),
        "depth of directions": lambda X: direction_depth(X, net, net, 0.6),
    }

    def density_by(score: Callable[[Floats], Any]) -> Callable[[Floats], Floats]:
        return lambda X: _log_probabilities(score(X))

    few = pairs // 5
    found = {
        name: _worst_ratio(density_by(score), lambda rng: _numbers(rng, (9, 2)), few, seed)
        for name, score in scores.items()
    }
    yield Row(
        f"the same for scores of two columns, {few:,} pairs",
        "at most 1 (theorem)",
        ", ".join(f"{name} {each:.3f}" for name, each in found.items()),
        max(found.values()) <= 1 + 1e-9,
    )


def _log_probabilities(scores: Any) -> Floats:
    weights: Floats = np.asarray(scores, np.float64) / 2
    total = float(np.logaddexp.reduce(weights))
    log_probabilities: Floats = weights - total
    return log_probabilities


def _numbers(rng: np.random.Generator, shape: int | tuple[int, ...]) -> Floats:
    return np.where(rng.random(shape) < 0.5, rng.choice([-1.0, -0.9, 0.0, 1.0], shape), rng.normal(0, 0.5, shape))


def _worst_ratio(
    density: Callable[[Floats], Floats], draw: Callable[[np.random.Generator], Floats], pairs: int, seed: int
) -> float:
    rng = np.random.default_rng(seed)
    worst = 0.0
    for _ in range(pairs):
        x = draw(rng)
        y = x.copy()
        y[0] = draw(rng)[-1]
        worst = max(worst, float(np.abs(density(x) - density(y)).max()))
    return worst
