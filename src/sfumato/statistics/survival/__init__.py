"""Survival analysis under differential privacy: curves, bands, tests, planning, federation.

For registry statisticians. The sound estimators, and the unsound ones that attacks must catch;
after Veeraragavan, Karimireddy and Nygård (arXiv 2412.05164).
"""

from importlib import import_module
from typing import Any

from sfumato.statistics.survival.competing import DPCumulativeIncidence
from sfumato.statistics.survival.federated import merge
from sfumato.statistics.survival.federated_protocol import FederatedKaplanMeier
from sfumato.statistics.survival.logrank import LogRankResult, dp_logrank
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.planning import Plan, plan
from sfumato.statistics.survival.sound import DPKaplanMeier
from sfumato.statistics.survival.spending import choose_mechanism

__all__ = [
    "DPCumulativeIncidence",
    "DPKaplanMeier",
    "FederatedKaplanMeier",
    "LogRankResult",
    "NoisyCounts",
    "Plan",
    "choose_mechanism",
    "dp_logrank",
    "merge",
    "plan",
]

# The unsound estimators are victims of attacks: they load when they are asked for by name.
_VICTIMS = {
    "CountMatrixKM": "countmatrix",
    "SmoothedCurveKM": "smoothers",
    "TimewiseLaplaceKM": "timewise",
    "counterexample": "fixtures",
    "influential_points": "influence",
}


def __getattr__(name: str) -> Any:
    if name not in _VICTIMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_VICTIMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_VICTIMS})
