"""The rounds of a private training: every unit's vector is clipped, rounded to a grid, summed, and hidden by noise.

For `train`. One path for records, subjects and silos; Mironov, Talwar and Zhang, "Rényi Differential Privacy of the
Sampled Gaussian Mechanism" (2019), on the integers.

Why the sum is private. Every unit's vector is a function of its own records and of what was released before. It is
clipped and rounded towards zero to whole granules, and the squared length of the integers is then compared with
GRANULES² exactly, so a unit moves the sum by an integer vector μ of length at most GRANULES, rounding included. The
noise is a discrete Gaussian on the same integers with σ² = (z·GRANULES)². For a whole number k the k-th moment of the
likelihood ratio of such noise at 0 and at μ is exp((k² - k)·|μ|² / 2σ²), *exactly* that of the continuous Gaussian,
as kμ is a lattice vector and the normalising sum does not change under lattice shifts. The binomial expansion by
which Mironov, Talwar and Zhang 2019 bound the Poisson-sampled Gaussian at whole orders uses nothing but these moments
and the reflection x ↦ μ - x, which maps the lattice to itself. So their bound holds here at whole orders, and these
are the only ones that `noise_multiplier` calibrates with.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from sfumato.attacks.subject_membership.federation import Bools, Silo
from sfumato.attacks.subject_membership.mitigation import Plan
from sfumato.attacks.subject_membership.network import Floats, Ints, unit_gradients
from sfumato.privacy.claim import Unit
from sfumato.privacy.release import PrepaidNoise

#: Granules to the clipping norm. The noise is that many times z, and rounding costs a coordinate one granule.
GRANULES = 2**16

_AT_ONCE = 2**18  # floats of gradients held at a time: what a core's cache holds


def clipped_to_grid(vectors: Floats, clip: float) -> Floats:
    """Clip each row to L2 norm `clip` and round it towards zero to granules of clip / GRANULES.

    The squared length of every row of whole numbers is at most GRANULES², exactly: whole numbers of this size add up
    without error in doubles. A row that is not finite becomes 0, as would one that rounding had made too long.

    Parameters
    ----------
    vectors : ndarray of float64, shape (units, n)
    clip : float

    Returns
    -------
    ndarray of float64, shape (units, n)
        Whole numbers: multiples of the granule.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # One product of BLAS a row, so that no bit of a row's norm depends on the other rows.
        norms = np.sqrt(_squares(vectors))
        whole = vectors * (GRANULES / np.maximum(norms, clip))[:, np.newaxis]
        np.trunc(whole, out=whole)
        sound = _squares(whole) <= float(GRANULES) ** 2  # False for NaN
    whole[~sound] = 0.0
    return whole


def _squares(rows: Floats) -> Floats:
    """Squared length of each row."""
    return np.asarray((rows[:, np.newaxis] @ rows[:, :, np.newaxis])[:, 0, 0])


def private_rounds(
    plan: Plan,
    silos: tuple[Silo, ...],
    sizes: tuple[int, ...],
    theta: Floats,
    learning_rate: float,
    weight_decay: float,
    noise: PrepaidNoise,
    local: Callable[[Floats, int, int], Floats],
) -> Iterator[Floats]:
    """Run the rounds of a plan and yield the global parameters after each.

    Parameters
    ----------
    plan : Plan
    silos : tuple of Silo
    sizes, theta
        As in `Network`.
    learning_rate, weight_decay : float
    noise : PrepaidNoise
        Charged with `plan.event`.
    local : callable
        ``local(theta, silo number, round) -> theta``: a silo's own training, for a plan with silos as units.
    """
    unit = plan.claim.unit
    stacks = [] if unit == "silo" else _stacks(silos, unit, plan.records)
    for round_ in range(plan.rounds):
        if unit == "silo":
            theta = theta + _silos_update(plan, theta, len(silos), noise, local, round_)
        else:
            homes = [stack.at_home(round_, plan.silos_each) for stack in stacks]
            theta = _sampled_round(plan, stacks, homes, sizes, theta, learning_rate, weight_decay, noise)
        yield theta


def _silos_update(
    plan: Plan,
    theta: Floats,
    n_silos: int,
    noise: PrepaidNoise,
    local: Callable[[Floats, int, int], Floats],
    round_: int,
) -> Floats:
    """The mean clipped update of sampled silos, with noise."""
    total = np.zeros(len(theta))
    for k in np.flatnonzero(noise.bernoulli(Fraction(plan.rate), n_silos)):
        total += clipped_to_grid((local(theta, int(k), round_) - theta)[np.newaxis], plan.clip)[0]
    noisy = noise.discrete_gaussian(total.astype(np.int64), l2_sensitivity=GRANULES, sigma2=_variance(plan))
    return np.asarray(noisy * (plan.clip / GRANULES / (plan.rate * plan.expected)))


