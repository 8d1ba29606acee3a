"""Simulation: environments whose best action is known, and the regret of a learner in them.

For studies and for choosing `batch` and `exploration` before real users come. The synthetic environment is that of the
official code of Zhou and Chowdhury, with bounded rewards and one scale of features for learner and rewards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol as Structural

import numpy as np

from sfumato.errors import InvalidData
from sfumato.federation.bandits.contributions import Floats, Integers


class Learner(Structural):
    """What `simulate` drives: a `FedLinUCB`, or a baseline with these members."""

    def act_all(self, features: Floats) -> Integers: ...

    def observe_all(self, features: Floats, rewards: Floats) -> None: ...

    def sync_due(self, silo: int) -> bool: ...

    def sync(self) -> None: ...


class Environment(Structural):
    """Where users come from."""

    def users(self, silos: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return features, shape (silos, K, d) or (K, d), and mean rewards, shape (silos, K) or (K,)."""
        ...

    def rewards(self, means: Floats, rng: np.random.Generator) -> Floats:
        """Draw rewards with these means."""
        ...


@dataclass(frozen=True, eq=False)
class LinearArms:
    """K fixed actions with mean rewards φ'θ*, and rewards that are noise away from them, up or down.

    Attributes
    ----------
    arms : ndarray of float, shape (K, d)
        Of norm 1 at most.
    theta : ndarray of float, shape (d,)
    noise : float
        Rewards are mean ± noise, each with probability 1/2: bounded, and sub-Gaussian with this parameter.
    """

    arms: Floats
    theta: Floats
    noise: float = 0.25

    def __post_init__(self) -> None:
        if np.linalg.norm(self.arms, axis=1).max() > 1 + 1e-9:
            raise InvalidData("arms must have norm 1 at most: a learner would clip them")
        if np.abs(self.arms @ self.theta).max() + self.noise > 1 + 1e-9:
            raise InvalidData("rewards must stay in [-1, 1]: lower the noise or theta")

    @classmethod
    def random(cls, n_features: int, n_arms: int, random_state: int, *, noise: float = 0.25) -> LinearArms:
        """Draw the synthetic environment of the paper's code.

        Directions of dimension d-1 and a last coordinate of 1, divided by √2; the first d-1 directions are the basis.
        θ* is a direction of norm 1/2 and a last coordinate of 1/2, so that mean rewards lie in [0, 1/√2].
        """
        rng = np.random.default_rng(random_state)
        directions = np.concatenate([np.eye(n_features - 1), rng.normal(size=(n_arms, n_features - 1))])[:n_arms]
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        theta = rng.normal(size=n_features - 1)
        theta = np.append(0.5 * theta / np.linalg.norm(theta), 0.5)
        arms = np.concatenate([directions, np.ones((n_arms, 1))], axis=1) / np.sqrt(2)
        return cls(arms, theta, noise)

    def users(self, silos: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Return the arms and their mean rewards."""
        return self.arms, self.arms @ self.theta

    def rewards(self, means: Floats, rng: np.random.Generator) -> Floats:
        """Draw means ± noise."""
        return means + self.noise * rng.choice([-1.0, 1.0], means.shape)


@dataclass(frozen=True, eq=False)
class LinearContexts:
    """Users who each bring K actions of their own: fresh directions, a last coordinate of 1, divided by √2.

    Attributes
    ----------
    theta : ndarray of float, shape (d,)
    n_arms : int
        K.
    noise : float
        As for `LinearArms`.
    """

    theta: Floats
    n_arms: int
    noise: float = 0.25

    @classmethod
    def random(cls, n_features: int, n_arms: int, random_state: int, *, noise: float = 0.25) -> LinearContexts:
        """Draw θ* as `LinearArms.random` does."""
        return cls(LinearArms.random(n_features, 1, random_state).theta, n_arms, noise)

    def users(self, silos: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw the next user of every silo."""
        features = np.ones((silos, self.n_arms, len(self.theta)))
        directions = rng.standard_normal((silos, self.n_arms, len(self.theta) - 1))
        features[..., :-1] = directions / np.sqrt(np.square(directions).sum(axis=-1, keepdims=True))
        features /= np.sqrt(2)
        return features, features @ self.theta

    def rewards(self, means: Floats, rng: np.random.Generator) -> Floats:
        """Draw means ± noise."""
        return means + self.noise * rng.choice([-1.0, 1.0], means.shape)


@dataclass(frozen=True, eq=False)
class Regret:
    """Pseudo-regret: the best action's mean reward less that of the action taken.

    Attributes
    ----------
    curves : ndarray of float, shape (seeds, steps)
        Cumulative, averaged over silos.
    by_silo : ndarray of float, shape (seeds, silos)
        At the end.
    floored : ndarray of int, shape (seeds,)
        The learners' `floored_`.
    """

    curves: Floats
    by_silo: Floats
    floored: Integers

    @property
    def per_silo(self) -> float:
        """Mean over seeds and silos at the end."""
        return float(self.by_silo.mean())

    @property
    def stderr(self) -> float:
        """Standard error of `per_silo`, over seeds; NaN with one seed."""
        means = self.by_silo.mean(axis=1)
        return float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else float("nan")


def simulate(
    environment: Callable[[int], Environment],
    learner: Callable[[int], Any],
    *,
    silos: int,
    horizon: int,
    seeds: Sequence[int],
) -> Regret:
    """Let a learner serve `horizon` users of each silo, all silos in step, once for each seed.

    Parameters
    ----------
    environment, learner : callable
        ``environment(seed)`` and ``learner(seed)`` make a new one.
    silos, horizon : int
    seeds : sequence of int

    Raises
    ------
    InvalidData
        If the learner had to clip or reject a user: the environment is not the one it was built for.
    """
    runs = [_run(environment(seed), learner(seed), silos, horizon, seed) for seed in seeds]
    curves, finals, floored = zip(*runs, strict=True)
    return Regret(np.array(curves), np.array(finals), np.array(floored, np.int64))


def _run(environment: Environment, learner: Any, silos: int, horizon: int, seed: int) -> tuple[Floats, Floats, int]:
    rng = np.random.default_rng((seed, 18))
    everyone = np.arange(silos)
    losses: Floats = np.zeros((horizon, silos))
    for step in range(horizon):
        features, means = environment.users(silos, rng)
        actions = learner.act_all(features)
        taken = means[actions] if means.ndim == 1 else means[everyone, actions]
        losses[step] = means.max(axis=-1) - taken
        chosen = features[actions] if features.ndim == 2 else features[everyone, actions]
        learner.observe_all(chosen, environment.rewards(taken, rng))
        if learner.sync_due(0):
            learner.sync()
    if getattr(learner, "clipped_", 0) or getattr(learner, "rejected_", 0):
        raise InvalidData("environment must stay within the learner's bounds: it had to clip or reject users")
    return np.cumsum(losses.mean(axis=1)), losses.sum(axis=0), int(getattr(learner, "floored_", 0))
