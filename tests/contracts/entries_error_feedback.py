"""Contracts of `sfumato.training.error_feedback`: trainings of a linear loss, whose gradient is the record itself.

So what a step hides does not depend on earlier releases, and each draw of one training can be repeated by itself.
Records are rows; a row of zeros contributes nothing: a place whose record is left out.
"""

import numpy as np
import pytest
import torch
from contract import Contract
from torch.utils.data import DataLoader, TensorDataset

from sfumato.privacy.release import PrepaidNoise
from sfumato.training.error_feedback import ErrorFeedbackEngine

PLACES, COLUMNS = 6, 2
NOISE = 1.0


def train(data, **change):
    """A whole training; returns its engine."""
    rows = torch.from_numpy(np.asarray(data, dtype=np.float64))
    module = torch.nn.Linear(rows.shape[1], 1, bias=False).double()
    engine = ErrorFeedbackEngine()
    module, optimizer, loader = engine.make_private(
        module=module,
        optimizer=torch.optim.SGD(module.parameters(), lr=0.1),
        data_loader=DataLoader(TensorDataset(rows), batch_size=2),
        random_state=0,
        **{"epochs": 1, "feedback_norm": 100.0, "noise_multiplier": NOISE, **change},
    )
    while not engine.schedule.finished:
        for (x,) in loader:
            optimizer.zero_grad()
            module(x).mean().backward()
            optimizer.step()
    engine.close()
    return engine


def copies(data, n, **change):
    """n independent copies of each draw of one training, side by side."""
    found = []
    with pytest.MonkeyPatch.context() as patch:

        def draw(self, values, original=PrepaidNoise.discrete_gaussian, **declared):
            many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
            found.append(many.reshape(n, -1))
            return many[0]

        patch.setattr(PrepaidNoise, "discrete_gaussian", draw)
        train(data, **change)
    return np.hstack(found).astype(float)


def neighbours(kind):
    """Gradients far below and far above the clipping norm; one is left out, or another."""

    def draw(rng):
        scales = 10 ** rng.uniform(-1, 2, (PLACES, 1))
        rows = rng.normal(size=(PLACES, COLUMNS)) * scales
        other = rows.copy()
        other[rng.integers(PLACES)] = 0 if kind == "add-remove" else -100 * rng.normal(size=COLUMNS)
        return rows, other

    return draw


def first_of_the_schedule(value, n=1):
    """A record of that gradient in the places of the first steps: what they leave is paid out in later ones."""
    order = train(np.zeros((PLACES, 1))).schedule
    rows = np.zeros((PLACES, 1))
    rows[np.concatenate([order.batch(0), order.batch(1)])[:n]] = value
    return rows


NOBODY = np.zeros((PLACES, 1))


def entry(name, pair, far, **change):
    return Contract(
        ErrorFeedbackEngine,
        name,
        train(pair[0], **change).claim,
        lambda data: train(data, **change),
        neighbours(change.get("neighbours", "add-remove")),
        lambda data, n, rng: copies(data, n, **change),
        [pair],
        [far],
        trials=8_000,
        bug=3,
    )


CONTRACTS = [
    entry("telescoped", (first_of_the_schedule(9.0), NOBODY), (first_of_the_schedule(9.0, n=4), NOBODY)),
    entry(
        "telescoped-replaced",
        (first_of_the_schedule(9.0), first_of_the_schedule(-9.0)),
        (first_of_the_schedule(9.0, n=4), first_of_the_schedule(-9.0, n=4)),
        neighbours="replace-one",
        noise_multiplier=2 * NOISE,
    ),
]

WITHOUT_A_FORMAL_CLAIM: dict[str, str] = {}
