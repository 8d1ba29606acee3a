"""Checks that searches by gradient share, made before anything is spent.

For `RelaxedSynthesizer` and `GenerativeNetworkSynthesizer`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.synthesis.workloads import WorkloadSet


def check_relaxable(workloads: WorkloadSet) -> None:
    """Refuse functions of a user.

    Raises
    ------
    InvalidData
        Names the function.
    """
    for workload in workloads:
        if workload.asked:
            name = getattr(workload.asked.function.function, "__qualname__", "a function")
            raise InvalidData(
                f"workload holds the queries of {name}: a function of rows has no gradient; marginals, half-spaces and "
                "prefixes have, and GeneticSynthesizer needs none"
            )


def check_whole(owner: Any, **least: int) -> None:
    """Check parameters that must be whole numbers, each at least so large.

    Raises
    ------
    InvalidData
    """
    for name, low in least.items():
        value = getattr(owner, name)
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < low:
            raise InvalidData(f"{name} must be a whole number, at least {low}, got {value!r}")


def check_above_zero(owner: Any, *names: str) -> None:
    """Check parameters that must be finite numbers above 0.

    Raises
    ------
    InvalidData
    """
    for name in names:
        value = getattr(owner, name)
        number = isinstance(value, (int, float, np.number)) and not isinstance(value, bool)
        if not number or not math.isfinite(value) or value <= 0:
            raise InvalidData(f"{name} must be a finite number above 0, got {value!r}")
