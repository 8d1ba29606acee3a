"""HeavyHitterProtocol: the parties' users speak once each, level by level, and the server grows a tree of prefixes.

For any runtime of `sfumato.federation`. After Zhang, Ye and Hu, "Federated Heavy Hitter Analytics with Local
Differential Privacy" (SIGMOD 2025), of which only summaries could be read; see `plan` for the other methods.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.heavy_hitters.encoders import Encoder
from sfumato.federation.heavy_hitters.estimates import Estimate, add, add_by_shares, party_estimate, top
from sfumato.federation.heavy_hitters.plan import MOST_CANDIDATES, Plan
from sfumato.federation.heavy_hitters.speaking import Asked, speak
from sfumato.federation.heavy_hitters.tree import best, grow, kth_largest, survivors
from sfumato.federation.message import Message

Items = NDArray[np.uint64]

_MOST_USERS = 1 << 40
_SURELY_RARE = 3.0  # standard errors below the k-th largest
_FINAL = ("candidates", "counts", "variances")
_TRACE = ("level", "party", "candidates", "kept", "sd")


@dataclass(frozen=True, eq=False)
class Found:
    """What a run found, largest count first.

    Attributes
    ----------
    codes : ndarray of uint64
    counts, stderr : ndarray of float64
        Of all parties' users; NaN for votes, of which no counts are told.
    users : int
        How many users the parties had that stayed to the end.
    trace : list of dict
        Of each level, and of each party where parties have candidates of their own (else party -1): how many
        candidates there were, how many lived on, and the standard error of a rare item's count.
    """

    codes: Items
    counts: NDArray[np.float64]
    stderr: NDArray[np.float64]
    users: int
    trace: list[dict[str, Any]]


class HeavyHitterProtocol:
    """The k items that most users hold, over all parties, under local differential privacy.

    *Who is protected, and why.* Each user belongs to one level, by a public random permutation of their party's users;
    at that level the user sends one report, which is ε-DP on its own, whatever the candidates are (`GRR`, `OUE`,
    `OLH`). Candidates depend on other users' reports only. So every transcript's probability changes by a factor of at
    most e^ε when one user's item is replaced: the server, the other parties and the user's own party learn no more.
    *What a silo does for it*: the seed of the permutation and the party's number are fixed by the first request of a
    run; a request with others, or for a level that was answered, is refused. The ledger is charged ε once a run: the
    users of all levels are different people, so the levels compose in parallel. A new run asks everyone again, and is
    charged again.

    `client_step` stands in for the devices of a party's users: it randomises each user's item on its own, and adds up
    what the reports support.

    Parameters
    ----------
    plan : Plan
        From `make_plan`.
    encoder : Encoder
        Of `plan.bits` bits.
    random_state : int, optional
        Decides groups, hash functions and simulated sums; never the noise of reports.
    """

    name = "heavy-hitters"
    version = 1

    def __init__(self, plan: Plan, encoder: Encoder, *, random_state: int | None = None) -> None:
        if encoder.bits != plan.bits:
            raise InvalidData(f"the encoder has {encoder.bits} bits and the plan {plan.bits}")
        self.plan = plan
        self.encoder = encoder
        self.random_state = random_state

    def config(self) -> dict[str, Any]:
        """Return the plan and the encoder."""
        return {**asdict(self.plan), "encoder": dict(self.encoder.config())}

    def start(self) -> dict[str, Any]:
        """Draw the public seed; nothing else is known."""
        if self.random_state is None:
            seed = secrets.randbits(62)
        else:
            seed = int(np.random.default_rng(self.random_state).integers(1 << 62))
        return {"seed": seed, "level": 0, "turn": 0, "parties": np.zeros(0, np.int64)}

    def requests(self, state: Mapping[str, Any], parties: tuple[int, ...]) -> dict[int, dict[str, Any]]:
        """Ask who is there about the level's candidates: all at once, or the next in turn."""
        there = _parties(state) or list(parties)
        if self._in_turn(state):
            there = [self._order(state)[state["turn"]]]
        return {
            party: {
                "seed": state["seed"],
                "level": state["level"],
                "party": party,
                "candidates": self._candidates(state, party),
                "suspects": self._suspects(state, party),
            }
            for party in there
        }

    def check_reply(self, state: Mapping[str, Any], party: int, reply: Message) -> None:
        """Refuse counts of another shape or dtype, or that so many users cannot have caused."""
        size = len(self._candidates(state, party))
        reply.expect("support", "kept", "users", "population")
        support = reply.array("support", dtype=np.int64, shape=(size,))
        kept = reply.array("kept", dtype=np.bool_, shape=(size,))
        population = reply.integer("population", low=self.plan.least_users, high=_MOST_USERS)
        users = reply.integer("users", low=1, high=population)
        if support.min() < 0 or support.max() > users:
            raise ProtocolError(f"field 'support' must lie within 0 .. {users}, the users who were asked")
        if np.any(~kept & ~self._suspects(state, party)):
            raise ProtocolError("field 'kept' must keep what the request does not suspect")
        if kept.sum() < min(self.plan.k, size):
            raise ProtocolError(f"field 'kept' must keep {self.plan.k} candidates")
        known = state.get(f"population/{party}", population)
        if population != known:
            raise ProtocolError(f"field 'population' must be that of the first level, {known}")

    def server_step(self, state: Mapping[str, Any], replies: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """Estimate, let the largest live on, and grow them by a level."""
        fields: dict[str, Any] = dict(state)
        in_turn = self._in_turn(state)  # then who is asked has answered: the engine stops a round without replies
        there = _parties(state) if in_turn else sorted(replies)
        for party in set(_parties(state)) - set(there):
            for name in [name for name in fields if name.endswith(f"/{party}")]:
                del fields[name]
        fields["parties"] = np.array(there, np.int64)
        for party, reply in replies.items():
            fields[f"population/{party}"] = reply["population"]
        if self.plan.delta is not None:
            return fields | self._count_votes(fields, state, replies)
        self._let_live(fields, state, replies)
        if in_turn and state["turn"] + 1 < len(there):
            return fields | {"turn": state["turn"] + 1}
        kept = {name: value for name, value in fields.items() if not name.startswith(("rare/", "top/"))}
        return kept | {"turn": 0, "level": state["level"] + 1}

    def finished(self, state: Mapping[str, Any]) -> bool:
        """Whether every level has spoken."""
        return bool(state["level"] == self.plan.levels)

    def result(self, state: Mapping[str, Any]) -> Found:
        """Add the last level's estimates over the parties."""
        plan, parties = self.plan, _parties(state)
        users = sum(int(state[f"population/{party}"]) for party in parties)
        trace = [dict(zip(_TRACE, row, strict=True)) for row in state["trace"].tolist()]
        if plan.delta is not None:
            codes = state["votes"]
            unknown = np.full(len(codes), np.nan)
            return Found(codes, unknown, unknown, users, trace)
        finals = [Estimate(**{name: state[f"final/{name}/{party}"] for name in _FINAL}, sd=0.0) for party in parties]
        if plan.by_shares:
            total = add_by_shares(finals, plan.k, users)
        else:
            total = add([top(each, plan.k) for each in finals] if plan.upload == "topk" else finals)
        places = best(total.counts, plan.k)
        return Found(total.candidates[places], total.counts[places], np.sqrt(total.variances[places]), users, trace)

    def client_step(
        self, request: Message, memory: Mapping[str, Any], data: Any
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Let the users of a level report: `data` is one item a user, as the encoder takes them."""
        asked = self._read(request, memory)
        codes = self.encoder.encode(data)
        if len(codes) < self.plan.least_users:
            raise InvalidData(f"a party must have at least {self.plan.least_users} users, one a level and more for gtf")
        reply = speak(self.plan, asked, codes, paid="level" in memory)
        return reply, {"seed": asked.seed, "party": asked.party, "level": asked.level}

    def _read(self, request: Message, memory: Mapping[str, Any]) -> Asked:
        """Check a request against what this silo answered in this run: no user may report twice."""
        request.expect("seed", "level", "party", "candidates", "suspects")
        level = request.integer("level", low=0, high=self.plan.levels - 1)
        candidates = request.array("candidates", dtype=np.uint64, shape=(None,))
        suspects = request.array("suspects", dtype=np.bool_, shape=(len(candidates),))
        top_prefix = np.uint64(1 << self.plan.lengths[level])
        if not 0 < len(candidates) <= 4 * MOST_CANDIDATES:
            raise ProtocolError(f"field 'candidates' must hold 1 .. {4 * MOST_CANDIDATES} prefixes")
        if np.any(candidates[1:] <= candidates[:-1]) or candidates[-1] >= top_prefix:
            raise ProtocolError("field 'candidates' must hold prefixes of this level, in increasing order")
        if suspects.any() and not self.plan.prune:
            raise ProtocolError("field 'suspects' must be empty: this method does not prune")
        seed = request.integer("seed", low=0, high=(1 << 62) - 1)
        party = request.integer("party", low=0, high=1 << 32)
        if "level" in memory and (seed, party) != (memory["seed"], memory["party"]):
            raise ProtocolError("a run has one seed and one number for this party: who speaks when follows from both")
        if "level" in memory and level <= memory["level"]:
            raise ProtocolError("each level of a run is asked once, in order")
        return Asked(seed, level, party, candidates, suspects)

    def _let_live(
        self, fields: dict[str, Any], state: Mapping[str, Any], replies: Mapping[int, Mapping[str, Any]]
    ) -> None:
        plan, level = self.plan, state["level"]
        estimates = {p: party_estimate(plan, self._candidates(state, p), reply) for p, reply in replies.items()}
        if level == plan.levels - 1:
            for party, each in estimates.items():
                for name in _FINAL:
                    fields[f"final/{name}/{party}"] = getattr(each, name)
        meeting = level < plan.shared and (plan.sync == "each" or level == plan.shared - 1)
        if meeting:
            together = add(list(estimates.values()))
            living = self._living(fields, level, -1, together)
            for party in estimates:
                fields[f"candidates/{party}"] = living
            return
        for party, each in estimates.items():
            fields[f"candidates/{party}"] = self._living(fields, level, party, each)
            if self._in_turn(state):
                rare = each.counts < kth_largest(each.counts, plan.k) - _SURELY_RARE * each.sd
                fields[f"rare/{party}"] = each.candidates[rare]
                fields[f"top/{party}"] = each.candidates[np.sort(best(each.counts, plan.k))]

    def _living(self, fields: dict[str, Any], level: int, party: int, each: Estimate) -> Items:
        """The next level's candidates; nothing grows from the last one."""
        plan = self.plan
        places = survivors(each.counts, plan.k, each.sd, z=plan.z, most=plan.most)
        fields["trace"] = _noted(fields, [level, party, len(each.counts), len(places), each.sd])
        if level == plan.levels - 1:
            return each.candidates[:0]
        return grow(each.candidates[places], plan.lengths[level + 1] - plan.lengths[level])

    def _count_votes(
        self, fields: Mapping[str, Any], state: Mapping[str, Any], replies: Mapping[int, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Keep the prefixes with enough votes, and tell nobody the votes. A tree that died is finished."""
        plan, level = self.plan, state["level"]
        candidates = self._candidates(state, next(iter(replies)))
        votes = np.sum([reply["support"] for reply in replies.values()], axis=0)
        living = candidates[votes >= plan.threshold]
        trace = _noted(fields, [level, -1, len(candidates), len(living), 0.0])
        if level == plan.levels - 1 or not len(living):
            return {"trace": trace, "votes": living, "level": plan.levels}
        grown = grow(living, plan.lengths[level + 1] - plan.lengths[level])
        return {"trace": trace, "level": level + 1, **{f"candidates/{party}": grown for party in replies}}

    def _in_turn(self, state: Mapping[str, Any]) -> bool:
        return self.plan.prune and state["level"] >= self.plan.shared

    def _order(self, state: Mapping[str, Any]) -> list[int]:
        """The parties that are left, the largest first."""
        return sorted(_parties(state), key=lambda party: (-int(state[f"population/{party}"]), party))

    def _candidates(self, state: Mapping[str, Any], party: int) -> Items:
        """A party's candidates: its own, and what parties before it at this level hold for the largest (TAPS)."""
        if state["level"] == 0:
            return np.arange(1 << self.plan.lengths[0], dtype=np.uint64)
        own: Items = state[f"candidates/{party}"]
        others = [state[name] for name in state if name.startswith("top/") and self._in_turn(state)]
        return np.unique(np.concatenate([own, *others])) if others else own

    def _suspects(self, state: Mapping[str, Any], party: int) -> NDArray[np.bool_]:
        """Which of them enough parties before it found surely rare: two, where there are three or more parties."""
        candidates = self._candidates(state, party)
        said = [np.isin(candidates, state[name]) for name in state if name.startswith("rare/") and self._in_turn(state)]
        needed = 2 if len(state["parties"]) >= 3 else 1
        return np.sum(said, axis=0) >= needed if said else np.zeros(len(candidates), np.bool_)


def _parties(state: Mapping[str, Any]) -> list[int]:
    return [int(party) for party in state["parties"]]


def _noted(fields: Mapping[str, Any], row: list[float]) -> NDArray[np.float64]:
    return np.vstack([fields.get("trace", np.zeros((0, len(_TRACE)))), [row]])
