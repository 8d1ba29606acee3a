"""Contracts of `sfumato.statistics.sequential`: a person is one signal, who reports once at a public threshold."""

import numpy as np
from contract import Contract

from sfumato.statistics.sequential import SmoothRandomizedResponse, UniformRandomizedResponse

#: Pairs on both sides of the threshold 0 and along it: whatever noise is used again, one of them shows it.
_STEPS = [(float(s), float(s - 1)) for s in (0, 1, 2, -1, -2, 3, -3, 4)]


def smooth(radius):
    mechanism = SmoothRandomizedResponse(1.0)

    def neighbours(rng):
        signals = rng.normal(size=5)
        other = signals.copy()
        other[int(rng.integers(5))] += radius * rng.choice([-1, 1]) * rng.uniform(0.6, 1)
        return signals, other

    return Contract(
        SmoothRandomizedResponse,
        f"within-{radius:g}",
        mechanism.claim(radius),
        lambda signals: mechanism.report(signals, 0.0, radius=radius),
        neighbours,
        lambda signal, n, rng: mechanism.report(np.full(n, radius * signal), 0.0, radius=radius),
        _STEPS,
        [(0.0, -4.0)],
    )


def uniform():
    mechanism = UniformRandomizedResponse(1.0)

    def neighbours(rng):
        signals = rng.normal(size=5)
        other = signals.copy()
        other[int(rng.integers(5))] *= -1
        return signals, other

    # Two people at once: one unit more than the claim speaks of.
    return Contract(
        UniformRandomizedResponse,
        "local",
        mechanism.claim(),
        lambda signals: mechanism.report(signals, 0.0),
        neighbours,
        lambda signals, n, rng: mechanism.report(np.tile(signals, (n, 1)), 0.0),
        [((1.0, 1.0), (-1.0, 1.0))],
        [((1.0, 1.0), (-1.0, -1.0))],
    )


CONTRACTS = [smooth(1.0), smooth(2.0), uniform()]

WITHOUT_A_FORMAL_CLAIM = {
    "NoNoise": "the baseline that protects nobody",
    "Decision": "what one agent did: it carries the claim of the mechanism that reported it",
}
