"""A small network for supermasks, and silos with two kinds of records that a line tells apart."""

import numpy as np
from torch import nn

from sfumato.federation.supermask import SupermaskProtocol


def network():
    return nn.Sequential(nn.Linear(6, 16, bias=False), nn.ReLU(), nn.Linear(16, 2, bias=False))


def records(silo, rows=60):
    rng = np.random.default_rng(silo)
    y = rng.integers(0, 2, rows)
    x = rng.normal(size=(rows, 6)).astype(np.float32)
    x[:, 0] += 3 * (2 * y - 1)
    return x, y


def supermask(**change):
    return SupermaskProtocol(network(), (6,), 2, **{"keep": 0.6, "rounds": 1, "saliency_steps": 10, **change})
