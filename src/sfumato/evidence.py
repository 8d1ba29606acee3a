"""Evidence: what an attack, a test or a certificate measured against a claim.

For the reviewer, who reads it beside the claim. A verdict rests on a confidence statement: a credible
interval is an estimate and may not falsify anything (see systems/31: its coverage at ε = 0 is zero).
The exact bounds of a rate, on which most verdicts rest, are here too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Self, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy import special

from sfumato.errors import InvalidData
from sfumato.privacy.claim import Claim

Verdict: TypeAlias = Literal["consistent", "falsified", "inconclusive"]
Kind: TypeAlias = Literal["confidence", "credible"]
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """One measurement against one claim.

    Parameters
    ----------
    attack : str
        What was tried.
    metric : str
        What was measured, with its unit: "epsilon lower bound".
    value : float
        The measurement.
    interval : tuple of float
        Lower and upper end; ±inf where open.
    level : float
        Confidence (or credibility) of the interval, in (0, 1).
    samples : int
        Runs behind it.
    claim : Claim
        What it was measured against.
    verdict : {"consistent", "falsified", "inconclusive"}
        "consistent" says that this attack found no violation, never that there is none.
    kind : {"confidence", "credible"}
        What the interval is. Only a confidence interval carries a verdict.
    notes : tuple of str
        What a reader should know: power, heuristics, the event found.

    Raises
    ------
    InvalidData
        If a field is out of range, or a credible interval carries a verdict.
    """

    attack: str
    metric: str
    value: float
    interval: tuple[float, float]
    level: float
    samples: int
    claim: Claim
    verdict: Verdict
    kind: Kind = "confidence"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in get_args(Verdict):
            raise InvalidData(f"verdict must be one of {', '.join(get_args(Verdict))}")
        if self.kind not in get_args(Kind):
            raise InvalidData(f"kind must be one of {', '.join(get_args(Kind))}")
        if self.kind == "credible" and self.verdict != "inconclusive":
            raise InvalidData("a credible interval is an estimate: it carries no verdict")
        low, high = self.interval
        if math.isnan(low) or math.isnan(high) or low > high:
            raise InvalidData("interval must be a lower and an upper end, in this order")
        if not 0 < self.level < 1:
            raise InvalidData("level must be in (0, 1)")
        if self.samples < 0:
            raise InvalidData("samples must be at least 0")
        object.__setattr__(self, "notes", tuple(self.notes))

    def __str__(self) -> str:
        low, high = self.interval
        ends = f"[{low:.4g}, {'∞' if math.isinf(high) else f'{high:.4g}'}]"
        return (
            f"{self.attack}: {self.metric} {self.value:.4g}, {self.level:.0%} {self.kind} interval {ends}, "
            f"{self.samples} runs: {self.verdict}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return a JSON object; an infinite end is null."""
        return {
            "attack": self.attack,
            "metric": self.metric,
            "value": _finite(self.value),
            "interval": [_finite(x) for x in self.interval],
            "level": self.level,
            "samples": self.samples,
            "claim": self.claim.to_json(),
            "verdict": self.verdict,
            "kind": self.kind,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Self:
        """Rebuild evidence from `to_json`."""
        low, high = document["interval"]
        value = document["value"]
        return cls(
            **{
                **document,
                "value": math.inf if value is None else value,
                "interval": (-math.inf if low is None else low, math.inf if high is None else high),
                "claim": Claim.from_json(document["claim"]),
                "notes": tuple(document["notes"]),
            }
        )


def _finite(x: float) -> float | None:
    return x if math.isfinite(x) else None


def clopper_pearson_lower(hits: npt.ArrayLike, trials: npt.ArrayLike, alpha: float) -> Floats:
    """One-sided exact lower bound of a rate: it exceeds the rate with probability at most alpha."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    bound = special.betaincinv(np.maximum(k, 1.0), n - k + 1, alpha)
    return np.asarray(np.where(k > 0, bound, 0.0), dtype=np.float64)


def clopper_pearson_upper(hits: npt.ArrayLike, trials: npt.ArrayLike, alpha: float) -> Floats:
    """One-sided exact upper bound of a rate: it falls below the rate with probability at most alpha."""
    k, n = np.asarray(hits, dtype=np.float64), np.asarray(trials, dtype=np.float64)
    # The tail at k = 0 is below 1e-16 of a double's 1; the complement keeps its digits.
    bound = 1 - special.betaincinv(np.maximum(n - k, 1.0), k + 1, alpha)
    return np.asarray(np.where(k < n, bound, 1.0), dtype=np.float64)
