"""How far a synthetic table's answers are from the real table's: for studies, on data that may be looked at.

Not private: every number here is computed from the real rows without noise. What may be published of a private table's
quality is the gap to the noisy answers, in `Synthesizer.history_`.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from sfumato.errors import InvalidData
from sfumato.synthesis.workloads import WorkloadSet


def query_error(real: pd.DataFrame, synthetic: pd.DataFrame, workloads: WorkloadSet) -> pd.DataFrame:
    """Compare the answers of two tables. NOT PRIVATE: it tells of the real rows, and nothing pays for it.

    Choosing a budget, a workload or a seed by it on private rows is a release that no claim covers.

    Parameters
    ----------
    real, synthetic : DataFrame
        In the workloads' domain.
    workloads : WorkloadSet

    Returns
    -------
    DataFrame, one row a workload
        `family`; `columns`, by name; `cells`; `max_error` and `mean_error` over its cells, as fractions of rows.
        `attrs["private"]` is False.

    Raises
    ------
    InvalidData
        If a table is empty or does not lie in the domain.
    """
    if not len(real) or not len(synthetic):
        raise InvalidData("real and synthetic must have rows")
    domain, starts = workloads.domain, workloads.offsets[:-1]
    answers = [workloads.counts(domain.encode(frame)) / len(frame) for frame in (real, synthetic)]
    gaps = np.abs(answers[0] - answers[1])
    sizes = np.diff(workloads.offsets)
    found = pd.DataFrame(
        {
            "family": [workload.family for workload in workloads],
            "columns": [", ".join(domain.names[c] for c in workload.columns) for workload in workloads],
            "cells": sizes,
            "max_error": np.maximum.reduceat(gaps, starts),
            "mean_error": np.add.reduceat(gaps, starts) / sizes,
        }
    )
    found.attrs["private"] = False
    return found
