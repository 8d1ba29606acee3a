"""Adds the noisy tables of several sites to one fitted curve.

For registries that each noise their own cells and send them once. Parallel composition over disjoint
people (McSherry 2009); the variance of the noise adds up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.privacy.bounds import ZCDP, ApproxDP, PureDP
from sfumato.privacy.claim import Claim
from sfumato.statistics.survival.noisy_counts import NoisyCounts
from sfumato.statistics.survival.sound import DPKaplanMeier


def merge(tables: Sequence[NoisyCounts], **parameters: Any) -> DPKaplanMeier:
    """Fit one estimator to the sum of the tables of several sites.

    Each person is in one site, so the sum promises what the weakest site promises: a person added to one
    site changes one site's table. A person replaced may leave one site and enter another: each table then
    moves half as far as its own claim allows for, so the same bound holds.

    Parameters
    ----------
    tables : sequence of NoisyCounts
        With the same edges, group labels, neighbours, mechanism and kind of bound.
    **parameters
        `actuarial`, `interpolation` or `shrink` of the resulting estimator.

    Returns
    -------
    DPKaplanMeier
        Fitted; `noisy_counts_.variance` is the sum of the sites', its claim's trust is "silo".

    Raises
    ------
    InvalidData
        If the list is empty or the tables do not fit together.
    """
    if not isinstance(tables, Sequence) or not tables:
        raise InvalidData("tables must be a non-empty sequence of NoisyCounts")
    if not all(isinstance(table, NoisyCounts) for table in tables):
        raise InvalidData("tables must hold NoisyCounts only")
    first = tables[0]
    for table in tables[1:]:
        _check_alike(first, table)
    total = NoisyCounts(
        edges=first.edges,
        events=np.sum([table.events for table in tables], axis=0),
        censored=np.sum([table.censored for table in tables], axis=0),
        tail=np.sum([table.tail for table in tables], axis=0),
        variance=float(sum(table.variance for table in tables)),
        neighbours=first.neighbours,
        group_labels=first.group_labels,
        claim=_joint_claim([table.claim for table in tables]),
        sites=sum(table.sites for table in tables),
        mechanism=first.mechanism,
    )
    return DPKaplanMeier.from_noisy_counts(total, **parameters)


def _check_alike(first: NoisyCounts, other: NoisyCounts) -> None:
    if not np.array_equal(first.edges, other.edges):
        raise InvalidData("tables must have the same edges: agree on a public grid first")
    for name in ("group_labels", "neighbours", "mechanism"):
        if getattr(first, name) != getattr(other, name):
            raise InvalidData(f"tables must have the same {name}")
    if type(first.claim.bound) is not type(other.claim.bound) or first.claim.unit != other.claim.unit:
        raise InvalidData("tables must have claims of the same kind and unit")


def _joint_claim(claims: Sequence[Claim]) -> Claim:
    if len(claims) == 1:
        return claims[0]
    bounds = [claim.bound for claim in claims]
    said = dict.fromkeys(sentence for claim in claims for sentence in claim.assumptions)
    return replace(
        claims[0],
        bound=_weakest(bounds),
        trust="silo",
        assumptions=(*said, "each person is in one site only"),
        void=next((claim.void for claim in claims if claim.void), ""),
    )


def _weakest(bounds: Sequence[Any]) -> PureDP | ApproxDP | ZCDP:
    match bounds[0]:
        case PureDP():
            return PureDP(max(bound.epsilon for bound in bounds))
        case ZCDP():
            return ZCDP(max(bound.rho for bound in bounds))
        case ApproxDP():
            return ApproxDP(max(b.epsilon for b in bounds), max(b.delta for b in bounds))
    raise InvalidData("tables must have claims of pure, approximate or zero-concentrated DP")
