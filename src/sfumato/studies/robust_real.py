"""Real tables under private robust statistics: diabetes (442 people) and doctor visits (randhie, 20,190 person-years).

For the study of card 11. Efron et al. 2004; RAND Health Insurance Experiment, as statsmodels ships it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression

from sfumato.data.tabular import load_table
from sfumato.errors import MissingExtra
from sfumato.statistics.robust import DPDepthRegression, DPQuantile, DPTrimmedMean
from sfumato.studies.robust_peers import Floats, clipped_mean
from sfumato.studies.study import Row


def real_rows(runs: int, grid_size: int) -> Iterator[Row]:
    """Rows of the study, with that many runs of the small regression and that grid for the sparse one."""
    table = load_diabetes(scaled=False)
    names, y = list(table.feature_names), table.target
    lower, upper = (18, 1, 15, 60, 80, 40, 20, 1.5, 3, 50), (80, 2, 45, 140, 320, 260, 100, 10, 6.5, 130)
    yield from _mass_rows(table.data[:, [2]], y, runs)
    settings = {"X_bounds": (lower, upper), "y_bounds": (0, 350), "n_nonzero_coefs": 2}
    fit = DPDepthRegression(2.0, **settings, grid_size=grid_size).fit(table.data, y)  # type: ignore[arg-type]
    chosen = " and ".join(names[j] for j in np.flatnonzero(fit.coef_))
    both = table.data[:, [2, 8]]
    best = LinearRegression().fit(both, y)
    yield Row(
        "real diabetes table, 442 people, two of ten features, ε = 2: features chosen, mean absolute error",
        f"not found; least squares on bmi and s5 without privacy {np.abs(y - best.predict(both)).mean():.1f}",
        f"{chosen}, {np.abs(y - fit.predict(table.data)).mean():.1f}",
    )
    try:
        visits = load_table("randhie")["mdvis"].to_numpy(np.float64)
    except MissingExtra:
        return
    yield from _visit_rows(visits)


def _mass_rows(X: Floats, y: Floats, runs: int) -> Iterator[Row]:
    plain = LinearRegression().fit(X, y)
    baseline = float(np.abs(y - np.median(y)).mean())
    own = float(np.abs(y - plain.predict(X)).mean())
    for epsilon in (0.2, 1.0, 4.0):
        losses, slopes = [], []
        for _ in range(runs):
            fit = DPDepthRegression(epsilon, X_bounds=(15, 45), y_bounds=(0, 350)).fit(X, y)
            losses.append(float(np.abs(y - fit.predict(X)).mean()))
            slopes.append(float(fit.coef_[0]))
        yield Row(
            f"real diabetes table, 442 people: progression by body mass, ε = {epsilon:g}: mean absolute error, slope",
            f"not found; least squares without privacy {own:.1f}, {plain.coef_[0]:.1f}; the median {baseline:.1f}",
            f"{np.median(losses):.1f}, {np.median(slopes):.1f}",
            None if epsilon < 1 else float(np.median(losses)) <= (own + baseline) / 2,
        )


def _visit_rows(visits: Floats) -> Iterator[Row]:
    bounds = (0.0, 10_000.0)  # far above what anybody can have
    epsilon, resolution = 0.1, 0.05
    common = {"bounds": bounds, "resolution": resolution}
    trimmed = DPTrimmedMean(epsilon, **common).fit(visits).estimate_  # type: ignore[arg-type]
    laplace = [clipped_mean(visits - 5000.0, epsilon, 5000.0) + 5000.0 for _ in range(100)]
    missed = float(np.median(np.abs(np.array(laplace) - visits.mean())))
    upper = [float(DPQuantile(epsilon, p=0.9, **common).fit(visits).estimate_) for _ in range(20)]  # type: ignore[arg-type]
    yield Row(
        "real randhie table, doctor visits of 20,190 person-years, ε = .1, range 0 to 10,000: ninth decile",
        f"not found; {np.quantile(visits, 0.9):g} without privacy",
        f"median of 20 runs {np.median(upper):.2f}",
        bool(abs(np.median(upper) - np.quantile(visits, 0.9)) <= 1),
    )
    yield Row(
        "the same: trimmed mean, and the mean, which it is not where records are skewed",
        f"not found; the mean is {visits.mean():.2f} without privacy",
        f"trimmed mean {trimmed:.2f}; error of the clipped mean with Laplace noise {missed:.2f}",
    )
