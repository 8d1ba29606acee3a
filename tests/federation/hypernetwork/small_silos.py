"""Small silos of images that are easy to tell apart, and a protocol that keeps what its messages were."""

import numpy as np


def silos(n=3, rows=20, classes=3):
    """Images whose mean tells the class."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(n):
        labels = rng.integers(0, classes, rows)
        images = rng.normal(size=(rows, 1, 8, 8)) + 2 * labels[:, None, None, None]
        found.append((images.astype(np.float32), labels))
    return found


class Watching:
    """A protocol that keeps request, reply and memory of each step."""

    def __init__(self, protocol):
        self._protocol = protocol
        self.seen = []

    def __getattr__(self, name):
        return getattr(self._protocol, name)

    def client_step(self, request, memory, data):
        reply, after = self._protocol.client_step(request, memory, data)
        self.seen.append((dict(request), dict(reply), dict(after)))
        return reply, after
