"""Train the simulated federation: federated averaging in a plain loop, undefended or under a protection.

For sweeps over many configurations; `flower` runs the same steps as Flower apps. McMahan et al., "Communication-
Efficient Learning of Deep Networks from Decentralized Data" (AISTATS 2017).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sfumato.attacks.subject_membership.federation import Federation, Silo
from sfumato.attacks.subject_membership.mitigation import ItemDP, SiloDP, SubjectDP
from sfumato.attacks.subject_membership.network import Floats, Network, initial, unit_gradients
from sfumato.attacks.subject_membership.rounds import private_rounds
from sfumato.errors import InvalidClaim, InvalidData
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Privacy = ItemDP | SiloDP | SubjectDP

UNDEFENDED = Claim(Heuristic("federated averaging alone: nothing is promised"), unit="subject", trust="silo")


@dataclass(frozen=True)
class TrainingConfig:
    """How the federation trains.

    Parameters
    ----------
    hidden : tuple of int, default (256,)
        Widths of hidden layers; () is logistic regression.
    rounds : int, default 30
        Fewer is early stopping, one of the mitigations.
    local_epochs : int, default 2
        Passes over a silo's records in a round; under ItemDP and SubjectDP, passes in expectation.
    learning_rate : float, default 0.1
    batch : int, default 32
        Records a local step; ItemDP and SubjectDP sample by their own rate instead.
    weight_decay : float, default 0
    dropout : float, default 0
        In [0, 1); ItemDP and SubjectDP take none.
    record_cap : int, optional
        Train on the first so many of a subject's record numbers, over all silos: a mitigation.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    hidden: tuple[int, ...] = (256,)
    rounds: int = 30
    local_epochs: int = 2
    learning_rate: float = 0.1
    batch: int = 32
    weight_decay: float = 0.0
    dropout: float = 0.0
    record_cap: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        counts = {f"hidden[{i}]": width for i, width in enumerate(self.hidden)}
        counts |= {"rounds": self.rounds, "local_epochs": self.local_epochs, "batch": self.batch}
        counts |= {} if self.record_cap is None else {"record_cap": self.record_cap}
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise InvalidData(f"{name} must be a whole number, at least 1")
        if not 0 < self.learning_rate < math.inf:
            raise InvalidData("learning_rate must be finite and above 0")
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidData("weight_decay must be finite and at least 0")
        if not 0 <= self.dropout < 1:
            raise InvalidData("dropout must lie in [0, 1)")


@dataclass(frozen=True, eq=False)
class FederatedRun:
    """What a training left.

    Attributes
    ----------
    model : Network
        The global model after the last round.
    checkpoints : tuple of Network
        The global model before training and after every round; those two only if they were not kept.
    claim : Claim
        What the training promises; `Heuristic` if undefended.
    noise_multiplier : float
        Deviation of the noise over the clipping norm; 0 if undefended.
    """

    model: Network
    checkpoints: tuple[Network, ...]
    claim: Claim
    noise_multiplier: float = 0.0


