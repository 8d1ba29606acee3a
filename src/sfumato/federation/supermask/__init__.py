"""Supermasks of signs: a federation that sends one bit a kept weight and never weights, on a network pruned unseen.

For engineers who federate small networks over slow links, with a model of its own for each silo. After Vallapuram et
al., "HideNseek" (2022, arXiv 2206.04385), of which only abstract and introduction could be read.
"""

from typing import Any

from sfumato.lazy import imported

_MODULES = {
    "OpenBallot": "ballots",
    "PrivateSteps": "private",
    "SignSupermask": "estimator",
    "Subnetwork": "subnetwork",
    "SummedBallot": "ballots",
    "SupermaskProtocol": "protocol",
    "SupermaskVotes": "votes",
    "digit_network": "subnetwork",
    "make_ballot": "ballots",
    "make_subnetwork": "subnetwork",
    "pack_signs": "signs",
    "synaptic_saliency": "saliency",
    "unpack_signs": "signs",
}

__all__ = [
    "OpenBallot",
    "PrivateSteps",
    "SignSupermask",
    "Subnetwork",
    "SummedBallot",
    "SupermaskProtocol",
    "SupermaskVotes",
    "digit_network",
    "make_ballot",
    "make_subnetwork",
    "pack_signs",
    "synaptic_saliency",
    "unpack_signs",
]


def __getattr__(name: str) -> Any:
    return imported(__name__, _MODULES, name, extra="federation", heavy=("torch",))
