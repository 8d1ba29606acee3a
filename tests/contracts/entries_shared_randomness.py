"""Contracts of `sfumato.federation.shared_randomness`: private scalars of a linear loss, one weight, one scalar a step.

An example's slope is itself times the direction, whatever the weight, so what a draw hides does not depend on earlier
ones. An example that is NaN contributes nothing: it stands for one that is not there.
"""

import numpy as np
import pytest
import torch
from contract import Contract
from torch.utils.data import TensorDataset

from sfumato import Release
from sfumato.federation import Message
from sfumato.federation.shared_randomness import DPZO, Settings, SharedRandomnessProtocol, SharedRandomnessTuner
from sfumato.privacy.release import PrepaidNoise

PLACES = 6
ALL = DPZO(clip=2.0, noise_multiplier=1.0, sampling_rate=1.0, batch_size=PLACES)
SAMPLED = DPZO(clip=2.0, noise_multiplier=1.0, sampling_rate=0.5, batch_size=PLACES / 2)


def weight():
    model = torch.nn.Linear(1, 1, bias=False).double().eval()
    with torch.no_grad():
        model.weight.zero_()
    return model


def losses(model, batch):
    return model(batch[0])[:, 0]


def tuner(privacy):
    settings = Settings("5f" * 32, samples_per_step=1, eps=0.5)
    return SharedRandomnessTuner(weight(), losses, settings=settings, privacy=privacy)


def step(data, privacy):
    """One machine's step, of one scalar."""
    return tuner(privacy).local_step(TensorDataset(torch.from_numpy(np.asarray(data, np.float64)[:, np.newaxis])))


def protocol_step(data, privacy):
    made = SharedRandomnessProtocol(
        weight(), losses, settings=Settings("5f" * 32, samples_per_step=1, eps=0.5), steps=1, privacy=privacy
    )
    request = made.requests(Message(made.start()), (0,))[0]
    rows = TensorDataset(torch.from_numpy(np.asarray(data, np.float64)[:, np.newaxis]))
    return made.client_step(Message(request), Message({}), rows)[0]["scalars"]


def copies(data, n, take_step):
    """n independent copies of the noisy sum of one step, before anything is decoded or rounded."""
    found = []
    with pytest.MonkeyPatch.context() as patch:

        def draw(self, values, original=PrepaidNoise.discrete_gaussian, **declared):
            many = original(self, np.broadcast_to(values, (n, *np.shape(values))), **declared)
            found.append(many.reshape(n, -1))
            return many[0]

        patch.setattr(PrepaidNoise, "discrete_gaussian", draw)
        take_step(data)
    return np.hstack(found).astype(float)


def sampled_means(slopes, n):
    """n noisy means, each a release of its own, with coins of its own."""
    means = []
    for _ in range(n):
        with Release(SAMPLED.claim(1), "contract") as release:
            prepaid = release.prepaid(SAMPLED.bound(1))
            means.append([SAMPLED.noisy_mean(prepaid, slopes[SAMPLED.sampled(prepaid, len(slopes))])])
    return np.array(means)


def neighbours(rng):
    """Slopes far below and far above the clipping bound; one is not there."""
    rows = rng.normal(size=PLACES) * 10 ** rng.uniform(-1, 2, PLACES)
    other = rows.copy()
    other[rng.integers(PLACES)] = np.nan
    return rows, other


NOBODY = np.full(PLACES, np.nan)
ONE, FOUR = NOBODY.copy(), NOBODY.copy()
# At place 1 and not 0: under the reused key of that twin, place 0 is never sampled, and then nothing could show.
ONE[1], FOUR[1:5] = 99.0, 99.0


def entry(subject, name, privacy, run, outputs, **change):
    return Contract(
        subject,
        name,
        privacy.claim(1),
        run,
        neighbours,
        outputs,
        [(ONE, NOBODY)],
        [(FOUR, NOBODY)],
        **{"trials": 8_000, "bug": 3, **change},
    )


CONTRACTS = [
    entry(
        SharedRandomnessTuner,
        "step",
        ALL,
        lambda data: step(data, ALL),
        lambda data, n, rng: copies(data, n, lambda each: step(each, ALL)),
    ),
    entry(
        SharedRandomnessProtocol,
        "round",
        ALL,
        lambda data: protocol_step(data, ALL),
        lambda data, n, rng: copies(data, n, lambda each: protocol_step(each, ALL)),
    ),
    entry(
        DPZO,
        "sampled",
        SAMPLED,
        lambda data: step(data, SAMPLED),
        lambda data, n, rng: sampled_means(data, n),
        trials=2_000,
        bug=6,
    ),
]

WITHOUT_A_FORMAL_CLAIM = {"LastLayers": "a torch module: it runs a model in two parts"}