def train(
    federation: Federation,
    config: TrainingConfig | None = None,
    *,
    privacy: Privacy | None = None,
    keep_checkpoints: bool = True,
    random_state: int = 0,
    noise_seed: int | None = None,
) -> FederatedRun:
    """Train a global model over the federation's silos.

    Undefended, each silo runs minibatch SGD from the global model, and the server averages the silos' models by the
    number of their records. Under a protection see `ItemDP`, `SiloDP` and `SubjectDP`: averages are then unweighted,
    since the sizes of silos are not public.

    Parameters
    ----------
    federation : Federation
    config : TrainingConfig, optional
        Its defaults where left out.
    privacy : ItemDP, SiloDP or SubjectDP, optional
    keep_checkpoints : bool, default True
        Keep the model after every round, which the attack across rounds reads.
    random_state : int, default 0
        Initial weights, order of records, dropout. Never noise.
    noise_seed : int, optional
        For tests: reproducible noise, which voids the claim.

    Raises
    ------
    InvalidData
        If there is nothing to train on and no protection (under one, an empty federation trains on noise).
    InvalidClaim
        If the protection cannot reach its ε here, or does not go with the configuration. Nothing was spent.
    BudgetExceeded
        If an active ledger has too little left.
    """
    config = TrainingConfig() if config is None else config
    sizes = network_sizes(federation, config)
    silos = capped(federation.silos, config.record_cap, federation.config.records)
    start = initial(sizes, np.random.default_rng([random_state, 0]))
    if privacy is None:
        if not any(len(silo) for silo in silos):
            raise InvalidData("no silo has a record to train on")
        thetas = _averaged_rounds(silos, sizes, start, config, random_state)
        return _gathered(sizes, start, thetas, UNDEFENDED, 0.0, keep_checkpoints)
    if config.dropout and not isinstance(privacy, SiloDP):
        raise InvalidClaim("dropout does not go with ItemDP or SubjectDP: a unit's gradient must be its own")
    plan = privacy.plan(federation.config, config.rounds, config.local_epochs)
    with Release(plan.claim, f"federated training, unit {plan.claim.unit}", seed=noise_seed) as release:
        noise = release.prepaid(plan.event)

        def local(theta: Floats, k: int, round_: int) -> Floats:
            return local_training(silos[k], sizes, theta, config, random_state, k, round_)

        thetas = private_rounds(plan, silos, sizes, start, config.learning_rate, config.weight_decay, noise, local)
        return _gathered(sizes, start, thetas, release.claim, plan.sigma, keep_checkpoints)


def network_sizes(federation: Federation, config: TrainingConfig) -> tuple[int, ...]:
    """Features, hidden widths and classes of the network that a federation trains."""
    return (federation.config.dimension, *config.hidden, federation.config.classes)


def local_training(
    silo: Silo, sizes: tuple[int, ...], theta: Floats, config: TrainingConfig, seed: int, k: int, round_: int
) -> Floats:
    """Run one silo's epochs of a round from the global model, and return its model.

    Parameters
    ----------
    silo : Silo
    sizes, theta
        As in `Network`; `theta` is not changed.
    config : TrainingConfig
    seed, k, round_ : int
        The randomness depends on these alone, so that any runtime gives the same model.
    """
    rng = np.random.default_rng([seed, 1, k, round_])
    theta = theta.copy()
    with np.errstate(over="ignore", invalid="ignore"):  # a model may diverge: its losses say so
        for _ in range(config.local_epochs):
            order = rng.permutation(len(silo))
            for first in range(0, len(order), config.batch):
                rows = order[first : first + config.batch]
                x, y = silo.x[np.newaxis, rows], silo.y[np.newaxis, rows]
                weights = np.full(y.shape, 1 / len(rows))
                gradient = unit_gradients(sizes, theta, x, y, weights, dropout=config.dropout, rng=rng)[0]
                theta -= config.learning_rate * (gradient + config.weight_decay * theta)
    return theta


def capped(silos: tuple[Silo, ...], cap: int | None, records: int) -> tuple[Silo, ...]:
    """Keep the records whose number among the subject's is below `cap`: whether one stays depends on itself alone."""
    return silos if cap is None else tuple(silo.take(silo.record % records < cap) for silo in silos)


def _averaged_rounds(
    silos: tuple[Silo, ...], sizes: tuple[int, ...], theta: Floats, config: TrainingConfig, seed: int
) -> Iterator[Floats]:
    total = sum(len(silo) for silo in silos)
    for round_ in range(config.rounds):
        models = [
            (len(silo) / total) * local_training(silo, sizes, theta, config, seed, k, round_)
            for k, silo in enumerate(silos)
            if len(silo)
        ]
        theta = np.sum(models, axis=0)
        yield theta


def _gathered(
    sizes: tuple[int, ...], start: Floats, thetas: Iterator[Floats], claim: Claim, sigma: float, keep: bool
) -> FederatedRun:
    checkpoints = [Network(sizes, start)]
    for theta in thetas:
        if not keep:
            del checkpoints[1:]
        checkpoints.append(Network(sizes, theta))
    return FederatedRun(checkpoints[-1], tuple(checkpoints), claim, sigma)
