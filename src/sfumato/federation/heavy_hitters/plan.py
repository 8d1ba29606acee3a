"""Plan: what distinguishes the methods, all of which walk one tree of prefixes in their own way.

For `HeavyHitterProtocol`. TAP and TAPS: Zhang, Ye and Hu 2025 (only summaries could be read; the rules are ours). PEM:
Wang, Li and Jha 2021. GTF: Shao et al. (FedFT). TrieHH: Zhu et al. 2020.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sfumato.errors import InvalidData
from sfumato.federation.heavy_hitters.oracles import ORACLES, choose_oracle, local_claim
from sfumato.federation.heavy_hitters.tree import MOST_BITS, cheapest_levels, prefix_lengths
from sfumato.federation.heavy_hitters.trie import sampling_rate, sound_threshold, trie_claim
from sfumato.privacy.budget import privacy_bound
from sfumato.privacy.claim import Claim

METHODS = ("tap", "taps", "aligned", "fedpem", "pem", "gtf", "triehh")

#: Most candidates of a level: a request has 8 bytes for each.
MOST_CANDIDATES = 2**20
_CANDIDATES_AIMED_AT = 2**16  # by levels="auto"
_SIMULATED = "the reports were simulated by the law of their sums: nobody's was randomised"


@dataclass(frozen=True)
class Plan:
    """One method with its parameters, checked.

    Attributes
    ----------
    k, epsilon, bits, levels, oracle : see `FederatedHeavyHitters`
    shared : int
        First levels at which all parties have the same candidates.
    sync : {"each", "end"}
        Whether parties' estimates meet at each shared level or at the last one only.
    z : float
        Standard errors below the k-th largest at which a prefix still lives.
    most : int
        Most prefixes that live.
    upload : {"all", "topk"}
    prune : bool
        Whether parties speak one after the other and drop what earlier ones found rare (TAPS).
    growing : bool
        Whether later levels have more users.
    by_shares : bool
        Whether final counts are added as shares of their party and look-alikes dropped (GTF).
    delta : float or None
        For votes (TrieHH) instead of local reports.
    simulate : {"reports", "aggregate"}
    """

    k: int
    epsilon: float
    bits: int
    levels: int
    oracle: str
    shared: int
    sync: str
    z: float
    most: int
    upload: str
    prune: bool
    growing: bool
    by_shares: bool
    delta: float | None
    simulate: str

    @property
    def lengths(self) -> list[int]:
        """Bits of a prefix at each level."""
        return prefix_lengths(self.bits, self.levels)

    @property
    def widest(self) -> int:
        """Most candidates of a level, where the number of survivors is bounded."""
        return max(1 << self.lengths[0], self.most << math.ceil(self.bits / self.levels))

    @property
    def least_users(self) -> int:
        """Users that a party must have for each level to have one."""
        return self.levels * (2 if self.growing else 1)

    @property
    def threshold(self) -> int:
        """Votes that a prefix needs (TrieHH)."""
        assert self.delta is not None
        return sound_threshold(self.epsilon, self.delta, self.levels)

    @property
    def rate(self) -> float:
        """Share of users that vote in a round (TrieHH)."""
        return sampling_rate(self.epsilon, self.threshold, self.levels)

    @property
    def claim(self) -> Claim:
        """What the run as a whole promises each user."""
        if self.delta is not None:
            claim = trie_claim(self.epsilon, self.delta)
        else:
            claim = local_claim(self.epsilon)
            said = (
                *claim.assumptions,
                "it is randomised on the user's own device, which the silo's step stands in for",
            )
            claim = replace(claim, assumptions=said)
        return claim if self.simulate == "reports" else replace(claim, void=_SIMULATED)

    @property
    def round_claim(self) -> Claim:
        """What one message of a silo promises: all of it to those who speak in it; of votes, the round's part."""
        if self.delta is None:
            return self.claim
        return trie_claim(self.epsilon / self.levels, self.delta / self.levels)

    def standard_error(self, users: int) -> float:
        """Standard error of the count of a rare item among so many users, of whom one in `levels` is asked."""
        oracle = choose_oracle(self.oracle, self.epsilon, self.widest)
        return math.sqrt(self.levels * users * oracle.q * (1 - oracle.q)) / oracle.gap

    def detectable(self, users: int) -> float:
        """Count below which an item among so many users cannot be found reliably: what the largest error reaches."""
        return (math.sqrt(2 * math.log(self.widest)) + 1) * self.standard_error(users)


def make_plan(
    *,
    method: str,
    k: int,
    epsilon: float,
    bits: int,
    levels: int | str,
    shared_levels: int | None,
    oracle: str,
    extension: str,
    z: float,
    t_max: int | None,
    sync: str,
    upload: str,
    delta: float,
    simulate: str,
) -> Plan:
    """Check the parameters and return the plan of a method.

    Raises
    ------
    InvalidClaim
        If epsilon or delta is not a positive number.
    InvalidData
        If another parameter is out of its range, or does not belong to the method.
    """
    _one_of("method", method, METHODS)
    _one_of("oracle", oracle, ("auto", *ORACLES))
    _one_of("extension", extension, ("adaptive", "fixed"))
    _one_of("sync", sync, ("each", "end"))
    _one_of("upload", upload, ("all", "topk"))
    _one_of("simulate", simulate, ("reports", "aggregate"))
    privacy_bound(epsilon, None, delta)
    _integer("bits", bits, 1, MOST_BITS)
    _integer("k", k, 1, 1 << bits)
    adaptive = extension == "adaptive" and method in ("tap", "taps", "aligned")
    most = k
    if adaptive:
        most = 4 * k if t_max is None else t_max
        _integer("t_max", most, k, MOST_CANDIDATES)
    if levels == "auto":
        levels = cheapest_levels(bits, most, _CANDIDATES_AIMED_AT)
    _integer("levels", levels, 1, bits)
    assert isinstance(levels, int)
    if not (isinstance(z, (int, float)) and 0 <= z < math.inf):
        raise InvalidData(f"z must be a finite number, at least 0, got {z}")
    plan = Plan(
        k=int(k),
        epsilon=float(epsilon),
        bits=int(bits),
        levels=levels,
        oracle="grr" if method == "gtf" else oracle,
        shared=_shared(method, shared_levels, levels),
        sync=sync,
        z=float(z) if adaptive else 0.0,
        most=int(most),
        upload="topk" if method == "fedpem" else upload,
        prune=method == "taps",
        growing=method == "gtf",
        by_shares=method == "gtf",
        delta=float(delta) if method == "triehh" else None,
        simulate="reports" if method == "triehh" else simulate,  # votes are counted as they are
    )
    if plan.widest > MOST_CANDIDATES:
        raise InvalidData(f"a level could have {plan.widest} candidates, more than {MOST_CANDIDATES}: give more levels")
    if plan.delta is None:
        choose_oracle(plan.oracle, plan.epsilon, plan.widest)
    else:
        sound_threshold(plan.epsilon, plan.delta, plan.levels)
    return plan


def _shared(method: str, given: int | None, levels: int) -> int:
    if method not in ("tap", "taps"):
        if given is not None:
            raise InvalidData(f"shared_levels is for the methods tap and taps, not for {method}")
        return levels if method in ("aligned", "pem", "triehh") else 0
    if given is None:
        return max(1, levels // 3)
    _integer("shared_levels", given, 1, levels)
    return int(given)


def _one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidData(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def _integer(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not low <= value <= high:
        raise InvalidData(f"{name} must be an integer in {low} .. {high}, got {value!r}")
