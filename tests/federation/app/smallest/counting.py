"""The smallest protocol with noise, memory and rounds: each silo counts, three times, and remembers how often."""

from dataclasses import dataclass

import numpy as np

from sfumato import Claim, PureDP, Release


@dataclass(frozen=True)
class Counting:
    """Sum of noisy counts over silos and rounds; `secrets` draws the noise, so a silo asked twice would show it."""

    rounds: int = 3
    epsilon: float = 1.0
    name: str = "counting"
    version: int = 1

    def config(self):
        return {"rounds": self.rounds, "epsilon": self.epsilon}

    def start(self):
        return {"round": 0, "total": np.zeros(2, np.int64)}

    def requests(self, state, parties):
        return {party: {"round": state["round"], "total": state["total"]} for party in parties}

    def check_reply(self, state, party, reply):
        reply.expect("counts", "seen")
        reply.array("counts", dtype=np.int64, shape=(2,))
        reply.integer("seen", low=1, high=self.rounds)

    def server_step(self, state, replies):
        total = state["total"] + sum(reply["counts"] for reply in replies.values())
        return {"round": state["round"] + 1, "total": total}

    def finished(self, state):
        return state["round"] >= self.rounds

    def result(self, state):
        return state["total"]

    def client_step(self, request, memory, data):
        request.integer("round", low=0, high=self.rounds - 1)
        seen = memory.get("seen", 0) + 1
        with Release(Claim(PureDP(self.epsilon)), purpose=f"count, round {request['round']}") as release:
            noisy = release.discrete_laplace(np.asarray(data, np.int64), l1_sensitivity=1, epsilon=self.epsilon)
        return {"counts": noisy, "seen": seen}, {"seen": seen}


@dataclass(frozen=True)
class Exact(Counting):
    """The same without noise: two runs must agree to the last bit."""

    name: str = "exact"

    def client_step(self, request, memory, data):
        seen = memory.get("seen", 0) + 1
        return {"counts": np.asarray(data, np.int64) * (request["round"] + 1), "seen": seen}, {"seen": seen}
