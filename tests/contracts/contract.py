"""What one entry of the contract suite says of one configuration of one public class."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from sfumato import Claim


@dataclass(frozen=True)
class Contract:
    """One configuration of one public class.

    Attributes
    ----------
    subject : type
    name : str
    claim : Claim
        As the fitted object states it.
    run : callable
        ``run(data)`` releases once; for coupled runs.
    neighbours : callable
        ``neighbours(rng) -> (data, data)``, random neighbours under the claim.
    outputs : callable
        ``outputs(data, n, rng)``: n independent releases.
    worst : list of (data, data)
        The pairs that are audited.
    too_far : list of (data, data)
        Pairs just beyond the claim's neighbours: the audit must catch them, or it would catch nothing.
    trials : int
        Counted runs a side.
    bug : float
        What the twin's noise is divided by: 2, or more where the proof leaves part of the budget unused on any pair.
    """

    subject: type
    name: str
    claim: Claim
    run: Callable[[Any], Any]
    neighbours: Callable[[np.random.Generator], tuple[Any, Any]]
    outputs: Callable[[Any, int, np.random.Generator], Any]
    worst: list[tuple[Any, Any]]
    too_far: list[tuple[Any, Any]]
    trials: int = 30_000
    bug: float = 2

    def __str__(self) -> str:
        return f"{self.subject.__name__}-{self.name}"
