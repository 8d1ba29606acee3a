"""Rows of a fit's history: how good the models of each round were, and what the round cost.

For `SignSupermask`, which has its protocol's server tell it of each round.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from sfumato.federation.rounds import Outcome
from sfumato.federation.supermask.evaluation import HeldOut, accuracies
from sfumato.federation.supermask.protocol import SupermaskProtocol
from sfumato.federation.supermask.signs import Signs
from sfumato.federation.supermask.training import coded


class Watched:
    """Rows of the history, one a round, from what the protocol's server tells."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def begin(self, protocol: SupermaskProtocol, held_out: HeldOut) -> None:
        self.protocol, self.held_out = protocol, held_out
        self.before: Signs | None = None

    def __call__(self, number: int, signs: Signs, personal: Mapping[int, Signs]) -> None:
        before = np.ones_like(signs) if self.before is None else self.before
        flipped = float(np.mean([each != before for each in personal.values()])) if personal else math.nan
        self.rows.append({"round": number, **self._accuracies(signs, personal), "flipped": flipped})
        self.before = signs

    def end(self, personal: Mapping[int, Signs]) -> None:
        """Add how good the silos' own models are, of which the server was told nothing."""
        if self.rows and self.before is not None:
            self.rows[-1] |= self._accuracies(self.before, personal)

    def history(self, outcome: Outcome, waves: int) -> list[dict[str, Any]]:
        """The rows, with bytes and seconds of so many messages to each silo a round."""
        seen, complete = outcome.history, []
        for number, row in enumerate(self.rows):
            end = len(seen) - waves * (len(self.rows) - 1 - number)
            own = seen[max(0, end - waves) : end]
            told = {
                "bytes_up": sum(wave.payload_received for wave in own),
                "bytes_down": sum(wave.payload_sent for wave in own),
                "seconds": sum(wave.seconds for wave in own),
            }
            complete.append(row | told)
        return complete

    def _accuracies(self, signs: Signs, personal: Mapping[int, Signs]) -> dict[str, float]:
        sub, code = self.protocol.subnetwork, self.protocol.training.code
        own = {k: sub.values * coded(torch.from_numpy(each), code) for k, each in personal.items()}
        return accuracies(sub, sub.values * coded(torch.from_numpy(signs), code), own, self.held_out)
