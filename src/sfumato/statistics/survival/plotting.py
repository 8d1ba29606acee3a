"""Draws private curves: bands, what is not reliable, and the claim under the axis.

For anyone who publishes the picture: the promise travels with it.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.privacy.claim import Claim

if TYPE_CHECKING:
    from sfumato.statistics.survival.sound import DPKaplanMeier

_GREY = "0.55"


def plot_survival(fit: DPKaplanMeier, *, ax: Any = None, level: float = 0.95, time_unit: str | None = None) -> Any:
    """Draw each group's curve and pointwise band; dashed and grey where it is not reliable.

    Parameters
    ----------
    fit : DPKaplanMeier
        Fitted.
    ax : matplotlib Axes, optional
    level : float
    time_unit : str, optional

    Returns
    -------
    matplotlib Axes
    """
    table = fit.table(level)
    grouped = "group" in table.columns
    groups = list(table.groupby("group", sort=False)) if grouped else [("Kaplan-Meier", table)]
    ax = new_axes(ax)
    fine = np.linspace(0, float(fit.timeline_[-1]), max(200, 2 * fit.n_bins_))
    smooth = np.atleast_2d(np.asarray(fit.predict(fine)).T)
    for g, (label, part) in enumerate(groups):
        end = float(part["timeline"][part["reliable"]].max()) if part["reliable"].any() else 0.0
        colour = draw_curve(ax, fine, smooth[g], end, str(label))
        for held in (True, False):
            inside = part["timeline"] <= end if held else part["timeline"] >= end
            ax.fill_between(
                part["timeline"][inside],
                part["lower"][inside],
                part["upper"][inside],
                color=colour if held else _GREY,
                alpha=0.18 if held else 0.1,
                linewidth=0,
            )
    ax.set_ylim(0, 1.02)
    ax.set_ylabel(f"survival, {level:.0%} interval")
    if grouped:
        ax.legend(frameon=False)
    finish(ax, float(fit.timeline_[-1]), fit.claim_, time_unit)
    return ax


def new_axes(ax: Any) -> Any:
    """Return `ax`, or the axes of a new figure."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt

    return plt.subplots(figsize=(7, 4.8), layout="constrained")[1]


def draw_curve(ax: Any, times: Any, values: Any, reliable_until: float, label: str) -> Any:
    """Draw the reliable part solid, and the rest dashed and grey; return the colour of the solid part."""
    held = times <= reliable_until
    (line,) = ax.plot(times[held], values[held], label=label)
    if not held.all():
        rest = times >= times[held].max()  # time 0 is always drawn
        ax.plot(times[rest], values[rest], color=_GREY, linestyle="--")
    return line.get_color()


def finish(ax: Any, horizon: float, claim: Claim, time_unit: str | None) -> None:
    """Label the time axis and put the claim's sentence below it."""
    ax.set_xlim(0, horizon)
    sentence = textwrap.fill(str(claim), 100)
    ax.set_xlabel(f"time{f' ({time_unit})' if time_unit else ''}\n\n{sentence}", fontsize="small")
