"""SharedRandomnessProtocol: the run on the federation's engine. The server relays bytes and says whose count.

For `InProcess` and Flower. Zelikman et al. 2023 (arXiv 2306.10015) have machines send to one another; here a server
commits each step, so that all agree on who took part in it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from random import SystemRandom
from typing import Any

import numpy as np
import torch

from sfumato.errors import InvalidData, ProtocolError
from sfumato.federation.message import Message
from sfumato.federation.protocol import Fields
from sfumato.federation.shared_randomness.log import Log, Record, read_records
from sfumato.federation.shared_randomness.private import DPZO
from sfumato.federation.shared_randomness.settings import Settings
from sfumato.federation.shared_randomness.tuner import NO_PROMISE, Loss, SharedRandomnessTuner
from sfumato.privacy.claim import Claim

_LOG = logging.getLogger(__name__)
_HASH = re.compile(r"[0-9a-f]{64}")
_MOST_PARTIES = 1 << 20


@dataclass(frozen=True, eq=False)
class TunedRun:
    """What a run gives.

    Attributes
    ----------
    log : Log
        ``SharedRandomnessTuner(model, ...).replay(log.records)`` makes the weights of it.
    weights_hash : str
        SHA-256 of the final weights, as the machines hold them.
    disagreements : int
        Hashes of machines that were not what most had; each was made to rebuild its weights from the log.
    """

    log: Log
    weights_hash: str
    disagreements: int


class SharedRandomnessProtocol:
    """A protocol of one round a step, and a last one that compares weights.

    A request carries the records that a silo has not seen: those of the last step if it answered then, the whole log if
    not, since it may have lost its memory. From the whole log it rebuilds its weights. So silos may leave and
    join at any step (`Terms(min_parties=...)`), and all that are there hold the same weights. A silo checks that the
    record of its last step has the bytes that it sent. For the rest the server is trusted: it says who took part, and
    could tell silos different things. Weights follow from the log, so silos that compare `weights_hash` by another
    channel find that out. Bytes are not signed: a signature takes 64, and S scalars take S.

    A reply carries the silo's scalars, S bytes, and every `hash_every` steps the hash of its weights.

    A silo keeps its weights in its store: four bytes a trainable parameter, or with `Settings.seed_pool` eight bytes a
    seed. Tune adapters or a few layers of a large model. A silo's data are a torch ``TensorDataset``, or whatever has a
    length and gives the batch of the examples at an array of places.

    Parameters
    ----------
    model : torch.nn.Module
        The base weights, the same everywhere; in evaluation mode. They are moved within a step, and back after it.
    loss_fn : callable
        ``loss_fn(model, batch)`` returns a loss for each example.
    settings : Settings
    steps : int
    batch_size : int, optional
        Examples of each scalar, drawn by the system's entropy, which nobody can repeat; by default all. With `privacy`
        leave it out.
    privacy : DPZO, optional
    hash_every : int
        Steps between two comparisons of weights.

    Attributes
    ----------
    claim : Claim
        What all of a silo's bytes promise to each of its examples.

    Raises
    ------
    InvalidData
        If a parameter is out of range.
    """

    name = "shared-randomness"
    version = 1

    def __init__(
        self,
        model: torch.nn.Module,
        loss_fn: Loss,
        *,
        settings: Settings,
        steps: int,
        batch_size: int | None = None,
        privacy: DPZO | None = None,
        hash_every: int = 64,
    ) -> None:
        for name, value in (("steps", steps), ("batch_size", batch_size), ("hash_every", hash_every)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise InvalidData(f"{name} must be a whole number above 0")
        if privacy is not None and batch_size is not None:
            raise InvalidData("batch_size is not for private runs: their batches are sampled at privacy.sampling_rate")
        self.settings = settings
        self.steps = steps
        self.batch_size = batch_size
        self.privacy = privacy
        self.hash_every = hash_every
        self._tuner = SharedRandomnessTuner(model, loss_fn, settings=settings, privacy=privacy)
        self._lock = threading.Lock()  # silos of one process share the model

    def __getstate__(self) -> dict[str, Any]:
        """Leave the lock out, for Ray: silos of another process have a model of their own."""
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take another lock."""
        vars(self).update(state, _lock=threading.Lock())

    @property
    def claim(self) -> Claim:
        """What all bytes of a silo promise to each of its examples."""
        if self.privacy is None:
            return NO_PROMISE
        return self.privacy.claim(self.steps * self.settings.samples_per_step)

    def config(self) -> dict[str, Any]:
        """Return the parameters; base weights, names and the generator by their hashes."""
        return {
            "header": self._tuner.header.to_json(),
            "rounding": self.settings.codec.rounding,
            "steps": self.steps,
            "batch_size": self.batch_size,
            "privacy": None if self.privacy is None else asdict(self.privacy),
            "hash_every": self.hash_every,
        }

    def start(self) -> Fields:
        """Return the state before the first step: an empty log."""
        return {
            "step": 0,
            "log": b"",
            "last": b"",
            "current": np.zeros(0, np.int64),
            "weights_hash": "",
            "disagreements": 0,
        }

    def requests(self, state: Message, parties: tuple[int, ...]) -> Mapping[int, Fields]:
        """Send each party what it has not seen."""
        step = _step(state)
        current = set(_array(state, "current").tolist())
        asked: dict[int, Fields] = {}
        for party in parties:
            up_to_date = party in current
            records = state["last"] if up_to_date else state["log"]
            asked[party] = {"machine": party, "step": step, "first": step - 1 if up_to_date else 0, "records": records}
        return asked

    def check_reply(self, state: Message, party: int, reply: Message) -> None:
        """Check fields, length and hash."""
        step = _step(state)
        names = (["scalars"] if step < self.steps else []) + (["weights_hash"] if self._compares(step) else [])
        reply.expect(*names)
        if "scalars" in names:
            payload = reply.blob("scalars", length=self.settings.payload_length)
            self.settings.codec.decode(payload, self.settings.samples_per_step)
        if "weights_hash" in names and not _HASH.fullmatch(reply.text("weights_hash", most=64)):
            raise ProtocolError("field 'weights_hash' must be 64 hexadecimal digits")

    def server_step(self, state: Message, replies: Mapping[int, Message]) -> Fields:
        """Commit the step: its participants are those who answered."""
        step = _step(state)
        record = b""
        if step < self.steps:
            record = Record(step, {party: reply.blob("scalars") for party, reply in replies.items()}).to_bytes()
        after = {**state, "step": step + 1, "log": state.blob("log") + record, "last": record}
        current = set(replies)
        if self._compares(step):
            hashes = {party: reply.text("weights_hash", most=64) for party, reply in replies.items()}
            common, votes = Counter(hashes.values()).most_common(1)[0] if hashes else ("", 0)
            wrong = {party for party, each in hashes.items() if each != common}
            if wrong:
                _LOG.warning("step %d: the weights of silos %s differ; they rebuild them", step, sorted(wrong))
            # Without a majority nobody can say who is right, and all rebuild.
            current -= wrong if 2 * votes > len(hashes) else set(hashes)
            after |= {"weights_hash": common, "disagreements": int(state["disagreements"]) + len(wrong)}
        return {**after, "current": np.array(sorted(current), np.int64)}

    def finished(self, state: Message) -> bool:
        """Whether all steps are made and the last comparison too."""
        return _step(state) > self.steps

    def result(self, state: Message) -> TunedRun:
        """Return the log, the hash of the final weights, and how often machines differed."""
        log = Log(self._tuner.header)
        for record in read_records(state.blob("log")):
            log.append(record)
        return TunedRun(log, str(state["weights_hash"]), int(state["disagreements"]))

    def client_step(self, request: Message, memory: Message, data: Any) -> tuple[Fields, Fields]:
        """Catch up with the log, then answer with this silo's scalars."""
        request.expect("machine", "step", "first", "records")
        machine = request.integer("machine", low=0, high=_MOST_PARTIES)
        step = request.integer("step", low=0, high=self.steps)
        first = request.integer("first", low=0, high=step)
        # A silo is asked about each step once, or a server could have more scalars than the claim is about.
        if step <= int(memory.get("answered", -1)):
            raise ProtocolError(f"step {step} or a later one was answered already")
        records = list(read_records(request.blob("records")))
        if [record.step for record in records] != list(range(first, step)):
            raise ProtocolError(f"the records must be those of steps {first} .. {step - 1}")
        _check_own(records, machine, memory)
        with self._lock:
            tuner = self._tuner
            tuner.machine = machine
            try:
                self._catch_up(first, records, memory)
                reply: dict[str, Any] = {}
                kept: dict[str, Any] = {"answered": step, "next": step, "state": tuner.state}
                if self._compares(step):
                    reply["weights_hash"] = tuner.weights_hash()
                if step < self.steps:
                    reply["scalars"] = tuner.local_step(data if self.privacy is not None else self._batches(data))
                    kept["sent"] = reply["scalars"]
                return reply, kept
            finally:
                tuner.replay([])

    def _catch_up(self, first: int, records: list[Record], memory: Message) -> None:
        if first == 0:
            self._tuner.replay(records)
            return
        if memory.get("next") != first:
            raise ProtocolError(f"this silo has no weights before step {first}: it needs the whole log")
        now = self._tuner.state
        self._tuner.resume(first, memory.array("state", dtype=now.dtype, shape=now.shape))
        for record in records:
            self._tuner.apply(record.step, record.payloads)

    def _batches(self, data: Any) -> list[Any]:
        count, samples = len(data), self.settings.samples_per_step
        if self.batch_size is None:
            return [data[np.arange(count)]] * samples
        if self.batch_size > count:
            raise InvalidData("batch_size is larger than the silo's data")
        system = SystemRandom()
        return [data[np.array(system.sample(range(count), self.batch_size))] for _ in range(samples)]

    def _compares(self, step: int) -> bool:
        return step == self.steps or (step > 0 and step % self.hash_every == 0)


def _check_own(records: list[Record], machine: int, memory: Message) -> None:
    """A relay that changes a silo's bytes, or takes another's number for it, is found out by that silo."""
    for record in records:
        told = record.payloads.get(machine)
        if record.step == memory.get("answered") and told is not None and told != memory.get("sent"):
            raise ProtocolError(f"the record of step {record.step} has other bytes than this silo, {machine}, sent")


def _step(state: Message) -> int:
    return int(state["step"])


def _array(state: Message, name: str) -> Any:
    return state[name]
