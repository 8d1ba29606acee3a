"""How long a mechanism takes on each of two inputs: a side channel that no count of outputs sees.

For whoever runs a mechanism as a service. Information only: running times are neither independent nor alike from one
machine to the next, so nothing here carries a verdict (Haeberlen, Pierce, Narayan, "Differential Privacy Under
Fire", USENIX Security 2011, on why it matters).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from sfumato.errors import InvalidData


@dataclass(frozen=True)
class TimingReport:
    """Running times under two inputs, in seconds: medians, and a rank test of their being alike.

    A small p-value says that something told the inputs apart by the clock here and now. It is no verdict on a claim.
    """

    first: float
    second: float
    pvalue: float
    calls: int

    def __str__(self) -> str:
        return (
            f"information only: median {1e6 * self.first:.1f} µs against {1e6 * self.second:.1f} µs over {self.calls} "
            f"calls each, p = {self.pvalue:.2g} (Mann-Whitney)"
        )


def compare_timings(
    call: Callable[[Any], Any], pair: tuple[Any, Any], *, calls: int = 500, random_state: int | None = None
) -> TimingReport:
    """Time single calls on two inputs in random order.

    Parameters
    ----------
    call : callable
        ``call(x)`` runs the mechanism once.
    pair : (x, x')
        Neighbouring inputs.
    calls : int, default 500
        On each input, at least 10; before them, both are called a few times untimed.
    random_state : int, optional
        Of the order.
    """
    if isinstance(calls, bool) or not isinstance(calls, (int, np.integer)) or calls < 10:
        raise InvalidData("calls must be a whole number, at least 10")
    for x in (*pair, *pair):
        call(x)
    order = np.random.default_rng(random_state).permutation(np.repeat([0, 1], calls))
    taken: tuple[list[float], list[float]] = ([], [])
    for side in order:
        start = time.perf_counter()
        call(pair[side])
        taken[side].append(time.perf_counter() - start)
    return TimingReport(
        float(np.median(taken[0])), float(np.median(taken[1])), float(stats.mannwhitneyu(*taken).pvalue), int(calls)
    )
