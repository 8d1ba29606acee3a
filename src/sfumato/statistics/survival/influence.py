"""Influential points: the follow-up question of the paper, with the control that it needs.

For readers of arXiv 2412.05164, whose abstract says that at ε ≥ 6 fewer patients are influential. The metric
is ours (the definition could not be read); the control shows what such a count really measures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from sfumato.statistics.survival.victims import Floats, read_durations

Factory = Callable[[], Any]


def influential_points(
    estimator_factory: Factory,
    durations: ArrayLike,
    events: ArrayLike,
    thresholds: Sequence[float] = (0.05, 0.1, 0.2),
    *,
    times: ArrayLike | None = None,
) -> pd.DataFrame:
    """Share of persons whose removal moves the released curve by more than each threshold (RMSE).

    A fresh release with everybody is compared with a fresh release without person i. The control compares it with
    another fresh release with everybody: what both show alike is the mechanism's noise, not anyone's membership.

    Parameters
    ----------
    estimator_factory : callable
        Returns an unfitted estimator with fresh noise.
    durations, events : array_like, shape (n,)
    thresholds : sequence of float
    times : array_like, optional
        Where curves are compared; by default the distinct durations.

    Returns
    -------
    DataFrame
        Index "threshold"; columns "removed" and "control".
    """
    t, e = read_durations(durations, events)
    at = np.unique(t) if times is None else np.asarray(times, dtype=float)
    base = _released(estimator_factory, t, e, at)
    everyone = np.arange(len(t))
    removed = np.array(
        [_rmse(base, _released(estimator_factory, t[everyone != i], e[everyone != i], at)) for i in everyone]
    )
    control = np.array([_rmse(base, _released(estimator_factory, t, e, at)) for _ in everyone])
    return pd.DataFrame(
        {
            "removed": [float(np.mean(removed > limit)) for limit in thresholds],
            "control": [float(np.mean(control > limit)) for limit in thresholds],
        },
        index=pd.Index(thresholds, name="threshold"),
    )


def _released(factory: Factory, times: Floats, events: Any, at: Floats) -> Floats:
    curve = factory().fit(times, events).survival_function_.iloc[:, 0]
    place = np.searchsorted(curve.index.to_numpy(dtype=float), at, side="right") - 1
    return np.where(place < 0, 1.0, curve.to_numpy()[place.clip(0)])


def _rmse(a: Floats, b: Floats) -> float:
    return float(np.sqrt(np.mean((a - b) ** 2)))
