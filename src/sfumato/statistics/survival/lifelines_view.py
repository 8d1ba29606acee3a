"""Shows a private curve as a fitted lifelines object, for code that plots or reads one.

Nothing is recomputed and no data are held: lifelines' own estimates would be wrong for noisy counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from sfumato.statistics.survival.sound import DPKaplanMeier

_LEVEL = 0.95


def to_lifelines(fit: DPKaplanMeier) -> Any:
    """Return a lifelines KaplanMeierFitter with the private curve, or a dict of them by group label."""
    labels = fit.noisy_counts_.group_labels
    views = [_view(fit, g) for g in range(fit.noisy_counts_.n_groups)]
    return views[0] if labels is None else dict(zip(labels, views, strict=True))


def _view(fit: DPKaplanMeier, group: int) -> Any:
    from lifelines import KaplanMeierFitter

    counts = fit.noisy_counts_
    label = str(counts.columns[group])
    survival = fit.survival_function_.iloc[:, [group]].set_axis([label], axis=1)
    band = fit.confidence_interval(_LEVEL)
    ends = band.iloc[:, [2 * group, 2 * group + 1]]
    view = KaplanMeierFitter(alpha=1 - _LEVEL, label=label)
    view._label, view._estimate_name = label, "survival_function_"
    view._estimation_method = "survival_function_"
    view.timeline = fit.timeline_
    view.survival_function_ = survival
    view.cumulative_density_ = 1 - survival
    view.confidence_interval_ = ends.set_axis([f"{label}_lower_{_LEVEL}", f"{label}_upper_{_LEVEL}"], axis=1)
    view.confidence_interval_survival_function_ = view.confidence_interval_
    view._median = float(np.atleast_1d(fit.percentile(0.5))[group])
    view.event_table = _event_table(fit, group)
    return view


def _event_table(fit: DPKaplanMeier, group: int) -> pd.DataFrame:
    """Noisy life table in lifelines' layout: what happened up to each edge since the one before."""
    counts = fit.noisy_counts_
    events = np.concatenate(([0], counts.events[group]))
    censored = np.concatenate(([0], counts.censored[group]))
    risk = counts.at_risk()[group]
    return pd.DataFrame(
        {
            "removed": events + censored,
            "observed": events,
            "censored": censored,
            "entrance": np.concatenate(([risk[0]], np.zeros(counts.n_bins))),
            "at_risk": np.concatenate((risk[:1], risk)),
        },
        index=pd.Index(counts.edges, name="event_at"),
    )
