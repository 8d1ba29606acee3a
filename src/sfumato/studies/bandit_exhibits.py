"""The museum's exhibit of bandits: actions that follow raw statistics, re-enacted on the smallest data that shows it.

For `sfumato.studies.published_exhibits`, which has the determinant schedule and the dropped constants already.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from sfumato.federation.bandits import Design, SiloLDP
from sfumato.studies.bandits import DELTA, steered_node
from sfumato.studies.exhibit import Exhibit, Floats

_BATCH = 25


def bandits() -> Iterator[Exhibit]:
    """Yield the exhibits of this room."""
    fitted = SiloLDP(1.0, DELTA).calibrate(Design(2, 1, _BATCH, _BATCH))
    yield Exhibit(
        "locally-steered-bandit",
        "A federated bandit steered by raw local statistics",
        "algorithm 1 of Zhou and Ray Chowdhury (ICLR 2024, arXiv 2302.13945), as read for system 18",
        fitted.claim,
        _Batch("local", fitted.sigma),
        [(1.0, -1.0)],
        "the reward of the first user of a batch; what later users like is the same",
        "The first reward decides which action all later users of the batch get, and the noise is for one of them.",
        "Between two synchronisations follow released sums and the user's own context only.",
        _Batch("synced", fitted.sigma),
    )


class _Batch:
    """What a silo sends of its first batch, along the direction that its first user can move."""

    def __init__(self, steering: str, sigma: float) -> None:
        self.nodes = {reward: steered_node(reward, steering, _BATCH) for reward in (1.0, -1.0)}
        direction = self.nodes[1.0] - self.nodes[-1.0]
        self.direction = direction / np.linalg.norm(direction)
        self.sigma = sigma

    def __call__(self, reward: Any, n: int, rng: np.random.Generator, /) -> Floats:
        return self.nodes[reward] @ self.direction + self.sigma * rng.normal(size=n)
