"""A federation of silos whose records belong to subjects, generated; each subject is a member by a fair coin.

For measuring subject membership with the truth at hand, over configurations. Suri, Kanani, Marathe and Peterson,
"Subject Membership Inference Attacks in Federated Learning" (2022, arXiv 2206.03317): the factors are the paper's, the
sizes ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from sfumato.attacks.subject_membership.network import Floats, Ints
from sfumato.errors import InvalidData

Bools = NDArray[np.bool_]
#: Records x of shape (q, …) and their labels y of shape (q,).
Samples: TypeAlias = tuple[Floats, Ints]
Spread = Literal["one", "uniform", "dirichlet"]

_TEACHER = 32  # width of the rule that all subjects share
_CONCENTRATION = 0.5  # of the Dirichlet spread
_RULE, _PEOPLE, _RECORDS, _COINS, _SPREAD, _FRESH, _HOLDOUT = range(7)  # one stream of randomness each


@dataclass(frozen=True)
class FederationConfig:
    """What a generated federation looks like.

    A subject s has mean μ_s ~ N(0, separation² I); its records are μ_s + N(0, I), scaled to unit variance. A label is
    the largest of the class scores: a nonlinear rule that all share plus `memorable` times scores of the subject's
    own, which is what a model can only know of a subject that it was trained on.

    Parameters
    ----------
    subjects : int, default 200
        The public universe; about half of them are members.
    records : int, default 20
        Of each subject, over all silos: a public bound.
    dimension : int, default 60
    classes : int, default 10
    separation : float, default 1
        Deviation between subjects over that within one: σ_b / σ_w.
    silos : int, default 5
        1 is a single party.
    spread : {"uniform", "one", "dirichlet"}
        A subject's records lie in silos drawn independently, all in one, or by proportions from a Dirichlet(½).
    memorable : float, default 1
        Strength of the subject's own part of the labels; 0 leaves nothing to memorise but chance.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    subjects: int = 200
    records: int = 20
    dimension: int = 60
    classes: int = 10
    separation: float = 1.0
    silos: int = 5
    spread: Spread = "uniform"
    memorable: float = 1.0

    def __post_init__(self) -> None:
        least = {"subjects": 4, "records": 1, "dimension": 1, "classes": 2, "silos": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < lowest:
                raise InvalidData(f"{name} must be a whole number, at least {lowest}")
        for name in ("separation", "memorable"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidData(f"{name} must be finite and at least 0")
        if self.spread not in get_args(Spread):
            raise InvalidData(f"spread must be one of {', '.join(get_args(Spread))}")


@dataclass(frozen=True, eq=False)
class Silo:
    """The records of one party.

    Attributes
    ----------
    x : ndarray of float64, shape (n, features)
    y : ndarray of int64, shape (n,)
    subject : ndarray of int64, shape (n,)
        Whose record it is: a number below the federation's `subjects`, the same in every silo.
    record : ndarray of int64, shape (n,)
        Its number in the public universe of records: from subject · records on, no number twice.
    """

    x: Floats
    y: Ints
    subject: Ints
    record: Ints

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Bools) -> Silo:
        """The silo with these rows only."""
        return Silo(self.x[rows], self.y[rows], self.subject[rows], self.record[rows])


@dataclass(frozen=True, eq=False)
class Federation:
    """Silos, the truth about who is a member, and the distribution of every subject.

    Attributes
    ----------
    config : FederationConfig
    silos : tuple of Silo
    members : ndarray of bool, shape (subjects,)
        Fair coins; the silos hold records of members only.
    seed : int
        Everything is drawn from it.

    Raises
    ------
    InvalidData
        If the silos do not have the form that `Silo` and the configuration say. Claims rest on it.
    """

    config: FederationConfig
    silos: tuple[Silo, ...]
    members: Bools
    seed: int

    def __post_init__(self) -> None:
        _check(self)

    def draw(self, subject: int, q: int, *, random_state: int = 0) -> Samples:
        """Draw q fresh records of a subject: none of them was trained on."""
        people = self._population
        rng = np.random.default_rng([self.seed, _FRESH, random_state, subject])
        return people.records(people.means[subject], people.tastes[subject], q, rng)

    def samples(self, q: int = 10, *, random_state: int = 0) -> dict[int, Samples]:
        """Draw q fresh records of each subject."""
        return {s: self.draw(s, q, random_state=random_state) for s in range(self.config.subjects)}

    def exact(self, q: int) -> dict[int, Samples]:
        """The first q of each subject's own records: those trained on for members, as good as those for the others."""
        x, y = self._population.everything(self.config.records)
        return {s: (x[s, :q], y[s, :q]) for s in range(self.config.subjects)}

    def holdout(self, n: int = 2000) -> Samples:
        """Draw one record of each of n other subjects, whom no silo ever saw: utility is measured on them."""
        return self._population.strangers(n)

    @cached_property
    def _population(self) -> _Population:
        return _Population(self.config, self.seed)


def make_federation(config: FederationConfig | None = None, *, random_state: int = 0) -> Federation:
    """Generate a federation: a coin for each subject, and the members' records spread over the silos.

    Members and others are drawn alike; what a subject looks like and where its records lie do not depend on its coin.

    Parameters
    ----------
    config : FederationConfig, optional
        Its defaults where left out.
    random_state : int, default 0
    """
    config = FederationConfig() if config is None else config
    x, y = _Population(config, random_state).everything(config.records)
    members = np.random.default_rng([random_state, _COINS]).random(config.subjects) < 0.5
    places = _places(config, np.random.default_rng([random_state, _SPREAD]))
    subject = np.repeat(np.arange(config.subjects), config.records)
    features = x.reshape(-1, config.dimension)
    everything = Silo(features, y.ravel(), subject, np.arange(len(subject)))
    inside = members[subject]
    silos = tuple(everything.take(inside & (places.ravel() == k)) for k in range(config.silos))
    return Federation(config, silos, members, random_state)


def split_subjects(members: Bools, known: int = 20, *, random_state: int = 0) -> tuple[Ints, Ints]:
    """Choose the subjects whose membership the adversary knows; return them and all others.

    Half of the known are members (as near as it goes), so that there are two of each kind from 4 on.

    Raises
    ------
    InvalidData
        If there are not that many of each kind.
    """
    rng = np.random.default_rng([random_state, 1])
    inside, outside = np.flatnonzero(members), np.flatnonzero(~np.asarray(members))
    half = known // 2
    if half > len(inside) or known - half > len(outside):
        raise InvalidData("known is larger than twice the members or the others")
    chosen = np.concatenate([rng.permutation(inside)[:half], rng.permutation(outside)[: known - half]])
    return np.sort(chosen), np.setdiff1d(np.arange(len(members)), chosen)


def _check(federation: Federation) -> None:
    config, silos = federation.config, federation.silos
    if len(silos) != config.silos or federation.members.shape != (config.subjects,):
        raise InvalidData("the federation must have its configuration's silos, and a coin for each subject")
    if any(silo.x.shape != (len(silo), config.dimension) or not np.isfinite(silo.x).all() for silo in silos):
        raise InvalidData("records must be finite numbers, as many as the dimension says")
    for name in ("y", "subject", "record"):
        if any(getattr(silo, name).shape != silo.y.shape or getattr(silo, name).dtype.kind != "i" for silo in silos):
            raise InvalidData(f"{name} must hold one integer for each record")
    if any(((silo.y < 0) | (silo.y >= config.classes)).any() for silo in silos):
        raise InvalidData("labels must lie below the number of classes")
    record = np.concatenate([silo.record for silo in silos])
    subject = np.concatenate([silo.subject for silo in silos])
    if len(np.unique(record)) < len(record) or (record // config.records != subject).any():
        raise InvalidData("record numbers must start at subject · records, and none may come twice")
    if ((subject < 0) | (subject >= config.subjects)).any():
        raise InvalidData("subjects must lie below their public number")


def _places(config: FederationConfig, rng: np.random.Generator) -> Ints:
    """The silo of each record, shape (subjects, records)."""
    shape = (config.subjects, config.records)
    if config.spread == "one":
        return np.broadcast_to(rng.integers(config.silos, size=(config.subjects, 1)), shape).astype(np.int64)
    if config.spread == "uniform":
        return rng.integers(config.silos, size=shape)
    shares = rng.dirichlet(np.full(config.silos, _CONCENTRATION), config.subjects)
    ends = np.cumsum(shares, axis=1)[:, np.newaxis, :-1]
    return np.asarray((rng.random(shape)[..., np.newaxis] >= ends).sum(-1), dtype=np.int64)


class _Population:
    """The shared rule and the people."""

    def __init__(self, config: FederationConfig, seed: int) -> None:
        self.config, self.seed = config, seed
        rule = np.random.default_rng([seed, _RULE])
        self._inner = rule.normal(scale=1.5 / math.sqrt(config.dimension), size=(config.dimension, _TEACHER))
        self._outer = rule.normal(size=(_TEACHER, config.classes))
        scores = np.tanh(rule.normal(size=(2000, config.dimension)) @ self._inner) @ self._outer
        self._shift, self._scale = scores.mean(axis=0), scores.std()
        people = np.random.default_rng([seed, _PEOPLE])
        self.means = people.normal(scale=config.separation, size=(config.subjects, config.dimension))
        self.tastes = people.normal(size=(config.subjects, config.classes))

    def records(self, mean: Floats, taste: Floats, q: int, rng: np.random.Generator) -> Samples:
        """q records about each mean: x of shape (..., q, dimension), y of shape (..., q)."""
        shape = (*mean.shape[:-1], q, mean.shape[-1])
        x = (mean[..., np.newaxis, :] + rng.normal(size=shape)) / math.hypot(self.config.separation, 1)
        scores = (np.tanh(x @ self._inner) @ self._outer - self._shift) / self._scale
        return x, np.argmax(scores + self.config.memorable * taste[..., np.newaxis, :], axis=-1)

    def everything(self, q: int) -> Samples:
        """What each subject's records are, whether they are trained on or not."""
        return self.records(self.means, self.tastes, q, np.random.default_rng([self.seed, _RECORDS]))

    def strangers(self, n: int) -> Samples:
        """One record of each of n people who are not among the subjects."""
        rng = np.random.default_rng([self.seed, _HOLDOUT])
        means = rng.normal(scale=self.config.separation, size=(n, self.config.dimension))
        x, y = self.records(means, rng.normal(size=(n, self.config.classes)), 1, rng)
        return x[:, 0], y[:, 0]
