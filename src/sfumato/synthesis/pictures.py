"""Pictures of a synthetic table: noisy targets against synthetic answers. Everything drawn is public.

For the report of a release, and for whoever checks a fit without the table.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData
from sfumato.synthesis.domain import Domain, Rows
from sfumato.synthesis.measuring import Measurements

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST_BARS = 32


def plot_answers(measurements: Measurements, rows: Rows, *, ax: Axes | None = None) -> Axes:
    """Draw every noisy answer against the synthetic one, with two standard deviations of the noise around equality.

    Parameters
    ----------
    measurements : Measurements
    rows : ndarray of float64, shape (n, d)
        Synthetic rows, `rows_` of a synthesizer.
    ax : Axes, optional
    """
    ax = _axes(ax, (5, 5))
    synthetic = measurements.workloads.counts(rows) / len(rows)
    ax.plot(synthetic, measurements.answers, ".", markersize=3, alpha=0.3, color="#8a5a2b", rasterized=True)
    top = float(max(synthetic.max(), measurements.answers.max())) * 1.05
    line = np.array([0.0, top])
    spread = 2 * float(measurements.sigma.max())
    ax.plot(line, line, color="#22201d", linewidth=1)
    ax.fill_between(line, line - spread, line + spread, color="#d9d3c8", alpha=0.6, linewidth=0)
    ax.set(xlabel="synthetic answer", ylabel="noisy answer", xlim=(0, top), ylim=(0, top), aspect="equal")
    return ax


def plot_pairs(measurements: Measurements, rows: Rows, *, ax: Axes | None = None) -> Axes:
    """Draw for each pair of columns how far its noisy and synthetic marginals are apart.

    In standard deviations of the noise: the root mean square over the cells of the pair's worst measured marginal. 1
    is what noise alone would give; a grey field is a pair that was not measured.

    Parameters are those of `plot_answers`.
    """
    domain = measurements.workloads.domain
    ax = _axes(ax, (0.28 * len(domain) + 3, 0.28 * len(domain) + 2.2))
    gaps = (measurements.workloads.counts(rows) / len(rows) - measurements.answers) / measurements.sigma
    field = np.full((len(domain), len(domain)), np.nan)
    offsets = measurements.workloads.offsets
    for place, workload in enumerate(measurements.workloads):
        if len(workload.columns) == 2 and workload.gate is None and not workload.asked:
            a, b = workload.columns
            gap = float(np.sqrt(np.mean(gaps[offsets[place] : offsets[place + 1]] ** 2)))
            field[b, a] = field[a, b] = np.nanmax([field[a, b], gap])
    if np.isnan(field).all():
        raise InvalidData("no pair of columns was measured")
    ax.set_facecolor("#eeeae2")
    image = ax.imshow(field, cmap="YlOrBr", vmin=0, vmax=max(2.0, float(np.nanmax(field))))
    ax.set_xticks(range(len(domain)), domain.names, rotation=90, fontsize=7)
    ax.set_yticks(range(len(domain)), domain.names, fontsize=7)
    ax.figure.colorbar(image, ax=ax, label="gap, in standard deviations of the noise", shrink=0.8)
    return ax


def plot_column(measurements: Measurements, rows: Rows, name: str, *, ax: Axes | None = None) -> Axes:
    """Draw a column's noisy distribution as bars, with two standard deviations, and the synthetic one as points.

    The noisy one is the mean over all measured marginals that hold the column at its finest resolution, summed over
    the other columns: nothing new is measured.

    Parameters
    ----------
    name : str
        Others are those of `plot_answers`.

    Raises
    ------
    InvalidData
        If no measured marginal holds the column.
    """
    ax = _axes(ax, (5, 3))
    noisy, deviation, synthetic = column_answers(measurements, rows, name)
    places = np.arange(len(noisy))
    ax.bar(places, noisy, color="#d9d3c8", label="noisy")
    ax.errorbar(places, noisy, yerr=2 * deviation, fmt="none", color="#6b655c", linewidth=1)
    ax.plot(places, synthetic, "o", color="#8a5a2b", markersize=4, label="synthetic")
    labels = _labels(measurements.workloads.domain, name, len(noisy))
    shown = places[:: max(1, len(places) // _MOST_BARS)]
    long = max(len(labels[i]) for i in shown) > 4 or len(shown) > 12
    ax.set_xticks(shown, [labels[i] for i in shown], rotation=90 if long else 0, fontsize=7)
    ax.set_title(name, loc="left", fontsize=9)
    ax.set_ylim(bottom=0)
    return ax


def column_answers(
    measurements: Measurements, rows: Rows, name: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a column's noisy distribution, its standard deviation, and the synthetic one, as fractions of rows.

    Returns
    -------
    noisy, deviation, synthetic : ndarray of float64, shape (cells,)

    Raises
    ------
    InvalidData
        If no measured marginal holds the column.
    """
    workloads = measurements.workloads
    column = workloads.domain.place(name)
    holding = [
        (place, w, [axis.column for axis in w.axes].index(column))
        for place, w in enumerate(workloads)
        if w.gate is None and not w.asked and column in w.columns
    ]
    if not holding:
        raise InvalidData(f"no measured marginal holds column {name!r}")
    finest = max(w.axes[axis].cells for _, w, axis in holding)
    synthetic_counts = workloads.counts(rows) / len(rows)
    sums, variances, synthetic = [], [], np.zeros(finest)
    for place, w, axis in holding:
        if w.axes[axis].cells == finest:
            cells = slice(workloads.offsets[place], workloads.offsets[place + 1])
            shape = tuple(each.cells for each in w.axes)
            others = tuple(k for k in range(len(shape)) if k != axis)
            sums.append(measurements.noisy[cells].reshape(shape).sum(axis=others))
            variances.append((measurements.sigma[cells] ** 2).reshape(shape).sum(axis=others))
            synthetic = synthetic_counts[cells].reshape(shape).sum(axis=others)
    weights = 1 / np.array(variances)
    noisy = (np.array(sums) * weights).sum(axis=0) / weights.sum(axis=0)
    return noisy, 1 / np.sqrt(weights.sum(axis=0)), synthetic


def _labels(domain: Domain, name: str, cells: int) -> list[str]:
    column = domain.columns[domain.place(name)]
    if column.categories is not None:
        return ["missing" if value is None else str(value)[:18] for value in column.categories]
    assert column.bounds is not None
    low, high = column.bounds
    # a whole number owns an interval of its own width, so that a bin begins at the first one that lies in it
    starts = [low + (high - low + column.integer) * k / cells for k in range(cells)]
    return [_short(math.ceil(start) if column.integer else start) for start in starts]


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 1000 else f"{number:.4g}"


def _axes(ax: Axes | None, size: tuple[float, float]) -> Any:
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=size, layout="constrained")[1]
