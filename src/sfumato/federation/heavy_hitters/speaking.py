"""Speaking: how the users of one party report at one level, each on its own, and what is added up of it.

For `HeavyHitterProtocol`, at the silo. Noise is drawn in a `Release`; the ledger is charged by the first of a run.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.federation.heavy_hitters.oracles import choose_oracle, estimate, variance
from sfumato.federation.heavy_hitters.plan import Plan
from sfumato.federation.heavy_hitters.tree import best, kth_largest, locate, members
from sfumato.privacy.bounds import ApproxDP
from sfumato.privacy.release import Release

Items = NDArray[np.uint64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

_VALIDATING = 0.1  # share of a level's users that check what earlier parties found rare
_GROUPS, _PUBLIC, _SUMS = 0, 1, 2  # what a stream of public randomness is for


@dataclass(frozen=True)
class Asked:
    """A request that was checked."""

    seed: int
    level: int
    party: int
    candidates: Items
    suspects: Flags


def speak(plan: Plan, asked: Asked, codes: Items, *, paid: bool) -> dict[str, Any]:
    """Return the reply to a request: how many reports support each candidate.

    Parameters
    ----------
    plan : Plan
    asked : Asked
    codes : ndarray of uint64, shape (n,)
        The encoded items of all users of the party.
    paid : bool
        Whether the ledger was charged for this run already.
    """
    if plan.delta is not None:
        return _vote(plan, asked, codes)
    seed = (asked.seed, asked.party, _GROUPS)
    places = members(len(codes), asked.level, plan.levels, seed, growing=plan.growing)
    values = locate(codes[places], plan.bits, plan.lengths[asked.level], asked.candidates)
    ask = _Asking(plan, asked, paid)
    kept = np.ones(len(asked.candidates), np.bool_)
    if asked.suspects.any():
        checking, values = np.split(values, [int(_VALIDATING * len(values))])
        kept = _confirm(plan, asked, ask(checking, len(kept)), len(checking))
        values = _renumber(kept)[values]
    support = np.zeros(len(kept), np.int64)
    support[kept] = ask(values, int(kept.sum()))
    return {"support": support, "kept": kept, "users": len(values), "population": len(codes)}


class _Asking:
    """Lets users report, each once; the first who do are paid for, for all."""

    def __init__(self, plan: Plan, asked: Asked, paid: bool) -> None:
        self.plan, self.asked, self.paid = plan, asked, paid
        self.parts = 0

    def __call__(self, values: Integers, size: int) -> Integers:
        asked, plan = self.asked, self.plan
        oracle = choose_oracle(plan.oracle, plan.epsilon, size)
        stream = _SUMS if plan.simulate == "aggregate" else _PUBLIC
        rng = np.random.default_rng((asked.seed, asked.party, stream, asked.level, self.parts))
        self.parts += 1
        if plan.simulate == "aggregate":
            return oracle.simulate(values, rng)
        return oracle.aggregate(self._released(lambda release: oracle.perturb(values, release, rng)))

    def _released(self, draw: Callable[[Release], Any]) -> Any:
        def once() -> Any:
            with Release(self.plan.round_claim, purpose=_purpose(self.plan, self.asked)) as release:
                return draw(release)

        if not self.paid:
            self.paid = True
            return once()
        # Nobody here spoke in this run before, so by parallel composition the run's one charge covers them: a new
        # context has no active ledger.
        return contextvars.Context().run(once)


def _confirm(plan: Plan, asked: Asked, support: Integers, users: int) -> Flags:
    """Keep a suspect unless the checking users, too, find it below their k-th largest and one standard error.

    At least k candidates stay.
    """
    oracle = choose_oracle(plan.oracle, plan.epsilon, len(support))
    if not users:
        return np.ones(len(support), np.bool_)
    counts, _ = estimate(oracle, support, users)
    line = kth_largest(counts, plan.k) + float(np.sqrt(variance(oracle, users)))
    kept = ~(asked.suspects & (counts < line))
    if kept.sum() < plan.k:
        kept[best(np.where(kept, np.inf, counts), plan.k)] = True
    return kept


def _renumber(kept: Flags) -> Integers:
    """Old numbers to new ones: -1 for what is dropped, and for -1 itself, which indexes the last entry."""
    numbers = np.where(kept, np.cumsum(kept) - 1, -1)
    return np.append(numbers, -1)


def _vote(plan: Plan, asked: Asked, codes: Items) -> dict[str, Any]:
    """Count the votes of a secret random sample of users: TrieHH. The server must be trusted with them."""
    assert isinstance(plan.round_claim.bound, ApproxDP)
    with Release(plan.round_claim, purpose=_purpose(plan, asked)) as release:
        sampled = release.prepaid(plan.round_claim.bound).bernoulli(plan.rate, len(codes))
    values = locate(codes[sampled], plan.bits, plan.lengths[asked.level], asked.candidates)
    votes = np.bincount(values + 1, minlength=len(asked.candidates) + 1)[1:].astype(np.int64)
    kept = np.ones(len(votes), np.bool_)
    return {"support": votes, "kept": kept, "users": len(codes), "population": len(codes)}


def _purpose(plan: Plan, asked: Asked) -> str:
    return f"heavy hitters, level {asked.level + 1} of {plan.levels}"