def _sampled_round(
    plan: Plan,
    stacks: list[_Stack],
    homes: list[Bools],
    sizes: tuple[int, ...],
    theta: Floats,
    learning_rate: float,
    weight_decay: float,
    noise: PrepaidNoise,
) -> Floats:
    """All silos' local steps of a round side by side, and the unweighted mean of their models.

    A silo draws noise of its own; here all are drawn in one call, which is the same.
    """
    models = np.repeat(theta[np.newaxis], len(stacks), axis=0)
    sensitivity = GRANULES * math.sqrt(plan.silos_each)
    for _ in range(plan.steps):
        coins = noise.bernoulli(Fraction(plan.rate), (len(stacks), plan.universe))
        sums = np.stack(
            [
                stack.sum_of_gradients(home & coins[k, stack.ids], sizes, models[k], plan.clip)
                for k, (stack, home) in enumerate(zip(stacks, homes, strict=True))
            ]
        )
        noisy = noise.discrete_gaussian(sums, l2_sensitivity=sensitivity, sigma2=_variance(plan))
        gradients = noisy * (plan.clip / GRANULES / (plan.rate * plan.expected))
        models -= learning_rate * (gradients + weight_decay * models)
    return np.asarray(models.mean(axis=0))


@dataclass(frozen=True, eq=False)
class _Stack:
    """The units of one silo, padded to the public number of records."""

    ids: Ints
    x: Floats
    y: Ints
    weights: Floats
    rank: Ints  # of this silo among those that hold the unit
    holders: Ints  # how many silos hold the unit

    def at_home(self, round_: int, silos_each: int) -> Bools:
        """Which units may contribute here in this round."""
        return np.asarray((self.rank - round_) % self.holders < silos_each)

    def sum_of_gradients(self, sampled: Bools, sizes: tuple[int, ...], theta: Floats, clip: float) -> Ints:
        """Sum, in granules, of the sampled units' clipped gradients."""
        total = np.zeros(len(theta))
        rows, each = np.flatnonzero(sampled), max(1, _AT_ONCE // len(theta))
        for first in range(0, len(rows), each):
            part = rows[first : first + each]
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):  # theta is public, and may diverge
                gradients = unit_gradients(sizes, theta, self.x[part], self.y[part], self.weights[part])
            total += clipped_to_grid(gradients, clip).sum(axis=0)
        return total.astype(np.int64)  # whole numbers below 2^53: no sum was rounded


def _stacks(silos: tuple[Silo, ...], unit: Unit, records: int) -> list[_Stack]:
    if unit == "record":
        return [_one_each(silo) for silo in silos]
    units = [np.unique(silo.subject, return_inverse=True) for silo in silos]
    highest = max((int(ids[-1]) for ids, _ in units if len(ids)), default=0)
    seen = np.zeros(highest + 1, dtype=np.int64)
    ranks = []
    for ids, _ in units:
        ranks.append(seen[ids])
        seen[ids] += 1
    return [
        _padded(silo, ids, place, rank, seen[ids], records)
        for silo, (ids, place), rank in zip(silos, units, ranks, strict=True)
    ]


def _one_each(silo: Silo) -> _Stack:
    ones = np.ones(len(silo), dtype=np.int64)
    return _Stack(silo.record, silo.x[:, np.newaxis], silo.y[:, np.newaxis], np.ones((len(silo), 1)), 0 * ones, ones)


def _padded(silo: Silo, ids: Ints, place: Ints, rank: Ints, holders: Ints, records: int) -> _Stack:
    """Put each record in the slot of its own number: no slot depends on another record."""
    slot = silo.record % records
    x = np.zeros((len(ids), records, silo.x.shape[1]))
    y = np.zeros((len(ids), records), dtype=np.int64)
    weights: Floats = np.zeros((len(ids), records))
    x[place, slot], y[place, slot], weights[place, slot] = silo.x, silo.y, 1.0
    weights /= weights.sum(axis=1, keepdims=True)
    return _Stack(ids, x, y, weights, rank, holders)


def _variance(plan: Plan) -> Fraction:
    """Variance parameter of the noise, in granules."""
    return (Fraction(plan.sigma) * GRANULES) ** 2
