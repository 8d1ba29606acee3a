"""Exhibit: a mechanism on show in the museum of broken privacy, with its claim, its pair and its fix.

For `sfumato.studies.museum`, whose rooms fill it in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.bayesian_audit import Mechanism
from sfumato.privacy.claim import Claim

Pair = tuple[Any, Any]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Exhibit:
    """A mechanism on show.

    Attributes
    ----------
    name, title : str
    source : str
        Who published or shipped it, or whose classic mistake it is.
    claim : Claim
        What it says, or is said, to promise.
    mechanism : callable
        See `Auditor.audit`.
    pairs : list of (x, x')
        Neighbours under the claim.
    told_apart : str
        The pairs in words.
    wrong, fix : str
        One sentence each.
    fixed : callable, optional
        The same statistic done right; the auditor finds nothing in it on the same pairs.
    settings : dict
        Of the auditor, where the defaults of `audit_exhibit` are not enough.
    """

    name: str
    title: str
    source: str
    claim: Claim
    mechanism: Mechanism
    pairs: list[Pair]
    told_apart: str
    wrong: str
    fix: str
    fixed: Mechanism | None = None
    settings: dict[str, Any] = field(default_factory=dict)
