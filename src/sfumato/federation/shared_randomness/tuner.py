"""SharedRandomnessTuner: one machine's end of a run, usable without a network.

For whoever tunes a torch module with others. Zelikman et al. 2023 (arXiv 2306.10015), on the zeroth-order gradient of
MeZO (Malladi et al. 2023); exact restoring, the log and the private variant are ours.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.shared_randomness.codecs import Floats
from sfumato.federation.shared_randomness.log import Header, Log, Record
from sfumato.federation.shared_randomness.movement import Move, Pool, Walk
from sfumato.federation.shared_randomness.parameters import Trainable, Vector, base_hash, weights_hash
from sfumato.federation.shared_randomness.private import DPZO
from sfumato.federation.shared_randomness.randomness import GENERATOR, Directions, fingerprint
from sfumato.federation.shared_randomness.settings import Settings
from sfumato.privacy.bounds import Heuristic
from sfumato.privacy.claim import Claim
from sfumato.privacy.release import Release

Loss: TypeAlias = Callable[[torch.nn.Module, Any], torch.Tensor]

NO_PROMISE = Claim(
    Heuristic(
        "others see scalars and not data, but each scalar is a linear measurement of a gradient along a public "
        "direction: as many as there are parameters give the gradient away"
    ),
    unit="record",
    trust="silo",
)


class SharedRandomnessTuner:
    """Tunes a module by scalars that machines exchange.

    A machine asks `local_step` for its bytes, the machines exchange them, and all `apply` them in one order. Then all
    hold the same weights, to the last bit, whoever computed what.

    Parameters
    ----------
    model : torch.nn.Module
        In evaluation mode. Its trainable parameters are set by the tuner, in place.
    loss_fn : callable
        ``loss_fn(model, batch)`` returns losses, shape (batch,), or their mean if there is no `privacy`.
    settings : Settings
    machine : int
        Number of this machine among all, from 0.
    privacy : DPZO, optional
        By default nothing is promised.
    log : str or Path, optional
        File of the log. One that is there is replayed first: that is how a machine restarts.
    threads : int
        That draw directions.
    random_state : int, optional
        Of stochastic rounding, for tests; by default the system's entropy.

    Attributes
    ----------
    log_ : Log
    claim_ : Claim
        What this machine's bytes so far promise to its examples.
    skipped_, saturated_ : int
        Scalars of this machine that were not finite, or larger than the codec's largest.

    Raises
    ------
    InvalidData
        If a parameter is out of range, the model trains (dropout would differ between the two losses), or the log
        belongs to another run.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        loss_fn: Loss,
        *,
        settings: Settings,
        machine: int = 0,
        privacy: DPZO | None = None,
        log: str | Path | None = None,
        threads: int = 1,
        random_state: int | None = None,
    ) -> None:
        if any(module.training for module in model.modules()):
            raise InvalidData("model must be in evaluation mode: call model.eval()")
        if isinstance(machine, bool) or not isinstance(machine, int) or machine < 0:
            raise InvalidData("machine must be a whole number, at least 0")
        self.model = model
        self.loss_fn = loss_fn
        self.settings = settings
        self.machine = machine
        self.privacy = privacy
        self.trainable = Trainable(model, settings.trainable)
        self.header = _header(settings, model, self.trainable)
        self.skipped_ = self.saturated_ = 0
        self._random = np.random.default_rng(random_state)
        self._moved = _movement(settings, self.trainable.read(), threads)
        self.log_ = Log(self.header, log)
        self._moved.add(self._moves(self.log_.records))
        self._steps_taken = sum(machine in record.payloads for record in self.log_.records)
        self.trainable.write(self._moved.weights)

    @property
    def claim_(self) -> Claim:
        """What this machine's scalars so far promise to its examples.

        After a restart those in the log count; a ledger counts those too whose bytes were lost.
        """
        if self.privacy is None:
            return NO_PROMISE
        return self.privacy.claim(self._steps_taken * self.settings.samples_per_step)

    @property
    def weights(self) -> Vector:
        """A copy of the trainable weights, float32, in the order of their names."""
        return self._moved.weights.copy()

    @property
    def state(self) -> NDArray[Any]:
        """A copy of what weights follow from: they themselves, or with a pool of seeds the sum of each, float64."""
        return self._moved.state.copy()

    def weights_hash(self) -> str:
        """SHA-256 of all trainable weights."""
        return weights_hash(self._moved.weights)

    def scalars(self, batches: Iterable[Any], *, step: int | None = None) -> Floats:
        """Return the slopes along this machine's directions at the present weights, one a batch, not encoded.

        They promise nothing: what leaves a machine is `local_step`'s.
        """
        t = self.log_.next_step if step is None else step
        found = [self._slopes(t, j, batch).mean() for j, batch in enumerate(batches)]
        return np.array(found, np.float64)

    def local_step(self, data: Sequence[Any] | Any) -> bytes:
        """Return this machine's bytes for the next step.

        Parameters
        ----------
        data : sequence of batches, or indexable
            Without `privacy`: S batches, each handed to `loss_fn`. Draw them by randomness of your own and never by
            the run's seed, which everybody knows. With `privacy`: all examples, `data[places]` being the batch of the
            examples at these places; batches are drawn here, in secret.

        Raises
        ------
        InvalidData
            If there are other than S batches, or a loss has no usable shape.
        BudgetExceeded
            If an active ledger has too little left.
        """
        if self.privacy is None:
            batches = list(data)
            if len(batches) != self.settings.samples_per_step:
                raise InvalidData(f"expected {self.settings.samples_per_step} batches, got {len(batches)}")
            values = self.scalars(batches)
        else:
            values = self._private_scalars(data)
        self._steps_taken += 1
        return self._encoded(values)

    def apply(self, step: int, payloads: Mapping[int, bytes]) -> None:
        """Log a step's bytes, then move the weights by them.

        Parameters
        ----------
        step : int
            The next one.
        payloads : mapping of int to bytes
            Of all machines that took part: it is the coordinator that says which.

        Raises
        ------
        ProtocolError
            If the step is not the next, or a payload is not S scalars; it names the machine. Nothing changed then.
        """
        record = Record(step, dict(payloads))
        moves = self._moves([record])
        self.log_.append(record)
        self._moved.add(moves)
        self.trainable.write(self._moved.weights)

    def replay(self, records: Iterable[Record]) -> None:
        """Go back to the base weights and apply a log from its first record: no loss is computed.

        So does a machine that joins late; afterwards it equals the others to the last bit.

        Raises
        ------
        InvalidData
            If this tuner's log is a file, which is not rewritten.
        ProtocolError
            As `apply`.
        """
        if self.log_.in_file:
            raise InvalidData("the log of this tuner is a file: open a tuner without one to replay another")
        fresh = Log(self.header)
        for record in records:
            fresh.append(record)
        moves = self._moves(fresh.records)
        self._moved.restore()
        self._moved.add(moves)
        self.log_ = fresh
        self.trainable.write(self._moved.weights)

    def resume(self, step: int, state: NDArray[Any]) -> None:
        """Go on before a step from a `state` that was kept, instead of replaying.

        Raises
        ------
        InvalidData
            If it has another shape or dtype.
        """
        self._moved.restore(state)
        self.log_ = Log(self.header, first_step=step)
        self.trainable.write(self._moved.weights)

    def _slopes(self, step: int, sample: int, batch: Any) -> Floats:
        """(L(w + eps z) - L(w - eps z)) / 2 eps, of each example or of the batch; weights are as before after it."""
        weights = self._moved.weights
        move = self._moved.direction((step, self.machine, sample))
        move *= np.float32(self.settings.eps)
        try:
            self.trainable.write(weights + move)
            above = self._losses(batch)
            self.trainable.write(weights - move)
            below = self._losses(batch)
        finally:
            self.trainable.write(weights)
        if above.shape != below.shape:
            raise InvalidData("loss_fn must return losses of the same shape for the same batch")
        with np.errstate(invalid="ignore"):
            return np.asarray((above - below) / (2 * self.settings.eps))

    def _losses(self, batch: Any) -> Floats:
        with torch.no_grad():
            losses = self.loss_fn(self.model, batch)
        if not isinstance(losses, torch.Tensor) or losses.ndim > 1:
            raise InvalidData("loss_fn must return a tensor of losses, one an example, or one")
        return losses.detach().to("cpu", torch.float64).numpy()

    def _private_scalars(self, data: Any) -> Floats:
        assert self.privacy is not None
        samples, step = self.settings.samples_per_step, self.log_.next_step
        claim = self.privacy.claim(samples)
        values = np.empty(samples)
        with Release(claim, purpose=f"zeroth-order tuning, step {step}") as release:
            prepaid = release.prepaid(self.privacy.bound(samples))
            for j in range(samples):
                places = self.privacy.sampled(prepaid, len(data))
                slopes = self._slopes(step, j, data[places]) if len(places) else np.zeros(0)
                if slopes.shape != places.shape:
                    raise InvalidData("privacy needs a loss for each example: loss_fn must return shape (batch,)")
                values[j] = self.privacy.noisy_mean(prepaid, slopes)
        return values

    def _encoded(self, values: Floats) -> bytes:
        codec = self.settings.codec
        self.skipped_ += int((~np.isfinite(values)).sum())
        with np.errstate(invalid="ignore"):
            saturated = int((np.abs(values) > codec.largest).sum() - np.isinf(values).sum())
        if saturated > 0:
            self.saturated_ += saturated
            warnings.warn(
                f"{saturated} scalars are larger than {codec.largest:.4g} and were cut off: lr may be too large",
                RuntimeWarning,
                stacklevel=3,
            )
        return codec.encode(values, self._random)

    def _decoded(self, record: Record) -> dict[int, Floats]:
        found = {}
        for machine in sorted(record.payloads):
            try:
                found[machine] = self.settings.codec.decode(record.payloads[machine], self.settings.samples_per_step)
            except ProtocolError as error:
                raise ProtocolError(f"machine {machine}, step {record.step}: {error}") from None
        return found

    def _moves(self, records: Iterable[Record]) -> list[Move]:
        """lr/norm(N) · g of each scalar, machines of a step in increasing order; N counts those not skipped."""
        found = []
        for record in records:
            scalars = self._decoded(record)
            n = sum(int(np.isfinite(values).sum()) for values in scalars.values())
            norm = math.sqrt(n) if self.settings.average == "sqrt" else n
            for machine, values in scalars.items():
                for j in np.flatnonzero(np.isfinite(values) & (values != 0)):
                    address = (record.step, machine, int(j))
                    found.append((address, self.settings.lr * float(values[j]) / norm))
        return found


def _movement(settings: Settings, base: Vector, threads: int) -> Walk | Pool:
    directions = Directions(settings.run_seed, threads)
    return Walk(base, directions) if settings.seed_pool is None else Pool(base, directions, settings.seed_pool)


def _header(settings: Settings, model: torch.nn.Module, trainable: Trainable) -> Header:
    """What a log must begin with to be replayed on this model."""
    return Header(
        base_hash=base_hash(model),
        names_hash=trainable.names_hash(),
        generator=GENERATOR,
        fingerprint=fingerprint(),
        run_seed=settings.run_seed,
        codec=settings.codec.name if settings.codec.name != "int8" else f"int8/{settings.codec.scale!r}",
        samples_per_step=settings.samples_per_step,
        eps=float(settings.eps),
        lr=float(settings.lr),
        average=settings.average,
        seed_pool=settings.seed_pool,
    )
